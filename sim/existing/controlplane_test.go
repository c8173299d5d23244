// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package existing

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/embedded"
	"github.com/podlv/podlv/sim/kube"
	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
	"github.com/podlv/podlv/sim/scenarios"
)

// TestMain silences klog, once: it is the process's.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

type nobody struct{}

func (nobody) Pod(string, *corev1.Pod, kubelet.Moment, string) {}
func (nobody) Call(kubelet.Call)                               {}

// there is a cluster of somebody else's, with the nodes and classes of a scenario, and
// that scenario.
func there(t *testing.T, name string) (*embedded.Cluster, *scenario.Scenario) {
	t.Helper()
	data, err := scenarios.Read(name)
	require.NoError(t, err)
	s, err := sim.Parse(name+".yaml", data)
	require.NoError(t, err)
	program, err := kube.Find(os.Getenv("PODLV_CACHE"))
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "podlv-sim-") // t.TempDir is too long for sockets
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	hosts, err := embedded.Hosts(s)
	require.NoError(t, err)
	c, err := embedded.Start(t.Context(), embedded.Config{
		Program: program, Dir: dir, Scenario: s, Observer: nobody{}, Log: slog.New(slog.DiscardHandler), Progress: t.Logf,
	}, hosts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Stop()) })
	return c, s
}

// A cluster that is there already, as the run sees it: by its API alone.
func TestControlPlaneOfSomebodyElse(t *testing.T) {
	c, s := there(t, "first-steps")
	core := c.Client.CoreV1()
	before, err := core.Namespaces().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	kept := false
	r, err := sim.Run(t.Context(), sim.Config{
		Scenario: s, Target: Config{Kubeconfig: c.Kubeconfig}.Start, Progress: t.Logf,
		Keep: func(ctx context.Context, so *report.Report, kubeconfig string) {
			kept = true
			pods, err := core.Pods("default").List(ctx, metav1.ListOptions{})
			require.NoError(t, err)
			require.Empty(t, pods.Items, "they are in a namespace of their own")
			all, err := core.Pods("").List(ctx, metav1.ListOptions{})
			require.NoError(t, err)
			require.Len(t, all.Items, 48)
		},
	})
	require.NoError(t, err)
	require.True(t, kept)
	require.Equal(t, "kubeconfig", r.Target)
	require.Equal(t, 48, r.Metrics.PodsRunning)
	require.Equal(t, 3, r.Metrics.Nodes)
	require.Positive(t, r.Metrics.ToBound.P50)
	require.GreaterOrEqual(t, r.Metrics.ToRunning.P50, r.Metrics.ToBound.P50)
	require.True(t, r.Passed())
	require.Subset(t, r.Unknown, report.FromDisks)
	skipped := 0
	for _, e := range r.Expectations {
		require.NotEqual(t, e.Held, e.Skipped != "", e.That)
		if e.Skipped != "" {
			skipped++
		}
	}
	require.Equal(t, 4, skipped, "of what only the disks tell")
	after, err := core.Namespaces().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, after.Items, len(before.Items))
	volumes, err := core.PersistentVolumes().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, volumes.Items)
}

// A run that is interrupted, too, leaves nothing behind.
func TestControlPlaneOfSomebodyElseAfterCtrlC(t *testing.T) {
	c, s := there(t, "topolvm-117")
	ctx, cancel := context.WithCancel(t.Context())
	r, err := sim.Run(ctx, sim.Config{
		Scenario: s, Target: Config{Kubeconfig: c.Kubeconfig}.Start, Progress: t.Logf,
		Counts: func(n sim.Counts) {
			if n.Running == 3 {
				cancel()
			}
		},
	})
	require.NoError(t, err)
	require.True(t, r.Interrupted)
	require.Equal(t, 3, r.Metrics.PodsRunning)
	all, err := c.Client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Empty(t, all.Items)
}
