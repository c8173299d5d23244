// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package importer_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/klog/v2"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/importer"
	"github.com/podlv/podlv/sim/kube"
	"github.com/podlv/podlv/sim/report"
)

// TestMain silences klog, once: it is the process's.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

const small = `description: a part of everything
storage:
  pools: [{name: ssd, volumeGroup: vg0}]
  classes: [{name: ssd, pool: ssd, default: true}]
nodes:
- {name: big, count: 2, volumeGroups: [{name: vg0, size: 40Gi}]}
- {name: small, labels: {kind: small}, taints: [{key: only, effect: NoSchedule, value: small}], volumeGroups: [{name: vg0, size: 10Gi}]}
workloads:
- {name: inline, pods: 6, volumes: [{kind: inline, size: {min: 1Gi, max: 3Gi}}]}
- {name: ephemeral, controller: Deployment, pods: 4, volumes: [{kind: ephemeral, size: 1Gi}]}
- {name: db, controller: StatefulSet, pods: 3, volumes: [{kind: claim, size: 2Gi}, {kind: claim, size: 1Gi, block: true}]}
- name: chosen
  objects:
  - {apiVersion: v1, kind: Pod, metadata: {name: chosen}, spec: {nodeSelector: {kind: small}, tolerations: [{key: only, operator: Exists}], containers: [{name: c, image: none, resources: {requests: {cpu: "3"}}}], volumes: [{name: v, csi: {driver: podlv.dev, volumeAttributes: {size: 5Gi}}}]}}
expectations: [{that: metrics.podsRunning == 14, message: all run}]
`

// taken is what is on each node: its pods, and the bytes of its volumes.
type taken map[string]struct {
	Pods  int
	Bytes int64
}

// took lists what the nodes of a cluster have: the volumes of its claims, and what pods
// ask of the pools.
func took(ctx context.Context, t *testing.T, client kubernetes.Interface) taken {
	t.Helper()
	all := taken{}
	pods, err := client.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "status.phase=Running"})
	require.NoError(t, err)
	for i := range pods.Items {
		of := all[pods.Items[i].Spec.NodeName]
		of.Pods++
		for name, q := range resourcehelper.PodRequests(&pods.Items[i], resourcehelper.PodResourcesOptions{}) {
			if strings.HasPrefix(string(name), driver.ResourcePrefix) {
				of.Bytes += q.Value()
			}
		}
		all[pods.Items[i].Spec.NodeName] = of
	}
	volumes, err := client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	for _, v := range volumes.Items {
		node := v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0]
		of, size := all[node], v.Spec.Capacity[corev1.ResourceStorage]
		of.Bytes += size.Value()
		all[node] = of
	}
	return all
}

// kept runs a scenario, and calls f when all has come to rest.
func kept(t *testing.T, name, text string, f func(ctx context.Context, kubeconfig string)) *report.Report {
	t.Helper()
	s, err := sim.Parse(name, []byte(text))
	require.NoError(t, err, "%s", text)
	program, err := kube.Find(os.Getenv("PODLV_CACHE"))
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "podlv-sim-") // t.TempDir is too long for sockets
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	called := false
	r, err := sim.Run(t.Context(), sim.Config{
		Scenario: s, ControlPlane: program, Dir: dir, Progress: t.Logf,
		Keep: func(ctx context.Context, _ *report.Report, kubeconfig string) { called = true; f(ctx, kubeconfig) },
	})
	require.NoError(t, err)
	require.True(t, called)
	for _, e := range r.Expectations {
		require.True(t, e.Held, "%s %s\n%+v", e.Message, e.Error, r.Waiting)
	}
	require.Empty(t, r.Problems)
	return r
}

// What is imported from a running cluster runs as that did.
func TestControlPlaneImport(t *testing.T) {
	var before, after taken
	var imported *importer.Result
	connect := func(kubeconfig string) kubernetes.Interface {
		client, err := importer.Connect(kubeconfig, "")
		require.NoError(t, err)
		return client
	}
	first := kept(t, "first.yaml", small, func(ctx context.Context, kubeconfig string) {
		var err error
		imported, err = importer.Import(ctx, connect(kubeconfig), importer.Options{Labels: []string{"kind"}, Now: time.Now()})
		require.NoError(t, err)
		before = took(ctx, t, connect(kubeconfig))
	})
	t.Logf("%s", imported.YAML)
	require.Equal(t, 14, imported.Pods)
	require.Equal(t, 6, imported.Volumes)
	require.Contains(t, string(imported.YAML), "{name: ssd, default: true, pool: ssd}")
	require.Len(t, imported.Notes, 1, "but that its configuration was not found")
	second := kept(t, "second.yaml", string(imported.YAML), func(ctx context.Context, kubeconfig string) {
		after = took(ctx, t, connect(kubeconfig))
		again, err := importer.Import(ctx, connect(kubeconfig), importer.Options{Labels: []string{"kind"}, Now: time.Now()})
		require.NoError(t, err)
		require.Equal(t, nodesOf(imported.YAML), nodesOf(again.YAML), "nor do the nodes change by being imported again")
	})
	require.Equal(t, first.Metrics.PodsRunning, second.Metrics.PodsRunning)
	require.Len(t, before, 3)
	require.Equal(t, before, after)
}

// nodesOf is what a scenario says of nodes.
func nodesOf(text []byte) string {
	_, nodes, _ := strings.Cut(string(text), "\nnodes:")
	nodes, _, _ = strings.Cut(nodes, "\nworkloads:")
	return nodes
}
