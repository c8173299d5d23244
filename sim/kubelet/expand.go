// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// expandPoll is how often it is looked whether a claim may be expanded now that might not
// be before. kubelet looks every 100 ms.
const expandPoll = time.Second

// toExpand says whether a volume is to grow under a pod that has it: its PV is larger than
// its claim was said to be, which is how external-resizer asks for it. s.mu is held.
func (e *entry) toExpand(w *want) bool {
	return !e.inline && !e.expandNot && !w.volume.readOnly && e.pv.Load() != nil && !e.size.IsZero() && e.pv.Load().Spec.Capacity.Storage().Cmp(e.size) > 0
}

// expandInUse grows a volume that a pod has (operation_generator.go,
// GenerateExpandInUseVolumeFunc).
func (s *volumes) expandInUse(ctx context.Context, e *entry, w *want) error {
	s.mu.Lock()
	size := e.pv.Load().Spec.Capacity.Storage().DeepCopy()
	s.mu.Unlock()
	done, size, err := s.expand(ctx, e, w, size)
	if err != nil {
		s.k.Events.Eventf(w.pod, corev1.EventTypeWarning, "VolumeResizeFailed", "NodeExpandVolume.NodeExpandVolume failed for volume %q : %v", e.spec, err)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if done {
		e.size = size
	} else {
		e.expandNext = s.k.Clock.Now().Add(expandPoll)
	}
	return nil
}

// expandDuringMount grows a volume that has become larger while no pod of the node had it
// (expandVolumeDuringMount).
func (s *volumes) expandDuringMount(ctx context.Context, e *entry, w *want) error {
	if e.inline {
		return nil
	}
	s.mu.Lock()
	size, known := e.pv.Load().Spec.Capacity.Storage().DeepCopy(), e.size.DeepCopy()
	s.mu.Unlock()
	if size.Cmp(known) <= 0 { // the lister knew already; kubelet asks the API server each time
		return nil
	}
	claim, err := s.claimOf(ctx, e)
	if err != nil || claim.Status.Capacity.Storage().Cmp(size) >= 0 {
		return err
	}
	_, _, err = s.expand(ctx, e, w, size)
	return err
}

func (s *volumes) claimOf(ctx context.Context, e *entry) (*corev1.PersistentVolumeClaim, error) {
	ref := e.pv.Load().Spec.ClaimRef
	claim, err := s.k.Client.CoreV1().PersistentVolumeClaims(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("mountVolume.NodeExpandVolume get PVC failed : %w", err)
	}
	return claim, nil
}

// expand lets a volume grow, if its claim says that it is the node's turn, and says on the
// claim how that went. It returns whether no more is to be done, and how large the volume
// is then (node_expander.go, expandOnPlugin; legacyCallNodeExpandOnPlugin for a claim
// that an older external-resizer has grown).
func (s *volumes) expand(ctx context.Context, e *entry, w *want, size resource.Quantity) (bool, resource.Quantity, error) {
	claim, err := s.claimOf(ctx, e)
	if err != nil || w.volume.readOnly {
		return err == nil, size, err
	}
	turn, allocated := claim.Status.AllocatedResourceStatuses[corev1.ResourceStorage], claim.Status.AllocatedResources
	legacy := turn == "" && allocated == nil
	if !legacy {
		size = allocated[corev1.ResourceStorage]
		if turn == "" {
			return claim.Status.Capacity.Storage().Cmp(size) >= 0, size, nil // grown already, or the controller's turn
		}
		if turn != corev1.PersistentVolumeClaimNodeResizePending && turn != corev1.PersistentVolumeClaimNodeResizeInProgress {
			return false, size, nil
		}
		if err := s.sayOf(ctx, claim, resizing(corev1.PersistentVolumeClaimNodeResizeInProgress, claim.Status.Conditions)); err != nil {
			return false, size, err
		}
	}
	err = s.k.nodeExpand(ctx, e, w, size.Value())
	switch {
	case err == nil:
		s.k.Events.Eventf(w.pod, corev1.EventTypeNormal, "FileSystemResizeSuccessful", "MountVolume.NodeExpandVolume succeeded for volume %q %s", e.spec, s.k.node)
		return true, size, s.sayOf(ctx, claim, map[string]any{
			"capacity": corev1.ResourceList{corev1.ResourceStorage: size}, "conditions": nil, "allocatedResourceStatuses": nil,
		})
	case inUse(err):
		s.mu.Lock()
		e.expandNot = true
		s.mu.Unlock()
		s.k.Log.Warn("a volume does not grow while it is used", "node", s.k.node, "volume", e.handle, "error", err)
		return legacy, size, nil
	case legacy || ctx.Err() != nil:
		return false, size, err
	}
	state := corev1.PersistentVolumeClaimNodeResizeInProgress
	if infeasible(err) {
		state = corev1.PersistentVolumeClaimNodeResizeInfeasible
	}
	failed := corev1.PersistentVolumeClaimCondition{
		Type: corev1.PersistentVolumeClaimNodeResizeError, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(s.k.Clock.Now()),
		Message: fmt.Sprintf("failed to expand pvc with %v", err),
	}
	if told := s.sayOf(ctx, claim, resizing(state, append(claim.Status.Conditions, failed))); told != nil {
		s.k.Log.Warn("a claim does not say that it has not grown", "node", s.k.node, "claim", claim.Name, "error", told)
	}
	return false, size, err
}

// resizing is what a claim says while it is being grown.
func resizing(turn corev1.ClaimResourceStatus, conditions []corev1.PersistentVolumeClaimCondition) map[string]any {
	return map[string]any{"allocatedResourceStatuses": map[corev1.ResourceName]any{corev1.ResourceStorage: turn}, "conditions": conditions}
}

// sayOf writes fields of a claim's status.
func (s *volumes) sayOf(ctx context.Context, claim *corev1.PersistentVolumeClaim, fields map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": claim.UID}, "status": fields})
	if err == nil {
		_, err = s.k.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil {
		return fmt.Errorf("say on claim %s how it grows: %w", claim.Name, err)
	}
	return nil
}
