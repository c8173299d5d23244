// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/trace"
)

const small = `description: small
storage:
  pools: [{name: ssd, volumeGroup: vg0}]
  classes: [{name: ssd, pool: ssd, default: true}]
nodes: [{volumeGroups: [{name: vg0, size: 10Gi}]}]
workloads: [{name: a, pods: 1, volumes: [{kind: inline, size: 1Gi}]}]
expectations: [{that: metrics.podsRunning == 1, message: it runs}]
`

// What a person who makes a mistake at the command line reads.
func TestMistakesAreNamed(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	good := file("good.yaml", small)
	program := file("podlv-control-plane", "#!/bin/sh\nexit 1\n")
	require.NoError(t, os.Chmod(program, 0o700))
	cache := filepath.Join(dir, "cache")
	require.NoError(t, os.MkdirAll(filepath.Join(cache, "bin"), 0o700))
	for name, row := range map[string]struct {
		args   []string
		path   string // of programs
		status int
		words  []string
	}{
		"no scenario":               {[]string{"run"}, dir, 2, []string{"accepts 1 arg"}},
		"no such scenario":          {[]string{"run", "first-step"}, dir, 2, []string{`scenario "first-step": there is no such file`, "these do: agent-crash-storm, churn, first-steps, grow, "}},
		"no such file":              {[]string{"run", "./x.yaml"}, dir, 2, []string{"x.yaml: no such file"}},
		"a typo":                    {[]string{"run", file("typo.yaml", strings.Replace(small, "pods: 1", "podz: 1", 1))}, dir, 2, []string{`typo.yaml:6:23: unknown field "podz"`}},
		"a unit missing":            {[]string{"run", file("unit.yaml", strings.Replace(small, "size: 10Gi", "size: 10", 1))}, dir, 2, []string{"unit.yaml:5:43: 10: a unit is missing: write 10Gi or 10Mi"}},
		"an expectation":            {[]string{"run", file("cel.yaml", strings.Replace(small, "podsRunning", "podRunning", 1))}, dir, 2, []string{"cel.yaml:7:23: expectations[0].that: character 8: undefined field 'podRunning'"}},
		"a setting without value":   {[]string{"run", good, "--set=seed"}, dir, 2, []string{`--set "seed": must be PATH=VALUE`}},
		"a setting with a typo":     {[]string{"run", good, "--set=nodes[0].cuont=5"}, dir, 2, []string{`--set nodes[0].cuont=5: unknown field "cuont"`}},
		"no control plane":          {[]string{"run", good}, "", 2, []string{"no podlv-control-plane in ", cache, "build it with make controlplane"}},
		"no such target":            {[]string{"run", good, "--target=knid"}, dir, 2, []string{`--target "knid": must be`}},
		"which cluster":             {[]string{"run", good, "--target=kubeconfig"}, dir, 2, []string{"--target kubeconfig needs --kubeconfig FILE"}},
		"another target's flag":     {[]string{"run", good, "--kubeconfig=x"}, dir, 2, []string{"--kubeconfig is for --target kubeconfig; this is --target embedded"}},
		"no such cluster":           {[]string{"run", good, "--target=kubeconfig", "--kubeconfig=" + filepath.Join(dir, "no-such"), "--out=" + filepath.Join(dir, "out")}, dir, 2, []string{"--kubeconfig " + filepath.Join(dir, "no-such"), "no such file"}},
		"no place for results":      {[]string{"run", good, "--out=" + program}, dir, 2, []string{"--out " + program, "not a directory"}},
		"a control plane that ends": {[]string{"run", good, "--out=" + filepath.Join(dir, "out")}, dir, 2, []string{"start the cluster: the control plane ended (exit status 1)", "(logs are in "}},
		"no room for its VG":        {[]string{"run", good, "--out=" + filepath.Join(dir, "out"), "--set=nodes[0].volumeGroups[0]={name: vg0, disks: [1Mi]}"}, dir, 2, []string{"node node-0: fakelvm: vgcreate vg0"}},
		"import of nothing":         {[]string{"import"}, dir, 2, []string{`required flag(s) "kubeconfig" not set`}},
		"import of no file":         {[]string{"import", "--kubeconfig", filepath.Join(dir, "kube")}, dir, 2, []string{"kube: there is no such file"}},
		"import of no kubeconfig":   {[]string{"import", "--kubeconfig", good}, dir, 2, []string{"good.yaml: this is no kubeconfig"}},
		"no question":               {[]string{"fit", good}, dir, 2, []string{"nothing is asked: give --manifests"}},
		"no cluster to fit into":    {[]string{"fit", filepath.Join(dir, "none"), "--drain=x"}, dir, 2, []string{"none: no such file"}},
		"a node that is none":       {[]string{"fit", good, "--drain=node-7"}, dir, 2, []string{"--drain node-7: the cluster has no such node; it has node-0"}},
		"a VG that is none":         {[]string{"fit", good, "--fail=node-0/vg7"}, dir, 2, []string{"--fail node-0/vg7: the node has no such VG; it has vg0"}},
		"two kinds of new pods":     {[]string{"fit", good, "--workload=pods=1", "--manifests=x"}, dir, 2, []string{"[manifests workload]"}},
		"a wrong workload":          {[]string{"fit", good, "--workload=inline=5"}, dir, 2, []string{"is a unit missing, as in 5Gi?"}},
		"a wrong shape":             {[]string{"fit", good, "--shape=cpu=5"}, dir, 2, []string{"memory is missing, or like=NODE"}},
		"no copies":                 {[]string{"fit", good, "--drain=node-0", "--most=0"}, dir, 2, []string{"--most 0: must be at least 1"}},
		"an unknown command":        {[]string{"rnu"}, dir, 2, []string{`unknown command "rnu"`}},
		"a schema":                  {[]string{"schema", "report"}, "", 0, []string{`"podsRunning": {`}},
		"a schema of nothing":       {[]string{"schema", "node"}, "", 2, []string{`schema "node": must be report or scenario`}},
		"a list":                    {[]string{"list"}, "", 0, []string{"first-steps                Three nodes", "topolvm-117  "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("PATH", row.path)
			var out bytes.Buffer
			require.Equal(t, row.status, run(t.Context(), row.args, cache, &out, &out), "%s", out.String())
			for _, w := range row.words {
				require.Contains(t, out.String(), w)
			}
			if _, logs, ok := strings.Cut(out.String(), "(logs are in "); ok { // they are kept for a person
				require.NoError(t, os.RemoveAll(strings.TrimSuffix(strings.TrimSpace(logs), ")")))
			}
		})
	}
}

func TestExplain(t *testing.T) {
	out := t.TempDir()
	explain := func(args ...string) (int, string) {
		var b bytes.Buffer
		return run(t.Context(), append([]string{"explain", "--out", out}, args...), "", &b, &b), b.String()
	}
	status, text := explain("a")
	require.Equal(t, 2, status)
	require.Contains(t, text, "no run was recorded there (no SCENARIO/trace.json.gz); run a scenario first")
	for i, scenario := range []string{"first", "second"} {
		dir := filepath.Join(out, scenario)
		require.NoError(t, os.Mkdir(dir, 0o700))
		f, err := os.Create(filepath.Join(dir, trace.File))
		require.NoError(t, err)
		x := trace.Trace{Version: 1, Scenario: scenario, Pods: []trace.Pod{{Namespace: "default", Name: scenario + "-0", State: trace.Waiting, Steps: []trace.Step{{What: trace.Made}}}}}
		require.NoError(t, x.Write(f))
		require.NoError(t, f.Close())
		at := time.Now().Add(time.Duration(i-2) * time.Hour)
		require.NoError(t, os.Chtimes(f.Name(), at, at))
	}
	status, text = explain("second-0")
	require.Equal(t, 0, status, text)
	require.Contains(t, text, "pod default/second-0: found no node\n    0.000 s  pod  made\n")
	status, text = explain("first-0", "some/where/first.yaml")
	require.Equal(t, 0, status, text)
	status, text = explain("first-0")
	require.Equal(t, 2, status)
	require.Contains(t, text, `pod "first-0": scenario second had none of that name; these it had: second-0`)
	_, text = explain("first-0", "third")
	require.Contains(t, text, `scenario "third": no run of it was recorded in `+out+"; there are first, second")
}

func TestProgressIsPlainWithoutATerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.say("making %d pods", 3)
	p.count(sim.Counts{Pods: 3, Made: 1})
	require.NotContains(t, out.String(), "of 3 pods run", "it is not said all the time")
	p.told = p.told.Add(-time.Minute)
	p.count(sim.Counts{Pods: 3, Made: 3, Bound: 2, Running: 1})
	p.told = p.told.Add(-time.Minute)
	p.count(sim.Counts{Pods: 3, Made: 3, Bound: 2, Running: 1})
	p.end()
	require.Equal(t, 1, strings.Count(out.String(), "1 of 3 pods run, 2 are bound, 3 made"), "nor what has not changed")
	require.NotContains(t, out.String(), "\r")
}

func TestProgressIsDrawnOnATerminal(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.width = 60
	p.count(sim.Counts{Pods: 10, Made: 10, Bound: 10, Running: 5})
	require.Equal(t, "["+strings.Repeat("#", 15)+strings.Repeat(".", 15)+"] 5 of 10 pods run, 10 are b", out.String(), "no longer than the terminal is wide")
	p.say("done")
	require.Contains(t, out.String(), "\r"+strings.Repeat(" ", 59)+"\r[")
}
