// SPDX-License-Identifier: Apache-2.0

package main

import (
	"reflect"

	"github.com/invopop/jsonschema"

	"github.com/podlv/podlv/sim/scenario"
)

// number is one without a sign, as people write it.
const number = `([0-9]+(\.[0-9]*)?|\.[0-9]+)`

// value is the schema of a value that a scenario reads in a way of its own; nil of all
// others.
func value(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[scenario.Size]():
		return size()
	case reflect.TypeFor[scenario.Sizes]():
		bounds := object("min", size(), "max", size())
		bounds.Required = []string{"min", "max"}
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{size(), bounds}, Description: "A size, or the bounds between which one is drawn."}
	case reflect.TypeFor[scenario.Quantity]():
		return &jsonschema.Schema{
			AnyOf:       []*jsonschema.Schema{{Type: "string", Pattern: "^" + number + "(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][0-9]+)?$"}, {Type: "number", ExclusiveMinimum: "0"}},
			Description: "A quantity of Kubernetes.", Examples: []any{4, "500m"},
		}
	case reflect.TypeFor[scenario.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^(` + number + `(ns|us|µs|μs|ms|s|m|h))+$`, Description: "A duration, with a unit.", Examples: []any{"30s", "1m30s"}}
	case reflect.TypeFor[scenario.Rate]():
		return &jsonschema.Schema{Type: "string", Pattern: "^" + number + "/(s|m)$", Description: "How many in a second or a minute.", Examples: []any{"20/s", "90/m"}}
	case reflect.TypeFor[scenario.Storage]():
		return storage()
	case reflect.TypeFor[scenario.Objects]():
		o := &jsonschema.Schema{Type: "object", Required: []string{"apiVersion", "kind"}, Description: "An object of Kubernetes, as kubectl takes it."}
		return &jsonschema.Schema{Type: "array", Items: o}
	case reflect.TypeFor[scenario.Kind]():
		return oneOf(scenario.Inline, scenario.Ephemeral, scenario.Claim)
	case reflect.TypeFor[scenario.Controller]():
		return oneOf(scenario.Deployment, scenario.StatefulSet)
	case reflect.TypeFor[scenario.Scoring]():
		return oneOf(scenario.NoScoring, scenario.MostFree, scenario.LeastFree)
	}
	return nil
}

func oneOf[T ~string](values ...T) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, v := range values {
		s.Enum = append(s.Enum, string(v))
	}
	return s
}

func size() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: "^" + number + "(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi|[eE][0-9]+)$", Description: "Bytes, with a unit; at most 8Pi.", Examples: []any{"10Gi", "500Mi"}}
}

// object is one with these keys and values, and no others.
func object(all ...any) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), AdditionalProperties: jsonschema.FalseSchema}
	for i := 0; i < len(all); i += 2 {
		s.Properties.Set(all[i].(string), all[i+1].(*jsonschema.Schema))
	}
	return s
}

// storage is pools and device classes, as driver.ParseClasses reads them: each value as
// the text that was written.
func storage() *jsonschema.Schema {
	text := func(description string) *jsonschema.Schema {
		return &jsonschema.Schema{Description: description, AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}, {Type: "null"}}}
	}
	pool := object(
		"name", text("Of the pool; part of the name of its extended resource, podlv.dev/NAME."), "volumeGroup", text("The VG that it is on."),
		"thinPool", text("The thin pool that it is. Default: the VG's own space."), "reserve", text("What is kept free, a size. Default: 0."),
		"inlinePool", text("shared, reserved=SIZE or none: what inline and generic ephemeral volumes may have of it. Default: shared."),
	)
	pool.Required = []string{"name", "volumeGroup"}
	class := object(
		"name", text("What pods and StorageClasses call it."), "pool", text("The pool that its volumes are made in."), "default", text("true: it is meant where none is named."),
		"unit", text("Sizes are rounded up to it. Default: 4Mi."), "layout", text("linear, striped, raid1 or thin. Default: linear, or thin in a thin pool."),
		"stripes", text("Of layout striped: on how many disks."), "copies", text("Of layout raid1: how many."), "defaultSize", text("Of inline volumes that name none."),
		"filesystem", text("ext4, xfs or btrfs."), "mountOptions", text("Of its filesystems, separated by commas."), "mkfsOptions", text("Of its filesystems."),
		"wipe", text("zero or none: what is done with raw thick volumes before anyone gets them."), "overprovision", text("Of thin pools: how many times their size may be promised."),
	)
	class.Required = []string{"name", "pool"}
	s := object("pools", &jsonschema.Schema{Type: "array", Items: pool}, "classes", &jsonschema.Schema{Type: "array", Items: class})
	s.Required = []string{"pools", "classes"}
	s.Description = "Pools and device classes, as podlv node reads them: docs/device-classes.md. There is a StorageClass for each class, of the same name."
	return s
}
