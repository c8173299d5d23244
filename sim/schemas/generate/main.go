// SPDX-License-Identifier: Apache-2.0

// Command generate writes the JSON Schemas of package schemas: generate MODULE-FOLDER.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"

	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

const (
	module = "github.com/podlv/podlv"
	place  = "sim/schemas" // in the module
	// Where the schemas are found by others: their $id.
	published = "https://raw.githubusercontent.com/podlv/podlv/main/" + place + "/"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: generate MODULE-FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	if err := os.Chdir(root); err != nil { // the paths of comments begin there
		return err
	}
	ofReport, err1 := reportSchema()
	ofScenario, err2 := scenarioSchema()
	return errors.Join(err1, err2, write("report", ofReport), write("scenario", ofScenario))
}

func write(name string, s *jsonschema.Schema) error {
	if s == nil {
		return nil
	}
	s.ID = jsonschema.ID(published + name + ".json")
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(place, name+".json"), append(text, '\n'), 0o644) //nolint:gosec // it is read by all
}

// reportSchema is that of report.json. What is new in it is no error to who reads it.
func reportSchema() (*jsonschema.Schema, error) {
	r := &jsonschema.Reflector{ExpandedStruct: true, AllowAdditionalProperties: true}
	if err := comments(r, "sim/report"); err != nil {
		return nil, err
	}
	s := r.Reflect(&report.Report{})
	s.Title, s.Description = "report.json of podlv-sim", "What came of a simulation."
	s.Definitions["Metrics"].Required = nil // what a target cannot know is absent
	s.Required = slices.DeleteFunc(s.Required, func(name string) bool { return name == "controlPlane" })
	return s, nil
}

// comments takes the descriptions from a package's source. Its lines are joined.
func comments(r *jsonschema.Reflector, folder string) error {
	if err := r.AddGoComments(module, folder, jsonschema.WithFullComment()); err != nil {
		return err
	}
	for k, text := range r.CommentMap {
		r.CommentMap[k] = strings.Join(strings.Fields(text), " ")
	}
	return nil
}

// required are the keys that a part of a scenario must have.
func required(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[scenario.Scenario]():
		return []string{"storage", "nodes", "workloads", "expectations"}
	case reflect.TypeFor[scenario.VolumeGroup](), reflect.TypeFor[scenario.Workload]():
		return []string{"name"}
	case reflect.TypeFor[scenario.Taint]():
		return []string{"key", "effect"}
	case reflect.TypeFor[scenario.ThinPool]():
		return []string{"name", "size"}
	case reflect.TypeFor[scenario.Volume]():
		return []string{"kind", "size"}
	case reflect.TypeFor[scenario.Event]():
		return []string{"at"}
	case reflect.TypeFor[scenario.Growth]():
		return []string{"workload", "size"}
	case reflect.TypeFor[scenario.Scale]():
		return []string{"workload", "pods"}
	case reflect.TypeFor[scenario.ForeignLV]():
		return []string{"volumeGroup", "size"}
	case reflect.TypeFor[scenario.Expectation]():
		return []string{"that", "message"}
	}
	return nil
}

// scenarioSchema is that of a scenario, strict as its reader.
func scenarioSchema() (*jsonschema.Schema, error) {
	r := &jsonschema.Reflector{FieldNameTag: "yaml", ExpandedStruct: true, RequiredFromJSONSchemaTags: true, Mapper: value}
	if err := comments(r, "sim/scenario"); err != nil {
		return nil, err
	}
	s := r.Reflect(&scenario.Scenario{})
	s.Title, s.Description = "A scenario of podlv-sim", "What is simulated, and what is expected of it."
	s.Required = required(reflect.TypeFor[scenario.Scenario]())
	for _, t := range []reflect.Type{
		reflect.TypeFor[scenario.Taint](), reflect.TypeFor[scenario.VolumeGroup](), reflect.TypeFor[scenario.Workload](), reflect.TypeFor[scenario.ThinPool](), reflect.TypeFor[scenario.Volume](),
		reflect.TypeFor[scenario.Event](), reflect.TypeFor[scenario.Growth](), reflect.TypeFor[scenario.Scale](), reflect.TypeFor[scenario.ForeignLV](), reflect.TypeFor[scenario.Expectation](),
	} {
		of := s.Definitions[t.Name()]
		if of == nil {
			return nil, fmt.Errorf("scenario.%s is no part of a scenario any more", t.Name())
		}
		of.Required = required(t)
	}
	group := s.Definitions["VolumeGroup"]
	group.OneOf = []*jsonschema.Schema{{Required: []string{"size"}}, {Required: []string{"disks"}}}
	event, t := s.Definitions["Event"], reflect.TypeFor[scenario.Event]()
	for i := range t.NumField() { // what happens is a pointer, and there is exactly one
		if f := t.Field(i); f.Type.Kind() == reflect.Pointer {
			event.OneOf = append(event.OneOf, &jsonschema.Schema{Required: []string{f.Tag.Get("yaml")}})
		}
	}
	for _, list := range []string{"nodes", "workloads", "expectations"} {
		p, _ := s.Properties.Get(list)
		p.MinItems = new(uint64)
		*p.MinItems = 1
	}
	return s, nil
}
