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

// settleDelay is how long published volumes wait for others, so that one lvchange
// serves all that are published in a burst; settleLimit is how long a steady
// stream of others can put it off.
const (
	settleDelay = 500 * time.Millisecond
	settleLimit = 5 * time.Second
)

// settler takes podlv.state=new off volumes that were published. Nothing waits
// for it: until it is done, the filesystem's UUID says that the volume is whole.
type settler struct {
	lvm   *lvm.Client
	clock clock.Clock
	log   *slog.Logger

	mu      sync.Mutex
	pending map[string]map[string]bool // VG → volumes
	wake    chan struct{}
}

func newSettler(client *lvm.Client, c clock.Clock, log *slog.Logger) *settler {
	return &settler{lvm: client, clock: c, log: log, pending: map[string]map[string]bool{}, wake: make(chan struct{}, 1)}
}

// add puts a volume on the list.
func (s *settler) add(vg, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending[vg] == nil {
		s.pending[vg] = map[string]bool{}
	}
	s.pending[vg][id] = true
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// recover finds the volumes that were published when an agent died before it had
// dropped their tag.
func (s *settler) recover(ctx context.Context, mounts Mounter, classes *Classes) error {
	groups, err := s.lvm.VolumeGroups(ctx)
	if err != nil {
		return err
	}
	mounted, err := mountedVolumes(mounts)
	if err != nil {
		return err
	}
	for _, g := range classes.among(groups) {
		for _, l := range g.LogicalVolumes {
			if (isInline(l) || isVolume(l)) && l.HasTag(tagNew) && mounted[l.VG+"/"+l.Name] {
				s.add(l.VG, l.Name)
			}
		}
	}
	return nil
}

// drop takes a volume that is being removed off the list.
func (s *settler) drop(vg, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending[vg], id)
}

// take empties the list.
func (s *settler) take() map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := map[string][]string{}
	for vg, ids := range s.pending {
		for id := range ids {
			taken[vg] = append(taken[vg], id)
		}
	}
	s.pending = map[string]map[string]bool{}
	return taken
}

// run settles until ctx ends, and once more then.
func (s *settler) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
			s.flush(last)
			cancel()
			return
		case <-s.wake:
		}
		s.linger(ctx)
		s.flush(ctx)
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

// flush runs one lvchange for each VG. What fails is tried again with the next
// volume, and after a restart.
func (s *settler) flush(ctx context.Context) {
	for vg, ids := range s.take() {
		if err := s.lvm.Tag(ctx, vg, nil, []string{tagNew}, ids...); err != nil {
			s.log.Warn("cannot drop the tag of new volumes yet", "vg", vg, "volumes", len(ids), "error", err)
			s.mu.Lock()
			for _, id := range ids {
				if s.pending[vg] == nil {
					s.pending[vg] = map[string]bool{}
				}
				s.pending[vg][id] = true
			}
			s.mu.Unlock()
		}
	}
}
