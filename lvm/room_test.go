// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// pieces is a VG with PVs that have free areas of so many extents each.
func pieces(pvs ...[]int64) VolumeGroup {
	g := VolumeGroup{Name: "vg0", ExtentSize: 4 * mib}
	for i, areas := range pvs {
		p := PhysicalVolume{Device: fmt.Sprint("/dev/sd", i), Allocatable: true}
		for _, n := range areas {
			p.FreeAreas = append(p.FreeAreas, n*g.ExtentSize)
			p.Free += n * g.ExtentSize
		}
		g.Free += p.Free
		g.PhysicalVolumes = append(g.PhysicalVolumes, p)
	}
	return g
}

// largest is the largest LV in extents.
func (v VolumeGroup) largest(layout Layout, legs int) int64 {
	return v.Largest(layout, legs, v.ExtentSize, v.Free) / v.ExtentSize
}

func TestLargest(t *testing.T) {
	for _, c := range []struct {
		what   string
		g      VolumeGroup
		layout Layout
		legs   int
		want   int64
	}{
		{"all that is free, in pieces", pieces([]int64{1, 5, 1}, []int64{2, 2}), Linear, 0, 11},
		{"nothing is free", pieces(nil, nil), Linear, 0, 0},
		{"as many PVs as legs: the one with the least", pieces([]int64{1, 5, 1}, []int64{2, 2}), Striped, 2, 8},
		{"an extent of each leg is metadata", pieces([]int64{1, 5, 1}, []int64{2, 2}), RAID1, 2, 3},
		{"room for metadata only", pieces([]int64{1}, []int64{9}), RAID1, 2, 0},
		{"too few PVs", pieces([]int64{9}, []int64{9}, nil), Striped, 3, 0},
		{"a leg goes on on another PV", pieces([]int64{10}, []int64{5}, []int64{5}), Striped, 2, 20},
		{"the PV that is left is of no use alone", pieces([]int64{20}, []int64{5}, []int64{5}), Striped, 2, 20},
		{"the largest areas are taken first, and then one PV is left", pieces([]int64{6}, []int64{6}, []int64{1, 1, 1, 1}), Striped, 2, 12},
		{"that is the same VG with the areas in one", pieces([]int64{6}, []int64{6}, []int64{12}), Striped, 2, 24},
	} {
		t.Run(c.what, func(t *testing.T) { require.Equal(t, c.want, c.g.largest(c.layout, c.legs)) })
	}
}

func TestLargestKeepsToWhatItMayUse(t *testing.T) {
	g := pieces([]int64{9}, []int64{9}, []int64{9})
	require.EqualValues(t, 18, g.largest(Striped, 2), "what is left is on one PV")
	require.EqualValues(t, 16*4*mib, g.Largest(Striped, 2, 8*mib, g.Free), "an even number of extents in each stripe")
	require.EqualValues(t, 8*4*mib, g.Largest(RAID1, 2, 4*mib, 18*4*mib), "of 18 extents 2 are metadata")
	require.EqualValues(t, 7*4*mib, g.Largest(RAID1, 2, 4*mib, 17*4*mib))
	require.Zero(t, g.Largest(Linear, 0, 4*mib, -1))
	g.PhysicalVolumes[0].Allocatable = false
	require.EqualValues(t, 18, g.largest(Striped, 2))
	require.Zero(t, g.largest(Striped, 3))
	g.PhysicalVolumes[1].Missing = true
	require.Zero(t, g.largest(Striped, 2))
}

// The search passes over sizes of which it knows that they fit no better: trying each
// finds the same.
func TestLargestPassesOverNothing(t *testing.T) {
	const states = 4_000
	r := rand.New(rand.NewPCG(1, 2))
	uneven := 0
	for range states {
		var pvs [][]int64
		for range 2 + r.IntN(5) {
			var areas []int64
			for range r.IntN(7) {
				areas = append(areas, 1+r.Int64N(12))
			}
			pvs = append(pvs, areas)
		}
		g, legs := pieces(pvs...), 2+r.IntN(2)
		layout := []Layout{Striped, RAID1}[r.IntN(2)]
		_, meta := layout.areas(legs)
		all := g.Free / g.ExtentSize / int64(legs)
		want, gaps := int64(0), false
		for each := int64(1); each+meta <= all; each++ {
			if g.search(layout, legs, each+meta, meta).need == 0 {
				gaps = gaps || each > want+1
				want = each
			}
		}
		if gaps {
			uneven++
		}
		if layout == Striped {
			want *= int64(legs)
		}
		require.Equal(t, want, g.largest(layout, legs), "%s, %d legs: %v", layout, legs, pvs)
	}
	t.Logf("in %d of %d VGs a smaller LV does not fit where a larger one does", uneven, states)
}

func TestHasRoom(t *testing.T) {
	g := pieces([]int64{9}, []int64{9})
	for size, want := range map[int64]bool{1: true, 8 * 4 * mib: true, 8*4*mib + 1: false} {
		room, err := g.HasRoom(RAID1, size, 2)
		require.NoError(t, err)
		require.Equal(t, want, room, size)
	}
	_, err := g.HasRoom(RAID1, 1, 11)
	require.ErrorIs(t, err, ErrInvalid)
}

// A VG as large and as much in pieces as its metadata can describe.
func BenchmarkLargest(b *testing.B) {
	for _, c := range []struct{ pvs, areas int }{{2, 1}, {4, 20}, {4, 200}, {12, 60}} {
		r := rand.New(rand.NewPCG(1, 2))
		pvs := make([][]int64, c.pvs)
		for i := range pvs {
			for range c.areas {
				pvs[i] = append(pvs[i], 1+r.Int64N(10_000))
			}
		}
		g := pieces(pvs...)
		b.Run(fmt.Sprintf("%dx%d", c.pvs, c.areas), func(b *testing.B) {
			for b.Loop() {
				g.largest(Striped, 2)
			}
		})
	}
}
