// SPDX-License-Identifier: Apache-2.0

package existing

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/scenario"
)

const small = `description: small
storage:
  pools: [{name: ssd, volumeGroup: vg0}]
  classes: [{name: ssd, pool: ssd, default: true}]
nodes: [{volumeGroups: [{name: vg0, size: 10Gi}]}]
workloads: [{name: a, pods: 1, volumes: [{kind: inline, size: 1Gi}, {kind: claim, size: 1Gi}]}]
expectations: [{that: metrics.podsRunning == 1, message: it runs}]
`

func parsed(t *testing.T, text string) *scenario.Scenario {
	t.Helper()
	s, err := sim.Parse("small.yaml", []byte(text))
	require.NoError(t, err)
	return s
}

func TestWhatTheClusterHasNotIsNamed(t *testing.T) {
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }
	driverObject := &storagev1.CSIDriver{ObjectMeta: named(driver.Name)}
	class := &storagev1.StorageClass{ObjectMeta: named("ssd"), Provisioner: driver.Name}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{driver.TopologyKey: "n"}}}
	node.Status.Allocatable = corev1.ResourceList{"podlv.dev/ssd": resource.MustParse("10Gi")}
	of := func(change func(*corev1.Node)) *corev1.Node {
		n := node.DeepCopy()
		change(n)
		return n
	}
	for name, row := range map[string]struct {
		objects  []runtime.Object
		scenario string
		words    []string
	}{
		"all is there":     {[]runtime.Object{driverObject, class, node}, small, nil},
		"no podlv":         {[]runtime.Object{class, node}, small, []string{"the cluster has no CSIDriver podlv.dev: install podlv there first"}},
		"no agents":        {[]runtime.Object{driverObject, class, of(func(n *corev1.Node) { n.Labels = nil })}, small, []string{"no node of the cluster has the label topology.podlv.dev/node"}},
		"no StorageClass":  {[]runtime.Object{driverObject, node}, small, []string{"the cluster has no StorageClass ssd"}},
		"another's":        {[]runtime.Object{driverObject, node, &storagev1.StorageClass{ObjectMeta: named("ssd"), Provisioner: "x"}}, small, []string{"StorageClass ssd is of provisioner x; it must be podlv.dev"}},
		"of another class": {[]runtime.Object{driverObject, node, &storagev1.StorageClass{ObjectMeta: named("ssd"), Provisioner: driver.Name, Parameters: map[string]string{classParameter: "hdd"}}}, small, []string{"StorageClass ssd is of device class hdd; it must be of ssd"}},
		"another pool": {[]runtime.Object{driverObject, class, of(func(n *corev1.Node) {
			n.Status.Allocatable = corev1.ResourceList{"podlv.dev/hdd": resource.MustParse("1Gi")}
		})}, small, []string{"no node has podlv.dev/ssd", "the agents there have podlv.dev/hdd"}},
		"no node for workload": {[]runtime.Object{driverObject, class, node}, strings.Replace(small, "pods: 1,", "pods: 1, nodeSelector: {disk: fast},", 1), []string{"workloads[0].nodeSelector: no node with podlv has the labels disk=fast"}},
	} {
		t.Run(name, func(t *testing.T) {
			count, err := check(t.Context(), fake.NewClientset(row.objects...), parsed(t, row.scenario))
			if row.words == nil {
				require.NoError(t, err)
				require.Equal(t, 1, count)
				return
			}
			for _, w := range row.words {
				require.ErrorContains(t, err, w)
			}
		})
	}
}

func TestEventsThatNeedAFakeMachineAreRefused(t *testing.T) {
	s := parsed(t, small+"events: [{at: 2s, node: node-0, lvcreate: {volumeGroup: vg0, size: 1Gi}}, {at: 3s, grow: {workload: a, size: 2Gi}}]\n")
	_, err := Config{Kubeconfig: "none"}.Start(t.Context(), parts(t, s))
	require.ErrorContains(t, err, "events[0] (lvcreate at 2s): --target kubeconfig changes no node")
	require.NotContains(t, err.Error(), "events[1]")
	s = parsed(t, small+"settings: {inlineAccounting: false}\n")
	_, err = Config{Kubeconfig: "none"}.Start(t.Context(), parts(t, s))
	require.ErrorContains(t, err, "settings: they are the cluster's own")
	s = parsed(t, strings.Replace(small, "workloads: [", "workloads: [{name: m, objects: [{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1}]}, ", 1))
	_, err = Config{Kubeconfig: "none"}.Start(t.Context(), parts(t, s))
	require.ErrorContains(t, err, "workloads[0]: PriorityClass high is the whole cluster's")
	s = parsed(t, strings.Replace(small, "workloads: [", "workloads: [{name: p, placed: {x: node-0}, objects: [{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: c, image: i}]}}]}, ", 1))
	_, err = Config{Kubeconfig: "none"}.Start(t.Context(), parts(t, s))
	require.ErrorContains(t, err, "workloads[0].placed: --target kubeconfig leaves it to the cluster's scheduler")
}

func parts(t *testing.T, s *scenario.Scenario) sim.Parts {
	t.Helper()
	return sim.Parts{Scenario: s, Log: slog.New(slog.DiscardHandler), Progress: func(string, ...any) {}}
}

func TestAClusterThatCannotBeReachedIsSaidSoSoon(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it accepts and says nothing
	require.NoError(t, err)
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	dir := t.TempDir()
	kubeconfig := func(name, server string) string {
		path := filepath.Join(dir, name)
		text := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\nclusters: [{name: c, cluster: {server: '" + server + "'}}]\n"
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	broken := filepath.Join(dir, "broken")
	require.NoError(t, os.WriteFile(broken, []byte("]"), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for path, words := range map[string]string{
		filepath.Join(dir, "none"): "no such file",
		broken:                     "--kubeconfig " + broken,
		kubeconfig("closed", "http://"+closed.Addr().String()):   "cannot be reached",
		kubeconfig("silent", "http://"+silent.Addr().String()):   "cannot be reached",
		kubeconfig("nowhere", "http://does-not-exist.invalid:1"): "cannot be reached",
	} {
		begin := time.Now()
		_, err := Config{Kubeconfig: path, Patience: time.Second}.Start(ctx, parts(t, parsed(t, small)))
		require.ErrorContains(t, err, words)
		require.Less(t, time.Since(begin), 10*time.Second)
	}
}
