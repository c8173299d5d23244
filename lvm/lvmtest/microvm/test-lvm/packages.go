// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// tag marks the files of tests that need real LVM.
const tag = "reallvm"

// harness is the package that boots machines. Its tests boot their own, so they
// run on the host and not in a machine, which could not boot another.
const harness = "github.com/podlv/podlv/lvm/lvmtest/microvm"

// testPackage is a package that has tests behind the tag.
type testPackage struct {
	ImportPath   string
	Dir          string
	TestGoFiles  []string
	XTestGoFiles []string
	tagged       []string // those of the files that only the tag brings
	binary       string
}

// findPackages are those of the patterns that have test files behind the tag.
func findPackages(ctx context.Context, patterns []string) ([]*testPackage, error) {
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	without, err := listPackages(ctx, patterns)
	if err != nil {
		return nil, err
	}
	with, err := listPackages(ctx, append([]string{"-tags=" + tag}, patterns...))
	if err != nil {
		return nil, err
	}
	always := map[string]bool{}
	for _, p := range without {
		for _, f := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			always[filepath.Join(p.Dir, f)] = true
		}
	}
	var found []*testPackage
	for _, p := range with {
		for _, f := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
			if path := filepath.Join(p.Dir, f); !always[path] {
				p.tagged = append(p.tagged, path)
			}
		}
		if len(p.tagged) > 0 {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no tests behind the build tag %s in %s", tag, strings.Join(patterns, " "))
	}
	return found, nil
}

func listPackages(ctx context.Context, args []string) ([]*testPackage, error) {
	out, err := goCommand(ctx, append([]string{"list", "-e", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles"}, args...)...)
	if err != nil {
		return nil, err
	}
	var all []*testPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &testPackage{}
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read go list: %w", err)
		}
		all = append(all, p)
	}
}

// compile builds the package's test binary into dir: static, because it also runs
// as process 1's child in a machine, and without the race detector, which does
// not work there.
func (p *testPackage) compile(ctx context.Context, dir string) error {
	p.binary = filepath.Join(dir, strings.ReplaceAll(p.ImportPath, "/", "_")+".test")
	_, err := goCommand(ctx, "test", "-c", "-race=false", "-tags="+tag, "-o", p.binary, p.ImportPath)
	return err
}

// buildPrograms builds the module's programs into dir.
func buildPrograms(ctx context.Context, dir string) error {
	out, err := goCommand(ctx, "list", "-m", "-f={{.Dir}}")
	if err != nil {
		return err
	}
	root := strings.TrimSpace(string(out))
	if m, _ := filepath.Glob(filepath.Join(root, "cmd", "*", "*.go")); len(m) == 0 {
		return nil
	}
	_, err = goCommand(ctx, "-C", root, "build", "-o", dir+"/", "./cmd/...")
	return err
}

// tests are the names of the tests behind the tag that match the first element of
// the regexp run. The package's other tests need no LVM and have run elsewhere.
func (p *testPackage) tests(ctx context.Context, run string) ([]string, error) {
	behindTag := map[string]bool{}
	for _, f := range p.tagged {
		file, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				behindTag[fn.Name.Name] = true
			}
		}
	}
	top, _ := splitRun(run)
	out, err := runQuietly(ctx, p.Dir, p.binary, "-test.list="+top)
	if err != nil {
		return nil, fmt.Errorf("list the tests of %s: %w", p.ImportPath, err)
	}
	// Among the names may be what TestMain prints.
	return slices.DeleteFunc(strings.Fields(string(out)), func(n string) bool { return !behindTag[n] }), nil
}

// knows tells whether the binary has a flag.
func (p *testPackage) knows(ctx context.Context, flag string) bool {
	_, err := runQuietly(ctx, p.Dir, p.binary, "-test.list=^$", flag)
	return err == nil
}

// splitRun splits a -run regexp at its first slash that is not in brackets, as
// package testing does: the first element is for the tests, the rest, with its
// slash, for their subtests. The first is never empty.
func splitRun(run string) (top, rest string) {
	depth := 0
	for i := 0; i < len(run); i++ {
		switch run[i] {
		case '[', '(':
			depth++
		case ']', ')':
			depth--
		case '\\':
			i++
		case '/':
			if depth <= 0 {
				top, rest = run[:i], run[i:]
				if top == "" {
					top = "."
				}
				return top, rest
			}
		}
	}
	if run == "" {
		run = "."
	}
	return run, ""
}

// goCommand runs the go tool as builds for machines need it; what it complains
// of is in the error.
func goCommand(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return quietly(cmd)
}

func runQuietly(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	return quietly(cmd)
}

func quietly(cmd *exec.Cmd) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		words := slices.Clone(cmd.Args)
		words[0] = filepath.Base(words[0])
		return nil, fmt.Errorf("%s: %w\n%s%s", strings.Join(words, " "), err, stderr.Bytes(), stdout.Bytes())
	}
	return stdout.Bytes(), nil
}
