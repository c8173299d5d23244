// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/podlv/podlv/lvm"
)

// thinPool makes a pool's thin pool, if it is to be made, and keeps one that is there.
// pending: the VG is not whole yet, so that a share of it would be too little.
func (s *setup) thinPool(ctx context.Context, classes *Classes, pool Pool, groups []lvm.VolumeGroup, pending bool) []trouble {
	failed := func(reason string, err error) []trouble {
		return []trouble{{pool: pool.Name, reason: reason, words: err.Error()}}
	}
	g, err := lvm.Find(groups, pool.VolumeGroup)
	if err != nil {
		return nil // that is said already
	}
	l, there := g.LogicalVolume(pool.ThinPool)
	switch {
	case there && l.IsThinPool():
		return s.keepThinPool(ctx, classes, pool, g, l, pending)
	case there && !l.HasTag(tagPool), pool.Make.Percent == 0:
		return nil // it is what it is
	case pending:
		return []trouble{{pool: pool.Name, reason: reasonPool, words: fmt.Sprintf("thin pool %q is made when VG %q has all its devices", pool.ThinPool, g.Name)}}
	case there: // podlv died over it
		if err := s.lvm.RemovePart(ctx, g.Name, l.Name, tagPool); err != nil {
			return failed(reasonPool, err)
		}
		g.Free += l.Size
	}
	spec, err := pool.Make.spec(g)
	if err != nil {
		return failed(reasonPool, err)
	}
	spec.Name = pool.ThinPool
	err = s.lvm.CreatePool(ctx, spec)
	s.model.forget()
	if err != nil {
		return failed(reasonLVM, err)
	}
	s.log.Info("the thin pool was made", "vg", g.Name, "pool", spec.Name, "bytes", spec.Size, "metadata", spec.Metadata)
	s.events.setUp("PodlvThinPoolMade", fmt.Sprintf("pool %q: thin pool %s/%s was made, with %s and %s of metadata", pool.Name, g.Name, spec.Name, lvm.FormatSize(spec.Size), lvm.FormatSize(spec.Metadata)))
	return nil
}

// keepThinPool activates a thin pool that is there, for an inactive one tells nobody how
// full it is, and lets it grow to its share of the VG. It says that one is full.
func (s *setup) keepThinPool(ctx context.Context, classes *Classes, pool Pool, g lvm.VolumeGroup, l lvm.LogicalVolume, pending bool) (troubles []trouble) {
	if !l.Active {
		if err := s.lvm.Activate(ctx, g.Name, l.Name); err != nil {
			return []trouble{{pool: pool.Name, reason: reasonPool, words: err.Error()}}
		}
		s.model.forget()
		s.log.Info("the thin pool was activated", "vg", g.Name, "pool", l.Name)
	}
	grown := false
	if pool.Make.Percent > 0 && l.HasTag(tagPool) && !pending && g.MissingPVs == 0 {
		grown, troubles = s.growThinPool(ctx, classes, pool, g, l)
	}
	if !grown && runsDry(g, l) {
		// Without percentages: each other sentence would be another event.
		err := fmt.Errorf("thin pool %s/%s is full, and has promised more: writes to its volumes fail; extend it (lvextend)", g.Name, l.Name)
		troubles = append(troubles, trouble{pool: pool.Name, reason: reasonPool, words: err.Error()})
	}
	return troubles
}

// runsDry says whether a thin pool is full that has not yet given all that it has promised:
// one that has needs no more.
func runsDry(g lvm.VolumeGroup, thin lvm.LogicalVolume) bool {
	promised, _ := promises(g, thin, Class{})
	given := int64(thin.DataPercent / 100 * float64(thin.Size))
	return thin.IsFull() && given < promised
}

// spec is the thin pool that has its share of a VG: the data, the metadata, and as much
// again, which stays free to repair the metadata into.
func (m ThinPoolSize) spec(g lvm.VolumeGroup) (lvm.PoolSpec, error) {
	share := m.share(g)
	metadata := m.Metadata
	if metadata == 0 {
		metadata = poolMetadata(share)
	}
	metadata, err := lvm.RoundUp(metadata, g.ExtentSize)
	if err != nil {
		return lvm.PoolSpec{}, err
	}
	size := lvm.RoundDown(share-2*metadata, g.ExtentSize)
	switch {
	case size <= 0:
		return lvm.PoolSpec{}, fmt.Errorf("%w: %d%% of VG %q, %s, is no more than the thin pool's metadata: let thinPoolSize be more", lvm.ErrNoSpace, m.Percent, g.Name, lvm.FormatSize(share))
	case size+metadata > g.Free:
		return lvm.PoolSpec{}, fmt.Errorf("%w: %d%% of VG %q are %s, and %s are free: let thinPoolSize be less", lvm.ErrNoSpace, m.Percent, g.Name, lvm.FormatSize(share), lvm.FormatSize(g.Free))
	}
	return lvm.PoolSpec{VG: g.Name, Size: size, Metadata: metadata, Tag: tagPool}, nil
}

// share is a thin pool's part of a VG, in bytes: its data, its metadata, and as much again.
func (m ThinPoolSize) share(g lvm.VolumeGroup) int64 {
	return lvm.RoundDown(g.Size/100*m.Percent, g.ExtentSize)
}

// poolMetadata is what LVM gives a thin pool of so many bytes by itself: 64 bytes for each
// chunk of 64 KiB, or of as much more as keeps that at 128 MiB.
func poolMetadata(data int64) int64 {
	chunk := int64(64 << 10)
	for data/chunk*64 > 128*mib {
		chunk *= 2
	}
	return max(data/chunk*64, lvm.MinPoolMetadata)
}

// makes says whether anything may have to be made on this node.
func (c *Classes) makes() bool {
	return slices.ContainsFunc(c.pools, func(p Pool) bool { return len(p.Devices) > 0 || p.Make.Percent > 0 })
}

// extent is what a VG's extents are made of: LVM's own size, or less if a class has a
// smaller unit, which an extent must divide.
func (c *Classes) extent(vg string) int64 {
	extent := int64(defaultUnit)
	for _, class := range c.classes {
		if class.Pool.VolumeGroup == vg {
			extent = min(extent, class.Unit)
		}
	}
	return max(extent, 1024)
}

// groupOf is the VG of a pool; empty when there is no such pool.
func (c *Classes) groupOf(pool string) string {
	if i := slices.IndexFunc(c.pools, func(p Pool) bool { return p.Name == pool }); i >= 0 {
		return c.pools[i].VolumeGroup
	}
	return ""
}

// firstPool is the name of the first pool on a VG that names devices, or else of any.
func (c *Classes) firstPool(vg string) string {
	name := ""
	for _, p := range c.pools {
		if p.VolumeGroup == vg && len(p.Devices) > 0 {
			return p.Name
		}
		if p.VolumeGroup == vg && name == "" {
			name = p.Name
		}
	}
	return name
}

// newPVUUID is a UUID for a PV, of LVM's form, with pvMark.
func newPVUUID() string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	random := make([]byte, 26)
	_, _ = rand.Read(random) // never fails (crypto/rand)
	for i, b := range random {
		random[i] = letters[int(b)%len(letters)]
	}
	uuid := pvMark[:6]
	for _, n := range []int{4, 4, 4, 4, 4, 6} {
		uuid += "-" + string(random[:n])
		random = random[n:]
	}
	return uuid
}
