// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/driver"
)

// state is what is known of a mount.
type state int

const (
	absent    state = iota // it is not there
	uncertain              // it may be: a call failed that may have made it, or was to take it away
	present
)

// entry is one volume on this node: which pods want it, and where it is. kubelet has the
// two in its desired and its actual state of the world.
type entry struct {
	key    string
	spec   string // the PV's name, or that of an inline volume in its pod
	handle string
	inline bool
	block  bool
	pv     atomic.Pointer[corev1.PersistentVolume] // nil while only the disk tells of it

	wanted map[types.UID]*want
	mounts map[types.UID]*mount
	staged state
	found  bool // on the disk, when this kubelet was started

	size       resource.Quantity // as the claim says that it has been made
	expandNot  bool              // the driver does not expand it while it is used
	expandNext time.Time         // not before

	operations []*operation
	wakes      time.Time // when it is looked at again
}

// want is that a pod is to have the volume.
type want struct {
	pod     *corev1.Pod
	volume  *volume
	ready   chan struct{} // closed: it has it
	leaving bool          // the pod has ended; it still wants what it never got
}

// mount is the volume in a pod.
type mount struct {
	state state // uncertain or present
	found bool  // on the disk, when this kubelet was started
}

// volumes are all volumes on the node. Whenever something has changed, it looks what is to
// do and starts that, as kubelet's reconciler does every 100 ms.
type volumes struct {
	k   *Kubelet
	ctx context.Context // ends with the kubelet

	mu      sync.Mutex
	all     map[string]*entry
	settled bool                        // all pods are known: what none of them wants may go
	mounts  map[types.UID]int           // how many volumes a pod has, or may have
	leaving map[types.UID]chan struct{} // closed when the pod has no volume any more

	running sync.WaitGroup
}

func newVolumes(ctx context.Context, k *Kubelet) *volumes {
	return &volumes{k: k, ctx: ctx, all: map[string]*entry{}, mounts: map[types.UID]int{}, leaving: map[types.UID]chan struct{}{}}
}

// key is a volume's name on the node, as GetUniqueVolumeNameFromSpec makes it.
func key(pod types.UID, spec, handle string, inline bool) string {
	if inline {
		return escapedName + "/" + string(pod) + "-" + spec
	}
	return escapedName + "/" + driver.Name + "^" + handle
}

// entry is the volume, which is made when it is not there. s.mu is held.
func (s *volumes) entry(pod types.UID, spec, handle string, inline, block bool) *entry {
	k := key(pod, spec, handle, inline)
	e := s.all[k]
	if e == nil {
		e = &entry{
			key: k, spec: spec, handle: handle, inline: inline, block: block,
			wanted: map[types.UID]*want{}, mounts: map[types.UID]*mount{},
		}
		s.all[k] = e
	}
	return e
}

// want makes a pod have a volume, whose claim is resolved. It returns what is closed when
// the pod has it.
func (s *volumes) want(pod *corev1.Pod, v *volume) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &want{pod: pod, volume: v, ready: make(chan struct{})}
	var e *entry
	if v.inline != nil {
		e = s.entry(pod.UID, v.name, inlineHandle(pod.UID, v.name), true, false)
	} else {
		e = s.entry(pod.UID, v.pv.Name, v.pv.Spec.CSI.VolumeHandle, false, v.block)
		e.pv.Store(v.pv)
		if claim, err := s.k.Claims.PersistentVolumeClaims(pod.Namespace).Get(v.claim); err == nil && e.size.IsZero() {
			e.size = *claim.Status.Capacity.Storage()
		}
	}
	e.wanted[pod.UID] = w
	s.reconcile(e)
	return w.ready
}

// leave ends that a pod wants its volumes: it has no containers any more. What is
// returned is closed when it has none of them. As in kubelet, a volume that the pod never
// got is tried further, until the pod is gone from the API.
func (s *volumes) leave(pod types.UID) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := s.leaving[pod]
	if done == nil {
		done = make(chan struct{})
		s.leaving[pod] = done
	}
	for _, e := range s.entries() {
		w := e.wanted[pod]
		if w == nil {
			continue
		}
		if w.leaving = true; e.mounts[pod] != nil {
			delete(e.wanted, pod)
		}
		s.reconcile(e)
	}
	s.told()
	return done
}

// forget takes up that a pod is gone from the API.
func (s *volumes) forget(pod types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries() {
		if e.wanted[pod] != nil {
			delete(e.wanted, pod)
			s.reconcile(e)
		}
	}
	delete(s.leaving, pod)
}

// settle takes up that all pods are known that there are: what none of them wants is
// taken away from now on.
func (s *volumes) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = true
	for _, e := range s.entries() {
		s.reconcile(e)
	}
	s.told()
}

// resized takes up that a PV is larger than it was.
func (s *volumes) resized(pv *corev1.PersistentVolume) {
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != driver.Name {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.all[key("", "", pv.Spec.CSI.VolumeHandle, false)]; e != nil {
		e.pv.Store(pv)
		s.reconcile(e)
	}
}

// entries are the volumes, in a fixed order. s.mu is held.
func (s *volumes) entries() []*entry {
	all := make([]*entry, 0, len(s.all))
	for _, k := range slices.Sorted(maps.Keys(s.all)) {
		all = append(all, s.all[k])
	}
	return all
}

// told closes what waits for pods to have no volumes. s.mu is held.
func (s *volumes) told() {
	for pod, done := range s.leaving {
		if s.mounts[pod] > 0 {
			continue
		}
		select {
		case <-done:
		default:
			close(done)
		}
	}
}

// add keeps that a volume may be in a pod; remove, that it is not. s.mu is held.
func (s *volumes) add(e *entry, pod types.UID) *mount {
	m := e.mounts[pod]
	if m == nil {
		m = &mount{}
		e.mounts[pod] = m
		s.mounts[pod]++
	}
	return m
}

func (s *volumes) remove(e *entry, pod types.UID) {
	if e.mounts[pod] == nil {
		return
	}
	delete(e.mounts, pod)
	if s.mounts[pod]--; s.mounts[pod] == 0 {
		delete(s.mounts, pod)
	}
}

// reconcile starts what is to be done with a volume: first it is taken from pods, then
// given to others, at last it is unstaged (kubernetes 1.36,
// pkg/kubelet/volumemanager/reconciler). s.mu is held.
func (s *volumes) reconcile(e *entry) {
	if s.all[e.key] != e {
		return // it is gone, and another has its name
	}
	if s.settled {
		for _, pod := range slices.Sorted(maps.Keys(e.mounts)) {
			if e.wanted[pod] == nil && !e.pending(pod) {
				s.begin(e, unmounting, pod, func(ctx context.Context) error { return s.unmount(ctx, e, pod) })
			}
		}
	}
	for _, pod := range slices.Sorted(maps.Keys(e.wanted)) {
		if e.pending("") {
			break
		}
		w := e.wanted[pod]
		switch m := e.mounts[pod]; {
		case m == nil || m.state != present:
			of := types.UID("")
			if e.inline {
				of = pod
			}
			s.begin(e, mounting, of, func(ctx context.Context) error { return s.mount(ctx, e, w) })
		case e.toExpand(w):
			if left := e.expandNext.Sub(s.k.Clock.Now()); left > 0 {
				s.wake(e, left)
				continue
			}
			s.begin(e, expanding, "", func(ctx context.Context) error { return s.expandInUse(ctx, e, w) })
		}
	}
	if !s.settled || len(e.mounts)+len(e.wanted) > 0 || e.pending("") {
		return
	}
	if e.staged != absent {
		s.begin(e, unstaging, "", func(ctx context.Context) error { return s.unstage(ctx, e) })
		return
	}
	delete(s.all, e.key)
}

// mounted keeps that a volume is in a pod, or may be, or is not.
func (s *volumes) mounted(e *entry, pod types.UID, is state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if is == absent {
		s.remove(e, pod)
		return
	}
	m := s.add(e, pod)
	m.state = is
	if is != present {
		return
	}
	m.found = false
	if w := e.wanted[pod]; w != nil {
		select {
		case <-w.ready:
		default:
			close(w.ready)
		}
	}
}

// failed takes up that a volume was not published for a pod: what may be there will be
// unpublished, what is not there for certain will not (markVolumeErrorState).
func (s *volumes) failed(e *entry, pod types.UID, err error) {
	s.mu.Lock()
	m := e.mounts[pod]
	s.mu.Unlock()
	switch {
	case isFinal(err) && m != nil && m.state == uncertain && !m.found:
		s.mounted(e, pod, absent)
	case isUncertain(err) && m == nil:
		s.mounted(e, pod, uncertain)
	}
}

// wasFound says whether a pod's mount was found on the disk and not made since.
func (s *volumes) wasFound(e *entry, pod types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := e.mounts[pod]
	return m != nil && m.state == uncertain && m.found
}

// stagedIs keeps whether the volume is staged.
func (s *volumes) stagedIs(e *entry, is state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.staged = is
}

// stagingFailed takes up that a volume was not staged (markDeviceErrorState).
func (s *volumes) stagingFailed(e *entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case isFinal(err) && e.staged == uncertain && !e.found:
		e.staged = absent
	case isUncertain(err) && e.staged == absent:
		e.staged = uncertain
	}
}

// isStaged says whether the volume is staged for certain.
func (s *volumes) isStaged(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.staged == present
}

// publication is a volume that is published for a pod.
type publication struct {
	handle, path string
	pod          types.UID
}

// published are all publications, in the order of their paths.
func (s *volumes) published() (all []publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.all {
		for pod, m := range e.mounts {
			if m.state == present {
				all = append(all, publication{e.handle, e.statsPath(pod), pod})
			}
		}
	}
	slices.SortFunc(all, func(a, b publication) int { return strings.Compare(a.path, b.path) })
	return all
}
