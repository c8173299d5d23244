// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/podlv/podlv/lvm"
)

// ErrCrashed is what every step returns at and after a crash, until Restart or
// Reboot: the process that called is dead and would not have seen an answer.
var ErrCrashed = errors.New("fakelvm: the process is dead")

// Point is a place inside a step where the machine can be stopped.
type Point int

// A command changes the machine around one commit. What comes before it is
// deactivation (lvremove) or nothing; what comes after is activation, wiping and
// zeroing (lvcreate), or the resizing of the active device (lvextend). mkfs has
// destroyed the old content, but not yet written its superblock, after its commit.
const (
	BeforeCommit Point = iota // all that precedes the commit is done, the commit is not
	AfterCommit               // the commit is done, nothing that follows it is
	// BetweenCommits: of a command that commits twice the first is done. An lvcreate of a
	// thin pool has this point, which leaves a linear LV, and an lvextend that makes a pool's
	// metadata and its data larger; others die when they are over.
	BetweenCommits
)

// faults is the sequence of steps and what shall happen to them.
type faults struct {
	steps int
	log   []string
	dead  bool
	life  int // counts Restarts and Reboots

	crashAfter  int // 0: never
	crashDuring int
	crashPoint  Point

	next   map[string][]*lvm.ExitError
	errs   map[string][]error
	delays map[string]time.Duration
	hangs  map[string][]*hang
	waits  int // steps that hang now
}

type hang struct{ release chan struct{} }

func (f *faults) restart() {
	f.dead, f.crashAfter, f.crashDuring = false, 0, 0
	f.life++
}

// step is one step while it runs.
type step struct {
	number  int
	failure *lvm.ExitError
	point   Point
	crash   bool // at point
	counted bool
}

// crashed is what unwinds a step that dies in its middle.
type crashed struct{}

// gaveUpError is a wait that its context ended; the step may still happen.
type gaveUpError struct{ cause error }

func (e *gaveUpError) Error() string { return "gave up waiting: " + e.cause.Error() }
func (e *gaveUpError) Unwrap() error { return e.cause }

// Steps is how many steps were begun since the Host was made or ResetSteps.
func (h *Host) Steps() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.faults.steps
}

// Log is the steps so far, one line each: their number and what they were.
func (h *Host) Log() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.faults.log...)
}

// ResetSteps starts the count and the log anew, for instance after setting up.
func (h *Host) ResetSteps() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults.steps, h.faults.log = 0, nil
}

// FailNext makes the next lvm command of that name (lvcreate, …) fail with the
// given exit status and standard error and change nothing. Calls add up.
func (h *Host) FailNext(verb string, failure lvm.ExitError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.faults.next == nil {
		h.faults.next = map[string][]*lvm.ExitError{}
	}
	h.faults.next[verb] = append(h.faults.next[verb], &failure)
}

// FailNextStep makes the next kernel-side step of that name (open, write, format,
// wipe, mount, unmount, mkdir, remove) fail with err and change nothing.
func (h *Host) FailNextStep(verb string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.faults.errs == nil {
		h.faults.errs = map[string][]error{}
	}
	h.faults.errs[verb] = append(h.faults.errs[verb], err)
}

// Delay makes every following step of that name take at least d; 0 ends that.
func (h *Host) Delay(verb string, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.faults.delays == nil {
		h.faults.delays = map[string]time.Duration{}
	}
	h.faults.delays[verb] = d
}

// Hang makes the next step of that name block before it does anything, as lvm
// does that waits for a disk. A context ends the wait of Run, not the command: it
// goes on when release is called, unless the machine was rebooted. Other steps
// are not held up.
func (h *Host) Hang(verb string) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := &hang{release: make(chan struct{})}
	if h.faults.hangs == nil {
		h.faults.hangs = map[string][]*hang{}
	}
	h.faults.hangs[verb] = append(h.faults.hangs[verb], g)
	released := false
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if !released {
			released = true
			close(g.release)
		}
	}
}

// Hanging is how many steps hang now.
func (h *Host) Hanging() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.faults.waits
}

// CrashAfter lets step n complete and the process die then: the caller of the
// step gets ErrCrashed as everybody after it does. Steps count from 1.
func (h *Host) CrashAfter(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults.crashAfter = n
}

// CrashDuring stops step n at the given point. A step that does not change
// anything, or fails before its commit, dies when it is over.
func (h *Host) CrashDuring(n int, p Point) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults.crashDuring, h.faults.crashPoint = n, p
}

// Restart is the start of a new process on the machine as the old one left it.
// It ends a crash and removes crashes that have not happened yet.
func (h *Host) Restart() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults.restart()
}

// Crashed tells whether the process is dead.
func (h *Host) Crashed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.faults.dead
}

// step runs body as one step. body runs with h.mu held.
func (h *Host) step(ctx context.Context, verb, text string, body func(*step) error) error {
	h.mu.Lock()
	f := &h.faults
	if f.dead {
		h.mu.Unlock()
		return ErrCrashed
	}
	delay := f.delays[verb]
	var g *hang
	if q := f.hangs[verb]; len(q) > 0 {
		g, f.hangs[verb] = q[0], q[1:]
	}
	if delay == 0 && g == nil {
		defer h.mu.Unlock()
		return h.runStep(verb, text, body)
	}
	boots := h.boots
	if g != nil {
		f.waits++
	}
	h.mu.Unlock()

	done := make(chan error, 1)
	go func() {
		if delay > 0 {
			time.Sleep(delay)
		}
		if g != nil {
			<-g.release
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if g != nil {
			f.waits--
		}
		if h.boots != boots {
			done <- ErrCrashed
			return
		}
		done <- h.runStep(verb, text, body)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return &gaveUpError{cause: ctx.Err()}
	}
}

// runStep counts the step, lays the faults on it and runs it, with h.mu held.
func (h *Host) runStep(verb, text string, body func(*step) error) (err error) {
	f := &h.faults
	if f.dead {
		return ErrCrashed
	}
	f.steps++
	s := &step{number: f.steps, counted: true}
	f.log = append(f.log, fmt.Sprintf("%d: %s", s.number, text))
	if q := f.next[verb]; len(q) > 0 {
		s.failure, f.next[verb] = q[0], q[1:]
	}
	if f.crashDuring == s.number {
		s.crash, s.point = true, f.crashPoint
	}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(crashed); !ok {
				panic(r)
			}
		}
		if s.crash || f.crashAfter == s.number {
			f.dead = true
			err = ErrCrashed
		}
	}()
	if q := f.errs[verb]; len(q) > 0 {
		var failure error
		failure, f.errs[verb] = q[0], q[1:]
		return failure
	}
	return body(s)
}

// commit runs change, and stops the step before or after it if that was asked for.
func (s *step) commit(change func()) {
	s.at(BeforeCommit)
	change()
	s.at(AfterCommit)
}

// at is a point of the step that has come.
func (s *step) at(p Point) {
	if s.crash && s.point == p {
		panic(crashed{})
	}
}
