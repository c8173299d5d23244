// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"sync"
)

// volumeLocks keeps two calls from working on one volume at once. kubelet calls
// again after two minutes even though the first call still runs.
type volumeLocks struct {
	mu   sync.Mutex
	held map[string]bool
}

// acquire locks a volume or says errBusy at once.
func (l *volumeLocks) acquire(id string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[id] {
		return nil, fmt.Errorf("volume %s: %w", id, errBusy)
	}
	if l.held == nil {
		l.held = map[string]bool{}
	}
	l.held[id] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, id)
	}, nil
}
