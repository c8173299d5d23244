// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// operation is one that runs on a volume, or has failed: of one pod, or, with no pod, of
// all (kubernetes 1.36, pkg/volume/util/nestedpendingoperations).
type operation struct {
	pod     types.UID
	name    string
	pending bool
	failed  time.Time
	wait    backoff
}

// The names of operations. One that failed keeps others of its name waiting.
const (
	mounting   = "volume_mount"
	unmounting = "volume_unmount"
	expanding  = "volume_fs_resize"
	unstaging  = "unmount_device"
)

// backoff is how long an operation on a volume waits after it has failed (kubernetes
// 1.36, pkg/util/goroutinemap/exponentialbackoff).
type backoff time.Duration

const (
	firstBackoff = 500 * time.Millisecond
	mostBackoff  = 2*time.Minute + 2*time.Second
)

// next is how long to wait after one more failure.
func (b *backoff) next() time.Duration {
	*b = min(max(backoff(firstBackoff), 2**b), backoff(mostBackoff))
	return time.Duration(*b)
}

// meets says whether an operation is one of the pod's, or of all pods.
func (o *operation) meets(pod types.UID) bool { return o.pod == "" || pod == "" || o.pod == pod }

// operation is the one that stands in the way of another: one that runs, else the pod's
// own that has failed, else another that has.
func (e *entry) operation(pod types.UID) *operation {
	var found *operation
	for _, o := range e.operations {
		switch {
		case !o.meets(pod):
		case o.pending:
			return o
		case found == nil || o.pod == pod:
			found = o
		}
	}
	return found
}

// pending says whether an operation runs that is the pod's; with no pod, whether any does.
func (e *entry) pending(pod types.UID) bool {
	o := e.operation(pod)
	return o != nil && o.pending
}

// begin starts an operation unless one runs that is in its way, or it failed and is to
// wait. s.mu is held.
func (s *volumes) begin(e *entry, name string, pod types.UID, f func(context.Context) error) {
	if s.ctx.Err() != nil {
		return
	}
	o := e.operation(pod)
	switch {
	case o == nil:
		o = &operation{pod: pod, name: name}
		e.operations = append(e.operations, o)
	case o.pending:
		return
	default:
		if left := time.Duration(o.wait) - s.k.Clock.Since(o.failed); left > 0 {
			if o.name == name {
				s.wake(e, left)
				return
			}
			o.name, o.wait = name, 0 // another operation starts afresh
		}
		o.pod = pod
	}
	o.pending = true
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		err := f(s.ctx)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.end(e, o, err)
	}()
}

// end takes up how an operation ended. s.mu is held.
func (s *volumes) end(e *entry, o *operation, err error) {
	o.pending = false
	if err == nil {
		for i := range e.operations {
			if e.operations[i] == o {
				e.operations = append(e.operations[:i:i], e.operations[i+1:]...)
				break
			}
		}
	} else {
		o.failed = s.k.Clock.Now()
		wait := o.wait.next()
		if s.ctx.Err() == nil {
			s.k.Log.Warn("an operation on a volume has failed; it is tried again", "node", s.k.node, "volume", e.handle, "operation", o.name, "in", wait, "error", err)
		}
	}
	for pod, w := range e.wanted {
		if w.leaving && e.mounts[pod] != nil {
			delete(e.wanted, pod)
		}
	}
	s.reconcile(e)
	s.told()
}

// wake looks at a volume again after a while. s.mu is held.
func (s *volumes) wake(e *entry, after time.Duration) {
	at := s.k.Clock.Now().Add(after)
	if !e.wakes.IsZero() && !e.wakes.After(at) {
		return
	}
	e.wakes = at
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		// A nanosecond more: an operation waits for its time and not up to it.
		if !s.k.sleep(s.ctx, nil, after+time.Nanosecond) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if e.wakes.Equal(at) {
			e.wakes = time.Time{}
		}
		s.reconcile(e)
	}()
}
