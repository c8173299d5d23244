// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// worker lives one pod's life, in one goroutine and those of its volumes.
type worker struct {
	k       *Kubelet
	uid     types.UID
	started metav1.Time // of its containers; the goroutine's own

	mu       sync.Mutex
	pod      *corev1.Pod
	ending   sync.Once
	vanished sync.Once
	stop     chan struct{} // closed: the pod is to end
	gone     chan struct{} // closed: the API has it no more
	deleted  chan struct{} // closed: it is being deleted
	deleting sync.Once
	grown    chan struct{} // a volume of the pod may have grown
}

func newWorker(k *Kubelet, pod *corev1.Pod) *worker {
	w := &worker{
		k: k, uid: pod.UID, stop: make(chan struct{}), gone: make(chan struct{}), deleted: make(chan struct{}), grown: make(chan struct{}, 1),
	}
	w.update(pod)
	return w
}

func (w *worker) latest() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

// update takes up the pod as it is now.
func (w *worker) update(pod *corev1.Pod) {
	w.mu.Lock()
	w.pod = pod
	w.mu.Unlock()
	if pod.DeletionTimestamp != nil {
		w.deleting.Do(func() { close(w.deleted) })
	}
	if pod.DeletionTimestamp != nil || hasEnded(pod) {
		w.ending.Do(func() { close(w.stop) })
	}
}

// vanish takes up that the pod is gone from the API.
func (w *worker) vanish() {
	w.vanished.Do(func() { close(w.gone) })
	w.ending.Do(func() { close(w.stop) })
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// run is the pod's life. When ctx ends, it leaves everything as it is.
func (w *worker) run(ctx context.Context) {
	w.tell(Bound, "")
	pod := w.latest()
	var volumes []*volume
	switch {
	case hasEnded(pod): // before this kubelet knew it
	case pod.DeletionTimestamp != nil:
		w.setEnded(ctx, corev1.PodFailed)
		w.tell(Ended, "deleted before it was started")
	default:
		reason, message, ok := w.k.admit(pod)
		if !ok {
			w.k.Events.Event(pod, corev1.EventTypeWarning, reason, message)
			w.setRefused(ctx, reason, message)
			w.tell(Refused, reason+": "+message)
			break
		}
		volumes = volumesOf(pod)
		w.live(ctx, volumes)
		w.k.release(w.uid)
	}
	w.unmount(ctx, volumes)
	if ctx.Err() != nil {
		return
	}
	w.tell(Gone, "")
	select {
	case <-w.gone:
		return
	case <-w.deleted:
		w.remove(ctx)
	case <-ctx.Done():
		return
	}
	select { // what is still said of the pod is this worker's to hear, not a new one's
	case <-w.gone:
	case <-ctx.Done():
	}
}

// live is the part of it from its admission to its last phase.
func (w *worker) live(ctx context.Context, volumes []*volume) {
	phase := corev1.PodFailed
	if w.mount(ctx, volumes) {
		w.setRunning(ctx)
		w.tell(Running, "")
		w.wait(ctx, volumes)
		phase = corev1.PodSucceeded
	}
	if ctx.Err() != nil {
		return
	}
	if pod := w.latest(); !hasEnded(pod) {
		w.setEnded(ctx, phase)
	}
	w.tell(Ended, "")
}

// wait waits until the containers have ended, or are to end, and lets volumes grow
// meanwhile.
func (w *worker) wait(ctx context.Context, volumes []*volume) {
	var end <-chan time.Time
	if d := lifetime(w.latest()); d > 0 {
		timer := w.k.Clock.NewTimer(d)
		defer timer.Stop()
		end = timer.C()
	}
	for {
		select {
		case <-end:
			return
		case <-w.stop:
			return
		case <-ctx.Done():
			return
		case <-w.grown:
			w.expand(ctx, volumes)
		}
	}
}

// lifetime is how long the pod's containers run; 0: until they are told to end.
func lifetime(pod *corev1.Pod) time.Duration {
	if pod.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		return 0
	}
	d, err := time.ParseDuration(pod.Annotations[LifetimeAnnotation])
	if err != nil {
		return 0
	}
	return d
}

func (w *worker) tell(what Moment, why string) { w.k.Observer.Pod(w.k.node, w.latest(), what, why) }
