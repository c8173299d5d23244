// SPDX-License-Identifier: Apache-2.0

package scenario_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
	"github.com/podlv/podlv/sim/scenarios"
)

const good = `description: a test
storage:
  pools: [{name: ssd, volumeGroup: vg0}]
  classes: [{name: ssd, pool: ssd, default: true}]
nodes:
- count: 2
  volumeGroups: [{name: vg0, size: 10Gi}]
workloads:
- name: a
  pods: 3
  arrival: 90/m
  lifetime: 1m30s
  volumes:
  - {kind: inline, size: 1.5Gi}
  - kind: claim
    size: {min: 1Gi, max: 4Gi}
expectations:
- that: metrics.podsRunning == 3
  message: all run
`

func parse(text string, settings ...string) (*scenario.Scenario, error) {
	var set []scenario.Setting
	for _, s := range settings {
		one, err := scenario.ParseSetting(s)
		if err != nil {
			return nil, err
		}
		set = append(set, one)
	}
	return scenario.Parse("dir/x.yaml", []byte(text), report.Compile, set...)
}

func TestAScenarioIsReadWhole(t *testing.T) {
	s, err := parse(good)
	require.NoError(t, err)
	require.Equal(t, "x", s.Name)
	require.Equal(t, "vg0", s.Storage.Pools()[0].VolumeGroup)
	var names []string
	s.Each(func(name string, g *scenario.NodeGroup) {
		names = append(names, name)
		require.EqualValues(t, 10<<30, g.VolumeGroups[0].Size)
		require.Equal(t, 1000, g.Pods, "a default")
	})
	require.Equal(t, []string{"node-0", "node-1"}, names)
	w := s.Workloads[0]
	require.InDelta(t, 1.5, float64(w.Arrival), 1e-9)
	require.Equal(t, 90*time.Second, time.Duration(w.Lifetime))
	require.Equal(t, scenario.Sizes{Min: 3 << 29, Max: 3 << 29}, w.Volumes[0].Size)
	require.Equal(t, scenario.Sizes{Min: 1 << 30, Max: 4 << 30}, w.Volumes[1].Size)
	require.Equal(t, 5*time.Second, time.Duration(s.Until.Quiet), "a default")
}

func TestSizesAreDrawnBetweenTheirBounds(t *testing.T) {
	s := scenario.Sizes{Min: 1 << 30, Max: 4 << 30}
	a, b := rand.New(rand.NewPCG(1, 2)), rand.New(rand.NewPCG(1, 2))
	seen := map[int64]bool{}
	for range 1000 {
		n := s.Draw(a)
		require.Equal(t, n, s.Draw(b), "the same seed draws the same")
		require.GreaterOrEqual(t, n, int64(1<<30))
		require.LessOrEqual(t, n, int64(4<<30))
		require.Zero(t, n%(1<<20))
		seen[n] = true
	}
	require.Greater(t, len(seen), 500)
	require.EqualValues(t, 7, scenario.Sizes{Min: 7, Max: 7}.Draw(a))
}

// Each mistake is named with the file, the line and the column.
func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	for name, row := range map[string]struct{ old, new, says string }{
		"a typo in a key":                           {"  pods: 3", "  podz: 3", `dir/x.yaml:10:3: unknown field "podz"`},
		"a typo in an inner key":                    {"{name: vg0, size: 10Gi}", "{name: vg0, sise: 10Gi}", `dir/x.yaml:7:30: unknown field "sise"`},
		"a key twice":                               {"  pods: 3", "  pods: 3\n  pods: 4", `dir/x.yaml:11:3: mapping key "pods" already defined at [10:3]`},
		"not YAML":                                  {"nodes:", "nodes: [", "dir/x.yaml:"},
		"a size without a unit":                     {"size: 10Gi", "size: 10", "dir/x.yaml:7:36: 10: a unit is missing: write 10Gi or 10Mi"},
		"an m that was to be M":                     {"size: 10Gi", "size: 10m", `dir/x.yaml:7:36: "10m": m means thousandths`},
		"a size that is a word":                     {"size: 10Gi", "size: large", `dir/x.yaml:7:36: "large": must be a size such as 10Gi`},
		"no size at all":                            {"size: 10Gi", "size: 0Gi", `dir/x.yaml:7:36: "0Gi": must be more than 0`},
		"bounds the wrong way round":                {"max: 4Gi", "max: 512Mi", "dir/x.yaml:16:12: must have a min, and a max that is not less"},
		"a duration without a unit":                 {"lifetime: 1m30s", "lifetime: 90", "dir/x.yaml:12:13: 90: a unit is missing: write 90s or 90m"},
		"a rate without a unit":                     {"arrival: 90/m", "arrival: 20", "dir/x.yaml:11:12: 20: a unit is missing: write 20/s or 20/m"},
		"a rate by the hour":                        {"arrival: 90/m", "arrival: 20/h", `dir/x.yaml:11:12: "20/h": must be a rate of more than 0, such as 20/s`},
		"a number that is a word":                   {"pods: 3", "pods: three", "dir/x.yaml:10:9: "},
		"no nodes":                                  {"count: 2", "count: 0", "dir/x.yaml:6:10: nodes[0].count: 0: must be from 1"},
		"a typo in nodes":                           {"count: 2", "cuont: 2", `dir/x.yaml:6:3: unknown field "cuont"`},
		"no pods":                                   {"pods: 3", "pods: 0", "dir/x.yaml:10:9: workloads[0].pods: 0: must be from 1"},
		"a class that is not there":                 {"kind: inline, size: 1.5Gi", "kind: inline, size: 1.5Gi, class: hdd", `dir/x.yaml:14:40: workloads[0].volumes[0].class: `},
		"a kind that is not there":                  {"kind: inline", "kind: inlin", `dir/x.yaml:14:12: workloads[0].volumes[0].kind: "inlin": must be inline, ephemeral or claim`},
		"a raw block inline volume":                 {"kind: inline, size: 1.5Gi", "kind: inline, size: 1.5Gi, block: true", "dir/x.yaml:14:40: workloads[0].volumes[0].block: Kubernetes has no raw block inline volumes"},
		"a volume without a size":                   {"{kind: inline, size: 1.5Gi}", "{kind: inline}", "dir/x.yaml:14:6: workloads[0].volumes[0]: size is missing"},
		"a name that cannot be":                     {"name: a\n", "name: A_b\n", `dir/x.yaml:9:9: workloads[0].name: "A_b": must be up to 42 of a-z`},
		"a pool on no VG":                           {"volumeGroups: [{name: vg0", "volumeGroups: [{name: vg1", `dir/x.yaml:6:3: nodes[0]: volumeGroups: pool ssd is on VG "vg0", which these nodes do not have`},
		"device classes that are wrong":             {"pool: ssd, default", "pool: sdd, default", `"sdd": no such pool`},
		"an expectation with a typo":                {"metrics.podsRunning", "metrics.podRunning", `dir/x.yaml:18:9: expectations[0].that: character 8: undefined field 'podRunning'`},
		"an expectation that is no CEL":             {"== 3", "=== 3", "dir/x.yaml:18:9: expectations[0].that: "},
		"an expectation that is a count":            {"podsRunning == 3", "podsRunning + 3", "dir/x.yaml:18:9: expectations[0].that: is a int; it must be true or false"},
		"an expectation without words":              {"\n  message: all run", "", "dir/x.yaml:18:3: expectations[0]: message is missing"},
		"an event without a time":                   {"expectations:", "events: [{node: node-0, lvcreate: {volumeGroup: vg0, size: 1Gi}}]\nexpectations:", "dir/x.yaml:17:11: events[0]: at is missing"},
		"an event on no node":                       {"expectations:", "events: [{at: 1s, node: node-9, lvcreate: {volumeGroup: vg0, size: 1Gi}}]\nexpectations:", `dir/x.yaml:17:25: events[0].node: "node-9": there is no such node`},
		"an event in no VG":                         {"expectations:", "events: [{at: 1s, node: node-0, lvcreate: {volumeGroup: vg9, size: 1Gi}}]\nexpectations:", `dir/x.yaml:17:57: events[0].lvcreate.volumeGroup: "vg9": nodes node have no such VG`},
		"an event of no size":                       {"expectations:", "events: [{at: 1s, node: node-0, lvcreate: {volumeGroup: vg0}}]\nexpectations:", "dir/x.yaml:17:44: events[0].lvcreate: size is missing"},
		"an event of nothing":                       {"expectations:", "events: [{at: 1s}]\nexpectations:", "dir/x.yaml:17:11: events[0]: must have exactly one of powerOff, reboot, "},
		"growth of no workload":                     {"expectations:", "events: [{at: 1s, grow: {workload: b, size: 8Gi}}]\nexpectations:", `dir/x.yaml:17:36: events[0].grow.workload: "b": there is no such workload`},
		"growth to no size":                         {"expectations:", "events: [{at: 1s, grow: {workload: a}}]\nexpectations:", "dir/x.yaml:17:26: events[0].grow: size is missing"},
		"growth of inline volumes":                  {"  - kind: claim\n    size: {min: 1Gi, max: 4Gi}\n", "events: [{at: 1s, grow: {workload: a, size: 8Gi}}]\n", `events[0].grow.workload: "a": its pods have no claims`},
		"no expectations":                           {"expectations:\n- that: metrics.podsRunning == 3\n  message: all run\n", "", "dir/x.yaml:1:1: expectations: at least one is needed"},
		"an event of two kinds":                     {"expectations:", "events: [{at: 1s, node: node-0, drain: {}, cordon: {}}]\nexpectations:", "events[0]: must have exactly one of "},
		"an event on no node at all":                {"expectations:", "events: [{at: 1s, reboot: {}}]\nexpectations:", "events[0].node: \"\": there is no such node"},
		"growth on a node":                          {"expectations:", "events: [{at: 1s, node: node-0, grow: {workload: a, size: 8Gi}}]\nexpectations:", "events[0].node: a grow is of a workload, not of a node"},
		"an event repeated at once":                 {"expectations:", "events: [{at: 1s, node: node-0, killAgent: {}, times: 5}]\nexpectations:", "events[0]: every and times belong together"},
		"an outage without a unit":                  {"expectations:", "events: [{at: 1s, node: node-0, reboot: {down: 3}}]\nexpectations:", "3: a unit is missing: write 3s or 3m"},
		"a disk that is not there":                  {"expectations:", "events: [{at: 1s, node: node-*, diskFailure: {volumeGroup: vg0, disk: 1}}]\nexpectations:", "events[0].diskFailure.disk: 1: VG vg0 has 1 disks, from 0"},
		"slowness of nothing":                       {"expectations:", "events: [{at: 1s, node: node-0, slowLVM: {for: 1s}}]\nexpectations:", "events[0].slowLVM: delay is missing"},
		"a hang for ever":                           {"expectations:", "events: [{at: 1s, node: node-0, hangLVM: {}}]\nexpectations:", "events[0].hangLVM: for is missing"},
		"scaling what nobody makes":                 {"expectations:", "events: [{at: 1s, scale: {workload: a, pods: 5}}]\nexpectations:", "events[0].scale.workload: \"a\": it has no controller"},
		"a controller that is none":                 {"  arrival: 90/m\n  lifetime: 1m30s", "  controller: Deploy", "workloads[0].controller: \"Deploy\": must be Deployment or StatefulSet"},
		"sizes drawn for a controller":              {"  arrival: 90/m\n  lifetime: 1m30s", "  controller: StatefulSet", "workloads[0].volumes[1].size: all pods of a StatefulSet have the same size"},
		"a claim that pods share":                   {"  arrival: 90/m\n  lifetime: 1m30s", "  controller: Deployment", "workloads[0].volumes[1].kind: the pods of a Deployment would share one claim"},
		"a controller whose pods end":               {"  arrival: 90/m", "  controller: StatefulSet", "workloads[0].lifetime: the pods of a StatefulSet do not end by themselves"},
		"a workload after none":                     {"  pods: 3", "  pods: 3\n  after: b", "workloads[0].after: \"b\": must be the name of a workload that is above this one"},
		"manifests that are not there":              {"  pods: 3", "  manifests: none.yaml", "workloads[0].manifests: none.yaml: open dir/none.yaml: no such file"},
		"objects and pods":                          {"  pods: 3", "  pods: 3\n  objects: [{apiVersion: v1, kind: Pod, metadata: {name: x}}]", "workloads[0]: manifests and objects take the place of pods"},
		"an object of a kind that is not supported": {"  pods: 3", "  objects: [{apiVersion: v1, kind: Node, metadata: {name: x}}]", "dir/x.yaml:10:14: Node of v1 is not supported; these are: Pod, Deployment"},
		"an object of a kind that nobody knows":     {"  pods: 3", "  objects: [{apiVersion: x.org/v1, kind: Thing, metadata: {name: x}}]", "dir/x.yaml:10:14: Thing of x.org/v1 is not supported"},
		"an object with a typo":                     {"  pods: 3", "  objects: [{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {container: []}}]", "unknown field \"spec.container\""},
		"a StorageClass of no class":                {"nodes:", "storageClasses: {fast: hdd}\nnodes:", "storageClasses: fast: \"hdd\" is no device class of storage"},
		"a StorageClass twice":                      {"nodes:", "storageClasses: {ssd: ssd}\nnodes:", "storageClasses: ssd: there is a StorageClass of that name already"},
		"a scoring that is none":                    {"nodes:", "settings: {capacityScoring: most}\nnodes:", "settings.capacityScoring: \"most\": must be none, most-free or least-free"},
		"names and a count":                         {"- count: 2", "- count: 2\n  names: [a, b]", "nodes[0]: names takes the place of name and count"},
		"a name of a node that is none":             {"- count: 2", "- names: [A_b]", "nodes[0].names[0]: \"A_b\": must be up to 63 of a-z 0-9, hyphens and dots"},
		"a node twice by name":                      {"- count: 2", "- names: [a, a]", "nodes[0]: there is a node a already"},
		"a taint without an effect":                 {"- count: 2", "- taints: [{key: a, effect: Never}]", "nodes[0].taints[0].effect: \"Never\": must be NoSchedule, PreferNoSchedule or NoExecute"},
		"a taint whose key is none":                 {"- count: 2", "- taints: [{key: a b, effect: NoSchedule}]", "nodes[0].taints[0].key: \"a b\": name part must consist of"},
		"cpu among the other resources":             {"- count: 2", "- resources: {cpu: 1}", "nodes[0].resources: cpu: has a key of its own"},
		"a pod placed that is none":                 {"  pods: 3", "  pods: 3\n  placed: {x: node-0}", "workloads[0].placed: \"x\": there is no Pod of that name"},
		"two documents":                             {"workloads:", "---\nworkloads:", "a scenario is one YAML document; here are 2"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, row.old, row.new, 1)
			require.NotEqual(t, good, text, "the row changes nothing")
			_, err := parse(text)
			require.Error(t, err)
			require.ErrorContains(t, err, row.says)
			require.True(t, strings.HasPrefix(err.Error(), "dir/x.yaml:"), "%v", err)
		})
	}
}

// What a scenario can say of controllers, objects, events and settings.
func TestAScenarioOfEverything(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "app.yaml"), []byte(`# mine
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  replicas: 3
  selector: {matchLabels: {app: db}}
  template: {metadata: {labels: {app: db}}, spec: {containers: [{name: c, image: none}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: single}
spec: {containers: [{name: c, image: none}]}
`), 0o600))
	nodes := strings.Replace(good, "workloads:", `- names: [old.example, older]
  resources: {example.com/gpu: 2}
  taints: [{key: example.com/gpu, value: x, effect: NoSchedule}]
  unschedulable: true
  volumeGroups: [{name: vg0, size: 1Gi}]
workloads:`, 1)
	s, err := scenario.Parse(filepath.Join(folder, "x.yaml"), []byte(strings.Replace(nodes, "expectations:", `- {name: b, controller: StatefulSet, pods: 2, after: a, volumes: [{kind: claim, size: 1Gi}]}
- {name: c, manifests: app.yaml}
- name: d
  objects:
  - apiVersion: v1
    kind: ResourceQuota
    metadata: {name: q}
    spec: {hard: {requests.podlv.dev/ssd: 1Gi}}
- name: e
  placed: {there: old.example}
  objects: [{apiVersion: v1, kind: Pod, metadata: {name: there}, spec: {containers: [{name: c, image: none}]}}]
storageClasses: {fast: ssd}
settings: {inlineAccounting: false, capacityPeriod: 1m, capacityScoring: most-free, nodeGracePeriod: 5s, scoredNodes: 10}
events:
- {at: 1s, node: "node-*", random: true, every: 1s, times: 3, killAgent: {down: 2s}}
- {at: 1s, node: node-1, powerOff: {}}
- {at: 2s, scale: {workload: b, pods: 5}}
expectations:`, 1)), report.Compile)
	require.NoError(t, err)
	pods := func(w scenario.Workload) (n int) {
		for _, o := range w.Objects {
			n += scenario.PodsOf(o, 2)
		}
		return n
	}
	require.True(t, s.Workloads[1].Controlled())
	require.Equal(t, 4, pods(s.Workloads[2]))
	require.Equal(t, 0, pods(s.Workloads[3]))
	require.IsType(t, &corev1.ResourceQuota{}, s.Workloads[3].Objects[0])
	require.False(t, *s.Settings.InlineAccounting)
	require.Equal(t, []string{"old.example", "older"}, s.Matching("old*"))
	gpus := s.Nodes[1].Resources["example.com/gpu"]
	require.Equal(t, "2", gpus.String())
	require.Equal(t, map[string]string{"there": "old.example"}, s.Workloads[4].Placed)
	require.Equal(t, "killAgent", s.Events[0].What())
	require.Equal(t, []string{"node-0", "node-1"}, s.Matching(s.Events[0].Node))
	require.Equal(t, "powerOff", s.Events[1].What())
	require.NotNil(t, s.Events[1].PowerOff)
}

func TestAllMistakesOfACheckAreNamedAtOnce(t *testing.T) {
	_, err := parse(strings.NewReplacer("pods: 3", "pods: 0", "kind: inline", "kind: x", "metrics.pods", "metrics.x").Replace(good))
	require.ErrorContains(t, err, "workloads[0].pods")
	require.ErrorContains(t, err, "volumes[0].kind")
	require.ErrorContains(t, err, "expectations[0].that")
	require.Equal(t, 3, strings.Count(err.Error(), "dir/x.yaml:"), "%v", err)
}

func TestSettingsTakeThePlaceOfValues(t *testing.T) {
	s, err := parse(good, "nodes[0].count=5", "until.timeout=7s", "nodes[0].volumeGroups[0].size=1Ti", "seed=4", "workloads[0].volumes=[{kind: inline, size: 2Gi}]")
	require.NoError(t, err)
	require.Equal(t, 5, s.Nodes[0].Count)
	require.EqualValues(t, 1<<40, s.Nodes[0].VolumeGroups[0].Size)
	require.EqualValues(t, 4, s.Seed)
	require.Len(t, s.Workloads[0].Volumes, 1)
	for _, row := range []struct{ set, says string }{
		{"nodes[0].cuont=5", `dir/x.yaml: --set nodes[0].cuont=5: unknown field "cuont"`},
		{"nodes[0].count=0", "dir/x.yaml: --set nodes[0].count=0: "},
		{"workloads[0].arrival=5", "--set workloads[0].arrival=5: 5: a unit is missing"},
		{"nodes[7].count=5", "there is no nodes[7]"},
		{"nodes[7]=5", "there is no nodes[7]"},
		{"description.x=5", "description has no keys"},
		{"nodes[0].count", `"nodes[0].count": must be PATH=VALUE`},
		{"nodes[=5", "the path must be like nodes[0].count"},
		{"seed=[", "the value is not YAML"},
	} {
		t.Run(row.set, func(t *testing.T) {
			_, err := parse(good, row.set)
			require.ErrorContains(t, err, row.says)
		})
	}
}

func TestTheScenariosThatShipAreRight(t *testing.T) {
	require.Contains(t, scenarios.Names(), "first-steps")
	for _, name := range scenarios.Names() {
		data, err := scenarios.Read(name)
		require.NoError(t, err)
		s, err := scenario.Parse(name+".yaml", data, report.Compile)
		require.NoError(t, err)
		require.NotEmpty(t, s.Description, name)
	}
	_, err := scenarios.Read("none")
	require.Error(t, err)
}

func Example() {
	s, err := scenario.Parse("small.yaml", []byte(good), report.Compile)
	fmt.Println(s.Name, len(s.Workloads), err)
	// Output: small 1 <nil>
}
