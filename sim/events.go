// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/sim/scenario"
)

// happen makes the scenario's events happen, each at its time.
func (r *run) happen(ctx context.Context) error {
	start := time.Now()
	events := slices.SortedStableFunc(slices.Values(r.Scenario.Events), func(a, b scenario.Event) int { return cmp.Compare(a.At, b.At) })
	for i, e := range events {
		select {
		case <-time.After(time.Until(start.Add(time.Duration(e.At)))):
		case <-ctx.Done():
			return nil
		}
		r.tracker.stir()
		if e.Grow.Workload != "" {
			if err := r.grow(ctx, e.Grow); err != nil && ctx.Err() == nil {
				return err
			}
			continue
		}
		if err := r.takeSpace(ctx, e, i); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// takeSpace makes an LV that is not podlv's. That there is no room for it is no error of
// the run: an administrator would see it, too.
func (r *run) takeSpace(ctx context.Context, e scenario.Event, number int) error {
	lv := e.LVCreate
	r.Progress("event: somebody makes an LV of %d MiB in %s of %s", lv.Size>>20, lv.VolumeGroup, e.Node)
	refused, err := r.cluster.Happen(ctx, e, number)
	if refused != nil && ctx.Err() == nil {
		r.tracker.keep([]string{fmt.Sprintf("event on node %s: %v", e.Node, refused)})
	}
	return err
}

// grow makes the bound claims of a workload larger: what a user writes into the claim,
// and then what external-resizer writes into the volume. For a driver that expands on the
// node, as podlv, that is all it does (external-resizer 2.2.0, pkg/resizer/trivial_resizer.go);
// kubelet does the rest.
func (r *run) grow(ctx context.Context, g scenario.Growth) error {
	core := r.Client.CoreV1()
	size := resource.NewQuantity(int64(g.Size), resource.BinarySI)
	lister := r.Informers.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(r.Namespace)
	request, err := json.Marshal(map[string]any{"spec": map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": size}}}})
	if err != nil {
		return err
	}
	capacity, err := json.Marshal(map[string]any{"spec": map[string]any{"capacity": map[string]any{"storage": size}}})
	if err != nil {
		return err
	}
	grown := 0
	for _, name := range r.tracker.claimsOfWorkload(g.Workload) {
		claim, err := lister.Get(name)
		if err != nil || claim.Status.Phase != corev1.ClaimBound || claim.Status.Capacity.Storage().Cmp(*size) >= 0 {
			continue
		}
		if _, err := core.PersistentVolumeClaims(r.Namespace).Patch(ctx, name, types.MergePatchType, request, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("grow claim %s: %w", name, err)
		}
		r.tracker.growing(1)
		grown++
		if r.Resizes {
			continue
		}
		if _, err := core.PersistentVolumes().Patch(ctx, claim.Spec.VolumeName, types.MergePatchType, capacity, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("grow volume %s: %w", claim.Spec.VolumeName, err)
		}
	}
	r.Progress("event: %d claims of %s are to grow to %d MiB", grown, g.Workload, g.Size>>20)
	return nil
}

// claimsOfWorkload are the claims of a workload's pods, generic ephemeral ones among
// them, sorted.
func (t *tracker) claimsOfWorkload(workload string) (all []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, p := range t.ofClaim {
		if p.workload == workload {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// growing takes up that so many volumes are to grow.
func (t *tracker) growing(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.toGrow += n
	t.progress = time.Now()
}

// stir takes up that something has happened that may concern pods.
func (t *tracker) stir() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress = time.Now()
}
