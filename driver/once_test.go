// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	provisioning "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"github.com/podlv/podlv/driver"
)

// maker counts how often it is asked.
type maker struct {
	calls int
	err   error
}

func (m *maker) Provision(_ context.Context, o provisioning.ProvisionOptions) (*corev1.PersistentVolume, provisioning.ProvisioningState, error) {
	m.calls++
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: o.PVName}}, provisioning.ProvisioningFinished, m.err
}

func (*maker) Delete(context.Context, *corev1.PersistentVolume) error { return nil }
func (*maker) ShouldProvision(context.Context, *corev1.PersistentVolumeClaim) bool {
	return true
}
func (*maker) SupportsBlock(context.Context) bool { return true }

// The controller asks again for a volume whose PV its informer does not know yet.
func TestVolumeIsMadeOnce(t *testing.T) {
	claim := pvc("data", "64Mi", "node1")
	options := provisioning.ProvisionOptions{PVName: "pvc-uid-data", PVC: claim}
	for name, c := range map[string]struct {
		fails error     // the first call's
		uid   types.UID // of the claim of the PV that is written then; empty: none is
		calls int
	}{
		"its PV is there":             {nil, claim.UID, 1},
		"its PV could not be written": {nil, "", 2},
		"the PV is another claim's":   {nil, "another", 2},
		"it could not be made":        {errors.New("no"), "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			m, client := &maker{err: c.fails}, fake.NewClientset()
			p := driver.Once(m, client)
			_, _, err := p.Provision(t.Context(), options)
			require.Equal(t, c.fails, err)
			if c.uid != "" {
				_, err := client.CoreV1().PersistentVolumes().Create(t.Context(), &corev1.PersistentVolume{
					ObjectMeta: metav1.ObjectMeta{Name: options.PVName}, Spec: corev1.PersistentVolumeSpec{ClaimRef: &corev1.ObjectReference{UID: c.uid}},
				}, metav1.CreateOptions{})
				require.NoError(t, err)
			}
			_, state, err := p.Provision(t.Context(), options)
			require.Equal(t, c.calls, m.calls)
			require.Equal(t, provisioning.ProvisioningFinished, state)
			var ignored *provisioning.IgnoredError
			require.Equal(t, c.calls == 1, errors.As(err, &ignored))
		})
	}
}
