// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package fit_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/klog/v2"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/fit"
	"github.com/podlv/podlv/sim/kube"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

// TestMain silences klog, once: it is the process's.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// asked answers a question about the cluster of text by real simulations.
func asked(t *testing.T, s *scenario.Scenario, q fit.Question) *fit.Answer {
	t.Helper()
	program, err := kube.Find(os.Getenv("PODLV_CACHE"))
	require.NoError(t, err)
	q.Cluster, q.Most, q.Progress = s, 100, t.Logf
	q.Run = func(ctx context.Context, s *scenario.Scenario) (*report.Report, error) {
		dir, err := os.MkdirTemp("", "podlv-sim-") // t.TempDir is too long for sockets
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
		return fit.Simulate(ctx, sim.Config{Scenario: s, ControlPlane: program, Dir: dir, Progress: t.Logf})
	}
	a, err := fit.Ask(t.Context(), q)
	require.NoError(t, err)
	t.Logf("%+v", a)
	return a
}

// The scheduler finds what sums cannot know: space is in pieces, pods choose nodes.
func TestControlPlaneFit(t *testing.T) {
	s, err := scenario.Parse("cluster.yaml", []byte(strings.ReplaceAll(text, "nodeSelector: {x: y}, ", "")), report.Compile)
	require.NoError(t, err)
	// a has 100Gi - 40Gi - 30Gi, b 100Gi: by sums 130Gi.
	fresh, err := fit.ParseWorkload("inline=20Gi", s)
	require.NoError(t, err)
	a := asked(t, s, fit.Question{New: fresh, Copies: true})
	require.Equal(t, &fit.Copies{Fit: 6}, a.Copies)
	require.Equal(t, fit.Count{Pods: 5, Running: 5}, a.Cluster)

	a = asked(t, s, fit.Question{Drain: []string{"a"}})
	require.Equal(t, &fit.Count{Pods: 1, Running: 1}, a.Moved)
	require.Equal(t, []string{"db-0"}, a.Stays)

	// Pods of 60Gi: one on b, and each of the others waits for a reason.
	fresh, err = fit.ParseWorkload("inline=60Gi,pods=4", s)
	require.NoError(t, err)
	a = asked(t, s, fit.Question{New: fresh})
	require.False(t, a.Fits)
	require.Equal(t, &fit.Count{Pods: 4, Running: 1}, a.New)
	require.Len(t, a.Waiting, 1)
	require.Len(t, a.Waiting[0].Pods, 3)
	require.Contains(t, a.Waiting[0].Reason, "2 Insufficient podlv.dev/ssd")

	// 4 × 40Gi fit into 130Gi and 30Gi more by sums, and by no means into 30Gi, 100Gi and
	// 40Gi.
	fresh, err = fit.ParseWorkload("inline=40Gi,pods=4", s)
	require.NoError(t, err)
	shape, err := fit.ParseShape("like=b,size/vg0=40Gi", s)
	require.NoError(t, err)
	a = asked(t, s, fit.Question{New: fresh, Shape: shape})
	require.True(t, a.Fits)
	require.Equal(t, 1, a.Nodes.Bound)
	require.Equal(t, 2, a.Nodes.Needed)
	require.Equal(t, 2, a.Runs)
}
