// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// publishedCapacity is the node's objects: StorageClass → bytes.
func publishedCapacity(t testing.TB, client *fake.Clientset) map[string]int64 {
	t.Helper()
	list, err := client.StorageV1().CSIStorageCapacities("podlv-system").List(context.Background(), metav1.ListOptions{})
	require.NoError(t, err)
	have := map[string]int64{}
	for i := range list.Items {
		o := &list.Items[i]
		require.NotContains(t, have, o.StorageClassName, "two objects")
		require.Equal(t, map[string]string{driver.TopologyKey: "node1"}, o.NodeTopology.MatchLabels)
		require.Zero(t, o.Capacity.Cmp(*o.MaximumVolumeSize), "the scheduler looks at the one and scores by the other")
		require.Len(t, o.OwnerReferences, 1)
		require.Equal(t, "Node", o.OwnerReferences[0].Kind)
		require.Equal(t, "uid-of-node1", string(o.OwnerReferences[0].UID))
		have[o.StorageClassName] = o.Capacity.Value()
	}
	return have
}

// capacityBecomes waits until the objects are so, with the node's clock going on.
func (n *fakeNode) capacityBecomes(client *fake.Clientset, want map[string]int64) {
	n.t.Helper()
	var have map[string]int64
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if have = publishedCapacity(n.t, client); fmt.Sprint(have) == fmt.Sprint(want) {
			return
		}
		n.clock.Step(100 * time.Millisecond)
	}
	require.Equal(n.t, want, have)
}

func writesOfCapacity(client *fake.Clientset) (writes int) {
	for _, a := range client.Actions() {
		if a.GetResource().Resource == "csistoragecapacities" && a.GetVerb() != "list" {
			writes++
		}
	}
	return writes
}

func storageClass(name, class string) *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: driver.Name, Parameters: map[string]string{"podlv.dev/class": class},
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer), ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete),
	}
}

// Whoever changes the VG, its objects follow; and nothing is written without need.
func TestCapacityFollowsTheVolumeGroup(t *testing.T) {
	n, client := provisioningNode(t)
	ctx := context.Background()
	const all = 10*gib - 4*mib // an extent is LVM's
	n.capacityBecomes(client, map[string]int64{"fast": all})
	require.Equal(t, 1, writesOfCapacity(client))

	n.lvm("lvcreate", "--yes", "--name", "admin", "--size", "1g", "vg0")
	n.capacityBecomes(client, map[string]int64{"fast": all - gib})
	n.lvm("lvextend", "--size", "2g", "vg0/admin")
	n.capacityBecomes(client, map[string]int64{"fast": all - 2*gib})
	require.NoError(t, n.publish(newVolume("a", "1Gi")))
	n.capacityBecomes(client, map[string]int64{"fast": all - 3*gib})
	require.NoError(t, n.unpublish(newVolume("a", "1Gi")))
	n.capacityBecomes(client, map[string]int64{"fast": all - 2*gib})
	require.NoError(t, n.create(newClaim("c", 512*mib)))
	n.capacityBecomes(client, map[string]int64{"fast": all - 2*gib - 512*mib})
	writes := writesOfCapacity(client)
	require.Equal(t, 6, writes, "one for each change")

	// A commit that changes no size, and time, write nothing and ask lvm nothing.
	n.lvm("lvchange", "--addtag", "t", "vg0/admin")
	for range 20 {
		n.clock.Step(500 * time.Millisecond)
		time.Sleep(2 * time.Millisecond)
	}
	require.Equal(t, writes, writesOfCapacity(client))

	// A StorageClass comes and goes; one of another driver, or of a class that this
	// node has not, is nobody's here.
	for _, s := range []*storagev1.StorageClass{storageClass("second", "ssd"), storageClass("unknown", "hdd"), {ObjectMeta: metav1.ObjectMeta{Name: "foreign"}, Provisioner: "else"}} {
		_, err := client.StorageV1().StorageClasses().Create(ctx, s, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	n.capacityBecomes(client, map[string]int64{"fast": all - 2*gib - 512*mib, "second": all - 2*gib - 512*mib})
	require.NoError(t, client.StorageV1().StorageClasses().Delete(ctx, "fast", metav1.DeleteOptions{}))
	n.capacityBecomes(client, map[string]int64{"second": all - 2*gib - 512*mib})

	// The disk goes: nothing can be made any more.
	require.NoError(t, n.host.TakeDisk("/dev/fake0"))
	n.capacityBecomes(client, map[string]int64{"second": 0})
	require.NoError(t, n.host.ReturnDisk("/dev/fake0"))
	n.capacityBecomes(client, map[string]int64{"second": all - 2*gib - 512*mib})

	// Somebody removes an object, or changes it: it comes back.
	o, err := client.StorageV1().CSIStorageCapacities("podlv-system").List(ctx, metav1.ListOptions{})
	require.NoError(t, err)
	require.NoError(t, client.StorageV1().CSIStorageCapacities("podlv-system").Delete(ctx, o.Items[0].Name, metav1.DeleteOptions{}))
	n.clock.Step(11 * time.Minute)
	n.capacityBecomes(client, map[string]int64{"second": all - 2*gib - 512*mib})
}

// What an agent before this one left is taken over, not made twice; what another
// Node of the name left is removed.
func TestCapacityObjectsAreTakenOver(t *testing.T) {
	n, client := provisioningNode(t)
	const all = 10*gib - 4*mib
	n.capacityBecomes(client, map[string]int64{"fast": all})
	list := func() []storagev1.CSIStorageCapacity {
		l, err := client.StorageV1().CSIStorageCapacities("podlv-system").List(context.Background(), metav1.ListOptions{})
		require.NoError(t, err)
		return l.Items
	}
	first := list()[0]
	require.NoError(t, n.agent.Publish(context.Background()))
	require.NoError(t, n.agent.Publish(context.Background()))
	require.Equal(t, []storagev1.CSIStorageCapacity{first}, list())
	require.Equal(t, 1, writesOfCapacity(client))

	stale := first.DeepCopy()
	stale.OwnerReferences[0].UID = "uid-of-a-node-before"
	_, err := client.StorageV1().CSIStorageCapacities("podlv-system").Update(context.Background(), stale, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.NoError(t, n.agent.Publish(context.Background()))
	require.Equal(t, "uid-of-node1", string(list()[0].OwnerReferences[0].UID))
}
