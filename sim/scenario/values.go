// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podlv/podlv/driver"
)

// Size is bytes. It is written with a unit: 10Gi, 500M.
type Size int64

// Quantity is a number of Kubernetes: 4, 500m.
type Quantity struct{ resource.Quantity }

// Duration is written with a unit: 30s, 1m30s.
type Duration time.Duration

// Rate is how many a second; 0 is no limit. It is written with a unit: 20/s, 90/m.
type Rate float64

// Sizes is a size, or the bounds between which one is drawn: {min: 1Gi, max: 4Gi}.
type Sizes struct{ Min, Max Size }

// Draw is a size. It takes one number of random, also when the size is fixed, so that
// a fixed size changes nothing for the sizes that are drawn after it.
func (s Sizes) Draw(random *rand.Rand) int64 {
	n := random.Float64()
	const mib = 1 << 20 // whole ones, as people write them
	return int64(s.Min) + int64(n*float64(s.Max-s.Min)/mib)*mib
}

// text is a scalar as it was written.
func text(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.IntegerNode, *ast.FloatNode:
		return node.GetToken().Value, nil
	}
	return "", at(node, "must be a single value")
}

// bare is a number without a unit.
var bare = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (s *Size) UnmarshalYAML(node ast.Node) error {
	value, err := text(node)
	if err != nil {
		return err
	}
	if bare.MatchString(value) {
		return at(node, "%s: a unit is missing: write %sGi or %sMi", value, value, value)
	}
	q, err := resource.ParseQuantity(value)
	if err != nil {
		return at(node, "%q: must be a size such as 10Gi or 500Mi", value)
	}
	if strings.HasSuffix(value, "m") {
		return at(node, "%q: m means thousandths: write %si", value, strings.ToUpper(value))
	}
	if q.Sign() <= 0 {
		return at(node, "%q: must be more than 0", value)
	}
	if q.Cmp(*resource.NewQuantity(driver.MaxCharge, resource.BinarySI)) > 0 {
		return at(node, "%q: must be at most 8Pi", value)
	}
	*s = Size(q.Value())
	return nil
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (s *Sizes) UnmarshalYAML(node ast.Node) error {
	if _, mapping := node.(*ast.MappingNode); mapping {
		var bounds struct {
			Min Size `yaml:"min"`
			Max Size `yaml:"max"`
		}
		if err := yaml.NodeToValue(node, &bounds, yaml.Strict()); err != nil {
			return err
		}
		if bounds.Min == 0 || bounds.Max < bounds.Min {
			return at(node, "must have a min, and a max that is not less, such as {min: 1Gi, max: 4Gi}")
		}
		*s = Sizes{bounds.Min, bounds.Max}
		return nil
	}
	var fixed Size
	if err := fixed.UnmarshalYAML(node); err != nil {
		return err
	}
	*s = Sizes{fixed, fixed}
	return nil
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (q *Quantity) UnmarshalYAML(node ast.Node) error {
	value, err := text(node)
	if err != nil {
		return err
	}
	if q.Quantity, err = resource.ParseQuantity(value); err != nil || q.Sign() <= 0 {
		return at(node, "%q: must be a quantity of more than 0, such as 4 or 500m", value)
	}
	return nil
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	value, err := text(node)
	if err != nil {
		return err
	}
	if bare.MatchString(value) {
		return at(node, "%s: a unit is missing: write %ss or %sm", value, value, value)
	}
	parsed, err := time.ParseDuration(value)
	if err != nil || parsed <= 0 {
		return at(node, "%q: must be a duration of more than 0, such as 30s or 1m30s", value)
	}
	*d = Duration(parsed)
	return nil
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (r *Rate) UnmarshalYAML(node ast.Node) error {
	value, err := text(node)
	if err != nil {
		return err
	}
	if bare.MatchString(value) {
		return at(node, "%s: a unit is missing: write %s/s or %s/m", value, value, value)
	}
	number, unit, _ := strings.Cut(value, "/")
	n, err := strconv.ParseFloat(number, 64)
	seconds := map[string]float64{"s": 1, "m": 60}[unit]
	if err != nil || n <= 0 || n > 1e6 || seconds == 0 {
		return at(node, "%q: must be a rate of more than 0, such as 20/s or 90/m", value)
	}
	*r = Rate(n / seconds)
	return nil
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (s *Storage) UnmarshalYAML(node ast.Node) error {
	classes, err := driver.ParseClasses([]byte(node.String()))
	if err != nil {
		return at(node, "%w", err)
	}
	s.Classes, s.Text = classes, node.String()
	return nil
}

// problem is a mistake at a place of the file. Lines and columns count from 1.
type problem struct {
	line, column int
	err          error
}

func (p *problem) Error() string { return fmt.Sprintf("%d:%d: %v", p.line, p.column, p.err) }
func (p *problem) Unwrap() error { return p.err }

// at is a problem at a node. One that is a mapping begins at its first key.
func at(node ast.Node, format string, args ...any) error {
	p := &problem{err: fmt.Errorf(format, args...)}
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 {
		node = m.Values[0].Key
	}
	if m, ok := node.(*ast.MappingValueNode); ok {
		node = m.Key
	}
	if t := node.GetToken(); t != nil && t.Position != nil {
		p.line, p.column = t.Position.Line, t.Position.Column
	}
	return p
}
