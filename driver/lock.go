// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"sync"
)

// volumeLocks keeps two calls from working on one volume at once. kubelet calls
// again after two minutes even though the first call still runs.
type volumeLocks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when it is released
}

// acquire locks a volume or says errBusy at once.
func (l *volumeLocks) acquire(id string) (release func(), err error) {
	release, busy := l.try(id)
	if busy != nil {
		return nil, fmt.Errorf("volume %s: %w", id, errBusy)
	}
	return release, nil
}

// wait is acquire for calls that may follow one another at once: as many as there are get
// their turn, where a caller that is told to call again waits longer each time.
func (l *volumeLocks) wait(ctx context.Context, id string) (release func(), err error) {
	for {
		release, busy := l.try(id)
		if busy == nil {
			return release, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, fmt.Errorf("volume %s: %w: %w", id, errBusy, ctx.Err())
		}
	}
}

// try locks a volume, or gives what its holder closes.
func (l *volumeLocks) try(id string) (release func(), busy <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.held[id]; ok {
		return nil, c
	}
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	c := make(chan struct{})
	l.held[id] = c
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, id)
		close(c)
	}, nil
}
