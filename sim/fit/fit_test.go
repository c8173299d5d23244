// SPDX-License-Identifier: Apache-2.0

package fit_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/podlv/podlv/sim/fit"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
	"github.com/podlv/podlv/sim/trace"
)

const text = `storage:
  pools: [{name: ssd, volumeGroup: vg0}, {name: hdd, volumeGroup: vg1}]
  classes: [{name: ssd, pool: ssd, default: true}, {name: hdd, pool: hdd}]
storageClasses: {fast: ssd}
nodes:
- names: [a, b]
  cpu: 8
  memory: 16Gi
  pods: 10
  volumeGroups: [{name: vg0, size: 100Gi}, {name: vg1, size: 1Ti}]
workloads:
- name: web
  placed: {web-0: a, web-1: b}
  objects:
  - {apiVersion: v1, kind: Pod, metadata: {name: web-0}, spec: {nodeSelector: {x: y}, containers: [{name: c, image: i, resources: {requests: {cpu: "2"}}}], volumes: [{name: v, csi: {driver: podlv.dev, volumeAttributes: {size: 40Gi}}}]}}
  - {apiVersion: v1, kind: Pod, metadata: {name: web-1}, spec: {containers: [{name: c, image: i}], volumes: [{name: v, csi: {driver: podlv.dev, volumeAttributes: {size: 100Gi, class: hdd}}}]}}
- name: db
  placed: {db-0: a}
  objects:
  - {apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {storageClassName: fast, accessModes: [ReadWriteOnce], resources: {requests: {storage: 30Gi}}}}
  - {apiVersion: v1, kind: Pod, metadata: {name: db-0}, spec: {containers: [{name: c, image: i}], volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]}}
- name: log
  placed: {log-a: a, log-b: b}
  objects:
  - {apiVersion: v1, kind: Pod, metadata: {name: log-a, labels: {sim.podlv.dev/owner: DaemonSet}}, spec: {containers: [{name: c, image: i, resources: {requests: {cpu: "1"}}}]}}
  - {apiVersion: v1, kind: Pod, metadata: {name: log-b, labels: {sim.podlv.dev/owner: DaemonSet}}, spec: {containers: [{name: c, image: i, resources: {requests: {cpu: "1"}}}]}}
expectations: [{that: metrics.podsRunning == metrics.pods, message: x}]
`

func cluster(t *testing.T) *scenario.Scenario {
	t.Helper()
	s, err := scenario.Parse("cluster.yaml", []byte(text), report.Compile)
	require.NoError(t, err)
	return s
}

// simulator runs nothing: of a scenario all pods run, but for those of which runs says
// otherwise.
type simulator struct {
	ran  []*scenario.Scenario
	runs func(s *scenario.Scenario, workload string, pods int) int // nil: all
}

func (m *simulator) run(_ context.Context, s *scenario.Scenario) (*report.Report, error) {
	m.ran = append(m.ran, s)
	r := &report.Report{Trace: &trace.Trace{}}
	for _, w := range s.Workloads {
		pods := w.Pods
		for _, o := range w.Objects {
			pods += scenario.PodsOf(o, 1)
		}
		running := pods
		if m.runs != nil {
			running = m.runs(s, w.Name, pods)
		}
		r.Workloads = append(r.Workloads, report.Workload{Name: w.Name, Pods: pods, Running: running, Waiting: pods - running})
		for range pods - running {
			r.Trace.Pods = append(r.Trace.Pods, trace.Pod{Name: w.Name + "-x", Workload: w.Name, State: trace.Waiting, Steps: []trace.Step{
				{What: trace.Unplaced, Text: "0/2 nodes are available: 2 Insufficient podlv.dev/ssd. preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."},
			}})
		}
	}
	return r, nil
}

func ask(t *testing.T, m *simulator, q fit.Question) *fit.Answer {
	t.Helper()
	if q.Cluster == nil {
		q.Cluster = cluster(t)
	}
	if q.Most == 0 {
		q.Most = 100
	}
	q.Run = m.run
	a, err := fit.Ask(t.Context(), q)
	require.NoError(t, err)
	return a
}

func workload(t *testing.T, text string) scenario.Objects {
	t.Helper()
	o, err := fit.ParseWorkload(text, cluster(t))
	require.NoError(t, err)
	return o
}

// named is a workload of a scenario.
func named(t *testing.T, s *scenario.Scenario, name string) scenario.Workload {
	t.Helper()
	i := slices.IndexFunc(s.Workloads, func(w scenario.Workload) bool { return w.Name == name })
	require.GreaterOrEqual(t, i, 0, "%s", name)
	return s.Workloads[i]
}

func names(objects scenario.Objects) (all []string) {
	for _, o := range objects {
		switch x := o.(type) {
		case *corev1.Pod:
			all = append(all, x.Name)
		case *corev1.PersistentVolumeClaim:
			all = append(all, "claim "+x.Name)
		}
	}
	return all
}

func TestNewPodsComeAfterThoseThatAreThere(t *testing.T) {
	m := &simulator{}
	a := ask(t, m, fit.Question{New: workload(t, "pods=3,inline=5Gi,cpu=500m")})
	require.True(t, a.Fits)
	require.Equal(t, &fit.Count{Pods: 3, Running: 3}, a.New)
	require.Equal(t, fit.Count{Pods: 5, Running: 5}, a.Cluster)
	require.Nil(t, a.Moved)
	s := m.ran[0]
	require.Len(t, s.Workloads, 2)
	require.Equal(t, map[string]string{"web-0": "a", "web-1": "b", "db-0": "a", "log-a": "a", "log-b": "b"}, s.Workloads[0].Placed)
	require.Equal(t, s.Workloads[0].Name, s.Workloads[1].After)
	require.Empty(t, s.Expectations)

	m.runs = func(_ *scenario.Scenario, name string, pods int) int {
		if name == "fit-new" {
			return 1
		}
		return pods
	}
	a = ask(t, m, fit.Question{New: workload(t, "pods=3,inline=5Gi")})
	require.False(t, a.Fits)
	var words bytes.Buffer
	require.NoError(t, a.Write(&words))
	require.Equal(t, `It does not fit.
New pods: 1 of 3 run.
Pods that stay where they are: 5 of 5 run.
2 pods wait (fit-new-x, fit-new-x):
    0/2 nodes are available:
    2 Insufficient podlv.dev/ssd
That took 1 simulation.
`, words.String())
}

// Drained pods are free to go elsewhere, but for those whose volumes stay, and those that
// are on every node.
func TestDrain(t *testing.T) {
	m := &simulator{}
	a := ask(t, m, fit.Question{Drain: []string{"a"}})
	require.False(t, a.Fits, "one waits until the node is back")
	require.Equal(t, []string{"db-0"}, a.Stays)
	require.Equal(t, 1, a.NodeBound)
	require.Equal(t, &fit.Count{Pods: 1, Running: 1}, a.Moved)
	s := m.ran[0]
	moved := named(t, s, "fit-moved")
	require.Equal(t, []string{"web-0"}, names(moved.Objects))
	require.Empty(t, moved.Placed)
	require.Equal(t, map[string]string{"x": "y"}, moved.Objects[0].(*corev1.Pod).Spec.NodeSelector, "it still chooses")
	require.Equal(t, map[string]string{"web-1": "b", "log-a": "a", "log-b": "b"}, named(t, s, "fit-cluster").Placed)
	require.True(t, s.Nodes[0].Unschedulable)
	require.False(t, s.Nodes[1].Unschedulable)
}

// Of what has failed the volumes are gone: claims are made anew.
func TestFailure(t *testing.T) {
	m := &simulator{}
	a := ask(t, m, fit.Question{Fail: []fit.Failure{{Node: "a"}}})
	require.True(t, a.Fits)
	s := m.ran[0]
	require.ElementsMatch(t, []string{"claim data", "web-0", "db-0"}, names(named(t, s, "fit-moved").Objects))
	require.Equal(t, map[string]string{"web-1": "b", "log-b": "b"}, named(t, s, "fit-cluster").Placed)
	require.Len(t, s.Nodes, 1)

	ask(t, m, fit.Question{Fail: []fit.Failure{{"b", "vg1"}}})
	s = m.ran[1]
	require.Equal(t, []string{"web-1"}, names(named(t, s, "fit-moved").Objects), "the other VG's pods stay")
	require.Equal(t, []scenario.VolumeGroup{{Name: "vg0", Size: 100 << 30}, {Name: "vg1", Size: 4 << 20}}, s.Nodes[1].VolumeGroups)
	require.EqualValues(t, 1<<40, cluster(t).Nodes[0].VolumeGroups[1].Size)
}

func TestCopies(t *testing.T) {
	m := &simulator{runs: func(_ *scenario.Scenario, name string, pods int) int {
		if name == "fit-new" {
			return min(pods, 9)
		}
		return pods
	}}
	a := ask(t, m, fit.Question{New: workload(t, "inline=10Gi"), Copies: true})
	require.Equal(t, &fit.Copies{Fit: 9}, a.Copies)
	require.True(t, a.Fits)
	require.Empty(t, a.Waiting)
	require.Len(t, names(named(t, m.ran[0], "fit-new").Objects), 13, "200Gi, of which 70Gi are taken")
	a = ask(t, m, fit.Question{New: workload(t, "inline=10Gi"), Copies: true, Most: 4})
	require.Equal(t, &fit.Copies{Fit: 4, AtLeast: true}, a.Copies)

	// Copies of several pods come one after the other, and only whole ones count.
	m.runs = func(_ *scenario.Scenario, name string, pods int) int {
		if name == "fit-new-3" {
			return 1
		}
		return pods
	}
	a = ask(t, m, fit.Question{New: workload(t, "pods=2,claim=10Gi"), Copies: true})
	require.Equal(t, &fit.Copies{Fit: 2}, a.Copies)
	last := m.ran[len(m.ran)-1]
	require.Equal(t, "fit-new", named(t, last, "fit-new-2").After)
	require.Equal(t, []string{"claim new-0-v0-2", "new-0-2", "claim new-1-v0-2", "new-1-2"}, names(named(t, last, "fit-new-2").Objects))
}

// The search begins where the sums say, and ends at the least number that does.
func TestShapes(t *testing.T) {
	for need, runs := range map[int]int{4: 1, 5: 2, 9: 6} {
		m := &simulator{runs: func(s *scenario.Scenario, name string, pods int) int {
			have := 0
			s.Each(func(name string, _ *scenario.NodeGroup) {
				if strings.HasPrefix(name, "shape-") {
					have++
				}
			})
			if name == "fit-new" {
				return min(pods, have*pods/need)
			}
			return pods
		}}
		s := cluster(t)
		shape, err := fit.ParseShape("like=a,cpu=4,size/vg0=100Gi", s)
		require.NoError(t, err)
		// 10 pods of 50Gi: 500Gi, of which 130Gi are free, so that 370Gi are missing.
		a := ask(t, m, fit.Question{Cluster: s, New: workload(t, "pods=10,inline=50Gi"), Shape: shape})
		require.True(t, a.Fits)
		require.Equal(t, need, a.Nodes.Needed)
		require.Equal(t, 4, a.Nodes.Bound)
		require.Equal(t, runs, a.Runs, "need %d", need)
		last := m.ran[0]
		require.Equal(t, "shape-0", named(t, last, "fit-cluster").Placed["log-b-shape-0"], "DaemonSets come to new nodes")
		require.Equal(t, "4", last.Nodes[2].CPU.String())
	}
	m := &simulator{runs: func(_ *scenario.Scenario, _ string, pods int) int { return pods - 1 }}
	s := cluster(t)
	shape, err := fit.ParseShape("cpu=64,memory=1Ti,size/vg0=1Ti,size/vg1=1Ti", s)
	require.NoError(t, err)
	a := ask(t, m, fit.Question{Cluster: s, Shape: shape, Replace: true})
	require.False(t, a.Fits)
	require.Equal(t, -1, a.Nodes.Needed)
	require.Equal(t, 2, a.Runs, "more nodes change nothing")
	require.Len(t, m.ran[0].Nodes, 1)
	require.ElementsMatch(t, []string{"web-0", "web-1", "claim data", "db-0"}, names(named(t, m.ran[0], "fit-moved").Objects))
}

// What is asked wrongly is named.
func TestWrongQuestions(t *testing.T) {
	s := cluster(t)
	shape, err := fit.ParseShape("like=a", s)
	require.NoError(t, err)
	small, err := fit.ParseShape("like=a,cpu=500m", s)
	require.NoError(t, err)
	fresh := workload(t, "inline=1Gi,cpu=20,pods=2")
	for says, q := range map[string]fit.Question{
		"nothing is asked: give --manifests":                                    {},
		"--drain c: the cluster has no such node; it has a, b":                  {Drain: []string{"c"}},
		"--fail c: the cluster has no such node":                                {Fail: []fit.Failure{{Node: "c"}}},
		"--fail a/vg7: the node has no such VG; it has vg0, vg1":                {Fail: []fit.Failure{{"a", "vg7"}}},
		"--fail: no node is left":                                               {Fail: []fit.Failure{{Node: "a"}, {Node: "b"}}},
		"--replace needs --shape":                                               {New: fresh, Replace: true},
		"--copies needs --manifests or --workload":                              {Drain: []string{"a"}, Copies: true},
		"--copies and --shape are two questions":                                {New: fresh, Copies: true, Shape: shape},
		"no number of these nodes would do: 28000 of cpu are missing, and such": {New: fresh, Shape: small},
	} {
		q.Cluster, q.Run, q.Most = s, (&simulator{}).run, 10
		_, err := fit.Ask(t.Context(), q)
		require.ErrorContains(t, err, says)
	}
	for text, says := range map[string]string{
		"pods":                    `"pods": must be KEY=VALUE`,
		"pods=0":                  "pods=0: must be from 1 to 100000",
		"inline=5":                "inline=5: is less than 1Mi: is a unit missing, as in 5Gi?",
		"inline=x":                "inline=x: must be a quantity of more than 0",
		"disk=5Gi":                `"disk": must be pods, inline`,
		"inline=5Gi,class=floppy": `class "floppy": unknown`,
	} {
		_, err := fit.ParseWorkload(text, s)
		require.ErrorContains(t, err, says)
	}
	for text, says := range map[string]string{
		"cpu=1":                     "memory is missing, or like=NODE",
		"memory=1Gi":                "cpu is missing, or like=NODE",
		"cpu=1,memory=1Gi":          "the size of VG vg0 is missing: size/vg0=1Ti",
		"cpu=1,memory=1Gi,size=1Ti": "there are several VGs: write size/VG; they are vg0, vg1",
		"like=a,size/vg2=1Ti":       `there is no VG "vg2"; there are vg0, vg1`,
		"like=c":                    "like=c: the cluster has no such node",
		"like=a,gpus=1":             `"gpus": must be like, cpu`,
		"like=a,cpu=-1":             "cpu=-1: must be a quantity of more than 0",
		"like=a,cpu=1,cpu=2":        "cpu: is there twice",
		"like=a,cpu":                `"cpu": must be KEY=VALUE`,
	} {
		_, err := fit.ParseShape(text, s)
		require.ErrorContains(t, err, says)
	}
}

func TestManifests(t *testing.T) {
	s := cluster(t)
	read := func(text string) (scenario.Objects, error) {
		file := filepath.Join(t.TempDir(), "app.yaml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return fit.ReadNew(file, s)
	}
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: web-0}\nspec: {containers: [{name: c, image: i}], volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {CLASS accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}]}\n"
	o, err := read(strings.Replace(pod, "CLASS", "", 1))
	require.NoError(t, err)
	require.Equal(t, "ssd", *o[0].(*corev1.Pod).Spec.Volumes[0].Ephemeral.VolumeClaimTemplate.Spec.StorageClassName, "the default one")
	m := &simulator{}
	ask(t, m, fit.Question{Cluster: s, New: o})
	require.Equal(t, []string{"web-0-new"}, names(named(t, m.ran[0], "fit-new").Objects), "the cluster has one of its name")
	for text, says := range map[string]string{
		strings.Replace(pod, "CLASS", "storageClassName: gp3,", 1): `app.yaml: Pod web-0: StorageClass "gp3": the cluster's file has none of that name; it has fast, hdd, ssd`,
		"apiVersion: v1\nkind: Node\nmetadata: {name: x}\n":        "app.yaml: document 1: Node of v1 is not supported; these are: Pod, Deployment",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n":   "app.yaml: no pods come of it",
		"hello": "app.yaml: document 1: ",
	} {
		_, err := read(text)
		require.ErrorContains(t, err, says)
	}
	_, err = fit.ReadNew("none.yaml", s)
	require.ErrorContains(t, err, "--manifests none.yaml: open none.yaml: no such file")
}
