// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

const (
	// spaceWait is how long a volume waits for the space of pods that are ending.
	// It is less than the two minutes after which kubelet calls again.
	spaceWait = 90 * time.Second
	// spacePoll is how often it looks, beside whenever a volume was removed.
	spacePoll = 2 * time.Second
)

// spaceWaiter creates LVs, and waits where space is about to be freed: the
// scheduler gives the request of a pod that has ended to the next one at once,
// but kubelet unpublishes the ended one's volume only seconds later.
type spaceWaiter struct {
	lvm   *lvm.Client
	pods  Pods // nil without a Kubernetes API
	clock clock.Clock
	log   *slog.Logger

	mu     sync.Mutex
	change chan struct{}            // closed, and made anew, when space was freed
	pools  map[string]chan struct{} // pool → one token
}

// freed tells the waiting that space was freed.
func (s *spaceWaiter) freed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.change != nil {
		close(s.change)
		s.change = nil
	}
}

func (s *spaceWaiter) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.change == nil {
		s.change = make(chan struct{})
	}
	return s.change
}

// create is lvm.Client.Create, which waits while the space that is missing is
// held by volumes of pods that are ending.
func (s *spaceWaiter) create(ctx context.Context, q inlineRequest, spec lvm.Spec) error {
	deadline := s.clock.Now().Add(spaceWait)
	for {
		changed := s.changed() // before the try: what is freed during it counts
		err := s.try(ctx, q, spec)
		if !errors.Is(err, lvm.ErrNoSpace) || !s.clock.Now().Before(deadline) || !s.ending(ctx, q) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-changed:
		case <-s.clock.After(spacePoll):
		}
	}
}

// try makes the LV. Where the class promises more than lvm2 itself checks, the
// space is looked at first, in one more command, and no other LV of the pool is
// made meanwhile.
func (s *spaceWaiter) try(ctx context.Context, q inlineRequest, spec lvm.Spec) error {
	if q.Class.Pool.Reserve == 0 && q.Class.Layout != lvm.Thin {
		return s.lvm.Create(ctx, spec)
	}
	turn := s.pool(q.Class.Pool.Name)
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return fmt.Errorf("wait for another volume of pool %q to be made: %w", q.Class.Pool.Name, ctx.Err())
	}
	g, err := s.lvm.VolumeGroup(ctx, spec.VG)
	if err != nil {
		return err
	}
	if _, there := g.LogicalVolume(spec.Name); there {
		return fmt.Errorf("LV %s/%s %w", spec.VG, spec.Name, lvm.ErrExists)
	}
	if err := fits(g, q.Class, spec.Size); err != nil {
		return err
	}
	return s.lvm.Create(ctx, spec)
}

// fits keeps to the pool's reserve, and to the class's overprovision.
func fits(g lvm.VolumeGroup, class Class, size int64) error {
	pool := class.Pool
	if class.Layout != lvm.Thin {
		need, err := class.Layout.Allocation(size, g.ExtentSize, class.Legs)
		if err != nil {
			return err
		}
		if need > g.Free-pool.Reserve {
			return fmt.Errorf("%w: VG %s has %s free, of which pool %q keeps %s in reserve; %s are needed", lvm.ErrNoSpace, g.Name, lvm.FormatSize(g.Free), pool.Name, lvm.FormatSize(pool.Reserve), lvm.FormatSize(need))
		}
		return nil
	}
	thin, ok := g.LogicalVolume(pool.ThinPool)
	if !ok {
		return fmt.Errorf("thin pool %s/%s %w", g.Name, pool.ThinPool, lvm.ErrNotFound)
	}
	promised := size
	for _, l := range g.LogicalVolumes {
		if l.Pool == pool.ThinPool {
			promised += l.Size
		}
	}
	limit := int64(float64(thin.Size-pool.Reserve) * class.Overprovision)
	if promised > limit {
		return fmt.Errorf("%w: thin pool %s/%s: with this volume %s would be promised, pool %q allows %s (size %s, reserve %s, overprovision %v)", lvm.ErrNoSpace, g.Name, pool.ThinPool, lvm.FormatSize(promised), pool.Name, lvm.FormatSize(limit), lvm.FormatSize(thin.Size), lvm.FormatSize(pool.Reserve), class.Overprovision)
	}
	return nil
}

func (s *spaceWaiter) pool(name string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pools == nil {
		s.pools = map[string]chan struct{}{}
	}
	if s.pools[name] == nil {
		s.pools[name] = make(chan struct{}, 1)
	}
	return s.pools[name]
}

// ending says whether volumes of pods that are ending, or have ended, hold what is
// missing.
func (s *spaceWaiter) ending(ctx context.Context, q inlineRequest) bool {
	if s.pods == nil {
		return false
	}
	pods, err := s.pods.List(ctx)
	if err != nil {
		s.log.Warn("cannot list pods to learn whether space is about to be freed", "error", err)
		return false
	}
	stays := map[string]bool{}
	for _, p := range pods {
		if !p.Ending {
			stays[p.UID] = true
		}
	}
	g, err := s.lvm.VolumeGroup(ctx, q.Class.Pool.VolumeGroup)
	if err != nil {
		return false
	}
	soon := g
	soon.LogicalVolumes = nil
	for _, l := range g.LogicalVolumes {
		p, ok := podOf(l)
		if !ok || !isInline(l) || stays[p.UID] || l.Pool != q.Class.Pool.ThinPool {
			soon.LogicalVolumes = append(soon.LogicalVolumes, l)
			continue
		}
		held, err := lvm.Layout(l.Type).Allocation(l.Size, g.ExtentSize, l.Stripes)
		if err != nil {
			held = l.Size
		}
		soon.Free += held
	}
	if len(soon.LogicalVolumes) == len(g.LogicalVolumes) {
		return false
	}
	return fits(soon, q.Class, q.Size) == nil
}
