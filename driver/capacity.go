// SPDX-License-Identifier: Apache-2.0

package driver

import "github.com/podlv/podlv/lvm"

// largest is the size in bytes of the largest volume of a class that can be made in
// the VG with so many bytes of the pool spoken for: a multiple of the class's
// granularity. It takes what the pool's reserve leaves; a granule more does not fit.
func largest(g lvm.VolumeGroup, class Class, owed int64) int64 {
	if g.MissingPVs > 0 {
		return 0 // LVM changes no VG that is not whole
	}
	if class.Layout == lvm.Thin {
		return lvm.RoundDown(max(thinFree(g, class)-owed, 0), class.granularity())
	}
	return g.Largest(class.Layout, class.Legs, class.Unit, allocatable(g)-class.Pool.Reserve-owed)
}

// allocatable is the free space that lvm2 may use, in bytes.
func allocatable(g lvm.VolumeGroup) int64 {
	var free int64
	for _, p := range g.PhysicalVolumes {
		if p.Allocatable {
			free += p.Free
		}
	}
	return min(free, g.Free)
}

// thinFree is what a thin pool may still promise, in bytes; 0 of a pool that is full.
func thinFree(g lvm.VolumeGroup, class Class) int64 {
	pool, ok := g.LogicalVolume(class.Pool.ThinPool)
	if !ok || pool.IsFull() || class.wipes(g, pool) != nil {
		return 0
	}
	promised, limit := promises(g, pool, class)
	return limit - promised
}
