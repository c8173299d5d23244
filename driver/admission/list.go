// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"maps"
	"slices"
	"strings"
)

// StorageClassList is StorageClasses as an annotation: "fast=nvme slow=hdd *plain=",
// sorted. A star marks the one that is the cluster's default.
func StorageClassList(classes map[string]string, byDefault string) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		star := ""
		if name == byDefault {
			star = "*"
		}
		words = append(words, star+name+"="+classes[name])
	}
	return strings.Join(words, " ")
}

// ParseStorageClassList is the reverse of StorageClassList. What is no list of that
// kind is left out: it is read from objects that anybody may have written.
func ParseStorageClassList(list string) (classes map[string]string, byDefault string) {
	classes = map[string]string{}
	for _, word := range strings.Fields(list) {
		name, class, ok := strings.Cut(word, "=")
		name, star := strings.CutPrefix(name, "*")
		if !ok || name == "" {
			continue
		}
		classes[name] = class
		if star {
			byDefault = name
		}
	}
	return classes, byDefault
}
