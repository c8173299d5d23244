// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"slices"

	"github.com/podlv/podlv/lvm"
)

// largest is the size in bytes of the largest volume of a class that the VG can
// make: a multiple of the class's granularity. It is exact for linear and thin
// volumes, and a lower bound for striped and raid1 ones (see rows).
func largest(g lvm.VolumeGroup, class Class) int64 {
	if g.MissingPVs > 0 {
		return 0 // LVM changes no VG that is not whole
	}
	var size int64
	switch class.Layout {
	case lvm.Thin:
		size = thinFree(g, class)
	case lvm.Striped:
		size = rows(g, class) * int64(class.Legs) * g.ExtentSize
	case lvm.RAID1:
		// One extent of every leg is its metadata.
		size = (rows(g, class) - 1) * g.ExtentSize
	default:
		size = allocatable(g) - class.Pool.Reserve
	}
	return lvm.RoundDown(size, class.granularity())
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

// A pool that is as full as this takes no new volumes, whatever was promised
// (seen on lvm2 2.03.16; lvm/explain.go says so, too). lvm2 rounds percentages to hundredths.
const (
	poolFull         = 99.99
	poolMetadataFull = 75
)

// thinFree is what a thin pool may still promise, in bytes.
func thinFree(g lvm.VolumeGroup, class Class) int64 {
	pool, ok := g.LogicalVolume(class.Pool.ThinPool)
	if !ok || pool.DataPercent >= poolFull || pool.MetadataPercent >= poolMetadataFull {
		return 0
	}
	promised, limit := promises(g, pool, class)
	return limit - promised
}

// rows is how many extents each leg can surely have: as many as the PV that has the
// least of the emptiest ones, one PV for each leg. Where a leg goes on on another
// PV, LVM may find room for more; how much depends on the order of its free areas,
// which no report of ours has.
func rows(g lvm.VolumeGroup, class Class) int64 {
	var free []int64
	for _, p := range g.PhysicalVolumes {
		if p.Allocatable {
			free = append(free, p.Free/g.ExtentSize)
		}
	}
	slices.Sort(free)
	if len(free) < class.Legs {
		return 0
	}
	budget := (allocatable(g) - class.Pool.Reserve) / g.ExtentSize / int64(class.Legs)
	return min(budget, free[len(free)-class.Legs])
}
