// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/sim/scenario"
)

// evictPeriod is how often a pod is asked to go that a PodDisruptionBudget keeps, as
// kubectl drain does.
const evictPeriod = 5 * time.Second

// occasion is one thing that happens at a time: an event has several if it is repeated.
type occasion struct {
	*scenario.Event
	at     time.Duration
	number int // of the occasion
}

// occasions are those of a scenario, by time.
func occasions(s *scenario.Scenario) (all []occasion) {
	for i := range s.Events {
		e := &s.Events[i]
		for n := range max(e.Times, 1) {
			all = append(all, occasion{e, time.Duration(e.At) + time.Duration(n)*time.Duration(e.Every), len(all)})
		}
	}
	slices.SortStableFunc(all, func(a, b occasion) int { return cmp.Compare(a.at, b.at) })
	return all
}

// happen makes the scenario's events happen, each at its time, and returns when they
// have happened, what they end again included.
func (r *run) happen(ctx context.Context) error {
	start := time.Now()
	random := rand.New(rand.NewPCG(uint64(r.Scenario.Seed), uint64(len(r.Scenario.Workloads)))) //nolint:gosec // it is to be repeatable
	happening, ctx := errgroup.WithContext(ctx)
	for _, o := range occasions(r.Scenario) {
		select {
		case <-time.After(time.Until(start.Add(o.at))):
		case <-ctx.Done():
			return happening.Wait()
		}
		r.tracker.stir()
		if o.Grow != nil || o.Scale != nil {
			happening.Go(func() error { return r.toWorkload(ctx, o) })
			continue
		}
		nodes := r.Scenario.Matching(o.Node)
		if o.Random {
			nodes = []string{nodes[random.IntN(len(nodes))]}
		}
		r.event("%s on %s", o.What(), strings.Join(nodes, ", "))
		for _, name := range nodes {
			happening.Go(func() error {
				err := r.toNode(ctx, o, r.nodeName(name))
				if err != nil && ctx.Err() == nil {
					return fmt.Errorf("event %s on node %s: %w", o.What(), name, err)
				}
				return nil
			})
		}
	}
	return happening.Wait()
}

// toWorkload makes happen what is of a workload.
func (r *run) toWorkload(ctx context.Context, o occasion) (err error) {
	if o.Grow != nil {
		err = r.grow(ctx, *o.Grow)
	} else {
		r.event("%s is to have %d pods", o.Scale.Workload, o.Scale.Pods)
		err = r.scale(ctx, o.Scale.Workload, o.Scale.Pods)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// toNode makes happen what is of a node, and waits until it is over, if it ends.
func (r *run) toNode(ctx context.Context, o occasion, node string) error {
	switch {
	case o.PowerOff != nil, o.Reboot != nil:
		r.tracker.outage(node)
	case o.Cordon != nil:
		return r.cordon(ctx, node, true)
	case o.Uncordon != nil:
		return r.cordon(ctx, node, false)
	case o.Drain != nil:
		return r.drain(ctx, node)
	}
	mend, err := r.cluster.Happen(ctx, o.Event, node, o.number)
	var refused *RefusedError
	if errors.As(err, &refused) { // an administrator would see it, too
		if ctx.Err() == nil {
			r.Progress("event on node %s: %v", node, err)
		}
		return nil
	}
	lasts, ends := lasting(o.Event)
	if err != nil || mend == nil || !ends {
		return err
	}
	return r.later(ctx, lasts, mend)
}

// nodeName is what the cluster calls a node of the scenario.
func (r *run) nodeName(name string) string { return cmp.Or(r.Names[name], name) }

// lasting is how long what happens to a machine lasts, if it ends.
func lasting(e *scenario.Event) (d time.Duration, ends bool) {
	switch {
	case e.Reboot != nil:
		return down(e.Reboot), true
	case e.RestartKubelet != nil:
		return down(e.RestartKubelet), true
	case e.KillAgent != nil:
		return down(e.KillAgent), true
	case e.DiskFailure != nil:
		d = time.Duration(e.DiskFailure.For)
	case e.SlowLVM != nil:
		d = time.Duration(e.SlowLVM.For)
	case e.HangLVM != nil:
		d = time.Duration(e.HangLVM.For)
	case e.WatchDelay != nil:
		d = time.Duration(e.WatchDelay.For)
	}
	return d, d > 0
}

// defaultDown is how long something is not there when the scenario does not say.
const defaultDown = time.Second

func down(o *scenario.Outage) time.Duration { return cmp.Or(time.Duration(o.Down), defaultDown) }

// later does f after a time, or when ctx ends: nothing stays broken that was to be mended.
func (r *run) later(ctx context.Context, d time.Duration, f func() error) error {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	r.tracker.stir()
	return f()
}

// cordon says whether new pods may come to a node.
func (r *run) cordon(ctx context.Context, node string, on bool) error {
	_, err := r.Client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on), metav1.PatchOptions{})
	return err
}

// drain is what kubectl drain does: no new pods, and those that are there are evicted,
// but for those of DaemonSets.
func (r *run) drain(ctx context.Context, node string) error {
	if err := r.cordon(ctx, node, true); err != nil {
		return err
	}
	pods, _ := r.Informers.Core().V1().Pods().Lister().Pods(r.Namespace).List(labels.Everything()) // from memory
	evicting, ctx := errgroup.WithContext(ctx)
	evicting.SetLimit(makers)
	for _, p := range pods {
		if owner := metav1.GetControllerOf(p); p.Spec.NodeName != node || owner != nil && owner.Kind == "DaemonSet" {
			continue
		}
		evicting.Go(func() error { return r.evict(ctx, p) })
	}
	return evicting.Wait()
}

// evict asks a pod to go until it may.
func (r *run) evict(ctx context.Context, p *corev1.Pod) error {
	for {
		err := r.Client.PolicyV1().Evictions(p.Namespace).Evict(ctx, &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace}, DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(p.UID))},
		})
		switch {
		case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err): // it is gone, or another has its name
			return nil
		case !apierrors.IsTooManyRequests(err):
			return fmt.Errorf("evict pod %s: %w", p.Name, err)
		}
		if err := r.later(ctx, evictPeriod, ctx.Err); err != nil {
			return err
		}
	}
}

// grow makes the bound claims of a workload larger: what a user writes into the claim,
// then what external-resizer does (resize), where none runs; kubelet does the rest.
func (r *run) grow(ctx context.Context, g scenario.Growth) error {
	size := resource.NewQuantity(int64(g.Size), resource.BinarySI)
	lister := r.Informers.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(r.Namespace)
	grown := 0
	for _, name := range r.tracker.claimsOfWorkload(g.Workload) {
		claim, err := lister.Get(name)
		if err != nil || claim.Status.Phase != corev1.ClaimBound || claim.Status.Capacity.Storage().Cmp(*size) >= 0 {
			continue
		}
		if err := r.patchClaim(ctx, name, map[string]any{"spec": map[string]any{"resources": map[string]any{"requests": map[string]any{"storage": size}}}}); err != nil {
			return err
		}
		r.tracker.growing(1)
		grown++
		if r.Resizes {
			continue
		}
		if err := r.resize(ctx, claim, size); err != nil {
			return err
		}
	}
	r.event("%d claims of %s are to grow to %d MiB", grown, g.Workload, g.Size>>20)
	return nil
}

// resize does what external-resizer does up to where it is kubelet's turn
// (external-resizer 2.2.0, pkg/controller/resize_status.go). It calls no driver that
// expands on the node alone, as podlv (pkg/resizer/trivial_resizer.go).
func (r *run) resize(ctx context.Context, claim *corev1.PersistentVolumeClaim, size *resource.Quantity) error {
	turn := func(of corev1.ClaimResourceStatus) error {
		return r.patchClaim(ctx, claim.Name, map[string]any{"status": map[string]any{
			"allocatedResources": map[string]any{"storage": size}, "allocatedResourceStatuses": map[string]any{"storage": of},
		}}, "status")
	}
	if err := turn(corev1.PersistentVolumeClaimControllerResizeInProgress); err != nil {
		return err
	}
	capacity, err := json.Marshal(map[string]any{"spec": map[string]any{"capacity": map[string]any{"storage": size}}})
	if err != nil {
		return err
	}
	if _, err := r.Client.CoreV1().PersistentVolumes().Patch(ctx, claim.Spec.VolumeName, types.MergePatchType, capacity, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("grow volume %s: %w", claim.Spec.VolumeName, err)
	}
	return turn(corev1.PersistentVolumeClaimNodeResizePending)
}

func (r *run) patchClaim(ctx context.Context, name string, fields map[string]any, subresources ...string) error {
	patch, err := json.Marshal(fields)
	if err == nil {
		_, err = r.Client.CoreV1().PersistentVolumeClaims(r.Namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}, subresources...)
	}
	if err != nil {
		return fmt.Errorf("grow claim %s: %w", name, err)
	}
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
