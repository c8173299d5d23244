// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// claimPoll is how often it is looked whether a claim is bound: kubelet's populator
	// of the desired state.
	claimPoll = 100 * time.Millisecond
	// unmountPoll is how often it is looked whether anything is mounted in the folder of
	// a pod that has ended (SyncTerminatedPod).
	unmountPoll = 100 * time.Millisecond
	// housekeeping is how long after its start kubelet looks which pods and containers
	// there are that it does not know of.
	housekeeping = 2 * time.Second
)

// worker lives one pod's life, in one goroutine.
type worker struct {
	k       *Kubelet
	uid     types.UID
	refusal [2]string // reason and message, if it was not admitted
	lingers bool      // it has its volumes until kubelet has looked what there is

	// The goroutine's own, once that runs.
	fate       fate
	started    metav1.Time              // of its containers
	before     []corev1.ContainerStatus // of those that a reboot has ended
	waiting    []*volume                // whose claims are not known
	ready      []<-chan struct{}
	complained bool

	mu       sync.Mutex
	pod      *corev1.Pod
	ending   sync.Once
	vanished sync.Once
	stop     chan struct{} // closed: the pod is to end
	gone     chan struct{} // closed: the API has it no more
	deleted  chan struct{} // closed: it is being deleted
	deleting sync.Once
}

func newWorker(k *Kubelet, pod *corev1.Pod) *worker {
	w := &worker{k: k, uid: pod.UID, stop: make(chan struct{}), gone: make(chan struct{}), deleted: make(chan struct{})}
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

// hasRun says whether the pod's containers have run on this node, as the API has it.
func hasRun(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning }

// take takes up a pod that the kubelet did not know: it is admitted or not, and if it is,
// its volumes are begun with. While kubelet is starting, it begins with the volumes of all
// pods: it does not know yet which of them are to end, or have no containers
// (desired_state_of_world_populator.go, findAndAddNewPods).
func (w *worker) take(pod *corev1.Pod, starting bool) {
	if hasEnded(pod) {
		return
	}
	reason, message, ok := w.k.admit(pod)
	if ok {
		w.learn(pod)
	} else {
		w.refusal = [2]string{reason, message}
	}
	if !hasRun(pod) && w.fate != goOn {
		w.tell(Bound, "") // before anything is made for it
	}
	if starting || ok && w.fate != never {
		w.waiting = volumesOf(pod)
		w.populate(pod)
	}
	w.lingers = starting && (!ok || w.fate == lost || pod.DeletionTimestamp != nil)
}

// run is the pod's life. When ctx ends, it leaves everything as it is.
func (w *worker) run(ctx context.Context) {
	pod := w.latest()
	switch {
	case hasEnded(pod): // before this kubelet knew it
	case w.refusal[0] != "":
		w.k.Events.Event(pod, corev1.EventTypeWarning, w.refusal[0], w.refusal[1])
		w.setRefused(ctx, w.refusal[0], w.refusal[1])
		w.tell(Refused, strings.Join(w.refusal[:], ": "))
	default:
		w.live(ctx)
		if ctx.Err() == nil {
			w.k.release(w.uid)
		}
	}
	if ctx.Err() != nil {
		return
	}
	w.k.endContainers(w.uid)
	if w.lingers {
		w.k.sleep(ctx, w.gone, housekeeping)
	}
	if !w.unmounted(ctx) {
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

// unmounted waits until the pod has no volumes any more; false: ctx has ended before.
func (w *worker) unmounted(ctx context.Context) bool {
	select {
	case <-w.k.volumes.leave(w.uid):
	case <-ctx.Done():
		return false
	}
	for w.k.mountsBelow(podDir(w.uid)) {
		if !w.k.sleep(ctx, nil, unmountPoll) {
			return false
		}
	}
	return true
}

func (k *Kubelet) mountsBelow(dir string) bool {
	for _, m := range k.Host.Mounts() {
		if strings.HasPrefix(m.Target, dir+"/") {
			return true
		}
	}
	return false
}

// fate is what becomes of the containers of a pod that a kubelet takes up.
type fate int

const (
	fresh     fate = iota // they are to be started
	goOn                  // they run: a kubelet before this one has started them
	restarted             // they are to be started again: a reboot has ended them
	lost                  // a reboot has ended them, and that was all
	never                 // they never ran, and are not to
)

// learn finds out what becomes of the pod's containers, once.
func (w *worker) learn(pod *corev1.Pod) {
	since, run := w.k.containersRun(w.uid)
	switch {
	case run:
		w.fate, w.started = goOn, metav1.NewTime(since)
	case pod.DeletionTimestamp != nil:
		w.fate = never
	case hasRun(pod) && pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
		w.fate = lost
	case hasRun(pod):
		w.fate = restarted
	}
	if w.fate == lost || w.fate == restarted {
		w.started, w.before = startOf(pod), pod.Status.ContainerStatuses
	}
}

// populate makes the pod have those of its volumes whose claims are known by now.
func (w *worker) populate(pod *corev1.Pod) {
	left := w.waiting[:0]
	for _, v := range w.waiting {
		err := w.k.resolve(pod, v)
		if err == nil {
			w.ready = append(w.ready, w.k.volumes.want(pod, v))
			continue
		}
		if left = append(left, v); !errors.Is(err, errWait) && !w.complained {
			w.complained = true
			w.k.Events.Eventf(pod, corev1.EventTypeWarning, "FailedMount", "volume %q : %v", v.name, err)
		}
	}
	w.waiting = left
}

// live is the part of it from its admission to its last phase.
func (w *worker) live(ctx context.Context) {
	phase := corev1.PodSucceeded
	switch w.fate {
	case never, lost:
		phase = corev1.PodFailed
	case goOn:
		end := w.k.Clock.NewTimer(w.remaining())
		defer end.Stop()
		if w.mounted(ctx, end.C()) {
			w.tell(Back, "")
			w.wait(ctx)
		}
	default:
		if w.fate == restarted {
			w.setWaiting(ctx)
		}
		if !w.mounted(ctx, nil) {
			phase = corev1.PodFailed
			break
		}
		w.start(ctx)
		w.wait(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	if pod := w.latest(); !hasEnded(pod) {
		w.setEnded(ctx, phase)
	}
	w.tell(Ended, "")
}

// mounted waits until the pod has all its volumes. false: it is to end before, or its
// containers, which ran already, have ended.
func (w *worker) mounted(ctx context.Context, end <-chan time.Time) bool {
	for len(w.waiting) > 0 {
		if !w.k.sleep(ctx, w.stop, claimPoll) {
			return false
		}
		w.populate(w.latest())
	}
	for _, r := range w.ready {
		select {
		case <-r:
		case <-w.stop:
			return false
		case <-end:
			return false
		case <-ctx.Done():
			return false
		}
	}
	select {
	case <-w.stop:
		return false
	default:
		return ctx.Err() == nil
	}
}

// start starts the containers.
func (w *worker) start(ctx context.Context) {
	w.started = metav1.NewTime(w.k.Clock.Now())
	if err := w.k.startContainers(w.uid, w.started.Time); err != nil {
		w.k.Log.Warn("it is not kept that containers run", "node", w.k.node, "pod", w.latest().Name, "error", err)
	}
	w.setRunning(ctx)
	if w.fate == restarted {
		w.tell(Back, "")
	} else {
		w.tell(Running, "")
	}
}

// wait waits until the containers have ended, or are to end.
func (w *worker) wait(ctx context.Context) {
	end := w.k.Clock.NewTimer(w.remaining())
	defer end.Stop()
	select {
	case <-end.C():
	case <-w.stop:
	case <-ctx.Done():
	}
}

// forEver is how long containers run that do not end by themselves.
const forEver = 100 * 365 * 24 * time.Hour

// remaining is how long the pod's containers still run. 0 or less: they have ended.
func (w *worker) remaining() time.Duration {
	pod := w.latest()
	d, err := time.ParseDuration(pod.Annotations[LifetimeAnnotation])
	if err != nil || d <= 0 || pod.Spec.RestartPolicy == corev1.RestartPolicyAlways {
		return forEver
	}
	return d - w.k.Clock.Since(w.started.Time)
}

func (w *worker) tell(what Moment, why string) { w.k.Observer.Pod(w.k.node, w.latest(), what, why) }
