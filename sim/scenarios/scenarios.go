// SPDX-License-Identifier: Apache-2.0

// Package scenarios holds the scenarios that ship with the simulator.
package scenarios

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
)

//go:embed *.yaml
var files embed.FS

// Names are those of the scenarios, sorted.
func Names() []string {
	found, err := fs.Glob(files, "*.yaml")
	if err != nil {
		panic(err) // of the pattern alone
	}
	for i, f := range found {
		found[i] = strings.TrimSuffix(f, ".yaml")
	}
	slices.Sort(found)
	return found
}

// Read is the text of a scenario. The error is fs.ErrNotExist when there is none of that
// name.
func Read(name string) ([]byte, error) { return files.ReadFile(name + ".yaml") }
