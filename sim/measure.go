// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/podlv/podlv/sim/report"
)

// measure puts the figures of this moment into the report.
func (r *run) measure() {
	m := &r.report.Metrics
	m.Nodes = r.Nodes
	r.judge.Look()
	m.PeakUtilisation = r.judge.Peak()
	r.report.Failures = r.tracker.failures()
	codes := r.cluster.FailedCreates()
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		r.report.Failures = append(r.report.Failures, report.Reason{Text: "CreateVolume: " + code, Count: codes[code]})
		m.ProvisionFailures += codes[code]
	}
	pods, _ := r.Informers.Core().V1().Pods().Lister().Pods(r.Namespace).List(labels.Everything()) // never fails
	r.report.Waiting = r.tracker.waiting(pods)
	r.tracker.figures(m)
	m.CapacityStaleness = report.Distribution(r.judge.Stale())
	m.StrandedBytes, m.PodsPartial = r.waitingRoom()
	if p := r.tracker.firstPacking(); p != nil {
		m.Pack(*p)
	} else {
		m.Pack(r.packed(nil))
	}
	r.report.Workloads = nil
	for _, w := range r.Scenario.Workloads {
		r.report.Workloads = append(r.report.Workloads, r.tracker.workload(w.Name))
	}
}

// figures are those of all pods.
func (t *tracker) figures(m *report.Metrics) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var bound, running []time.Duration
	var first, last time.Time
	var binds []time.Time
	clean := 0
	for _, p := range t.pods {
		if first.IsZero() || p.made.Before(first) {
			first = p.made
		}
		if !p.bound.IsZero() {
			bound = append(bound, p.bound.Sub(p.made))
			binds = append(binds, p.bound)
		}
		switch {
		case p.rejected != "":
			m.PodsRejected++
		case !p.running.IsZero():
			m.PodsRunning++
			running = append(running, p.running.Sub(p.made))
			if p.running.After(last) {
				last = p.running
			}
			if !p.down.IsZero() {
				m.PodsDown++
			}
			if !p.failed {
				clean++
			}
			if p.lives && !p.ended.IsZero() {
				m.PodsSucceeded++
			}
		case !p.refused.IsZero():
			m.PodsRefused++
		default:
			m.PodsWaiting++
			if p.bound.IsZero() {
				m.PodsUnbound++
			} else {
				m.PodsStuck++
			}
		}
	}
	m.BindsPerSecond, m.PeakBindsPerSecond = rates(first, binds)
	for _, n := range t.lost {
		m.PodsLost += n
	}
	m.Pods = 0
	for workload := range t.workloads() {
		pods, missing := t.wanted(workload)
		m.Pods, m.PodsWaiting, m.PodsUnbound = m.Pods+pods, m.PodsWaiting+missing, m.PodsUnbound+missing
	}
	if m.PodsRunning > 0 {
		m.FirstTryRate = float64(clean) / float64(m.PodsRunning)
		m.PodsPerSecond = float64(m.PodsRunning) / max(last.Sub(first).Seconds(), 0.001)
	}
	m.ToBound, m.ToRunning, m.ToRunningAgain = report.Distribution(bound), report.Distribution(running), report.Distribution(t.again)
	m.WrongNodeBinds, m.Reschedules = len(t.wrong), t.given
	m.StageFailures, m.PublishFailures, m.ExpandFailures = t.calls["NodeStageVolume"], t.calls["NodePublishVolume"], t.calls["NodeExpandVolume"]
	m.UnpublishFailures = t.calls["NodeUnpublishVolume"] + t.calls["NodeUnstageVolume"]
	m.FirstRefusalUtilisation, m.VolumesGrown = t.refusal, t.grown
}

// workloads are the names of all, with mu held.
func (t *tracker) workloads() map[string]bool {
	all := map[string]bool{}
	for name := range t.planned {
		all[name] = true
	}
	for name := range t.expected {
		all[name] = true
	}
	return all
}

// wanted is how many pods a workload is to have, and how many of them are not even made:
// the run was ended before, or its controller could not. With mu held.
func (t *tracker) wanted(workload string) (pods, missing int) {
	have := 0
	for _, p := range t.pods {
		if p.workload == workload && p.refused.IsZero() {
			have++
		}
	}
	if n, planned := t.planned[workload]; planned {
		for _, p := range t.pods {
			if p.workload == workload && !p.refused.IsZero() {
				have++
			}
		}
		return n, max(n-have-t.lost[workload], 0)
	}
	n := t.expected[workload]
	return n, max(n-have, 0)
}

// workload is the figures of one workload's pods.
func (t *tracker) workload(name string) report.Workload {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := report.Workload{Name: name}
	var running []time.Duration
	var first, last time.Time
	w.Pods, w.Waiting = t.wanted(name)
	for _, p := range t.pods {
		if p.workload != name {
			continue
		}
		if first.IsZero() || p.made.Before(first) {
			first = p.made
		}
		switch {
		case !p.running.IsZero():
			w.Running++
			running = append(running, p.running.Sub(p.made))
			if p.running.After(last) {
				last = p.running
			}
		case !p.refused.IsZero(), p.rejected != "":
			w.Refused++
		default:
			w.Waiting++
		}
	}
	w.ToRunning = report.Distribution(running)
	if w.Running > 0 {
		w.Seconds = report.Round(last.Sub(first))
	}
	return w
}

// quoted is a name in a message, which would make each pod's another.
var quoted = regexp.MustCompile(`"[^"]*"`)

// waiting is why pods wait, as the scheduler says it, or what they wait for.
func (t *tracker) waiting(pods []*corev1.Pod) []report.Reason {
	t.mu.Lock()
	defer t.mu.Unlock()
	reasons := map[string]*report.Reason{}
	for _, pod := range pods {
		p := t.pods[pod.Name]
		if p == nil || !p.running.IsZero() || pod.Status.Phase == corev1.PodRunning || pod.Status.Phase == corev1.PodSucceeded {
			continue
		}
		why := quoted.ReplaceAllString(unschedulable(pod), `"…"`)
		switch {
		case pod.Status.Phase == corev1.PodFailed:
			why = "refused by kubelet: " + pod.Status.Reason
		case pod.Spec.NodeName != "":
			why = "bound to node " + pod.Spec.NodeName + ", and its volumes are not mounted"
		case why == "":
			why = "the scheduler has not looked at it, or is binding it"
		}
		if reasons[why] == nil {
			reasons[why] = &report.Reason{Text: why}
		}
		reasons[why].Count++
	}
	return sorted(reasons)
}

// removed takes up that a pod that had ended was deleted.
func (t *tracker) removed(pod string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.pods[pod]; p != nil {
		p.removed = true
	}
}

func (t *tracker) claimsOf(pod string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.pods[pod]; p != nil {
		return slices.Clone(p.claims)
	}
	return nil
}

// rest waits until what is published is what the disks have, and keeps what is not.
func (r *run) rest(ctx context.Context) {
	for end := time.Now().Add(restTime); ; {
		wrong := r.published(ctx)
		if ctx.Err() != nil {
			return // nothing is at rest
		}
		if len(wrong) == 0 || time.Now().After(end) {
			r.report.Metrics.CapacityErrors += len(wrong)
			r.tracker.keep(wrong)
			return
		}
		select {
		case <-time.After(settlePoll):
		case <-ctx.Done():
		}
	}
}

// published is what of all nodes' capacity and resources is not what the disks have.
func (r *run) published(ctx context.Context) (wrong []string) {
	list, err := r.Client.StorageV1().CSIStorageCapacities(r.AgentNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return []string{fmt.Sprintf("the capacity objects cannot be read: %v", err)}
	}
	var capacities []*storagev1.CSIStorageCapacity
	for i := range list.Items {
		capacities = append(capacities, &list.Items[i])
	}
	nodes, _ := r.Informers.Core().V1().Nodes().Lister().List(labels.Everything()) // never fails
	for _, n := range nodes {
		if r.Off != nil && r.Off(n.Name) {
			continue // nobody can say anything there
		}
		wrong = append(wrong, r.judge.Published(n, capacities)...)
	}
	return wrong
}

func (t *tracker) keep(problems []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrongCapacity = append(t.wrongCapacity, problems...)
}

// teardown removes all pods and claims and waits until the disks are as empty as they
// were.
func (r *run) teardown(ctx context.Context) error {
	r.Progress("removing all pods and claims")
	r.tracker.close()
	if r.MendAll != nil {
		if err := r.MendAll(ctx); err != nil {
			return err
		}
	}
	limit := teardownTime + time.Duration(r.report.Metrics.Pods)*teardownPod
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.removeCreated(limited); err != nil {
		return err
	}
	core := r.Client.CoreV1()
	for what, remove := range map[string]func(context.Context, metav1.DeleteOptions, metav1.ListOptions) error{
		"pods": core.Pods(r.Namespace).DeleteCollection, "claims": core.PersistentVolumeClaims(r.Namespace).DeleteCollection,
	} {
		if err := removeAll(limited, remove); err != nil {
			return fmt.Errorf("remove the %s: %w", what, err)
		}
	}
	listers := r.Informers.Core().V1()
	for {
		pods, _ := listers.Pods().Lister().Pods(r.Namespace).List(labels.Everything()) // from memory: they never fail
		claims, _ := listers.PersistentVolumeClaims().Lister().PersistentVolumeClaims(r.Namespace).List(labels.Everything())
		volumes := r.volumes()
		left := len(pods) + len(claims) + len(volumes)
		var orphans []string
		if left == 0 || limited.Err() != nil { // it reads all disks
			orphans = r.judge.Orphans()
		}
		if left == 0 && len(orphans) == 0 || limited.Err() != nil {
			r.report.Metrics.Orphans = len(orphans)
			if left > 0 {
				r.tracker.keep([]string{fmt.Sprintf("after %s there are %d pods, %d claims and %d volumes that were to be removed", limit, len(pods), len(claims), len(volumes))})
			}
			for _, o := range orphans {
				r.tracker.keep([]string{"left on the disks: " + o})
			}
			break
		}
		select {
		case <-time.After(settlePoll):
		case <-limited.Done():
		case <-r.cluster.Failed():
			return fmt.Errorf("a part of the cluster failed: %w", r.cluster.Err())
		}
	}
	r.rest(ctx)
	unpublish := r.report.Metrics.UnpublishFailures
	t := r.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	r.report.Metrics.UnpublishFailures = max(unpublish, t.calls["NodeUnpublishVolume"]+t.calls["NodeUnstageVolume"])
	return nil
}

// removeAll calls remove until it has removed all. The API server ends a call after a
// minute, when it has removed thousands; it says so in words, or by ending the stream if
// it had begun to answer.
func removeAll(ctx context.Context, remove func(context.Context, metav1.DeleteOptions, metav1.ListOptions) error) error {
	for {
		err := remove(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
		var said apierrors.APIStatus
		refused := errors.As(err, &said) && !apierrors.IsTimeout(err)
		if err == nil || refused || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(settlePoll): // it may be that nothing is there to answer
		}
	}
}

// volumes are those of the run's claims: a cluster that was there before has others.
func (r *run) volumes() (all []*corev1.PersistentVolume) {
	list, _ := r.Informers.Core().V1().PersistentVolumes().Lister().List(labels.Everything()) // from memory
	for _, v := range list {
		if v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Namespace == r.Namespace {
			all = append(all, v)
		}
	}
	return all
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
