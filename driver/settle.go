// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

const (
	// settleDelay is how long published volumes wait for others, so that one
	// lvchange serves all that are published in a burst; settleLimit is how long a
	// steady stream of others can put it off.
	settleDelay = 500 * time.Millisecond
	settleLimit = 5 * time.Second
	// settleTime is how long one lvchange is waited for, settleRetry how long after
	// a failure it is tried again.
	settleTime  = 30 * time.Second
	settleRetry = 10 * time.Second
)

// settler takes podlv.state=new off volumes that were published. No call waits
// for it: until it is done, the filesystem's UUID says that the volume is whole.
// But a volume whose tag stays may be formatted again, so it does not give up.
type settler struct {
	lvm   *lvm.Client
	clock clock.Clock
	log   *slog.Logger
	wake  chan struct{}

	mu      sync.Mutex
	pending map[string]map[string]int // VG → volume → which add put it there
	adds    int
	busy    map[string]bool // VGs whose lvchange runs
}

func newSettler(client *lvm.Client, c clock.Clock, log *slog.Logger) *settler {
	return &settler{lvm: client, clock: c, log: log, pending: map[string]map[string]int{}, busy: map[string]bool{}, wake: make(chan struct{}, 1)}
}

// add puts a volume on the list.
func (s *settler) add(vg, id string) {
	s.mu.Lock()
	if s.pending[vg] == nil {
		s.pending[vg] = map[string]int{}
	}
	s.adds++
	s.pending[vg][id] = s.adds
	s.mu.Unlock()
	s.again()
}

// again wakes the task.
func (s *settler) again() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// drop takes a volume that is being removed off the list.
func (s *settler) drop(vg, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending[vg], id)
}

// run settles until ctx ends, and once more then.
func (s *settler) run(ctx context.Context) {
	var flushes sync.WaitGroup
	defer flushes.Wait()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
			defer cancel()
			s.flush(last)
			return
		case <-s.wake:
		}
		s.linger(ctx)
		// A VG that hangs must not keep the others waiting.
		flushes.Go(func() {
			if !s.flush(ctx) {
				select {
				case <-ctx.Done():
				case <-s.clock.After(settleRetry):
					s.again()
				}
			}
		})
	}
}

// linger waits until no volume has come for settleDelay.
func (s *settler) linger(ctx context.Context) {
	limit := s.clock.After(settleLimit)
	for {
		select {
		case <-ctx.Done():
			return
		case <-limit:
			return
		case <-s.wake:
		case <-s.clock.After(settleDelay):
			return
		}
	}
}

// flush runs one lvchange for each VG, and says whether all is done. What fails
// stays on the list.
func (s *settler) flush(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	var work sync.WaitGroup
	var mu sync.Mutex
	done := true
	for vg, ids := range s.take() {
		work.Go(func() {
			err := s.lvm.Tag(ctx, vg, nil, []string{tagNew}, keys(ids)...)
			s.give(vg, ids, err == nil)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				done = false
				s.log.Warn("cannot drop the tag of new volumes yet; it is tried again", "vg", vg, "volumes", len(ids), "error", err)
			}
		})
	}
	work.Wait()
	return done
}

// take gives what is on the list for VGs that no other flush is at work on.
func (s *settler) take() map[string]map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := map[string]map[string]int{}
	for vg, ids := range s.pending {
		if len(ids) == 0 || s.busy[vg] {
			continue
		}
		s.busy[vg] = true
		taken[vg] = map[string]int{}
		for id, add := range ids {
			taken[vg][id] = add
		}
	}
	return taken
}

// give takes settled volumes off the list, but for those that were added again.
func (s *settler) give(vg string, ids map[string]int, settled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy[vg] = false
	if !settled {
		return
	}
	for id, add := range ids {
		if s.pending[vg][id] == add {
			delete(s.pending[vg], id)
		}
	}
	if len(s.pending[vg]) > 0 {
		s.again()
	}
}

func keys(m map[string]int) []string {
	list := make([]string, 0, len(m))
	for k := range m {
		list = append(list, k)
	}
	return list
}
