// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

// plan takes up that the run will make so many pods of a workload.
func (t *tracker) plan(workload string, pods int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.planned[workload] = pods
}

// expect takes up that a workload is to have so many pods, which somebody else makes.
func (t *tracker) expect(workload string, pods int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expected[workload] = pods
	t.progress = time.Now()
}

// begun takes up that the pods of a workload are being made, and that what they need is
// there.
func (t *tracker) begun(workload string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.started[workload] = true
}

// record is what is known of a pod, with mu held; nil for pods that are not the
// run's, or are lost. A pod that a controller has made is new.
func (t *tracker) record(pod *corev1.Pod) *podRecord {
	if p := t.byUID[pod.UID]; p != nil {
		return p
	}
	workload := pod.Labels[workloadLabel]
	if workload == "" {
		return nil
	}
	p := t.pods[pod.Name]
	if p == nil || p.uid != "" { // the name of one that is gone was given again
		p = &podRecord{workload: workload, made: time.Now()}
		t.pods[pod.Name] = p
		t.claimed(p, pod)
	}
	p.uid = pod.UID
	t.byUID[pod.UID] = p
	return p
}

// claimed takes up whose the claims of a pod are, with mu held.
func (t *tracker) claimed(p *podRecord, pod *corev1.Pod) {
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.Ephemeral != nil:
			t.ofClaim[pod.Name+"-"+v.Name] = p
		case v.PersistentVolumeClaim != nil:
			t.ofClaim[v.PersistentVolumeClaim.ClaimName] = p
		}
	}
}

// podSeen takes up a pod as the API server has it.
func (t *tracker) podSeen(object any) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.record(pod); p != nil && pod.DeletionTimestamp != nil {
		t.lose(pod.Name, p)
	}
}

// podDeleted takes up that a pod is gone.
func (t *tracker) podDeleted(object any) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = tombstone.Obj
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.byUID[pod.UID]; p != nil {
		t.lose(pod.Name, p)
	}
}

// lose takes up that a pod is being deleted by somebody else, with mu held: by an
// eviction, by a controller that is to have fewer. Pods that have ended by themselves
// are the run's to remove.
func (t *tracker) lose(name string, p *podRecord) {
	if t.closing || p.lives && !p.ended.IsZero() || t.pods[name] != p {
		return
	}
	delete(t.pods, name)
	t.lost[p.workload]++
	t.progress = time.Now()
}

// close takes up that the run itself removes everything from now on.
func (t *tracker) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closing = true
}

// outage takes up that nothing runs on a node any more.
func (t *tracker) outage(node string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress = time.Now()
	for _, p := range t.pods {
		if p.node == node && p.runs() && p.ended.IsZero() {
			p.down = t.progress
		}
	}
}

// rejected takes up that the API server does not take a pod.
func (t *tracker) rejected(name string, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.progress = time.Now()
	if p := t.pods[name]; p != nil {
		p.rejected = why.Error()
	}
}

// counts is how far the pods are, and since when nothing has happened to any.
func (t *tracker) counts() (c Counts, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.Growing = max(t.toGrow-t.grown, 0)
	for _, p := range t.pods {
		c.Made++
		if !p.bound.IsZero() {
			c.Bound++
		}
		if p.runs() {
			c.Running++
		}
	}
	for workload, n := range t.planned {
		c.Pods += n
		c.Done += t.done(workload)
	}
	for workload, n := range t.expected {
		c.Pods += n
		c.Done += min(t.done(workload), n)
	}
	return c, t.progress
}

// done is how many pods of a workload are where they are to be, with mu held. Of those
// that nobody makes anew, the lost ones are: nothing more becomes of them.
func (t *tracker) done(workload string) (n int) {
	if _, planned := t.planned[workload]; planned {
		n = t.lost[workload]
	}
	for _, p := range t.pods {
		if p.workload == workload && p.done() {
			n++
		}
	}
	return n
}

// living says whether pods run that will end by themselves.
func (t *tracker) living() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.pods {
		if p.lives && p.runs() && !p.removed {
			return true
		}
	}
	return false
}

// workloadDone says whether all pods of a workload are where they are to be.
func (t *tracker) workloadDone(workload string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.started[workload] && t.done(workload) >= t.planned[workload]+t.expected[workload]
}
