// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func quantity(s string) resource.Quantity { return resource.MustParse(s) }

// grow does to a claim what its user does and then what external-resizer does, up to
// where it is kubelet's turn (external-resizer 2.2.0, pkg/controller/resize_status.go).
func (k *kase) grow(name, size string) {
	claims, full := k.Client().CoreV1().PersistentVolumeClaims("default"), k.name+"-"+name
	k.patch("claim", map[string]any{"spec": map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": size}}}}, func(p []byte) error {
		_, err := claims.Patch(k.ctx, full, types.MergePatchType, p, metav1.PatchOptions{})
		return err
	})
	turn := func(of corev1.ClaimResourceStatus) {
		k.patch("status", map[string]any{"status": map[string]any{
			"allocatedResources": map[string]any{"storage": size}, "allocatedResourceStatuses": map[string]any{"storage": of},
		}}, func(p []byte) error {
			_, err := claims.Patch(k.ctx, full, types.MergePatchType, p, metav1.PatchOptions{}, "status")
			return err
		})
	}
	turn(corev1.PersistentVolumeClaimControllerResizeInProgress)
	claim, err := claims.Get(k.ctx, full, metav1.GetOptions{})
	k.must(err)
	k.patch("volume", map[string]any{"spec": map[string]any{"capacity": map[string]any{"storage": size}}}, func(p []byte) error {
		_, err := k.Client().CoreV1().PersistentVolumes().Patch(k.ctx, claim.Spec.VolumeName, types.MergePatchType, p, metav1.PatchOptions{})
		return err
	})
	turn(corev1.PersistentVolumeClaimNodeResizePending)
}

func (k *kase) patch(what string, fields map[string]any, f func([]byte) error) {
	p, err := json.Marshal(fields)
	if err == nil {
		err = f(p)
	}
	if err != nil {
		k.must(fmt.Errorf("patch %s: %w", what, err))
	}
}

// stir changes a pod, so that kubelet looks at it and its volumes now and not in a minute.
func (k *kase) stir(pod, how string) {
	k.patch("pod", map[string]any{"metadata": map[string]any{"annotations": map[string]any{"conformance": how}}}, func(p []byte) error {
		_, err := k.Client().CoreV1().Pods("default").Patch(k.ctx, k.name+"-"+pod, types.MergePatchType, p, metav1.PatchOptions{})
		return err
	})
}

// grown waits until a claim says that it has so much.
func (k *kase) grown(name, size string) {
	k.until("claim "+name, func() error {
		c, err := k.Client().CoreV1().PersistentVolumeClaims("default").Get(k.ctx, k.name+"-"+name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if has := c.Status.Capacity[corev1.ResourceStorage]; has.Cmp(quantity(size)) < 0 {
			return fmt.Errorf("it has %s, want %s; %v", has.String(), size, c.Status.AllocatedResourceStatuses)
		}
		return nil
	})
}

// turnOf is whose turn it is to make a claim larger.
func (k *kase) turnOf(name string) string {
	c, err := k.Client().CoreV1().PersistentVolumeClaims("default").Get(k.ctx, k.name+"-"+name, metav1.GetOptions{})
	k.must(err)
	return string(c.Status.AllocatedResourceStatuses[corev1.ResourceStorage])
}
