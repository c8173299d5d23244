// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// expand grows a published volume whose PV is larger than its claim says, which is how
// external-resizer asks for it, and says on the claim that it is done.
func (k *Kubelet) expand(ctx context.Context, pod *corev1.Pod, v *volume) error {
	pv, err := k.Volumes.Get(v.pv.Name)
	if err != nil {
		return err
	}
	claim, err := k.Claims.PersistentVolumeClaims(pod.Namespace).Get(v.claim)
	if err != nil {
		return err
	}
	size, has := pv.Spec.Capacity[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	if has.Cmp(size) >= 0 {
		return nil
	}
	// The lister may not know yet what was written last. kubelet asks, too.
	if claim, err = k.Client.CoreV1().PersistentVolumeClaims(pod.Namespace).Get(ctx, v.claim, metav1.GetOptions{}); err != nil {
		return err
	}
	if claim.Status.Capacity.Storage().Cmp(size) >= 0 {
		return nil
	}
	if err := k.nodeExpand(ctx, pod, v, size.Value()); err != nil {
		k.Events.Eventf(pod, corev1.EventTypeWarning, "VolumeResizeFailed", "NodeExpandVolume failed for volume %q : %v", v.name, err)
		return err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": claim.UID},
		"status": map[string]any{
			"capacity": corev1.ResourceList{corev1.ResourceStorage: size}, "conditions": nil, "allocatedResourceStatuses": nil,
		},
	})
	if err != nil {
		return err
	}
	_, err = k.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	if err != nil {
		return fmt.Errorf("say on claim %s that it has grown: %w", claim.Name, err)
	}
	return nil
}

// expand grows those of the pod's volumes that are to grow. What fails is tried again
// later.
func (w *worker) expand(ctx context.Context, volumes []*volume) {
	for _, v := range volumes {
		if v.pv == nil {
			continue
		}
		v.device.op.Lock()
		err := w.k.expand(ctx, w.latest(), v)
		v.device.op.Unlock()
		if err != nil {
			wait := v.backoff.next()
			w.k.Log.Warn("a volume has not grown; it is tried again", "node", w.k.node, "volume", v.handle, "in", wait, "error", err)
			go func() {
				if w.k.sleep(ctx, w.stop, wait) {
					w.grow()
				}
			}()
			continue
		}
		v.backoff = 0
	}
}

// grow makes the worker look at the sizes of its volumes.
func (w *worker) grow() {
	select {
	case w.grown <- struct{}{}:
	default: // it will look
	}
}

// resized makes the kubelet look whether volumes of its pods are to grow: a PV of the
// node is larger than it was.
func (k *Kubelet) resized(before, after any) {
	b, ok1 := before.(*corev1.PersistentVolume)
	a, ok2 := after.(*corev1.PersistentVolume)
	if !ok1 || !ok2 || a.Spec.Capacity.Storage().Cmp(*b.Spec.Capacity.Storage()) <= 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, w := range k.workers {
		w.grow()
	}
}
