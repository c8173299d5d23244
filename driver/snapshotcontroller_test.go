// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/fake"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// content is what a snapshot-controller makes of the VolumeSnapshot of a volume.
func content(name, volume, node string) *snapshotv1.VolumeSnapshotContent {
	return &snapshotv1.VolumeSnapshotContent{
		ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1", Labels: map[string]string{driver.ManagedByLabel: node}},
		Spec: snapshotv1.VolumeSnapshotContentSpec{
			VolumeSnapshotRef: corev1.ObjectReference{Namespace: "default", Name: "backup", UID: "01234567-89ab-cdef-0123-456789abcdef"},
			DeletionPolicy:    snapshotv1.VolumeSnapshotContentDelete, Driver: driver.Name, VolumeSnapshotClassName: ptr.To("cow"),
			Source: snapshotv1.VolumeSnapshotContentSource{VolumeHandle: ptr.To(volume)},
		},
	}
}

// snapshotInformers are informers of a fake API server, which cannot do what client-go
// 0.36 wants at first (a watch that begins with a list) and which those of client/v8
// 8.6.0 do not ask about.
func snapshotInformers(client *snapshotfake.Clientset) snapshotinformers.SharedInformerFactory {
	factory := snapshotinformers.NewSharedInformerFactory(client, 0)
	informer := func(object runtime.Object, list cache.ListWithContextFunc, watch cache.WatchFuncWithContext) {
		factory.InformerFor(object, func(snapshotclient.Interface, time.Duration) cache.SharedIndexInformer {
			lw := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: watch}, client)
			return cache.NewSharedIndexInformer(lw, object, 0, cache.Indexers{})
		})
	}
	v1 := client.SnapshotV1()
	informer(&snapshotv1.VolumeSnapshotContent{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return v1.VolumeSnapshotContents().List(ctx, o)
	}, v1.VolumeSnapshotContents().Watch)
	informer(&snapshotv1.VolumeSnapshotClass{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return v1.VolumeSnapshotClasses().List(ctx, o)
	}, v1.VolumeSnapshotClasses().Watch)
	return factory
}

// nodeWithSnapshots is a node with the volume of claim "source", of a cluster with
// VolumeSnapshots. Its informers cannot tell one content's label from another's: either all
// that there are were made for this node, or none has a manager.
func nodeWithSnapshots(t *testing.T, client *snapshotfake.Clientset, managed bool, claims ...*corev1.PersistentVolumeClaim) (*fakeNode, *fake.Clientset) {
	t.Helper()
	n, cluster := provisioningNodeWith(t, onePool, func(t *testing.T, c *driver.Cluster) {
		here, none := snapshotInformers(client), snapshotInformers(client)
		c.Snapshots = &driver.SnapshotCluster{Client: client, Contents: here.Snapshot().V1().VolumeSnapshotContents(), Classes: here.Snapshot().V1().VolumeSnapshotClasses()}
		if !managed {
			c.Snapshots.Contents, c.Snapshots.Unmanaged = none.Snapshot().V1().VolumeSnapshotContents(), c.Snapshots.Contents
			require.NoError(t, c.Snapshots.Unmanaged.Informer().SetTransform(driver.TrimContent))
		}
		start := c.Start
		c.Start = func(stop <-chan struct{}) {
			start(stop)
			here.Start(stop)
		}
		t.Cleanup(here.Shutdown)
	}, append(claims, pvc("source", "64Mi", "node1"))...)
	require.Eventually(t, func() bool {
		_, err := cluster.CoreV1().PersistentVolumes().Get(t.Context(), "pvc-uid-source", metav1.GetOptions{})
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	return n, cluster
}

// A VolumeSnapshot of a claim, and a claim that is restored from it.
func TestVolumeSnapshotIsTakenAndRestored(t *testing.T) {
	//lint:ignore SA1019 client/v8 8.6.0 has no other
	client := snapshotfake.NewSimpleClientset(&snapshotv1.VolumeSnapshotClass{
		ObjectMeta: metav1.ObjectMeta{Name: "cow"}, Driver: driver.Name, DeletionPolicy: snapshotv1.VolumeSnapshotContentDelete,
		Parameters: map[string]string{"podlv.dev/snapshot-size": "8Mi"},
	})
	n, cluster := nodeWithSnapshots(t, client, true)
	ctx := t.Context()
	contents := client.SnapshotV1().VolumeSnapshotContents()
	_, err := contents.Create(ctx, content("content", "vg0/pvc-uid-source", "node1"), metav1.CreateOptions{})
	require.NoError(t, err)
	const id = "vg0/snap-01234567-89ab-cdef-0123-456789abcdef"
	var made *snapshotv1.VolumeSnapshotContent
	require.Eventually(t, func() bool {
		made, err = contents.Get(ctx, "content", metav1.GetOptions{})
		return err == nil && made.Status != nil && ptr.Deref(made.Status.ReadyToUse, false)
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, id, *made.Status.SnapshotHandle)
	require.EqualValues(t, 64*mib, *made.Status.RestoreSize)
	require.Contains(t, n.lvm("lvs", "--noheadings", "-o", "lv_tags", id), "podlv.snapshot=default/backup")
	require.Equal(t, "8.00", n.lvSize(id))

	// What the snapshot-controller writes then.
	_, err = client.SnapshotV1().VolumeSnapshots("default").Create(ctx, &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "backup", UID: made.Spec.VolumeSnapshotRef.UID},
		Status:     &snapshotv1.VolumeSnapshotStatus{BoundVolumeSnapshotContentName: ptr.To("content"), ReadyToUse: ptr.To(true)},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	restored := pvc("restored", "64Mi", "node1")
	restored.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ptr.To("snapshot.storage.k8s.io"), Kind: "VolumeSnapshot", Name: "backup"}
	_, err = cluster.CoreV1().PersistentVolumeClaims("default").Create(ctx, restored, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := cluster.CoreV1().PersistentVolumes().Get(ctx, "pvc-uid-restored", metav1.GetOptions{})
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	require.Contains(t, n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/pvc-uid-restored"), "podlv.source="+id)

	// The VolumeSnapshot is deleted: the snapshot-controller says so with an annotation,
	// and the API server with a time.
	gone, err := contents.Get(ctx, "content", metav1.GetOptions{})
	require.NoError(t, err)
	gone.Annotations = map[string]string{"snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes"}
	gone.DeletionTimestamp = ptr.To(metav1.NewTime(time.Now()))
	gone.UID = types.UID("content")
	_, err = contents.Update(ctx, gone, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return len(n.volumes()) == 2 }, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, []string{"pvc-uid-restored", "pvc-uid-source"}, n.volumes())
}

// A VolumeSnapshotContent of a snapshot that is there already has no label that says whose
// it is: the agent of the node that has the snapshot takes it. Kubernetes' own suite found
// that nobody did.
func TestContentOfASnapshotThatIsThereFindsItsNode(t *testing.T) {
	there := func(name, handle, of string) *snapshotv1.VolumeSnapshotContent {
		c := content(name, "", "")
		c.Labels, c.UID, c.Spec.Driver = map[string]string{"other": "label"}, types.UID("uid-"+name), of
		c.Spec.Source = snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: ptr.To(handle)}
		return c
	}
	const id = "vg0/snap-01234567-89ab-cdef-0123-456789abcdef"
	//lint:ignore SA1019 client/v8 8.6.0 has no other
	client := snapshotfake.NewSimpleClientset(
		there("elsewhere", "vg0/snap-elsewhere", driver.Name), there("no-snapshot", "vg0/pvc-uid-source", driver.Name), there("of-another-driver", id, "other.example.com"),
	)
	n, _ := nodeWithSnapshots(t, client, false)
	ctx := t.Context()
	n.lvm("lvcreate", "--yes", "--snapshot", "--size", "8m", "--name", "snap-01234567-89ab-cdef-0123-456789abcdef",
		"--addtag", "podlv.dev", "--addtag", "podlv.kind=snapshot", "--addtag", "podlv.source=vg0/pvc-uid-source", "vg0/pvc-uid-source")
	contents := client.SnapshotV1().VolumeSnapshotContents()
	_, err := contents.Create(ctx, there("here", id, driver.Name), metav1.CreateOptions{})
	require.NoError(t, err)
	labels := func(name string) map[string]string {
		c, err := contents.Get(ctx, name, metav1.GetOptions{})
		require.NoError(t, err)
		return c.Labels
	}
	require.Eventually(t, func() bool { return labels("here")[driver.ManagedByLabel] == "node1" }, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, "label", labels("here")["other"])
	for _, name := range []string{"elsewhere", "no-snapshot", "of-another-driver"} {
		require.NotContains(t, labels(name), driver.ManagedByLabel, name)
	}
}

// A restore fails, and its claim is deleted: the finalizer that the provisioner has put on
// the VolumeSnapshot is taken off when that is deleted, too, and not while another claim
// waits for it.
func TestVolumeSnapshotGoesThatCouldNotBeRestored(t *testing.T) {
	const finalizer = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection"
	there := &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "backup", UID: "01234567-89ab-cdef-0123-456789abcdef",
			Finalizers: []string{"other", finalizer}, DeletionTimestamp: ptr.To(metav1.Now()),
		},
	}
	ofAnother := there.DeepCopy()
	ofAnother.Name, ofAnother.UID = "of-another", "another"
	//lint:ignore SA1019 client/v8 8.6.0 has no other
	client := snapshotfake.NewSimpleClientset(there, ofAnother)
	waits := pvc("waits", "64Mi", "node2") // not this node's to make
	waits.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: ptr.To("snapshot.storage.k8s.io"), Kind: "VolumeSnapshot", Name: "backup"}
	_, cluster := nodeWithSnapshots(t, client, true, waits)
	ctx := t.Context()

	c := content("content", "vg0/pvc-uid-source", "node1")
	c.Annotations = map[string]string{"snapshot.storage.kubernetes.io/volumesnapshot-being-deleted": "yes"}
	other := content("other", "vg0/pvc-uid-source", "node1")
	other.Annotations, other.Spec.VolumeSnapshotRef.Name = c.Annotations, "of-another" // whose UID is not the one that is meant
	for _, c := range []*snapshotv1.VolumeSnapshotContent{c, other} {
		_, err := client.SnapshotV1().VolumeSnapshotContents().Create(ctx, c, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	finalizers := func(name string) []string {
		s, err := client.SnapshotV1().VolumeSnapshots("default").Get(ctx, name, metav1.GetOptions{})
		require.NoError(t, err)
		return s.Finalizers
	}
	require.Never(t, func() bool { return len(finalizers("backup")) != 2 }, time.Second, 50*time.Millisecond, "a claim waits for it")
	require.NoError(t, cluster.CoreV1().PersistentVolumeClaims("default").Delete(ctx, "waits", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool { return len(finalizers("backup")) == 1 }, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, []string{"other"}, finalizers("backup"))
	require.Len(t, finalizers("of-another"), 2)
}
