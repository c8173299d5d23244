// SPDX-License-Identifier: Apache-2.0

package schemas_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
	"github.com/podlv/podlv/sim/scenarios"
	"github.com/podlv/podlv/sim/schemas"
)

// schema is one of the schemas, compiled; or a part of it.
func schema(t *testing.T, name, part string) *jsonschema.Schema {
	t.Helper()
	text, err := schemas.Read(name)
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource(name+".json", document))
	s, err := c.Compile(name + ".json" + part)
	require.NoError(t, err)
	return s
}

// asJSON is a YAML text as a validator wants it.
func asJSON(t *testing.T, text []byte) any {
	t.Helper()
	data, err := yaml.YAMLToJSON(text)
	require.NoError(t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	return value
}

func TestTheScenariosThatShipAreValid(t *testing.T) {
	s := schema(t, "scenario", "")
	for _, name := range scenarios.Names() {
		text, err := scenarios.Read(name)
		require.NoError(t, err)
		require.NoError(t, s.Validate(asJSON(t, text)), name)
	}
}

const sound = `description: x
storage:
  pools: [{name: ssd, volumeGroup: vg0}]
  classes: [{name: ssd, pool: ssd, default: true}]
nodes: [{volumeGroups: [{name: vg0, size: 10Gi}], cpu: 4}]
workloads: [{name: a, pods: 1, volumes: [{kind: inline, size: 1Gi}]}]
expectations: [{that: "true", message: it runs}]
`

// What the reader takes is valid, and what it refuses, for its form, is not.
func TestTheSchemaIsAsStrictAsTheReader(t *testing.T) {
	s := schema(t, "scenario", "")
	for _, row := range []struct {
		from, to string
		good     bool
	}{
		{"", "", true},
		{"size: 10Gi", "size: 10", false},
		{"size: 10Gi", "size: 0.5Ti", true},
		{"size: 10Gi", "size: 10GB", false},
		{"size: 10Gi", "size: -10Gi", false},
		{"size: 10Gi", "size: 10m", false},
		{"size: 10Gi", "disks: [1Gi, 2Gi]", true},
		{"size: 10Gi", "size: 1Gi, disks: [1Gi]", false},
		{", size: 10Gi", "", false},
		{"cpu: 4", "cpu: 500m", true},
		{"cpu: 4", "cpu: 0", false},
		{"cpu: 4", "cpu: many", false},
		{"pods: 1", "pods: 1, arrival: 20/s", true},
		{"pods: 1", "pods: 1, arrival: 20", false},
		{"pods: 1", "pods: 1, arrival: 20/h", false},
		{"pods: 1", "pods: 1, lifetime: 1m30s", true},
		{"pods: 1", "pods: 1, lifetime: 30", false},
		{"pods: 1", "pods: 1, controller: StatefulSet", true},
		{"pods: 1", "pods: 1, controller: Job", false},
		{"pods: 1", "podz: 1", false},
		{"size: 1Gi", "size: {min: 1Gi, max: 2Gi}", true},
		{"size: 1Gi", "size: {min: 1Gi}", false},
		{"kind: inline", "kind: inlined", false},
		{"kind: inline, ", "", false},
		{"name: a, ", "", false},
		{"expectations:", "events: [{at: 1s, node: node-0, reboot: {down: 1s}}]\nexpectations:", true},
		{"expectations:", "events: [{at: 1s, node: node-0, powerOff: {}}]\nexpectations:", true},
		{"expectations:", "events: [{at: 1s, node: node-0, powerOff: {}, cordon: {}}]\nexpectations:", false},
		{"expectations:", "events: [{at: 1s, node: node-0}]\nexpectations:", false},
		{"expectations:", "events: [{node: node-0, powerOff: {}}]\nexpectations:", false},
		{"expectations:", "events: [{at: 1s, node: node-0, lvcreate: {volumeGroup: vg0, size: 1Gi}}]\nexpectations:", true},
		{"expectations:", "settings: {capacityScoring: most-free, inlineAccounting: false}\nexpectations:", true},
		{"expectations:", "settings: {capacityScoring: most}\nexpectations:", false},
		{"expectations:", "until: {quiet: 2s}\nexpectations:", true},
		{", message: it runs", "", false},
		{"pool: ssd", "pool: ssd, unit: 16Mi, wipe: none, layout: striped, stripes: 2", true},
		{"pool: ssd", "pool: ssd, uint: 16Mi", false},
		{"volumes: [{kind: inline, size: 1Gi}]", "volumes: []", true},
		{"pods: 1, volumes: [{kind: inline, size: 1Gi}]", "objects: [{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i}]}}]", true},
		{"pods: 1, volumes: [{kind: inline, size: 1Gi}]", "objects: [{kind: Pod}]", false},
	} {
		text := strings.Replace(sound, row.from, row.to, 1)
		if row.from != "" {
			require.NotEqual(t, sound, text, "%s is not in it", row.from)
		}
		_, err := scenario.Parse("x.yaml", []byte(text), func(string) error { return nil })
		require.Equal(t, row.good, err == nil, "the reader, with %s: %v", row.to, err)
		err = s.Validate(asJSON(t, []byte(text)))
		require.Equal(t, row.good, err == nil, "the schema, with %s: %v", row.to, err)
	}
}

// The keys of pools and classes are written down twice: they are those of the reader.
func TestTheKeysOfStorageAreThoseOfTheAgent(t *testing.T) {
	text, err := schemas.Read("scenario")
	require.NoError(t, err)
	type properties struct {
		Properties map[string]struct {
			Items struct{ Properties map[string]any }
		}
	}
	var document struct {
		Properties struct{ Storage properties }
	}
	require.NoError(t, json.Unmarshal(text, &document))
	for list, of := range document.Properties.Storage.Properties {
		require.NotEmpty(t, of.Items.Properties, list)
		for key := range of.Items.Properties {
			_, err := driver.ParseClasses(fmt.Appendf(nil, "%s: [{%s: x}]", list, key))
			require.Error(t, err)
			require.NotContains(t, err.Error(), "unknown field", "%s: %s", list, key)
		}
	}
	page, err := os.ReadFile("../../docs/device-classes.md")
	require.NoError(t, err)
	_, example, _ := strings.Cut(string(page), "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	require.NoError(t, schema(t, "scenario", "#/properties/storage").Validate(asJSON(t, []byte(example))))
}

func TestAReportIsValid(t *testing.T) {
	r := &report.Report{
		Scenario: "x", Phases: []report.Phase{{Name: "pods", Seconds: 1}}, Workloads: []report.Workload{{Name: "a"}},
		Expectations: []report.Result{{That: "true", Message: "x", Held: true}}, Waiting: []report.Reason{{Text: "x", Count: 1}},
	}
	var b bytes.Buffer
	require.NoError(t, r.JSON(&b))
	value, err := jsonschema.UnmarshalJSON(&b)
	require.NoError(t, err)
	s := schema(t, "report", "")
	require.NoError(t, s.Validate(value))
	metrics := value.(map[string]any)["metrics"].(map[string]any)
	metrics["somethingNew"] = 1
	require.NoError(t, s.Validate(value), "what is new breaks nobody")
	delete(metrics, "podsRunning")
	require.NoError(t, s.Validate(value), "what a target cannot know is absent")
	metrics["podsRunning"] = "many"
	require.ErrorContains(t, s.Validate(value), "podsRunning")
}

func TestSchemasAreNamed(t *testing.T) {
	require.Equal(t, []string{"report", "scenario"}, schemas.Names())
}
