// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package driver_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/kube/kubetest"
)

// clusterOfAgents is a real control plane, and fake nodes with real agents that
// share their informers. There is no kubelet.
type clusterOfAgents struct {
	t      testing.TB
	api    kubernetes.Interface
	config *rest.Config
	shared *driver.Cluster
	nodes  map[string]*fakeNode
	// prepare, when set, changes a node before its agent starts.
	prepare func(n *fakeNode)
}

func newClusterOfAgents(t testing.TB, names ...string) *clusterOfAgents {
	t.Helper()
	plane, ctx := kubetest.Start(t), t.Context()
	client := plane.Client
	c := &clusterOfAgents{t: t, api: client, config: plane.Config, nodes: map[string]*fakeNode{}}

	_, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "podlv-system"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = client.StorageV1().CSIDrivers().Create(ctx, &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: driver.Name}, Spec: storagev1.CSIDriverSpec{AttachRequired: ptr.To(false), StorageCapacity: ptr.To(true)},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = client.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: driver.Name, Parameters: map[string]string{"podlv.dev/class": "ssd"},
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer), ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete),
	}, metav1.CreateOptions{})
	require.NoError(t, err)

	c.share()
	for _, name := range names {
		c.join(name, nil)
	}
	return c
}

// share gives the agents that join from now on informers of their own. They end with the
// agent that started them, the first one.
func (c *clusterOfAgents) share() {
	factory := informers.NewSharedInformerFactoryWithOptions(c.api, 0, informers.WithTransform(driver.Trim))
	c.shared = &driver.Cluster{
		Client: c.api, Namespace: "podlv-system", Start: factory.Start, Claims: factory.Core().V1().PersistentVolumeClaims(),
		Pods: factory.Core().V1().Pods(), Volumes: factory.Core().V1().PersistentVolumes(), Classes: factory.Storage().V1().StorageClasses(),
	}
	c.t.Cleanup(factory.Shutdown)
}

// join makes a node, and starts its agent, whose calls of the API server go through
// wrap, if that is given.
func (c *clusterOfAgents) join(name string, wrap func(http.RoundTripper) http.RoundTripper) (stop func()) {
	c.t.Helper()
	cluster := *c.shared
	if wrap != nil {
		config := rest.CopyConfig(c.config)
		config.Wrap(wrap)
		var err error
		cluster.Client, err = kubernetes.NewForConfig(config)
		require.NoError(c.t, err)
	}
	has := corev1.ResourceList{"cpu": resource.MustParse("8"), "memory": resource.MustParse("16Gi"), "pods": resource.MustParse("110")}
	_, err := c.api.CoreV1().Nodes().Create(c.t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{driver.TopologyKey: name}},
		Status:     corev1.NodeStatus{Capacity: has, Allocatable: has, Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}, metav1.CreateOptions{})
	require.NoError(c.t, err)
	_, err = c.api.StorageV1().CSINodes().Create(c.t.Context(), &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: driver.Name, NodeID: name, TopologyKeys: []string{driver.TopologyKey}}}},
	}, metav1.CreateOptions{})
	require.NoError(c.t, err)
	n := newFakeNode(c.t)
	n.name, n.cluster, n.timer = name, &cluster, clock.RealClock{}
	if c.prepare != nil {
		c.prepare(n)
	}
	c.nodes[name] = n
	return n.serve(filepath.Join(c.t.TempDir(), "csi.sock"))
}

// published waits until the capacity of a node is what it is to be, and gives how
// long it took since.
func (c *clusterOfAgents) published(node string, size int64, since time.Time) time.Duration {
	c.t.Helper()
	c.eventually("publish the capacity of "+node, func() error {
		list, err := c.api.StorageV1().CSIStorageCapacities("podlv-system").List(c.t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		var has []int64
		for i := range list.Items {
			if list.Items[i].NodeTopology.MatchLabels[driver.TopologyKey] == node {
				has = append(has, list.Items[i].Capacity.Value())
			}
		}
		if len(has) != 1 || has[0] != size {
			return fmt.Errorf("%v bytes, want %d", has, size)
		}
		return nil
	})
	return time.Since(since)
}

// run makes a claim, and a pod that uses it.
func (c *clusterOfAgents) run(name, size string) { c.runOn(name, size, "") }

// runOn is run, on a node, if one is named.
func (c *clusterOfAgents) runOn(name, size, node string) {
	c.t.Helper()
	claim := pvc(name, size, "")
	claim.ObjectMeta = metav1.ObjectMeta{Name: name}
	claim.Status = corev1.PersistentVolumeClaimStatus{}
	_, err := c.api.CoreV1().PersistentVolumeClaims("default").Create(c.t.Context(), claim, metav1.CreateOptions{})
	require.NoError(c.t, err)
	c.eventually("make the pod", func() error {
		_, err := c.api.CoreV1().Pods("default").Create(c.t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PodSpec{
				NodeSelector: onNode(node),
				Containers:   []corev1.Container{{Name: "c", Image: "none", VolumeMounts: []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}}},
				Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
					PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
				}}},
			},
		}, metav1.CreateOptions{})
		return err
	})
}

func onNode(name string) map[string]string {
	if name == "" {
		return nil
	}
	return map[string]string{driver.TopologyKey: name}
}

// node waits until the pod is bound and gives its node and its claim's PV.
func (c *clusterOfAgents) node(name string) (string, *corev1.PersistentVolume) {
	c.t.Helper()
	var node string
	var pv *corev1.PersistentVolume
	c.eventually("bind pod "+name, func() error {
		pod, err := c.api.CoreV1().Pods("default").Get(c.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if node = pod.Spec.NodeName; node == "" {
			return fmt.Errorf("no node: %v", pod.Status.Conditions)
		}
		claim, err := c.api.CoreV1().PersistentVolumeClaims("default").Get(c.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pv, err = c.api.CoreV1().PersistentVolumes().Get(c.t.Context(), claim.Spec.VolumeName, metav1.GetOptions{})
		return err
	})
	return node, pv
}

// end removes a pod and its claim, and waits until its PV is gone.
func (c *clusterOfAgents) end(name string, pv *corev1.PersistentVolume) {
	c.t.Helper()
	require.NoError(c.t, c.api.CoreV1().Pods("default").Delete(c.t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}))
	require.NoError(c.t, c.api.CoreV1().PersistentVolumeClaims("default").Delete(c.t.Context(), name, metav1.DeleteOptions{}))
	c.eventually("remove the PV of "+name, func() error {
		_, err := c.api.CoreV1().PersistentVolumes().Get(c.t.Context(), pv.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		default:
			return errors.New("it is there")
		}
	})
}

func (c *clusterOfAgents) eventually(what string, f func() error) {
	c.t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	require.Fail(c.t, what, "%v", err)
}

// A claim becomes a volume of the node that the real scheduler chose, and of no
// other; with the claim the volume goes.
func TestControlPlaneProvisionsWhereTheSchedulerSays(t *testing.T) {
	c := newClusterOfAgents(t, "a", "b", "c")
	for node := range c.nodes {
		c.published(node, 10*gib-4*mib, time.Now())
	}
	c.run("small", "64Mi")
	node, pv := c.node("small")
	require.Equal(t, "vg0/"+pv.Name, pv.Spec.CSI.VolumeHandle)
	for name, n := range c.nodes {
		if name == node {
			require.Equal(t, []string{pv.Name}, n.volumes())
		} else {
			require.Empty(t, n.volumes(), "node %s, the pod is on %s", name, node)
		}
	}
	c.end("small", pv)
	require.Empty(t, c.nodes[node].volumes())

	for _, full := range []string{"a", "b"} {
		c.nodes[full].lvm("lvcreate", "--yes", "--name", "admin", "--size", "9g", "vg0")
		c.published(full, gib-4*mib, time.Now())
	}
	c.run("large", "6Gi")
	node, pv = c.node("large")
	require.Equal(t, "c", node, "the only one with room")
	require.Equal(t, []string{pv.Name}, c.nodes["c"].volumes())
	require.Equal(t, []string{"admin"}, c.nodes["a"].volumes())
	require.Equal(t, []string{"admin"}, c.nodes["b"].volumes())
	c.end("large", pv)
	require.Empty(t, c.nodes["c"].volumes())
}

// Capacity is published within a second of whatever changes the VG, in the middle of
// others' changes.
func TestControlPlaneCapacityIsNeverOld(t *testing.T) {
	c := newClusterOfAgents(t, "a", "b", "c")
	free := map[string]int64{}
	for node := range c.nodes {
		free[node] = 10*gib - 4*mib
		c.published(node, free[node], time.Now())
	}
	var took []time.Duration
	for i := range 60 {
		node := []string{"a", "b", "c"}[i%3]
		n := c.nodes[node]
		change := []func(){
			func() { n.lvm("lvcreate", "--yes", "--name", fmt.Sprintf("admin%d", i), "--size", "64m", "vg0") },
			func() { require.NoError(t, n.publish(newVolume(fmt.Sprintf("pod%d", i), "64Mi"))) },
			func() { require.NoError(t, n.create(newClaim(fmt.Sprintf("claim%d", i), 64*mib))) },
		}[i/3%3]
		start := time.Now()
		change()
		free[node] -= 64 * mib
		took = append(took, c.published(node, free[node], start))
		time.Sleep(time.Duration(i*37%400) * time.Millisecond) // not in step with the agent
	}
	slices.Sort(took)
	t.Logf("capacity published after: p50 %s, p99 %s, most %s", took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	require.Less(t, took[len(took)-1], 5*time.Second) // the machine is shared; docs/performance.md has the figures
}
