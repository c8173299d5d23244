// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/podlv/podlv/lvm"
)

// leastGrowth is the part of its size that a thin pool grows by at least when it cannot
// have all of its share: a tenth. Else it would take each extent that others give back.
const leastGrowth = 10

// growthRetry is how long after LVM has refused to make a thin pool larger it is asked for
// the same again: each time costs the VG two commits.
const growthRetry = 10 * time.Minute

// refusedGrowth is what LVM has refused.
type refusedGrowth struct {
	spec  lvm.PoolSpec
	free  int64
	at    time.Time
	words string
}

// finishGrowth finishes what an agent that died had begun of a thin pool's growth: until
// then whoever uses a volume of the pool may wait. It says whether anything was done.
func (s *setup) finishGrowth(ctx context.Context, classes *Classes, groups []lvm.VolumeGroup) (done bool, troubles []trouble) {
	for _, pool := range classes.pools {
		g, err := lvm.Find(groups, pool.VolumeGroup)
		if err != nil {
			continue // that is said later
		}
		l, ok := g.LogicalVolume(pool.ThinPool)
		if !ok || !l.HasTag(tagPool) || !l.Grows(tagPool) {
			continue
		}
		done = true
		err = s.lvm.FinishPool(ctx, g, l.Name, tagPool)
		s.model.forget()
		if err != nil {
			troubles = append(troubles, trouble{pool: pool.Name, reason: reasonLVM, words: err.Error()})
			continue
		}
		s.log.Info("the growth of the thin pool that was begun is over", "vg", g.Name, "pool", l.Name)
		s.events.setUp("PodlvThinPoolGrown", fmt.Sprintf("pool %q: the growth of thin pool %s/%s, which was begun before, is over", pool.Name, g.Name, l.Name))
	}
	return done, troubles
}

// growThinPool makes a thin pool larger that has not its share of its VG. The VG may have
// grown by devices or by hand, or the share is another.
func (s *setup) growThinPool(ctx context.Context, classes *Classes, pool Pool, g lvm.VolumeGroup, l lvm.LogicalVolume) (grown bool, troubles []trouble) {
	failed := func(words string) (bool, []trouble) {
		return false, []trouble{{pool: pool.Name, reason: reasonLVM, words: words}}
	}
	beside, shared := classes.thickPool(g.Name)
	if shared && s.publish != nil && !s.publish.synced() {
		return false, nil // what pods are owed is not known yet
	}
	free, err := s.freeFor(ctx, g, beside)
	if err != nil {
		return failed(err.Error())
	}
	spec, whole := pool.Make.grown(g, l, free)
	if r := s.refused[pool.Name]; r.spec == spec && r.free == free && s.clock.Since(r.at) < growthRetry {
		return failed(r.words)
	}
	delete(s.refused, pool.Name)
	if spec.Size > l.Size {
		need := spec.Size - l.Size + spec.Metadata - l.MetadataSize
		command := func() error { return s.lvm.ExtendPool(ctx, g, spec) }
		if shared {
			err = s.space.takeBeside(ctx, beside, need, command)
		} else {
			err = command()
		}
		s.model.forget()
		if err != nil && !errors.Is(err, lvm.ErrNoSpace) {
			if exit := (*lvm.ExitError)(nil); errors.As(err, &exit) {
				s.refused[pool.Name] = refusedGrowth{spec, free, s.clock.Now(), err.Error()}
			}
			return failed(err.Error())
		}
		if grown = err == nil; grown {
			s.log.Info("the thin pool has grown", "vg", g.Name, "pool", l.Name, "from", l.Size, "bytes", spec.Size, "metadata", spec.Metadata)
			s.events.setUp("PodlvThinPoolGrown", fmt.Sprintf("pool %q: thin pool %s/%s has grown from %s to %s, with %s of metadata", pool.Name, g.Name, l.Name, lvm.FormatSize(l.Size), lvm.FormatSize(spec.Size), lvm.FormatSize(spec.Metadata)))
			l.Size, l.MetadataSize = spec.Size, spec.Metadata
		}
	}
	if l.Size >= whole {
		return grown, nil
	}
	// Without what is free: each other sentence would be another event.
	err = fmt.Errorf("%w: %d%% of VG %q are %s, of which thin pool %s has %s; too little is free for the rest: let thinPoolSize be less, or free some", lvm.ErrNoSpace, pool.Make.Percent, g.Name, lvm.FormatSize(pool.Make.share(g)), l.Name, lvm.FormatSize(l.Size+2*l.MetadataSize))
	return grown, []trouble{{pool: pool.Name, reason: reasonPool, words: err.Error()}}
}

// freeFor is what a thin pool of the VG may take, in bytes, beside the pool that has the
// VG's own extents: that keeps its reserve, and what pods are owed that are bound.
func (s *setup) freeFor(ctx context.Context, g lvm.VolumeGroup, beside Pool) (int64, error) {
	free := allocatable(g) - beside.Reserve
	if s.publish == nil || beside.Name == "" {
		return free, nil
	}
	owed, err := s.publish.owed(ctx, beside.Name)
	return free - owed, err
}

// thickPool is the pool that has a VG's own extents, if there is one: no two can.
func (c *Classes) thickPool(vg string) (Pool, bool) {
	i := slices.IndexFunc(c.pools, func(p Pool) bool { return p.VolumeGroup == vg && p.ThinPool == "" })
	if i < 0 {
		return Pool{}, false
	}
	return c.pools[i], true
}

// takeBeside runs a command that takes so many bytes of a VG's own extents for something
// that is no volume: as a claim's volume would.
func (s *spaceWaiter) takeBeside(ctx context.Context, pool Pool, bytes int64, command func() error) error {
	class := Class{Pool: pool, Layout: lvm.Linear, Unit: defaultUnit}
	check := func(g lvm.VolumeGroup, owed int64) error { return fits(g, class, bytes, bytes, owed) }
	return s.checked(ctx, class, &claimant{}, bytes, check, command)
}

// grown is what a thin pool is to become that may take so many bytes of its VG, which is
// what it is when that is too little to be worth it; and how much data it would have with
// its whole share, or has if that is more.
func (m ThinPoolSize) grown(g lvm.VolumeGroup, l lvm.LogicalVolume, free int64) (spec lvm.PoolSpec, whole int64) {
	want := m.within(m.share(g), g, l)
	need := want.Size - l.Size + want.Metadata - l.MetadataSize
	if want.Size <= l.Size || need <= free {
		return want, want.Size
	}
	// What is left of that is the room to repair the metadata into.
	part := m.within(l.Size+l.MetadataSize+lvm.RoundDown(free, g.ExtentSize), g, l)
	if part.Size-l.Size < l.Size/leastGrowth {
		part.Size, part.Metadata = l.Size, l.MetadataSize
	}
	return part, want.Size
}

// within is what a thin pool that is there becomes with so large a share, in bytes: like
// spec, but its chunks are as large as they are, and nothing gets smaller. As long as it has
// all data that its share has beside the metadata that are there, nothing changes.
func (m ThinPoolSize) within(share int64, g lvm.VolumeGroup, l lvm.LogicalVolume) lvm.PoolSpec {
	s := lvm.PoolSpec{VG: g.Name, Name: l.Name, Size: l.Size, Metadata: l.MetadataSize, Tag: tagPool}
	metadata := l.MetadataSize
	if asked, err := lvm.RoundUp(m.Metadata, g.ExtentSize); err == nil {
		metadata = max(metadata, asked)
	}
	if share-2*metadata <= l.Size {
		return s
	}
	// With 64 bytes for each chunk of the data, these are share - 2 * metadata.
	chunk := max(l.ChunkSize, 64<<10)
	if enough, err := lvm.RoundUp((share/(chunk+128)+1)*64, g.ExtentSize); err == nil {
		metadata = max(metadata, min(enough, lvm.RoundDown(lvm.MaxGrownMetadata, g.ExtentSize)))
	}
	if size := lvm.RoundDown(min(share-2*metadata, metadata/64*chunk), g.ExtentSize); size > l.Size {
		s.Size, s.Metadata = size, metadata
	}
	return s
}
