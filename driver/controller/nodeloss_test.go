// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

func node(name string) *corev1.Node { return &corev1.Node{ObjectMeta: madeAs(name)} }

// volumeOn is a volume that the agent of a node has made for claim c.
func volumeOn(node string, change ...func(*corev1.PersistentVolume)) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: madeAs("v"), Spec: corev1.PersistentVolumeSpec{
		PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver.Name, VolumeHandle: "vg0/v"}},
		ClaimRef:                      &corev1.ObjectReference{Namespace: "default", Name: "c", UID: "uid-c"},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete, StorageClassName: "s",
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: driver.TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
		}}}},
	}}
	v.Annotations = map[string]string{annProvisionedBy: driver.Name}
	v.Finalizers = []string{"kubernetes.io/pv-protection", finalizerProvisioner}
	for _, c := range change {
		c(v)
	}
	return v
}

func boundClaim() *corev1.PersistentVolumeClaim {
	c := claimOf("c", ptr.To("s"))
	c.Spec.VolumeName, c.Status.Phase = "v", corev1.ClaimBound
	return c
}

func deleteOnLoss(s *storagev1.StorageClass) {
	s.Annotations = map[string]string{annotationNodeLoss: lossDelete}
}

// pastDelay makes passes until a lost node has been gone for longer than the delay.
func (b *bench) pastDelay() {
	b.Helper()
	b.pass()
	require.Empty(b, b.writes(), "nothing is deleted before the delay is over")
	b.clock.Step(10*time.Minute - time.Second)
	b.pass()
	require.Empty(b, b.writes(), "nothing is deleted before the delay is over")
	b.clock.Step(time.Second)
	b.pass()
}

func TestTheClaimOfALostNodeGoesStepByStep(t *testing.T) {
	b := newBench(t, policy("s=fast"), storageClass("s", deleteOnLoss), node("other"), volumeOn("gone"), boundClaim())
	b.pastDelay()
	require.Equal(t, []string{"delete persistentvolumeclaims/c"}, b.writes())
	require.Len(t, b.events(), 1)
	require.Contains(t, b.events()[0], "PersistentVolumeClaim c PodlvNodeLostDeleted: node gone is gone, and this claim's data with it")

	b.settled(func() bool {
		_, err := b.k.watched.claims.PersistentVolumeClaims("default").Get("c")
		return apierrors.IsNotFound(err)
	})
	b.api.ClearActions()
	b.pass()
	require.Equal(t, []string{"delete persistentvolumes/v"}, b.writes())
}

func TestTheFinalizerOfALostNodesAgentIsTakenOff(t *testing.T) {
	ending := func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &start }
	b := newBench(t, policy("s=fast"), storageClass("s", deleteOnLoss), volumeOn("gone", ending))
	b.pastDelay()
	require.Equal(t, []string{`patch persistentvolumes/v [{"op":"test","path":"/metadata/uid","value":"uid-v"},{"op":"test","path":"/metadata/finalizers/1","value":"external-provisioner.volume.kubernetes.io/finalizer"},{"op":"remove","path":"/metadata/finalizers/1"}]`}, b.writes())
	v, err := b.api.CoreV1().PersistentVolumes().Get(t.Context(), "v", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, []string{"kubernetes.io/pv-protection"}, v.Finalizers)
}

// A claim that was cloned has another one, whatever is to become of claims.
func TestTheClonedClaimOfALostNodeCanBeDeleted(t *testing.T) {
	claim := boundClaim()
	claim.DeletionTimestamp, claim.Finalizers = &start, []string{finalizerClone, "kubernetes.io/pvc-protection"}
	for name, class := range map[string]runtime.Object{"delete": storageClass("s", deleteOnLoss), "retain": storageClass("s")} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, policy("s=fast"), class, volumeOn("gone"), claim.DeepCopy())
			b.pastDelay()
			require.Equal(t, []string{`patch persistentvolumeclaims/c [{"op":"test","path":"/metadata/uid","value":"uid-c"},{"op":"test","path":"/metadata/finalizers/0","value":"provisioner.storage.kubernetes.io/cloning-protection"},{"op":"remove","path":"/metadata/finalizers/0"}]`}, b.writes())
			require.Empty(t, b.events())
		})
	}
}

// What nothing may be deleted of, however long it lasts.
func TestNothingIsDeleted(t *testing.T) {
	ending := boundClaim()
	ending.DeletionTimestamp = &start
	another := boundClaim()
	another.UID = "another"
	for name, objects := range map[string][]runtime.Object{
		"the node is there":              {storageClass("s", deleteOnLoss), node("gone"), volumeOn("gone"), boundClaim()},
		"the node is not ready":          {storageClass("s", deleteOnLoss), &corev1.Node{ObjectMeta: madeAs("gone"), Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}}}, volumeOn("gone"), boundClaim()},
		"the policy is retain":           {storageClass("s", func(s *storagev1.StorageClass) { s.Annotations = map[string]string{annotationNodeLoss: lossRetain} }), volumeOn("gone"), boundClaim()},
		"there is no policy":             {storageClass("s"), volumeOn("gone"), boundClaim()},
		"the StorageClass is gone":       {volumeOn("gone"), boundClaim()},
		"the StorageClass is another's":  {storageClass("s", deleteOnLoss, func(s *storagev1.StorageClass) { s.Provisioner = "example.org" }), volumeOn("gone"), boundClaim()},
		"the claim is being deleted":     {storageClass("s", deleteOnLoss), volumeOn("gone"), ending},
		"the volume is another driver's": {storageClass("s", deleteOnLoss), volumeOn("gone", func(v *corev1.PersistentVolume) { v.Spec.CSI.Driver = "example.org" }), boundClaim()},
		"the volume was made by hand":    {storageClass("s", deleteOnLoss), volumeOn("gone", func(v *corev1.PersistentVolume) { v.Annotations = nil }), boundClaim()},
		"the volume is no node's":        {storageClass("s", deleteOnLoss), volumeOn("gone", func(v *corev1.PersistentVolume) { v.Spec.NodeAffinity = nil }), boundClaim()},
		"the volume is to stay, claim gone": {storageClass("s", deleteOnLoss), volumeOn("gone", func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		})},
		"the volume is without a finalizer": {storageClass("s", deleteOnLoss), volumeOn("gone", func(v *corev1.PersistentVolume) { v.DeletionTimestamp, v.Finalizers = &start, []string{"x"} })},
		"the volume can be on several nodes": {storageClass("s", deleteOnLoss), volumeOn("gone", func(v *corev1.PersistentVolume) {
			e := v.Spec.NodeAffinity.Required.NodeSelectorTerms
			e[0].MatchExpressions[0].Values = []string{"gone", "other"}
		}), boundClaim()},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, append(objects, policy("s=fast"))...)
			for range 5 {
				b.pass()
				b.clock.Step(time.Hour)
			}
			require.Empty(t, b.writes())
		})
	}
	t.Run("of another claim of that name", func(t *testing.T) {
		b := newBench(t, policy("s=fast"), storageClass("s", deleteOnLoss), volumeOn("gone"), another)
		b.pastDelay()
		require.Equal(t, []string{"delete persistentvolumes/v"}, b.writes(), "the volume's own claim is gone")
	})
}

func TestARetainedClaimIsSaidToBe(t *testing.T) {
	b := newBench(t, policy("s=fast"), storageClass("s"), volumeOn("gone"), boundClaim())
	b.pastDelay()
	b.pass()
	require.Len(t, b.events(), 1)
	require.Contains(t, b.events()[0], `PersistentVolumeClaim c PodlvNodeLost: node gone is gone, and this claim's data is on it: a pod that uses it waits until there is a node of that name. The claim is kept (StorageClass "s" does not have podlv.dev/on-node-loss: delete); delete it to give the data up`)
}

// A node that has come back is asked for at the API server: the informer may be late.
func TestANodeThatIsBackLosesNothing(t *testing.T) {
	b := newBench(t, policy("s=fast"), storageClass("s", deleteOnLoss), volumeOn("gone"), boundClaim(), capacityOf("cap", "gone", "s"))
	b.api.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) { return true, node("gone"), nil })
	b.pastDelay()
	require.Empty(t, b.writes())

	// The delay begins anew when it goes again.
	_, err := b.api.CoreV1().Nodes().Create(t.Context(), node("gone"), metav1.CreateOptions{})
	require.NoError(t, err)
	there := func() bool { _, err := b.k.watched.nodes.Get("gone"); return err == nil }
	b.settled(there)
	b.pass()
	require.Empty(t, b.k.lost)
	b.api.ReactionChain = b.api.ReactionChain[1:]
	require.NoError(t, b.api.CoreV1().Nodes().Delete(t.Context(), "gone", metav1.DeleteOptions{}))
	b.settled(func() bool { return !there() })
	require.NoError(t, b.api.StorageV1().CSIStorageCapacities("podlv-system").Delete(t.Context(), "cap", metav1.DeleteOptions{}))
	b.settled(func() bool {
		_, err := b.k.watched.capacities.CSIStorageCapacities("podlv-system").Get("cap")
		return err != nil
	})
	b.api.ClearActions()
	b.pastDelay()
	require.Equal(t, []string{"delete persistentvolumeclaims/c"}, b.writes())
}

// When it cannot be asked whether a node is there, it may be.
func TestNothingIsDeletedWhenTheAPIServerDoesNotSay(t *testing.T) {
	b := newBench(t, policy("s=fast"), storageClass("s", deleteOnLoss), volumeOn("gone"), boundClaim(), capacityOf("cap", "gone", "s"))
	b.api.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no quorum")
	})
	for range 3 {
		require.ErrorContains(t, b.k.Pass(t.Context()), "look for node gone: no quorum")
		b.clock.Step(time.Hour)
	}
	require.Empty(t, b.writes())
}

func capacityOf(name, node, class string) *storagev1.CSIStorageCapacity {
	m := madeAs(name)
	m.Namespace, m.Labels = "podlv-system", map[string]string{labelDriver: driver.Name, "csi.storage.k8s.io/managed-by": "podlv-" + node}
	return &storagev1.CSIStorageCapacity{ObjectMeta: m, StorageClassName: class, NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{driver.TopologyKey: node}}}
}

func TestLeftOverCapacityGoes(t *testing.T) {
	foreign := capacityOf("foreign", "gone", "s")
	foreign.Labels = nil
	group := capacityOf("group", "gone", "s")
	group.NodeTopology.MatchLabels["group"] = "x"
	b := newBench(
		t, policy("s=fast"), storageClass("s"), storageClass("t", func(s *storagev1.StorageClass) { s.Provisioner = "example.org" }), node("here"),
		capacityOf("good", "here", "s"), capacityOf("of-no-node", "gone", "s"), capacityOf("of-no-class", "here", "none"), capacityOf("of-another-class", "here", "t"), foreign, group,
	)
	b.pass()
	require.ElementsMatch(t, []string{
		"delete csistoragecapacities/of-no-node", "delete csistoragecapacities/of-no-class", "delete csistoragecapacities/of-another-class",
	}, b.writes())
}
