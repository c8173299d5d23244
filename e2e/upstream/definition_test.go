// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

const definitionFile = "../testdriver.yaml"

// suiteTypes are the suite's own types, out of its source: that of the definition is
// not exported, and the suite decodes it without strictness, by the exact names of fields.
type suiteTypes struct {
	types        map[string]ast.Expr
	capabilities []string
}

func readSuite(t *testing.T) suiteTypes {
	t.Helper()
	cmd := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes")
	cmd.Dir = filepath.Join("..", "tools", "upstream")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	require.NoError(t, err)
	var module struct{ Dir string }
	require.NoError(t, json.Unmarshal(out, &module))
	s := suiteTypes{types: map[string]ast.Expr{}}
	for _, f := range []string{"storage/external/external.go", "storage/framework/testdriver.go", "framework/volume/fixtures.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(module.Dir, "test", "e2e", f), nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				s.types[n.Name.Name] = n.Type
			case *ast.ValueSpec:
				if i, ok := n.Type.(*ast.Ident); ok && i.Name == "Capability" {
					for _, v := range n.Values {
						word, err := strconv.Unquote(v.(*ast.BasicLit).Value)
						require.NoError(t, err)
						s.capabilities = append(s.capabilities, word)
					}
				}
			}
			return true
		})
	}
	require.NotEmpty(t, s.capabilities)
	return s
}

// fields are the names of a struct type's fields.
func (s suiteTypes) fields(name string) []string {
	var names []string
	for _, f := range s.types[name].(*ast.StructType).Fields.List {
		for _, n := range f.Names {
			names = append(names, n.Name)
		}
	}
	return names
}

// check says what of a value does not belong into a type.
func (s suiteTypes) check(path string, value any, of ast.Expr) (bad []string) {
	switch of := of.(type) {
	case *ast.StarExpr:
		return s.check(path, value, of.X)
	case *ast.SelectorExpr:
		return s.check(path, value, of.Sel)
	case *ast.Ident:
		if known, ok := s.types[of.Name]; ok {
			return s.check(path, value, known)
		}
	case *ast.ArrayType:
		list, ok := value.([]any)
		if !ok {
			return []string{path + ": must be a list"}
		}
		for i, v := range list {
			bad = append(bad, s.check(fmt.Sprintf("%s[%d]", path, i), v, of.Elt)...)
		}
	case *ast.MapType:
		m, ok := value.(map[string]any)
		if !ok {
			return []string{path + ": must be a map"}
		}
		for k := range m {
			if i, ok := of.Key.(*ast.Ident); ok && i.Name == "Capability" && !slices.Contains(s.capabilities, k) {
				bad = append(bad, path+"."+k+": the suite knows no such capability")
			}
		}
	case *ast.StructType:
		m, ok := value.(map[string]any)
		if !ok {
			return []string{path + ": must be a map"}
		}
		for k, v := range m {
			field := slices.IndexFunc(of.Fields.List, func(f *ast.Field) bool {
				return slices.ContainsFunc(f.Names, func(n *ast.Ident) bool { return n.Name == k })
			})
			if field < 0 {
				bad = append(bad, path+"."+k+": the suite knows no such field")
				continue
			}
			bad = append(bad, s.check(path+"."+k, v, of.Fields.List[field].Type)...)
		}
	}
	return bad
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	var definition map[string]any
	require.NoError(t, yaml.UnmarshalStrict([]byte(text), &definition))
	return definition
}

func readDefinition(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(definitionFile)
	require.NoError(t, err)
	return string(text)
}

func TestDefinitionHasOnlyWhatTheSuiteKnows(t *testing.T) {
	s, text := readSuite(t), readDefinition(t)
	require.Empty(t, s.check("", decode(t, text), s.types["driverDefinition"]))
	for _, broken := range []struct{ from, to, says string }{
		{"DriverInfo:", "driverInfo:", ".driverInfo: the suite knows no such field"},
		{"  TopologyKeys:", "  topologyKeys:", ".DriverInfo.topologyKeys: the suite knows no such field"},
		{"    exec:", "    execute:", ".DriverInfo.Capabilities.execute: the suite knows no such capability"},
		{"{Min: 320Mi,", "{Minimum: 320Mi,", ".DriverInfo.SupportedSizeRange.Minimum: the suite knows no such field"},
		{"- Attributes:", "- attributes:", ".InlineVolumes[0].attributes: the suite knows no such field"},
	} {
		require.Contains(t, text, broken.from)
		require.Contains(t, s.check("", decode(t, strings.Replace(text, broken.from, broken.to, 1)), s.types["driverDefinition"]), broken.says)
	}
}

// A new version of the suite may know more: that has to be decided on, too.
func TestDefinitionDecidesOnAllThatTheSuiteKnows(t *testing.T) {
	s, text := readSuite(t), readDefinition(t)
	info := decode(t, text)["DriverInfo"].(map[string]any)
	for _, c := range s.capabilities {
		require.Contains(t, info["Capabilities"], c)
	}
	for _, f := range append(s.fields("driverDefinition"), s.fields("DriverInfo")...) {
		require.Contains(t, text, f, "a field that is neither set nor named in a comment")
	}
}

func TestDefinitionOfEachClassNamesOnlyItsClass(t *testing.T) {
	text := []byte(readDefinition(t))
	for class, other := range map[string]string{"thick": "thin", "thin": "thick"} {
		d, err := json.Marshal(decode(t, string(forClass(text, class))))
		require.NoError(t, err)
		require.Contains(t, string(d), `"TestTags":["`+class+`"]`)
		require.Contains(t, string(d), `"FromExistingClassName":"podlv-`+class+`"`)
		require.Contains(t, string(d), `"class":"`+class+`"`)
		require.NotContains(t, string(d), other)
	}
	for _, class := range []string{"thick", "thin"} {
		require.Contains(t, chartValues, "\n- {name: podlv-"+class+", class: "+class+"}\n")
	}
}
