// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"fmt"
	"regexp"
	"strings"
)

// kind is what a name is of: names of different kinds may be the same.
type kind string

const (
	kindNode      kind = "node"
	kindNamespace kind = "ns"
	kindWorkload  kind = "app"
	kindPod       kind = "pod"
	kindClaim     kind = "claim"
	kindPool      kind = "pool"
	kindGroup     kind = "vg"
	kindThin      kind = "thin"
	kindClass     kind = "class"        // device classes
	kindStorage   kind = "storageclass" // StorageClasses
	kindKey       kind = "label"        // keys of labels
	kindValue     kind = "value"        // of labels and taints
)

// names gives everything its name in the scenario: its own as far as the scenario allows
// that, or, when it is to be anonymous, its kind and a number. Each name has one, and no
// other name of the kind has the same.
type names struct {
	anonymous bool
	given     map[kind]map[string]string
	taken     map[kind]map[string]bool
}

func newNames(anonymous bool) *names {
	return &names{anonymous: anonymous, given: map[kind]map[string]string{}, taken: map[kind]map[string]bool{}}
}

// of is the name in the scenario of what is called original.
func (n *names) of(k kind, original string) string { return n.named(k, original, original) }

// named is the name of what is known by id, as near to like as can be.
func (n *names) named(k kind, id, like string) string {
	if name, ok := n.given[k][id]; ok {
		return name
	}
	if n.given[k] == nil {
		n.given[k], n.taken[k] = map[string]string{}, map[string]bool{}
	}
	var name string
	if n.anonymous {
		name = fmt.Sprintf("%s-%d", k, len(n.given[k]))
	} else {
		base := shaped(k, like)
		name = base
		for i := 2; n.taken[k][name]; i++ {
			suffix := fmt.Sprintf("-%d", i)
			name = base[:min(len(base), longest(k)-len(suffix))] + suffix
		}
	}
	n.given[k][id], n.taken[k][name] = name, true
	return name
}

// longest is how long a name of a kind may be.
func longest(k kind) int {
	switch k {
	case kindWorkload:
		return 42 // package scenario
	case kindPod, kindClaim, kindStorage:
		return 200
	}
	return 63
}

var (
	notLabel     = regexp.MustCompile(`[^a-z0-9-]+`)
	notSubdomain = regexp.MustCompile(`[^a-z0-9.-]+`)
)

// shaped is a name as near to the original as one of the kind may be.
func shaped(k kind, original string) string {
	name := original
	switch k {
	case kindGroup, kindThin, kindKey, kindValue:
		return original // they are right wherever they are from
	case kindPod, kindClaim, kindNode, kindStorage:
		name = notSubdomain.ReplaceAllString(strings.ToLower(name), "-")
	default:
		name = notLabel.ReplaceAllString(strings.ToLower(name), "-")
	}
	name = strings.Trim(name[:min(len(name), longest(k))], "-.")
	if name == "" {
		return "x"
	}
	return name
}

// plain are values of labels that say nothing about anybody.
var plain = regexp.MustCompile(`^(|true|false|[0-9]{1,6}|linux|windows|amd64|arm64|NoSchedule|NoExecute)$`)

// key is the key of a label or taint.
func (n *names) key(k string) string {
	prefix, _, has := strings.Cut(k, "/")
	if !n.anonymous || has && (prefix == "kubernetes.io" || prefix == "k8s.io" || strings.HasSuffix(prefix, ".kubernetes.io") || strings.HasSuffix(prefix, ".k8s.io")) {
		return k
	}
	return n.of(kindKey, k)
}

// value is the value of a label or taint of a key. That of a node's hostname is the
// node's name, as a rule.
func (n *names) value(key, v string) string {
	switch {
	case !n.anonymous || plain.MatchString(v):
		return v
	case key == "kubernetes.io/hostname" && n.given[kindNode][v] != "":
		return n.given[kindNode][v]
	}
	return n.of(kindValue, v)
}
