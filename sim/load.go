// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/sim/scenario"
)

// makers make pods of one workload at once. The API server, on the same processors, is
// not faster with more.
const makers = 8

// settlePoll is how often it is looked whether the pods have come to rest.
const settlePoll = 50 * time.Millisecond

// load makes the pods of all workloads, removes those that end, and returns when all
// have come to rest, or nothing happens any more, or ctx ends, which is no error.
func (r *run) load(ctx context.Context) error {
	total := 0
	for i, w := range r.Scenario.Workloads {
		pods := w.Pods
		if w.Controlled() {
			_, pods = objectsOf(r.Scenario, i)
			r.tracker.expect(w.Name, pods)
		} else {
			r.tracker.plan(w.Name, pods)
		}
		total += pods
	}
	r.Progress("making %d pods", total)
	r.tracker.ended = make(chan string, total)
	deadline, cancel := context.WithTimeout(ctx, time.Duration(r.Scenario.Until.Timeout))
	defer cancel()
	work, workCtx := errgroup.WithContext(deadline)
	removing, stopRemoving := context.WithCancel(workCtx)
	work.Go(func() error { return r.removeEnded(removing) })
	making, stopMaking := context.WithCancel(workCtx)
	defer stopMaking()
	r.tracker.stir()                                 // from now on it counts when nothing happens
	r.making.Store(int32(len(r.Scenario.Workloads))) //nolint:gosec // far fewer
	work.Go(func() error {
		makingPods, ctx := errgroup.WithContext(making)
		for i := range r.Scenario.Workloads {
			makingPods.Go(func() error {
				defer r.making.Add(-1)
				return r.make(ctx, i)
			})
		}
		err := makingPods.Wait()
		if making.Err() != nil && workCtx.Err() == nil {
			return nil // it is over, and what some wait for will not be
		}
		return err
	})
	happened := make(chan struct{})
	work.Go(func() error {
		defer close(happened)
		return r.happen(workCtx)
	})
	work.Go(func() error {
		defer stopMaking()
		defer stopRemoving()
		return r.settle(workCtx, happened)
	})
	err := work.Wait()
	switch {
	case deadline.Err() == nil:
		return err
	case ctx.Err() == nil:
		c, _ := r.tracker.counts()
		r.Progress("the time is up (%s); %d of %d pods are where they are to be", time.Duration(r.Scenario.Until.Timeout), c.Done, c.Pods)
	}
	return nil
}

// make makes the pods of one workload, at its rate, or what makes them.
func (r *run) make(ctx context.Context, i int) error {
	w := r.Scenario.Workloads[i]
	if err := r.after(ctx, w.After); err != nil {
		return err
	}
	if w.Controlled() {
		objects, _ := objectsOf(r.Scenario, i)
		for _, o := range objects {
			if spec := scenario.PodSpec(o); spec != nil && r.Dress != nil {
				r.Dress(spec, time.Duration(w.Lifetime))
			}
			if err := r.create(ctx, o); err != nil {
				return err
			}
		}
		r.tracker.begun(w.Name)
		return nil
	}
	r.tracker.begun(w.Name)
	start := time.Now()
	making, ctx := errgroup.WithContext(ctx)
	making.SetLimit(makers)
	for n, p := range podsOf(r.Scenario, i) {
		if w.Arrival > 0 {
			due := start.Add(time.Duration(float64(n) / float64(w.Arrival) * float64(time.Second)))
			select {
			case <-time.After(time.Until(due)):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		making.Go(func() error { return r.makeOne(ctx, w, p) })
	}
	return making.Wait()
}

// after returns when the pods of a workload are where they are to be.
func (r *run) after(ctx context.Context, workload string) error {
	if workload == "" {
		return nil
	}
	r.blocked.Add(1)
	r.making.Add(-1)
	defer func() { r.making.Add(1); r.blocked.Add(-1) }()
	for !r.tracker.workloadDone(workload) {
		select {
		case <-time.After(settlePoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (r *run) makeOne(ctx context.Context, w scenario.Workload, p simulatedPod) error {
	var claims []string
	for _, c := range p.claims {
		claims = append(claims, c.Name)
		if _, err := r.Client.CoreV1().PersistentVolumeClaims(r.Namespace).Create(ctx, c, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make claim %s: %w", c.Name, err)
		}
	}
	if r.Dress != nil {
		r.Dress(&p.pod.Spec, time.Duration(w.Lifetime))
	}
	r.tracker.making(w.Name, p.pod, claims, w.Lifetime > 0)
	_, err := r.Client.CoreV1().Pods(r.Namespace).Create(ctx, p.pod, metav1.CreateOptions{})
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) { // by a quota or a policy, as a user would be told
		r.tracker.rejected(p.pod.Name, err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("make pod %s: %w", p.pod.Name, err)
	}
	return nil
}

// settle returns when every pod has come to what is to become of it, or nothing has
// happened for long enough, and in neither case before all pods were made, but for those
// that come after others, and all events have happened.
func (r *run) settle(ctx context.Context, happened <-chan struct{}) error {
	over := func() bool {
		select {
		case <-happened:
			return r.making.Load() == 0 && (r.blocked.Load() == 0 || !r.tracker.living())
		default:
			return false
		}
	}
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	quiet := max(time.Duration(r.Scenario.Until.Quiet), r.Quiet)
	var told time.Time
	for {
		c, since := r.tracker.counts()
		if r.Counts != nil && time.Since(told) >= countsPeriod {
			told = time.Now()
			r.Counts(c)
		}
		switch {
		case !over():
		case c.Done == c.Pods && c.Growing == 0:
			return nil
		case time.Since(since) > quiet:
			r.Progress("nothing has happened for %s; %d of %d pods are where they are to be", quiet, c.Done, c.Pods)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// removeEnded removes the pods that have ended by themselves, and their claims, as the
// controllers do that make such pods.
func (r *run) removeEnded(ctx context.Context) error {
	for {
		select {
		case name := <-r.tracker.ended:
			if err := r.removePod(ctx, name); err != nil && ctx.Err() == nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *run) removePod(ctx context.Context, name string) error {
	if err := r.Client.CoreV1().Pods(r.Namespace).Delete(ctx, name, metav1.DeleteOptions{}); ignoreNotFound(err) != nil {
		return fmt.Errorf("remove pod %s: %w", name, err)
	}
	for _, c := range r.tracker.claimsOf(name) {
		if err := r.Client.CoreV1().PersistentVolumeClaims(r.Namespace).Delete(ctx, c, metav1.DeleteOptions{}); ignoreNotFound(err) != nil {
			return fmt.Errorf("remove claim %s: %w", c, err)
		}
	}
	r.tracker.removed(name)
	return nil
}
