// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"context"
	"sort"
	"sync"
	"time"
)

// Running is a command that is being run.
type Running struct {
	Args  []string
	VG    string // the VG that it changes; empty for a report
	Since time.Time
}

// queue runs commands: those that change a VG one after the other, VG by VG,
// reports at once. A caller waits no longer than its context; the command goes on
// and keeps its VG until it ends.
type queue struct {
	mu     sync.Mutex
	turns  map[string]chan struct{} // VG → one token; Go serves waiters in order
	active map[*Running]struct{}
}

func newQueue() *queue {
	return &queue{turns: map[string]chan struct{}{}, active: map[*Running]struct{}{}}
}

// run runs one command; vg is empty for one that changes nothing.
func (q *queue) run(ctx context.Context, runner Runner, vg string, args []string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	release := func() {}
	if vg != "" {
		turn := q.turn(vg)
		select {
		case turn <- struct{}{}:
			release = func() { <-turn }
		case <-ctx.Done():
			return nil, q.gaveUp(vg, ctx.Err())
		}
	}
	command := q.begin(vg, args)
	type result struct {
		stdout []byte
		err    error
	}
	done, ended := make(chan result, 1), make(chan struct{})
	go func() {
		// The command's context cannot end: see Runner.
		stdout, err := runner.Run(context.WithoutCancel(ctx), args...)
		q.end(command)
		release()
		close(ended)
		done <- result{stdout, err}
	}()
	select {
	case r := <-done:
		return r.stdout, r.err
	case <-ctx.Done():
		return nil, &HungError{Args: args, Age: time.Since(command.Since), Cause: ctx.Err(), Ended: ended}
	}
}

func (q *queue) turn(vg string) chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.turns[vg] == nil {
		q.turns[vg] = make(chan struct{}, 1)
	}
	return q.turns[vg]
}

func (q *queue) begin(vg string, args []string) *Running {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := &Running{Args: args, VG: vg, Since: time.Now()}
	q.active[r] = struct{}{}
	return r
}

func (q *queue) end(r *Running) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.active, r)
}

// gaveUp names the command that held the VG.
func (q *queue) gaveUp(vg string, cause error) error {
	e := &HungError{Waiting: true, Cause: cause}
	for _, r := range q.running() {
		if r.VG == vg {
			e.Args, e.Age = r.Args, time.Since(r.Since)
		}
	}
	return e
}

func (q *queue) running() []Running {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := make([]Running, 0, len(q.active))
	for r := range q.active {
		list = append(list, *r)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Since.Before(list[j].Since) })
	return list
}
