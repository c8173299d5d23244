// SPDX-License-Identifier: Apache-2.0

// Package apiwatch tells what becomes of pods on a cluster whose kubelets are real and
// cannot be observed: by what the API has of it, and by the agents' metrics.
//
// There are only a Config, with Watch for pods, claims and events, and Metrics, which
// reads those of agents. What they see goes to a kubelet.Observer, as a fake kubelet's
// moments and calls do. It is later than what happens by the way through the API, some
// milliseconds, and calls can be told only as far as their failures become events: one
// that kubelet repeats can be missing, for it thins out what it says again.
package apiwatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/podlv/podlv/sim/kubelet"
)

// Config is what is watched.
type Config struct {
	Client kubernetes.Interface
	// Namespace is that of the pods.
	Namespace string
	// All: the informers are to have what is in all namespaces.
	All      bool
	Observer kubelet.Observer
	// Uncounted: failed calls that events tell of are only said to have been those of
	// their pods, because Metrics counts them.
	Uncounted bool
}

// Watcher watches. It has the informers that it made for it.
type Watcher struct {
	// Informers are those of the cluster's nodes and volumes, and of the namespace's pods,
	// claims and events.
	Informers informers.SharedInformerFactory

	config Config
	mu     sync.Mutex
	pods   map[types.UID]*life
	events map[types.UID]int32 // how often each was told of
	words  map[words]string    // the last of each kind of failure
	codes  map[string]int      // failed CreateVolume
}

// words is a kind of failure.
type words struct{ method, code string }

// life is what was told of a pod.
type life struct{ bound, refused, running, ended bool }

// Watch watches until ctx ends. It returns when it has read the cluster: what is there
// by then is not told, but for pods.
func Watch(ctx context.Context, c Config) (*Watcher, error) {
	w := &Watcher{config: c, pods: map[types.UID]*life{}, events: map[types.UID]int32{}, words: map[words]string{}, codes: map[string]int{}}
	namespace := c.Namespace
	if c.All {
		namespace = metav1.NamespaceAll
	}
	w.Informers = informers.NewSharedInformerFactoryWithOptions(c.Client, 0, informers.WithNamespace(namespace), informers.WithTransform(withoutManagedFields))
	core := w.Informers.Core().V1()
	core.Nodes().Informer()
	core.PersistentVolumes().Informer()
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		core.Pods().Informer(): cache.ResourceEventHandlerFuncs{
			AddFunc: w.pod, UpdateFunc: func(_, o any) { w.pod(o) }, DeleteFunc: w.gone,
		},
		core.PersistentVolumeClaims().Informer(): cache.ResourceEventHandlerFuncs{UpdateFunc: w.claim},
		core.Events().Informer(): cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: w.event, UpdateFunc: func(_, o any) { w.event(o, false) },
		},
	} {
		if _, err := informer.AddEventHandler(cache.FilteringResourceEventHandler{FilterFunc: w.concerns, Handler: handler}); err != nil {
			return nil, err
		}
	}
	w.Informers.Start(ctx.Done())
	for kind, synced := range w.Informers.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return nil, fmt.Errorf("read all %s of the cluster: %w", kind, context.Cause(ctx))
		}
	}
	return w, nil
}

// concerns says whether an object is in the pods' namespace.
func (w *Watcher) concerns(object any) bool {
	if t, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = t.Obj
	}
	m, err := meta.Accessor(object)
	return err == nil && m.GetNamespace() == w.config.Namespace
}

// Stop waits until the informers have ended: end the context of Watch before.
func (w *Watcher) Stop() { w.Informers.Shutdown() }

// withoutManagedFields drops what nobody here reads and what is half of an object, of a
// copy: a fake API server hands out its own.
func withoutManagedFields(object any) (any, error) {
	o, ok := object.(runtime.Object)
	if m, err := meta.Accessor(object); !ok || err != nil || len(m.GetManagedFields()) == 0 {
		return object, nil
	}
	o = o.DeepCopyObject()
	m, err := meta.Accessor(o)
	if err != nil {
		return nil, err
	}
	m.SetManagedFields(nil)
	return o, nil
}

// pod tells of what has happened to a pod since it was seen last, in order.
func (w *Watcher) pod(object any) {
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.pods[pod.UID]
	if l == nil {
		l = &life{}
		w.pods[pod.UID] = l
	}
	tell := func(done *bool, what kubelet.Moment) {
		if !*done {
			*done = true
			w.config.Observer.Pod(pod.Spec.NodeName, pod, what, pod.Status.Reason)
		}
	}
	if pod.Spec.NodeName == "" {
		return
	}
	tell(&l.bound, kubelet.Bound)
	over := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case over && !l.running && !started(pod):
		if pod.DeletionTimestamp == nil {
			tell(&l.refused, kubelet.Refused)
		}
	case over, pod.Status.Phase == corev1.PodRunning:
		tell(&l.running, kubelet.Running)
	}
	if over {
		tell(&l.ended, kubelet.Ended)
	}
}

// started says whether a container of the pod has ever run.
func started(pod *corev1.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil || c.State.Terminated != nil && !c.State.Terminated.StartedAt.IsZero() || c.LastTerminationState.Terminated != nil {
			return true
		}
	}
	return false
}

func (w *Watcher) gone(object any) {
	if t, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = t.Obj
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.pods[pod.UID]
	delete(w.pods, pod.UID)
	if l == nil || !l.bound {
		return // nothing ever knew of it but the API
	}
	if !l.ended {
		w.config.Observer.Pod(pod.Spec.NodeName, pod, kubelet.Ended, "")
	}
	w.config.Observer.Pod(pod.Spec.NodeName, pod, kubelet.Gone, "")
}

// claim tells of a volume that has grown, which kubelet says in the claim.
func (w *Watcher) claim(before, after any) {
	b, ok1 := before.(*corev1.PersistentVolumeClaim)
	a, ok2 := after.(*corev1.PersistentVolumeClaim)
	if !ok1 || !ok2 || b.Status.Capacity.Storage().IsZero() || a.Status.Capacity.Storage().Cmp(*b.Status.Capacity.Storage()) <= 0 {
		return
	}
	w.config.Observer.Call(kubelet.Call{Method: "NodeExpandVolume", Volume: a.Spec.VolumeName, Code: "OK"})
}

// FailedCreates is how many CreateVolume have failed, by code, as far as events tell;
// those left out that only said that it is going on.
func (w *Watcher) FailedCreates() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.codes)
}

// event tells of a call that failed. old: it was there before.
func (w *Watcher) event(object any, old bool) {
	e, ok := object.(*corev1.Event)
	if !ok {
		return
	}
	count := max(e.Count, 1)
	if e.Series != nil {
		count = max(count, e.Series.Count)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	more := int(count - w.events[e.UID])
	w.events[e.UID] = count
	method, code, failed := failure(e)
	if old || !failed || more <= 0 {
		return
	}
	w.words[words{method, code}] = e.Message
	if method == provision {
		w.codes[code] += more
		return
	}
	call := kubelet.Call{Node: e.Source.Host, Pod: e.InvolvedObject.UID, Method: method, Code: code, Err: errors.New(e.Message)}
	if w.config.Uncounted && code != noCall {
		call.Method, more = "", 1
	}
	for range more {
		w.config.Observer.Call(call)
	}
}
