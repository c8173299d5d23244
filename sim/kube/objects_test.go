// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package kube

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// A pool's extended resource, and the topology key, as podlv names them.
const (
	pool     = "podlv.dev/ssd"
	topology = "topology.podlv.dev/node"
	driver   = "podlv.dev"
)

// makeNode makes a node that is Ready, with resources beside CPU, memory and pods,
// and its Lease, which the node-lifecycle controller believes for its grace period.
func makeNode(t *testing.T, c kubernetes.Interface, name string, more corev1.ResourceList) {
	t.Helper()
	has := corev1.ResourceList{"cpu": resource.MustParse("8"), "memory": resource.MustParse("16Gi"), "pods": resource.MustParse("110")}
	for k, v := range more {
		has[k] = v
	}
	_, err := c.CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{topology: name}},
		Status: corev1.NodeStatus{
			Capacity: has, Allocatable: has,
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

// podOf is a pod of one container that asks for resources.
func podOf(name string, requests corev1.ResourceList) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Image: "none", Resources: corev1.ResourceRequirements{Requests: requests, Limits: requests},
	}}}}
}

// makePod makes a pod as soon as its namespace has a service account.
func makePod(t *testing.T, c kubernetes.Interface, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	var made *corev1.Pod
	eventually(t, "make pod "+pod.Name, func() (err error) {
		made, err = c.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
		return err
	})
	return made
}

// scheduled waits until a pod has a node and returns its name.
func scheduled(t *testing.T, c kubernetes.Interface, pod *corev1.Pod) (node string) {
	t.Helper()
	eventually(t, "schedule pod "+pod.Name, func() error {
		p, err := c.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if node = p.Spec.NodeName; node == "" {
			return fmt.Errorf("no node: %s", unschedulable(p))
		}
		return nil
	})
	return node
}

// unschedulable is what the scheduler says of a pod that fits nowhere; "" when it
// says nothing.
func unschedulable(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
			return c.Message
		}
	}
	return ""
}

func TestThePodThatDoesNotFitStaysPending(t *testing.T) {
	_, c := start(t, Config{})
	gib := func(n int64) corev1.ResourceList {
		return corev1.ResourceList{pool: *resource.NewQuantity(n<<30, resource.BinarySI)}
	}
	for i := range 3 {
		makeNode(t, c, fmt.Sprintf("n%d", i), gib(10))
	}
	perNode := map[string]int{}
	for i := range 3 {
		perNode[scheduled(t, c, makePod(t, c, metav1.NamespaceDefault, podOf(fmt.Sprintf("fits%d", i), gib(6))))]++
	}
	require.Equal(t, map[string]int{"n0": 1, "n1": 1, "n2": 1}, perNode)
	pod := makePod(t, c, metav1.NamespaceDefault, podOf("too-much", gib(5)))
	eventually(t, "the reason", func() error {
		p, err := c.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		require.Empty(t, p.Spec.NodeName)
		if unschedulable(p) == "" {
			return errors.New("none yet")
		}
		require.Contains(t, unschedulable(p), "0/3 nodes are available: 3 Insufficient "+pool)
		return nil
	})
	require.NoError(t, c.CoreV1().Pods(pod.Namespace).Delete(t.Context(), "fits1", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
	require.NotEmpty(t, scheduled(t, c, pod), "space of a pod that is gone is given to the next")
}

// makeStorage makes a StorageClass that waits for the first consumer, the CSIDriver
// that publishes its capacity, and each node's capacity in GiB.
func makeStorage(t *testing.T, c kubernetes.Interface, gib map[string]int64) {
	t.Helper()
	yes := true
	_, err := c.StorageV1().CSIDrivers().Create(t.Context(), &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: driver}, Spec: storagev1.CSIDriverSpec{StorageCapacity: &yes},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	waits := storagev1.VolumeBindingWaitForFirstConsumer
	_, err = c.StorageV1().StorageClasses().Create(t.Context(), &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "local"}, Provisioner: driver, VolumeBindingMode: &waits,
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	for node, n := range gib {
		makeNode(t, c, node, nil)
		_, err := c.StorageV1().CSINodes().Create(t.Context(), &storagev1.CSINode{
			ObjectMeta: metav1.ObjectMeta{Name: node},
			Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: driver, NodeID: node, TopologyKeys: []string{topology}}}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		size := resource.NewQuantity(n<<30, resource.BinarySI)
		_, err = c.StorageV1().CSIStorageCapacities(metav1.NamespaceDefault).Create(t.Context(), &storagev1.CSIStorageCapacity{
			ObjectMeta:       metav1.ObjectMeta{Name: "of-" + node},
			NodeTopology:     &metav1.LabelSelector{MatchLabels: map[string]string{topology: node}},
			StorageClassName: "local", Capacity: size, MaximumVolumeSize: size,
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
}

func claimOf(size string) corev1.PersistentVolumeClaimSpec {
	class := "local"
	return corev1.PersistentVolumeClaimSpec{
		StorageClassName: &class,
		AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}
}

// selected waits until the scheduler has selected a node for a claim.
func selected(t *testing.T, c kubernetes.Interface, namespace, name string) (node string) {
	t.Helper()
	eventually(t, "select a node for claim "+name, func() error {
		claim, err := c.CoreV1().PersistentVolumeClaims(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if node = claim.Annotations["volume.kubernetes.io/selected-node"]; node == "" {
			return errors.New("none")
		}
		return nil
	})
	return node
}

func TestCapacitySelectsTheNodeOfAClaim(t *testing.T) {
	_, c := start(t, Config{})
	makeStorage(t, c, map[string]int64{"small": 1, "large": 20, "middle": 5})
	_, err := c.CoreV1().PersistentVolumeClaims(metav1.NamespaceDefault).Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: claimOf("10Gi"),
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	pod := podOf("p", nil)
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
	makePod(t, c, metav1.NamespaceDefault, pod)
	require.Equal(t, "large", selected(t, c, metav1.NamespaceDefault, "data"))
}

func TestControllersMakeAndRemoveWhatAPodNeeds(t *testing.T) {
	_, c := start(t, Config{})
	makeStorage(t, c, map[string]int64{"n": 20})
	const ns = "tenant"
	_, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{})
	require.NoError(t, err)
	generic := func(name string) *corev1.Pod {
		p := podOf(name, nil)
		p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{
			Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: claimOf("1Gi")}},
		}}}
		return makePod(t, c, ns, p)
	}
	claims := c.CoreV1().PersistentVolumeClaims(ns)
	noClaim := func(name string) {
		t.Helper()
		eventually(t, "remove claim "+name, func() error {
			_, err := claims.Get(t.Context(), name, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("it is there (%v)", err)
		})
	}

	pod := generic("p")
	require.Equal(t, "n", selected(t, c, ns, "p-scratch"))
	claim, err := claims.Get(t.Context(), "p-scratch", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, pod.UID, claim.OwnerReferences[0].UID)
	require.Contains(t, claim.Finalizers, "kubernetes.io/pvc-protection")
	require.NoError(t, c.CoreV1().Pods(ns).Delete(t.Context(), "p", metav1.DeleteOptions{GracePeriodSeconds: new(int64)}))
	noClaim("p-scratch")

	generic("q")
	selected(t, c, ns, "q-scratch")
	require.NoError(t, c.CoreV1().Namespaces().Delete(t.Context(), ns, metav1.DeleteOptions{}))
	noClaim("q-scratch")
	eventually(t, "remove the namespace", func() error {
		_, err := c.CoreV1().Namespaces().Get(t.Context(), ns, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there (%v)", err)
	})
}

func TestANodeThatIsSilentBecomesUnreachable(t *testing.T) {
	_, c := start(t, Config{NodeMonitorGracePeriod: 2 * time.Second})
	makeNode(t, c, "silent", nil)
	makeNode(t, c, "alive", nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	defer func() { cancel(); <-ended }()
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			// A kubelet renews a Lease; writing the condition does as well.
			n, err := c.CoreV1().Nodes().Get(ctx, "alive", metav1.GetOptions{})
			if err == nil {
				n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}
				_, _ = c.CoreV1().Nodes().UpdateStatus(ctx, n, metav1.UpdateOptions{}) // again in a moment
			}
			time.Sleep(200 * time.Millisecond)
		}
	}()
	tainted := func(name string) bool {
		n, err := c.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		for _, taint := range n.Spec.Taints {
			if taint.Key == corev1.TaintNodeUnreachable {
				return true
			}
		}
		return false
	}
	eventually(t, "taint the silent node", func() error {
		if !tainted("silent") {
			return errors.New("no taint")
		}
		return nil
	})
	require.False(t, tainted("alive"))
}

// What docs/performance.md says of many pods.
func TestManyPods(t *testing.T) {
	const nodes, pods, creators = 100, 2000, 16
	p, c := start(t, Config{})
	one := corev1.ResourceList{pool: resource.MustParse("1Gi")}
	for i := range nodes {
		makeNode(t, c, fmt.Sprintf("n%d", i), corev1.ResourceList{pool: resource.MustParse("20Gi")})
	}
	began := time.Now()
	var g errgroup.Group
	g.SetLimit(creators)
	for i := range pods {
		g.Go(func() error {
			_, err := c.CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), podOf(fmt.Sprintf("p%d", i), one), metav1.CreateOptions{})
			return err
		})
	}
	require.NoError(t, g.Wait())
	made := time.Since(began).Seconds()
	eventually(t, "schedule all pods", func() error {
		left, err := c.CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName="})
		if err != nil {
			return err
		}
		if n := len(left.Items); n > 0 {
			return fmt.Errorf("%d have no node", n)
		}
		return nil
	})
	took := time.Since(began).Seconds()
	t.Logf("%d pods made in %.1f s, scheduled on %d nodes after %.1f s, %.0f a second; %d MiB resident", pods, made, nodes, took, pods/took, resident(t, p.PID())>>20)
	all, err := c.CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	perNode := map[string]int{}
	for i := range all.Items {
		perNode[all.Items[i].Spec.NodeName]++
	}
	require.Len(t, perNode, nodes)
	for node, n := range perNode {
		require.Equal(t, 20, n, "node %s has as many as fit", node)
	}
}
