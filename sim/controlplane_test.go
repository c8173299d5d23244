// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package sim_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/kube"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
	"github.com/podlv/podlv/sim/scenarios"
	"github.com/podlv/podlv/sim/schemas"
	"github.com/podlv/podlv/sim/trace"
)

// TestMain silences klog, once: it is the process's, and workers of the provisioner's
// library outlive their agent for a moment.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// config is that of a run of a scenario that ships.
func config(t *testing.T, name string, settings ...scenario.Setting) sim.Config {
	t.Helper()
	data, err := scenarios.Read(name)
	require.NoError(t, err)
	s, err := sim.Parse(name+".yaml", data, settings...)
	require.NoError(t, err)
	program, err := kube.Find(os.Getenv("PODLV_CACHE"))
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "podlv-sim-") // t.TempDir is too long for sockets
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return sim.Config{Scenario: s, ControlPlane: program, Dir: dir, Progress: t.Logf}
}

// held checks that every expectation of a report did.
func held(t *testing.T, r *report.Report) {
	t.Helper()
	for _, e := range r.Expectations {
		require.True(t, e.Held, "%s (%s) %s\n%+v", e.Message, e.That, e.Error, r)
	}
	require.NotEmpty(t, r.Expectations)
	require.Empty(t, r.Problems)
}

func TestControlPlaneFirstSteps(t *testing.T) {
	c := config(t, "first-steps")
	kept := false
	c.Keep = func(ctx context.Context, so *report.Report, kubeconfig string) {
		kept = true
		require.Equal(t, 48, so.Metrics.PodsRunning)
		require.Equal(t, -1, so.Metrics.Orphans, "nobody has looked for them")
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		require.NoError(t, err)
		client, err := kubernetes.NewForConfig(config)
		require.NoError(t, err)
		pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
		require.NoError(t, err)
		require.Len(t, pods.Items, 48, "as kubectl sees them")
	}
	r, err := sim.Run(t.Context(), c)
	require.NoError(t, err)
	require.True(t, kept)
	held(t, r)
	require.True(t, r.Passed())
	require.Len(t, r.Workloads, 4)
	for _, w := range r.Workloads {
		require.Equal(t, 12, w.Running, w.Name)
		require.Positive(t, w.ToRunning.P50, w.Name)
	}
	require.Positive(t, r.ControlPlane.PeakMemory)
	t.Logf("%+v", r.Phases)

	require.Equal(t, 3, r.Metrics.NodesUsed)
	require.Equal(t, 1, r.Metrics.PackingLowerBound, "48 GiB on nodes of 100 GiB")
	require.Positive(t, r.Metrics.APIWritesPerVolume)
	require.GreaterOrEqual(t, r.Metrics.ScheduleAttempts, 48)
	require.Less(t, r.Metrics.CapacityStaleness.Max, 5., "capacity is published soon")
	traced(t, r.Trace)
	valid(t, r)
}

// traced checks that what happened to first-steps was recorded.
func traced(t *testing.T, x *trace.Trace) {
	t.Helper()
	require.Len(t, x.Pods, 48)
	require.Len(t, x.Claims, 36)
	require.Len(t, x.Nodes, 3)
	has := func(steps []trace.Step, what string) int64 {
		i := slices.IndexFunc(steps, func(s trace.Step) bool { return s.What == what })
		require.GreaterOrEqual(t, i, 0, "%s: %+v", what, steps)
		return steps[i].At
	}
	for _, p := range x.Pods {
		require.Equal(t, trace.Ran, p.State, p.Name)
		require.Less(t, has(p.Steps, trace.Made), has(p.Steps, trace.Running), p.Name)
		require.LessOrEqual(t, has(p.Steps, trace.Bound), has(p.Steps, trace.Called), p.Name)
		require.LessOrEqual(t, has(p.Steps, trace.Ended), has(p.Steps, trace.Removed), p.Name)
		if p.Workload == "inline" {
			require.Empty(t, p.Claims, p.Name)
		} else {
			require.Len(t, p.Claims, 1, p.Name)
		}
	}
	for _, c := range x.Claims {
		require.LessOrEqual(t, has(c.Steps, trace.Selected), has(c.Steps, trace.VolumeMade), c.Name)
		has(c.Steps, trace.Bound)
	}
	const gib = 1 << 30
	var inline, claims int64
	for _, n := range x.Nodes {
		p := n.Pools[0]
		require.EqualValues(t, 100*gib, slices.Max(p.Total))
		require.EqualValues(t, 100*gib, slices.Max(p.Allocatable))
		require.Less(t, slices.Min(p.Capacity["ssd"][1:]), int64(100*gib), "claims were told of less")
		inline += most(p.Inline)
		claims += most(p.Claims)
	}
	require.EqualValues(t, 12*gib, inline)
	require.GreaterOrEqual(t, claims, int64(24*gib), "generic ephemeral ones are among them until their pod is bound")
	require.EqualValues(t, 48, slices.Max(x.Cluster.Running))
}

// most is the largest of some values; 0 when there are none: a column that is absent.
func most(values []int64) int64 { return slices.Max(append([]int64{0}, values...)) }

// valid checks a report against its schema.
func valid(t *testing.T, r *report.Report) {
	t.Helper()
	text, err := schemas.Read("report")
	require.NoError(t, err)
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("report.json", document))
	schema, err := c.Compile("report.json")
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, r.JSON(&b))
	value, err := jsonschema.UnmarshalJSON(&b)
	require.NoError(t, err)
	require.NoError(t, schema.Validate(value))
}

// What the scheduler cannot know of claims it finds out, and nothing is over-allocated.
func TestControlPlaneFillsTheDisks(t *testing.T) {
	for _, name := range []string{"topolvm-117", "two-claims-one-pod"} {
		t.Run(name, func(t *testing.T) {
			r, err := sim.Run(t.Context(), config(t, name))
			require.NoError(t, err)
			held(t, r)
			require.NotEmpty(t, r.Waiting, "the report says why pods wait")
			require.GreaterOrEqual(t, r.Metrics.FirstRefusalUtilisation, 0., "the scheduler found no node")
		})
	}
}

// What comes after pods that never run is not waited for until the time is up.
func TestControlPlaneEndsWhenNothingCanCome(t *testing.T) {
	start := time.Now()
	r, err := sim.Run(t.Context(), config(t, "topolvm-117",
		scenario.Setting{Path: "workloads", Value: "[{name: large, pods: 1, volumes: [{kind: inline, size: 1Ti}]}, {name: after, pods: 2, after: large, volumes: [{kind: inline, size: 1Gi}]}]"},
		scenario.Setting{Path: "until", Value: "{quiet: 2s, timeout: 10m}"},
		scenario.Setting{Path: "expectations", Value: "[{that: metrics.podsWaiting == 3 && metrics.pods == 3, message: x}]"},
	))
	require.NoError(t, err)
	held(t, r)
	require.Less(t, time.Since(start), 5*time.Minute)
}

// What comes after pods that end by themselves is waited for as long as they run.
func TestControlPlaneWaitsForWhatEnds(t *testing.T) {
	r, err := sim.Run(t.Context(), config(t, "topolvm-117",
		scenario.Setting{Path: "workloads", Value: "[{name: first, pods: 1, lifetime: 15s, volumes: [{kind: inline, size: 1Gi}]}, {name: second, pods: 1, after: first, volumes: [{kind: inline, size: 10000Mi}]}]"},
		scenario.Setting{Path: "until", Value: "{quiet: 5s, timeout: 10m}"},
		scenario.Setting{Path: "expectations", Value: "[{that: metrics.podsRunning == 2, message: x}]"},
	))
	require.NoError(t, err)
	held(t, r)
}

// Pods that end by themselves make room for those that come after.
func TestControlPlaneChurn(t *testing.T) {
	r, err := sim.Run(t.Context(), config(t, "topolvm-117",
		scenario.Setting{Path: "workloads[0].pods", Value: "9"}, scenario.Setting{Path: "workloads[0].lifetime", Value: "300ms"},
		scenario.Setting{Path: "workloads[0].volumes", Value: "[{kind: inline, size: 2Gi}, {kind: ephemeral, size: 1Gi}]"},
		scenario.Setting{Path: "until.quiet", Value: "30s"},
		scenario.Setting{Path: "expectations", Value: "[{that: metrics.podsSucceeded == 9 && metrics.wrongNodeBinds == 0 && metrics.orphans == 0 && metrics.capacityErrors == 0 && metrics.podsRefused == 0, message: x}]"},
	))
	require.NoError(t, err)
	held(t, r)
}

// Ctrl-C is no error: the report is of what there was.
func TestControlPlaneInterrupted(t *testing.T) {
	c := config(t, "first-steps", scenario.Setting{Path: "workloads[0].arrival", Value: "1/s"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Counts = func(n sim.Counts) {
		if n.Running > 0 {
			cancel()
		}
	}
	r, err := sim.Run(ctx, c)
	require.NoError(t, err)
	require.True(t, r.Interrupted)
	require.False(t, r.Passed())
	require.Positive(t, r.Metrics.PodsRunning)
	require.Equal(t, 48, r.Metrics.Pods)
	require.Equal(t, 48, r.Metrics.PodsRunning+r.Metrics.PodsWaiting)
	require.Equal(t, -1, r.Metrics.Orphans, "nobody has looked for them")
}

// A control plane that dies ends the run, and the error says so.
func TestControlPlaneDies(t *testing.T) {
	c := config(t, "first-steps")
	var killed atomic.Bool
	c.Counts = func(sim.Counts) {
		if killed.CompareAndSwap(false, true) {
			pid, err := childIn(c.Dir)
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
	start := time.Now()
	_, err := sim.Run(t.Context(), c)
	require.ErrorContains(t, err, "a part of the cluster failed: the control plane ended (signal: killed)")
	require.Less(t, time.Since(start), time.Minute)
}

// So is Ctrl-C before there is anything to report.
func TestControlPlaneInterruptedWhileItStarts(t *testing.T) {
	c := config(t, "first-steps")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Progress = func(format string, args ...any) {
		if strings.HasPrefix(format, "the API server answers") {
			time.AfterFunc(100*time.Millisecond, cancel)
		}
	}
	r, err := sim.Run(ctx, c)
	require.ErrorIs(t, err, context.Canceled)
	require.Nil(t, r)
	_, err = childIn(c.Dir)
	require.ErrorContains(t, err, "no process was started", "the control plane is gone")
}
