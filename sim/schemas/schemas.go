// SPDX-License-Identifier: Apache-2.0

// Package schemas holds JSON Schemas of what the simulator reads and writes: of
// scenarios and of report.json. They are generated from the types and their comments.
package schemas

import (
	"embed"
	"io/fs"
	"slices"
	"strings"
)

// The paths of the generator are relative to the module.
//
//go:generate go run ./generate ../..

//go:embed *.json
var files embed.FS

// Names are those of the schemas, sorted.
func Names() []string {
	found, err := fs.Glob(files, "*.json")
	if err != nil {
		panic(err) // of the pattern alone
	}
	for i, f := range found {
		found[i] = strings.TrimSuffix(f, ".json")
	}
	slices.Sort(found)
	return found
}

// Read is the text of a schema. The error is fs.ErrNotExist when there is none of that
// name.
func Read(name string) ([]byte, error) { return files.ReadFile(name + ".json") }
