// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/podlv/podlv/driver"
)

// What is printed is a volume and a claim that belong to each other, and to one node.
func TestAdoptedVolumeAndItsClaim(t *testing.T) {
	f := adoptFlags{node: "n1", storageClass: "fast", adoption: driver.Adoption{Claim: "shop/orders"}}
	for fs, mode := range map[string]corev1.PersistentVolumeMode{"xfs": corev1.PersistentVolumeFilesystem, "": corev1.PersistentVolumeBlock} {
		var out bytes.Buffer
		require.NoError(t, f.print(&out, driver.Adopted{Handle: "vg0/old", Class: "ssd", Size: 5 << 30, Filesystem: fs, Context: map[string]string{"a": "b"}}))
		documents := strings.Split(strings.TrimPrefix(out.String(), "---\n"), "---\n")
		require.Len(t, documents, 2)
		var v corev1.PersistentVolume
		var c corev1.PersistentVolumeClaim
		require.NoError(t, yaml.UnmarshalStrict([]byte(documents[0]), &v))
		require.NoError(t, yaml.UnmarshalStrict([]byte(documents[1]), &c))
		require.Equal(t, "shop.orders", v.Name)
		require.Equal(t, "vg0/old", v.Spec.CSI.VolumeHandle)
		require.Equal(t, fs, v.Spec.CSI.FSType)
		require.Equal(t, "5Gi", v.Spec.Capacity.Storage().String())
		require.Equal(t, corev1.PersistentVolumeReclaimRetain, v.Spec.PersistentVolumeReclaimPolicy)
		require.Equal(t, []string{"n1"}, v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values)
		require.Equal(t, []string{"shop", "orders"}, []string{v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name})
		require.Equal(t, []string{"shop", "orders", "shop.orders", "fast"}, []string{c.Namespace, c.Name, c.Spec.VolumeName, *c.Spec.StorageClassName})
		require.Equal(t, mode, *v.Spec.VolumeMode)
		require.Equal(t, mode, *c.Spec.VolumeMode)
	}
}
