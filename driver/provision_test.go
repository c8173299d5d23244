// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/kube/kubetest"
)

// Annotations that Kubernetes' PV controller and scheduler set.
const (
	selectedNode       = "volume.kubernetes.io/selected-node"
	storageProvisioner = "volume.kubernetes.io/storage-provisioner"
)

// provisioningNode is a fake node whose agent provisions from a fake API server.
func provisioningNode(t *testing.T, objects ...*corev1.PersistentVolumeClaim) (*fakeNode, *fake.Clientset) {
	t.Helper()
	return provisioningNodeOf(t, onePool, objects...)
}

func provisioningNodeOf(t *testing.T, classes string, objects ...*corev1.PersistentVolumeClaim) (*fakeNode, *fake.Clientset) {
	t.Helper()
	return provisioningNodeWith(t, classes, nil, objects...)
}

// provisioningNodeWith is one whose cluster has more.
func provisioningNodeWith(t *testing.T, classes string, snapshots func(*testing.T, *driver.Cluster), objects ...*corev1.PersistentVolumeClaim) (*fakeNode, *fake.Clientset) {
	t.Helper()
	n := newFakeNodeOn(t, 1, classes)
	client := fake.NewClientset(storageClass("fast", "ssd"), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", UID: "uid-of-node1"}})
	for _, o := range objects {
		require.NoError(t, client.Tracker().Add(o))
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	n.cluster = &driver.Cluster{
		Client: client, Namespace: "podlv-system", Start: factory.Start, Claims: factory.Core().V1().PersistentVolumeClaims(),
		Pods: factory.Core().V1().Pods(), Volumes: factory.Core().V1().PersistentVolumes(), Classes: factory.Storage().V1().StorageClasses(),
	}
	t.Cleanup(factory.Shutdown) // after the agent, which ends its informers
	if snapshots != nil {
		snapshots(t, n.cluster)
	}
	n.serve(filepath.Join(t.TempDir(), "csi.sock"))
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	require.Eventually(t, func() bool { // the agent has asked for its informers
		return len(factory.WaitForCacheSync(ctx.Done())) == 4
	}, 10*time.Second, 10*time.Millisecond)
	kubetest.Watching(t, client, 0, 4)
	return n, client
}

func pvc(name, size, node string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-" + name),
			Annotations: map[string]string{storageProvisioner: driver.Name, selectedNode: node},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr.To("fast"),
			Resources:  corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
			VolumeMode: ptr.To(corev1.PersistentVolumeFilesystem),
		},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
	}
	return c
}

func TestClaimOfThisNodeBecomesAVolume(t *testing.T) {
	n, client := provisioningNode(t, pvc("here", "64Mi", "node1"), pvc("there", "64Mi", "node2"), pvc("nowhere", "64Mi", ""))
	ctx := context.Background()
	var pv *corev1.PersistentVolume
	require.Eventually(t, func() bool {
		var err error
		pv, err = client.CoreV1().PersistentVolumes().Get(ctx, "pvc-uid-here", metav1.GetOptions{})
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, "vg0/pvc-uid-here", pv.Spec.CSI.VolumeHandle)
	require.Equal(t, driver.Name, pv.Spec.CSI.Driver)
	require.Equal(t, resource.MustParse("64Mi"), pv.Spec.Capacity[corev1.ResourceStorage])
	require.Equal(t, corev1.PersistentVolumeReclaimDelete, pv.Spec.PersistentVolumeReclaimPolicy)
	require.Equal(t, []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{
		{Key: driver.TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{"node1"}},
	}}}, pv.Spec.NodeAffinity.Required.NodeSelectorTerms)
	require.Contains(t, n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/pvc-uid-here"), "podlv.pvc=default/here")
	require.Equal(t, []string{"pvc-uid-here"}, n.volumes(), "claims of other nodes are theirs, and unscheduled ones nobody's")

	// What the PV controller does when the claim was deleted.
	pv.Status.Phase = corev1.VolumeReleased
	_, err := client.CoreV1().PersistentVolumes().UpdateStatus(ctx, pv, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := client.CoreV1().PersistentVolumes().Get(ctx, pv.Name, metav1.GetOptions{})
		return err != nil && len(n.volumes()) == 0
	}, 20*time.Second, 20*time.Millisecond)
}

// Agents join a process in which others decode what comes from the API server. That it
// fails takes the race detector, or luck.
func TestAgentsJoinWhileOthersDecode(t *testing.T) {
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			_, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(`{"apiVersion":"v1","kind":"Pod"}`), nil, nil)
			select {
			case <-stop:
				ended <- err
				return
			default:
			}
		}
	}()
	for range 2 {
		provisioningNode(t)
	}
	close(stop)
	require.NoError(t, <-ended)

	another := runtime.NewScheme()
	require.NoError(t, corev1.AddToScheme(another))
	require.True(t, another.Recognizes(corev1.SchemeGroupVersion.WithKind("Pod")), "it is nobody else's to go without")
}

// A node without room gives the claim back to the scheduler, and says why.
func TestClaimThatDoesNotFitIsScheduledAnew(t *testing.T) {
	n, client := provisioningNode(t, pvc("huge", "1Ti", "node1"))
	ctx := context.Background()
	require.Eventually(t, func() bool {
		c, err := client.CoreV1().PersistentVolumeClaims("default").Get(ctx, "huge", metav1.GetOptions{})
		return err == nil && c.Annotations[selectedNode] == ""
	}, 20*time.Second, 20*time.Millisecond)
	require.Empty(t, n.volumes())
	require.Eventually(t, func() bool {
		events, err := client.CoreV1().Events("default").List(ctx, metav1.ListOptions{})
		for _, e := range events.Items {
			if err == nil && e.Reason == "ProvisioningFailed" && e.InvolvedObject.Name == "huge" {
				return true
			}
		}
		return false
	}, 20*time.Second, 20*time.Millisecond)
}

// What the user has to mend is said on the claim, and does not move it elsewhere.
func TestClaimWithAMistakeStaysOnItsNode(t *testing.T) {
	n, client := provisioningNode(t)
	ctx := context.Background()
	require.NoError(t, client.Tracker().Add(&storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "typo"}, Provisioner: driver.Name, Parameters: map[string]string{"podlv.dev/klass": "ssd"},
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer), ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete),
	}))
	typo := pvc("typo", "64Mi", "node1")
	typo.Spec.StorageClassName = ptr.To("typo")
	_, err := client.CoreV1().PersistentVolumeClaims("default").Create(ctx, typo, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		events, err := client.CoreV1().Events("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false
		}
		for _, e := range events.Items {
			if e.InvolvedObject.Name == "typo" && e.Reason == "ProvisioningFailed" {
				require.Contains(t, e.Message, "podlv.dev/klass")
				return true
			}
		}
		return false
	}, 20*time.Second, 20*time.Millisecond)
	c, err := client.CoreV1().PersistentVolumeClaims("default").Get(ctx, "typo", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "node1", c.Annotations[selectedNode])
	require.NotContains(t, n.volumes(), "pvc-uid-typo")
}

func TestTrimKeepsOnlyWhatProvisioningNeeds(t *testing.T) {
	managed := []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}
	trim := func(o any) any {
		t.Helper()
		trimmed, err := driver.Trim(o)
		require.NoError(t, err)
		return trimmed
	}
	ours := pvc("ours", "64Mi", "node1")
	want := ours.DeepCopy()
	ours.ManagedFields = managed
	require.Equal(t, want, trim(ours))

	theirs := pvc("theirs", "64Mi", "node1")
	theirs.ManagedFields, theirs.Labels = managed, map[string]string{"a": "b"}
	theirs.Annotations = map[string]string{storageProvisioner: "other.dev", selectedNode: "node1"}
	require.Equal(t, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "theirs", UID: "uid-theirs", Annotations: map[string]string{storageProvisioner: "other.dev"}},
	}, trim(theirs))

	// A claim that has no provisioner yet may become ours, and comes again then.
	young := pvc("young", "64Mi", "node1")
	young.Annotations = nil
	require.Equal(t, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "young", UID: "uid-young"}}, trim(young))

	source := func(name string) corev1.PersistentVolumeSource {
		return corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: name, VolumeHandle: "vg0/x"}}
	}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "x", ManagedFields: managed}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: source(driver.Name)}}
	require.Equal(t, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: source(driver.Name)}}, trim(volume))
	foreign := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "y", UID: "1", ManagedFields: managed}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: source("other.dev")}}
	require.Equal(t, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "y", UID: "1"}}, trim(foreign))

	gone := cache.DeletedFinalStateUnknown{Key: "default/x"}
	require.Equal(t, gone, trim(gone))
}

// The scheduler does not know where a clone's source is: the agent that it chose sends
// the claim there.
func TestClaimIsSentToItsSource(t *testing.T) {
	source := pvc("source", "64Mi", "node2")
	source.Spec.VolumeName = "pvc-source"
	clone := pvc("clone", "64Mi", "node1")
	clone.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "source"}
	unbound := pvc("unbound", "64Mi", "node1")
	unbound.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "clone"}
	n, client := provisioningNode(t, source)
	ctx := context.Background()
	_, err := client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-source"},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver.Name, VolumeHandle: "vg0/pvc-source"}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: driver.TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{"node2"}}},
			}}}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	for _, c := range []*corev1.PersistentVolumeClaim{clone, unbound} {
		_, err = client.CoreV1().PersistentVolumeClaims("default").Create(ctx, c, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	node := func(name string) string {
		c, err := client.CoreV1().PersistentVolumeClaims("default").Get(ctx, name, metav1.GetOptions{})
		require.NoError(t, err)
		return c.Annotations[selectedNode]
	}
	require.Eventually(t, func() bool { return node("clone") == "node2" }, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, "node1", node("unbound"), "nobody knows yet where its source will be")
	require.Empty(t, n.volumes())
}
