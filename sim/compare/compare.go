// SPDX-License-Identifier: Apache-2.0

// Package compare sets the reports of several runs side by side: of different
// scenarios, or of one with different settings, each with several seeds.
//
// There are only the Variant, which Variants makes all combinations of, and the Table
// of their reports.
package compare

import (
	"fmt"
	"strings"
)

// Variant is a scenario with settings.
type Variant struct {
	Scenario string   // a file, or the name of one that ships
	Settings []string // PATH=VALUE
}

// String is the variant in a few words, as the head of a column.
func (v Variant) String() string {
	name := v.Scenario[strings.LastIndexByte(v.Scenario, '/')+1:]
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml")
	for _, s := range v.Settings {
		path, value, _ := strings.Cut(s, "=")
		name += " " + path[strings.LastIndexByte(path, '.')+1:] + "=" + value
	}
	return name
}

// Dimension is a setting with the values that it is to have, one after the other.
type Dimension struct {
	Path   string
	Values []string
}

// ParseDimension reads PATH=VALUE|VALUE|….
func ParseDimension(text string) (Dimension, error) {
	path, values, ok := strings.Cut(text, "=")
	d := Dimension{path, strings.Split(values, "|")}
	if !ok || path == "" || len(d.Values) < 2 {
		return d, fmt.Errorf("%q: must be PATH=VALUE|VALUE, such as settings.inlineAccounting=true|false", text)
	}
	return d, nil
}

// Variants are all combinations of scenarios and of the values of all dimensions; the
// last dimension changes fastest.
func Variants(scenarios []string, dimensions []Dimension) (all []Variant) {
	for _, s := range scenarios {
		all = append(all, Variant{Scenario: s})
	}
	for _, d := range dimensions {
		var more []Variant
		for _, v := range all {
			for _, value := range d.Values {
				settings := append(append([]string{}, v.Settings...), d.Path+"="+value)
				more = append(more, Variant{v.Scenario, settings})
			}
		}
		all = more
	}
	return all
}
