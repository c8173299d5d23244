// SPDX-License-Identifier: Apache-2.0

package podlv_test

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"iter"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const module = "github.com/podlv/podlv"

// repository is the tree that the rules look at.
type repository struct {
	files   map[string]string // every text file, by its slash-separated path
	goFiles []*goFile         // every Go file that is no test data, by path
	folders map[string]bool
	other   map[string]bool // files that are no text, such as pictures
}

// goFile is one parsed Go file.
type goFile struct {
	path, dir string
	test      bool // its name ends in _test.go
	nested    bool // it belongs to a module that only pins programs (tools, e2e/tools/...)
	fset      *token.FileSet
	ast       *ast.File
}

// load reads a tree. Folders of what was built (.gitignore) are left out.
func load(tree fs.FS) (*repository, error) {
	const largest = 1 << 20 // more is no text that a person wrote
	r := &repository{files: map[string]string{}, folders: map[string]bool{}, other: map[string]bool{}}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", "bin", "out", "node_modules"}, name) {
				return fs.SkipDir
			}
			r.folders[name] = true
			return nil
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > largest {
			return err
		}
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if bytes.IndexByte(content, 0) >= 0 {
			r.other[name] = true
			return nil
		}
		r.files[name] = string(content)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(r.files) {
		if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		f := &goFile{path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), fset: token.NewFileSet()}
		f.ast, err = parser.ParseFile(f.fset, name, r.files[name], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for dir := f.dir; dir != "."; dir = path.Dir(dir) {
			if _, ok := r.files[dir+"/go.mod"]; ok && dir != controlPlane {
				f.nested = true
			}
		}
		r.goFiles = append(r.goFiles, f)
	}
	return r, nil
}

// sources yields the non-test Go files of our own modules: what the rules of the
// layout are about.
func (r *repository) sources() iter.Seq[*goFile] {
	return func(yield func(*goFile) bool) {
		for _, f := range r.goFiles {
			if !f.test && !f.nested && !yield(f) {
				return
			}
		}
	}
}

// pos returns "path:line" of a node.
func (f *goFile) pos(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, f.fset.Position(n.Pos()).Line)
}

// generated tells whether the file carries the mark of https://go.dev/s/generatedcode.
func (f *goFile) generated() bool { return ast.IsGenerated(f.ast) }

// doc returns the package comment of the file, without a licence line that is
// glued to it.
func (f *goFile) doc() string {
	text := f.ast.Doc.Text()
	if strings.HasPrefix(text, "SPDX-") {
		_, text, _ = strings.Cut(text, "\n")
	}
	return strings.TrimSpace(text)
}

// imported is one import of a file.
type imported struct{ pos, path, name string }

// imports returns the imports of the file, with the name they have in it.
func (f *goFile) imports() []imported {
	var all []imported
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		all = append(all, imported{f.pos(spec), p, name})
	}
	return all
}

// uses yields the position and the name of all that the file uses of a package.
// A dot import hides what is used, so it is yielded itself, as ".".
func (f *goFile) uses(importPath string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, i := range f.imports() {
			if i.path != importPath {
				continue
			}
			if i.name == "." && !yield(i.pos, ".") {
				return
			}
			more := true
			ast.Inspect(f.ast, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && more {
					if x, ok := s.X.(*ast.Ident); ok && x.Name == i.name {
						more = yield(f.pos(s), s.Sel.Name)
					}
				}
				return more
			})
			if !more {
				return
			}
		}
	}
}

// calls returns a violation for each use of one of the names of a package.
func (f *goFile) calls(importPath string, names ...string) (bad []string) {
	for pos, name := range f.uses(importPath) {
		if name == "." || slices.Contains(names, name) {
			bad = append(bad, fmt.Sprintf("%s: %s.%s is not for this file", pos, path.Base(importPath), name))
		}
	}
	return bad
}

// checkVariables accepts as a package variable: an error, a value that is built
// once and read (a literal that is not empty, a call of a Must function and a few
// like it), what can only be done to a whole process and once (sync.OnceFunc, which
// keeps no value), an embedded file, an interface assertion, and in package main the
// version that the linker sets.
func checkVariables(r *repository) (bad []string) {
	for f := range r.sources() {
		for _, d := range f.ast.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.VAR {
				continue
			}
			for _, s := range decl.Specs {
				spec := s.(*ast.ValueSpec)
				if embedded(decl.Doc) || embedded(spec.Doc) {
					continue
				}
				for i, name := range spec.Names {
					var value ast.Expr
					if i < len(spec.Values) {
						value = spec.Values[i]
					}
					if !f.constantLike(name.Name, value) {
						bad = append(bad, fmt.Sprintf("%s: variable %s; make it a const, a literal table, or a field of what uses it", f.pos(name), name.Name))
					}
				}
			}
		}
	}
	return bad
}

// constantLike tells whether a package variable is an error or a table.
func (f *goFile) constantLike(name string, value ast.Expr) bool {
	if value == nil {
		return false
	}
	if name == "_" || strings.HasPrefix(strings.ToLower(name), "err") {
		return true
	}
	switch v := value.(type) {
	case *ast.UnaryExpr: // &T{...}: protobuf messages cannot be had otherwise
		literal, ok := v.X.(*ast.CompositeLit)
		return ok && v.Op == token.AND && len(literal.Elts) > 0
	case *ast.CompositeLit:
		return len(v.Elts) > 0
	case *ast.BasicLit:
		return f.ast.Name.Name == "main" && name == "version"
	case *ast.CallExpr:
		if _, ok := v.Fun.(*ast.ArrayType); ok { // []byte("...")
			return true
		}
		s, ok := v.Fun.(*ast.SelectorExpr)
		if !ok {
			return false
		}
		if x, ok := s.X.(*ast.Ident); ok && x.Name == "flag" && (layer(f.dir) == testSupport || f.ast.Name.Name == "main") {
			return true
		}
		return strings.HasPrefix(s.Sel.Name, "Must") || slices.Contains([]string{"NewReplacer", "MakeTable", "NewSHA1", "OnceFunc"}, s.Sel.Name)
	}
	return false
}

func embedded(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// checkLinks looks at inline links, images and link definitions outside of code,
// and at code that is nothing but the name of one of our files.
func checkLinks(r *repository) (bad []string) {
	link := regexp.MustCompile(`\]\(<?([^)\s>]+)>?(?:\s+"[^"]*")?\)|^\[[^\]]+\]:\s+(\S+)`)
	code := regexp.MustCompile("`[^`]*`")
	named := regexp.MustCompile("`((?:cmd|deploy|docs|driver|e2e|fakelvm|lvm|sim|tools)/[\\w./-]+)`")
	for _, name := range sortedKeys(r.files) {
		if path.Ext(name) != ".md" || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		fenced := false
		for n, line := range strings.Split(r.files[name], "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "```") {
				fenced = !fenced
			}
			if fenced {
				continue
			}
			for _, m := range named.FindAllStringSubmatch(line, -1) {
				if why := r.dead(".", name, m[1]); why != "" {
					bad = append(bad, fmt.Sprintf("%s:%d: `%s`: %s", name, n+1, m[1], why))
				}
			}
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(line, "``"), -1) {
				if why := r.dead(path.Dir(name), name, cmp.Or(m[1], m[2])); why != "" {
					bad = append(bad, fmt.Sprintf("%s:%d: %s: %s", name, n+1, cmp.Or(m[1], m[2]), why))
				}
			}
		}
	}
	return bad
}

// dead says why a link in the file name of the folder dir leads nowhere; "" if
// it does not, or leads to the world outside.
func (r *repository) dead(dir, name, target string) string {
	if regexp.MustCompile(`^[a-z]+:`).MatchString(target) {
		return ""
	}
	file, anchor, _ := strings.Cut(target, "#")
	to := name
	if file != "" {
		to = path.Join(dir, file)
	}
	if strings.HasPrefix(file, "/") || strings.HasPrefix(to, "..") {
		return "leads out of the repository"
	}
	content, isFile := r.files[to]
	if !isFile && !r.folders[to] && !r.other[to] {
		return "no such file"
	}
	if anchor == "" || path.Ext(to) != ".md" {
		return ""
	}
	for _, line := range strings.Split(content, "\n") {
		if heading := strings.TrimLeft(line, "#"); heading != line && slug(heading) == anchor {
			return ""
		}
	}
	return "no such heading in " + to
}

// slug is the anchor that GitHub makes of a heading.
func slug(heading string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == ' ':
			return '-'
		case c == '-' || c == '_' || unicode.IsLetter(c) || unicode.IsDigit(c):
			return unicode.ToLower(c)
		}
		return -1
	}, strings.TrimSpace(heading))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
