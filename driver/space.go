// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
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
	model *model
	// publisher decides between claims and pods; nil without a Kubernetes API.
	publisher *publisher
	pods      Pods // nil without a Kubernetes API
	clock     clock.Clock
	log       *slog.Logger

	mu     sync.Mutex
	change chan struct{}                  // closed, and made anew, when space was freed
	pools  map[string]*semaphore.Weighted // pool → whose turn it is
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
		err := s.try(ctx, q.Class, spec, nil)
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

// claimant is the claim that a volume is for, as namespace/name; empty when it is not
// known. A nil one is a pod's, whose space is its own.
type claimant struct{ name string }

// try makes the LV, or says at once that there is no space for it.
func (s *spaceWaiter) try(ctx context.Context, class Class, spec lvm.Spec, c *claimant) error {
	check := func(g lvm.VolumeGroup, owed int64) error {
		if _, there := g.LogicalVolume(spec.Name); there {
			return fmt.Errorf("LV %s/%s %w", spec.VG, spec.Name, lvm.ErrExists)
		}
		if thin, ok := g.LogicalVolume(spec.Pool); ok && thin.IsFull() { // LVM refuses only when a write has failed
			return fmt.Errorf("%w: thin pool %s/%s is full: data %.2f %%, metadata %.2f %%", lvm.ErrNoSpace, g.Name, spec.Pool, thin.DataPercent, thin.MetadataPercent)
		}
		need, err := spec.Layout.Allocation(spec.Size, g.ExtentSize, spec.Legs)
		if err != nil {
			return err
		}
		return fits(g, class, need, spec.Size, owed)
	}
	need, err := class.Charge(spec.Size)
	if err != nil {
		return err
	}
	return s.checked(ctx, class, c, need, check, func() error { return s.lvm.Create(ctx, spec) })
}

// snapshot takes a snapshot of a volume of the class, or makes a volume by one, that
// may come to have size bytes of a thin pool. Of a thick one counts the space that it
// is given.
func (s *spaceWaiter) snapshot(ctx context.Context, class Class, size int64, spec lvm.SnapshotSpec, c claimant) error {
	need := size
	if class.Layout != lvm.Thin {
		var err error
		if need, err = lvm.RoundUp(spec.Size, class.Unit); err != nil {
			return err
		}
	}
	check := func(g lvm.VolumeGroup, owed int64) error {
		if _, there := g.LogicalVolume(spec.Name); there {
			return fmt.Errorf("LV %s/%s %w", spec.VG, spec.Name, lvm.ErrExists)
		}
		allocated, err := lvm.Linear.Allocation(spec.Size, g.ExtentSize, 0)
		if err != nil {
			return err
		}
		return fits(g, class, allocated, size, owed)
	}
	return s.checked(ctx, class, &c, need, check, func() error { return s.lvm.Snapshot(ctx, spec) })
}

// extend makes an LV larger by more bytes, or says that there is no space for it. What
// a volume grows by is in no pod's request, also that of a generic ephemeral one.
func (s *spaceWaiter) extend(ctx context.Context, class Class, h handle, size, more int64) error {
	need := more * class.Rate().Copies
	check := func(g lvm.VolumeGroup, owed int64) error { return fits(g, class, need, more, owed) }
	return s.checked(ctx, class, &claimant{}, need, check, func() error { return s.lvm.Extend(ctx, h.VG, h.LV, size) })
}

// whenOver runs release, or lets it run when the lvm command is over that err says still
// runs: until then nobody knows what it takes.
func whenOver(err error, release func()) {
	var hung *lvm.HungError
	if errors.As(err, &hung) && hung.Ended != nil {
		go func() {
			<-hung.Ended
			release()
		}()
		return
	}
	release()
}

// swap runs a command that gives space of the pool back and takes as much again: to
// whoever looks at the VG in between, so many bytes are not free.
func (s *spaceWaiter) swap(ctx context.Context, class Class, bytes int64, command func() error) (err error) {
	turn, err := s.turn(ctx, class.Pool.Name)
	if err != nil {
		return err
	}
	if s.publisher != nil {
		s.publisher.hold(class.Pool.Name, bytes)
	}
	defer func() {
		whenOver(err, func() {
			if s.publisher != nil {
				s.publisher.hold(class.Pool.Name, -bytes)
			}
			turn.Release(1)
		})
	}()
	return command()
}

// checked runs a command that takes space. Where the class promises more than lvm2
// itself checks, or pods are owed some of it, the space is looked at first, and nothing
// else takes of the pool meanwhile but the volumes of pods.
func (s *spaceWaiter) checked(ctx context.Context, class Class, c *claimant, need int64, check fitsFunc, command func() error) (err error) {
	arbitrated := c != nil && s.publisher != nil && class.Pool.Inline.mode != inlineNone
	if !arbitrated && class.Pool.Reserve == 0 && class.Layout != lvm.Thin {
		return command()
	}
	shared := arbitrated && class.Pool.Inline.mode == inlineShared
	var told announcement
	early := shared && s.publisher.roomy(ctx, class.Pool, need)
	announce := func() (err error) {
		told, err = s.publisher.announce(ctx, class.Pool, c.name, need, early, check)
		return err
	}
	defer func() {
		if told.release != nil {
			whenOver(err, told.release)
		}
	}()
	if early {
		if err := announce(); err != nil {
			return err
		}
	}
	turn, err := s.turn(ctx, class.Pool.Name)
	if err != nil {
		return err
	}
	tried := false
	defer func() {
		whenOver(err, func() {
			if tried {
				s.model.took(class.Pool.Name, need)
			}
			turn.Release(1)
		})
	}()
	counted := func() error {
		err := command()
		var exit *lvm.ExitError
		tried = !errors.As(err, &exit) // then it took nothing
		return err
	}
	if shared && !early {
		if err := announce(); err != nil {
			return err
		}
	}
	switch {
	case shared:
		return s.publisher.takeShared(ctx, told, class.Pool, check, counted)
	case arbitrated:
		return s.publisher.take(ctx, class.Pool, check, counted)
	}
	err = s.model.allows(ctx, class.Pool.Name, func(groups []lvm.VolumeGroup, taken int64) error {
		g, err := lvm.Find(groups, class.Pool.VolumeGroup)
		if err != nil {
			return err
		}
		return check(g, taken)
	})
	if err != nil {
		return err
	}
	return counted()
}

// fits keeps to the pool's reserve, to the class's overprovision, and to what pods are
// owed: need is what is taken from the VG, size what a thin pool promises, in bytes.
func fits(g lvm.VolumeGroup, class Class, need, size, owed int64) error {
	pool := class.Pool
	if class.Layout != lvm.Thin {
		if free := allocatable(g); need > free-pool.Reserve-owed {
			return fmt.Errorf("%w: VG %s has %s free, of which pool %q keeps %s in reserve and %s for pods; %s are needed", lvm.ErrNoSpace, g.Name, lvm.FormatSize(free), pool.Name, lvm.FormatSize(pool.Reserve), lvm.FormatSize(owed), lvm.FormatSize(need))
		}
		return nil
	}
	thin, ok := g.LogicalVolume(pool.ThinPool)
	if !ok {
		return fmt.Errorf("thin pool %s/%s %w", g.Name, pool.ThinPool, lvm.ErrNotFound)
	}
	if err := class.wipes(g, thin); err != nil {
		return err
	}
	promised, limit := promises(g, thin, class)
	if promised+size+owed > limit {
		return fmt.Errorf("%w: thin pool %s/%s: with this volume %s would be promised, %s of it to pods that have not made theirs yet; pool %q allows %s (size %s, reserve %s, overprovision %v)", lvm.ErrNoSpace, g.Name, pool.ThinPool, lvm.FormatSize(promised+size+owed), lvm.FormatSize(owed), pool.Name, lvm.FormatSize(limit), lvm.FormatSize(thin.Size), lvm.FormatSize(pool.Reserve), class.Overprovision)
	}
	return nil
}

// wipes refuses a thin pool that hands out what somebody wrote before.
func (class Class) wipes(g lvm.VolumeGroup, thin lvm.LogicalVolume) error {
	if thin.Zeroes || class.Wipe != wipeZero {
		return nil
	}
	return fmt.Errorf("%w: class %q: thin pool %s/%s was made with --zero n, and shows old bytes of other volumes; lvchange --zero y changes that, wipe: none in the class accepts it", errCondition, class.Name, g.Name, thin.Name)
}

// promises is the sum of the sizes of a thin pool's volumes, and what the class
// lets it be, in bytes.
func promises(g lvm.VolumeGroup, thin lvm.LogicalVolume, class Class) (promised, limit int64) {
	for _, l := range g.LogicalVolumes {
		if l.Pool == thin.Name {
			promised += l.Size
		}
	}
	return promised, int64(float64(thin.Size-class.Pool.Reserve) * class.Overprovision)
}

// turn waits until nobody else takes of the pool; its holder releases 1.
func (s *spaceWaiter) turn(ctx context.Context, pool string) (*semaphore.Weighted, error) {
	turn := s.pool(pool)
	if err := turn.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for another volume of pool %q to be made: %w", pool, err)
	}
	return turn, nil
}

func (s *spaceWaiter) pool(name string) *semaphore.Weighted {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pools == nil {
		s.pools = map[string]*semaphore.Weighted{}
	}
	if s.pools[name] == nil {
		s.pools[name] = semaphore.NewWeighted(1)
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
	soon.LogicalVolumes, soon.PhysicalVolumes = nil, slices.Clone(g.PhysicalVolumes)
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
		// Which disk it is on does not matter to what asks here.
		soon.PhysicalVolumes = append(soon.PhysicalVolumes, lvm.PhysicalVolume{Allocatable: true, Free: held})
	}
	if len(soon.LogicalVolumes) == len(g.LogicalVolumes) {
		return false
	}
	need, err := q.Class.Layout.Allocation(q.Size, g.ExtentSize, q.Class.Legs)
	return err == nil && fits(soon, q.Class, need, q.Size, 0) == nil
}
