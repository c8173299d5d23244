// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// A claim that was cloned can be deleted, once nothing is cloned from it any more: the
// provisioner's finalizer is taken off, by the agent of its volume's node. Kubernetes'
// own suite found that it never was.
func TestClonedClaimCanBeDeleted(t *testing.T) {
	const protection = "provisioner.storage.kubernetes.io/cloning-protection"
	cloned := func(name, node string) *corev1.PersistentVolumeClaim {
		c := pvc(name, "64Mi", node)
		c.Finalizers = []string{protection, "example.com/other"}
		c.Spec.VolumeName = "pv-" + name
		c.Status.Phase = corev1.ClaimBound
		return c
	}
	volume := func(name, node string) *corev1.PersistentVolume {
		return &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name},
			Spec: corev1.PersistentVolumeSpec{
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver.Name, VolumeHandle: "vg0/" + name}},
				NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: driver.TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
				}}}},
			},
		}
	}
	clone := pvc("clone", "64Mi", "node2") // another node's, so that nothing is made
	clone.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "busy"}
	_, client := provisioningNode(t, cloned("done", "node1"), cloned("busy", "node1"), cloned("there", "node2"), cloned("used", "node1"), clone)
	ctx := t.Context()
	for name, node := range map[string]string{"done": "node1", "busy": "node1", "there": "node2", "used": "node1"} {
		_, err := client.CoreV1().PersistentVolumes().Create(ctx, volume(name, node), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	claims := client.CoreV1().PersistentVolumeClaims("default")
	for _, name := range []string{"busy", "there", "done"} { // that of "used" is not deleted
		c, err := claims.Get(ctx, name, metav1.GetOptions{})
		require.NoError(t, err)
		c.DeletionTimestamp = ptr.To(metav1.Now())
		_, err = claims.Update(ctx, c, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	finalizers := func(name string) []string {
		c, err := claims.Get(ctx, name, metav1.GetOptions{})
		require.NoError(t, err)
		return c.Finalizers
	}
	unprotected := func(name string) func() bool {
		return func() bool { return slices.Equal([]string{"example.com/other"}, finalizers(name)) }
	}
	require.Eventually(t, unprotected("done"), 20*time.Second, 20*time.Millisecond)
	for _, name := range []string{"busy", "there", "used"} {
		require.Contains(t, finalizers(name), protection, name)
	}
	made, err := claims.Get(ctx, "clone", metav1.GetOptions{})
	require.NoError(t, err)
	made.Status.Phase = corev1.ClaimBound
	_, err = claims.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Eventually(t, unprotected("busy"), 20*time.Second, 20*time.Millisecond)
}
