// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Setting is a value that takes the place of one in the file: Path is the way to it, as
// nodes[0].count or until.timeout, Value is YAML.
type Setting struct{ Path, Value string }

// ParseSetting reads PATH=VALUE.
func ParseSetting(text string) (Setting, error) {
	path, value, ok := strings.Cut(text, "=")
	if !ok || path == "" {
		return Setting{}, fmt.Errorf("%q: must be PATH=VALUE, such as nodes[0].count=5", text)
	}
	return Setting{path, value}, nil
}

// Parse reads a scenario and checks it. name is the file's name, which errors begin
// with; each says line and column. check is asked of each expectation whether it
// compiles. Settings are put in when the file itself is right.
func Parse(name string, data []byte, check func(expectation string) error, settings ...Setting) (*Scenario, error) {
	s, err := parse(filepath.Dir(name), data, check)
	if err != nil {
		return nil, located(name, err)
	}
	for _, set := range settings {
		fail := func(err error) error { return fmt.Errorf("%s: --set %s=%s: %w", name, set.Path, set.Value, err) }
		if data, err = set.apply(data); err != nil {
			return nil, fail(err)
		}
		if s, err = parse(filepath.Dir(name), data, check); err != nil {
			return nil, fail(withoutPlace(err)) // it is not a place in the file
		}
	}
	s.Name = strings.TrimSuffix(strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ".yaml"), ".yml")
	return s, nil
}

func parse(folder string, data []byte, check func(string) error) (*Scenario, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, err
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, &problem{1, 1, fmt.Errorf("a scenario is one YAML document; here are %d", len(file.Docs))}
	}
	s := &Scenario{}
	if err := yaml.NodeToValue(file.Docs[0].Body, s, yaml.Strict()); err != nil {
		return nil, err
	}
	s.setDefaults()
	c := &checker{file: file}
	c.readObjects(folder, s)
	c.check(s, check)
	return s, errors.Join(c.problems...)
}

// located is an error with the file's name before each problem.
func located(name string, err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // what is inside a problem is its own
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, located(name, e))
		}
		return errors.Join(all...)
	}
	var p *problem
	if errors.As(err, &p) {
		return fmt.Errorf("%s:%w", name, p)
	}
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		at := y.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", name, at.Line, at.Column, y.GetMessage())
	}
	return fmt.Errorf("%s: %w", name, err)
}

// withoutPlace is what is wrong, without where.
func withoutPlace(err error) error {
	var y yaml.Error
	var p *problem
	switch {
	case errors.As(err, &p):
		return p.err
	case errors.As(err, &y):
		return errors.New(y.GetMessage())
	}
	return err
}

// apply puts the value into the file. Keys that are not there are added.
func (s Setting) apply(data []byte) ([]byte, error) {
	path, err := yaml.PathString("$." + s.Path)
	if err != nil {
		return nil, errors.New("the path must be like nodes[0].count")
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, err
	}
	value, err := parser.ParseBytes([]byte(s.Value), 0)
	if err != nil || len(value.Docs) != 1 || value.Docs[0].Body == nil {
		return nil, errors.New("the value is not YAML")
	}
	if _, err := path.FilterFile(file); err != nil {
		return s.add(file, value.Docs[0].Body)
	}
	if err := path.ReplaceWithNode(file, value.Docs[0].Body); err != nil {
		return nil, err
	}
	return []byte(file.String()), nil
}

// add puts a key that is not there into what it belongs into, which is added, too, if
// need be.
func (s Setting) add(file *ast.File, value ast.Node) ([]byte, error) {
	parent, key := "", s.Path
	if i := strings.LastIndexByte(s.Path, '.'); i >= 0 {
		parent, key = s.Path[:i], s.Path[i+1:]
	}
	if strings.ContainsAny(key, "[]") {
		return nil, fmt.Errorf("there is no %s", s.Path)
	}
	addition, err := yaml.Marshal(yaml.MapSlice{{Key: key, Value: value}})
	if err != nil {
		return nil, err
	}
	at := "$"
	if parent != "" {
		at += "." + parent
	}
	path, err := yaml.PathString(at)
	if err != nil {
		return nil, errors.New("the path must be like nodes[0].count")
	}
	node, err := path.FilterFile(file)
	if err != nil {
		return Setting{parent, string(addition)}.apply([]byte(file.String()))
	}
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
	default:
		return nil, fmt.Errorf("%s has no keys", parent)
	}
	if err := path.MergeFromReader(file, strings.NewReader(string(addition))); err != nil {
		return nil, err
	}
	return []byte(file.String()), nil
}
