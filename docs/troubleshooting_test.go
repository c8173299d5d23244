// SPDX-License-Identifier: Apache-2.0

package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// messages are the calls whose format is a sentence that somebody may read.
var messages = map[string]bool{"Errorf": true, "add": true, "refuse": true, "refused": true, "Eventf": true, "once": true, "Sprintf": true}

var (
	verb  = regexp.MustCompile(`%(\.\d)?[a-zA-Z]`)
	space = regexp.MustCompile(`\s+`)
)

// Each sentence that the driver, the controller and the LVM client can say is on the page. Of a format
// the longest part without a verb is looked for; what is hardly a sentence is left out.
func TestEveryMessageIsExplained(t *testing.T) {
	text, err := os.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	page, found := space.ReplaceAllString(string(text), " "), 0
	for _, dir := range []string{"../driver", "../driver/controller", "../lvm"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			for _, said := range sentences(t, f) {
				found++
				if !strings.Contains(page, said) {
					t.Errorf("%s says %q, which docs/troubleshooting.md has not", f, said)
				}
			}
		}
	}
	if found < 150 {
		t.Errorf("only %d messages were found", found)
	}
}

func sentences(t *testing.T, file string) (all []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !messages[calledName(call)] {
			return true
		}
		for _, argument := range call.Args {
			literal, ok := argument.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				continue
			}
			format, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			words, length := 4, 16
			if calledName(call) == "refuse" { // each is one
				words, length = 2, 7
			}
			if len(strings.Fields(format)) < words {
				return true
			}
			longest := ""
			for _, part := range verb.Split(strings.ReplaceAll(format, "%%", "\x00"), -1) {
				if part = strings.Trim(part, " :;,."); len(part) > len(longest) {
					longest = part
				}
			}
			if len(longest) >= length {
				all = append(all, strings.ReplaceAll(longest, "\x00", "%"))
			}
			return true
		}
		return true
	})
	return all
}

func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}
