// SPDX-License-Identifier: Apache-2.0

// Package supervise keeps the parts of one process together: each runs until the
// process is to end, and the first one that ends earlier ends the others.
//
// There are only a Group, and Orphaned, which ends when the process has lost the
// one that started it.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Group runs parts. Make it with New.
type Group struct {
	ctx   context.Context // ends, with the cause, when the first part ends
	fail  context.CancelCauseFunc
	mu    sync.Mutex
	parts []*part
}

type part struct {
	name  string
	stop  context.CancelFunc
	ended chan struct{}
}

var errStopped = errors.New("stopped")

// New makes an empty Group.
func New() *Group {
	g := &Group{}
	g.ctx, g.fail = context.WithCancelCause(context.Background())
	return g
}

// Go starts a part. It must run until its context is cancelled, which happens in
// Stop alone. That it returns earlier, with or without an error, ends the group
// with an error that has its name.
func (g *Group) Go(name string, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.Background())
	p := &part{name: name, stop: stop, ended: make(chan struct{})}
	g.mu.Lock()
	g.parts = append(g.parts, p)
	g.mu.Unlock()
	go func() {
		defer close(p.ended)
		err := run(ctx)
		switch {
		case ctx.Err() != nil: // it was told to
		case err != nil:
			g.fail(fmt.Errorf("%s: %w", name, err))
		default:
			g.fail(fmt.Errorf("%s ended without an error", name))
		}
	}()
}

// Context returns one that ends with parent, or when the first part ends;
// context.Cause then says which and why.
func (g *Group) Context(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	context.AfterFunc(g.ctx, func() { cancel(context.Cause(g.ctx)) })
	return ctx
}

// Stop stops the parts one by one, the last one first, as each may need those
// before it, and gives each at most patience. It returns the names of those that
// had not ended by then.
func (g *Group) Stop(patience time.Duration) (late []string) {
	g.mu.Lock()
	parts := slices.Clone(g.parts)
	g.mu.Unlock()
	slices.Reverse(parts)
	for _, p := range parts {
		p.stop()
		timer := time.NewTimer(patience)
		select {
		case <-p.ended:
		case <-timer.C:
			late = append(late, p.name)
		}
		timer.Stop()
	}
	g.fail(errStopped)
	return late
}
