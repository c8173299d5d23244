// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// job is one start of a test binary.
type job struct {
	p      *testPackage
	onHost bool
	args   []string
	cpu    int // the machine's
	out    *turn
	done   chan struct{} // closed when what follows is known
	passed bool
	err    error // why it could not be run
	took   time.Duration
}

func newJob(p *testPackage, onHost bool, args []string) *job {
	return &job{p: p, onHost: onHost, args: args, out: &turn{}, done: make(chan struct{})}
}

// turn is a writer that keeps what is written until its turn has come.
type turn struct {
	mu   sync.Mutex
	kept bytes.Buffer
	to   io.Writer // nil: its turn has not come
}

// Write implements io.Writer.
func (t *turn) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.to == nil {
		return t.kept.Write(p)
	}
	return t.to.Write(p)
}

// release says that its turn has come: what was kept, and all that is to come,
// goes to w.
func (t *turn) release(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.to = w
	_, err := t.kept.WriteTo(w)
	return err
}
