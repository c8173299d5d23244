// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"cmp"
	"math"
	"slices"
)

// Largest is the size in bytes of the largest LV of a layout that lvcreate makes in
// the VG, of those whose every leg is a multiple of unit bytes (the extent must divide
// it) and that take at most limit bytes of the VG. It is 0 when there is none. It
// is for the VG's allocation policy `normal`, LVM's default (a raid1 LV is made with
// `cling`), and does not look whether PVs are missing.
//
// A smaller LV than that fits as a rule and not always: LVM looks for the areas that
// suit what was asked for, and takes fewer of the free ones for some sizes.
func (v VolumeGroup) Largest(layout Layout, legs int, unit, limit int64) int64 {
	legs, meta := layout.areas(legs)
	width, step := int64(legs), max(1, unit/v.ExtentSize)
	for each := RoundDown(limit/v.ExtentSize/width-meta, step); each > 0; {
		s := v.search(layout, legs, each+meta, meta)
		if s.need == 0 {
			if layout == Striped {
				each *= width
			}
			return each * v.ExtentSize
		}
		each = RoundDown(each-s.same, step)
	}
	return 0
}

// HasRoom says whether lvcreate finds room for an LV. It does not look whether PVs are
// missing. ErrInvalid for a size, layout or legs that there are not.
func (v VolumeGroup) HasRoom(layout Layout, size int64, legs int) (bool, error) {
	need, err := layout.Allocation(size, v.ExtentSize, legs)
	if err != nil || layout == Thin {
		return err == nil, err
	}
	legs, meta := layout.areas(legs)
	return v.search(layout, legs, need/v.ExtentSize/int64(legs), meta).need == 0, nil
}

// areas is how many areas on different PVs an LV has beside each other, and how many
// extents of each are metadata.
func (l Layout) areas(legs int) (int, int64) {
	switch l {
	case Striped:
		return legs, 0
	case RAID1:
		return legs, raidMetadata
	}
	return 1, 0
}

// raidMetadata is the extents of metadata that each image of a raid1 LV has
// (raid_rmeta_extents in lib/metadata/raid_manip.c), with extents of 512 KiB and more:
// 8 KiB, and a bit for each region, of which there are at most 2^21.
const raidMetadata = 1

// search is how lvcreate finds room for a new LV with the policy `normal`, or `cling`
// (lvm2 2.03, _allocate in lib/metadata/lv_manip.c). It looks in rounds. Each takes an area on as
// many PVs as there are legs, and of all of them as much as the smallest has. So there
// is no room any more when one PV has free extents and no other beside it; how early
// that is depends on which PVs were taken from first.
//
// Where on its PV an area begins does not matter to a new LV.
type search struct {
	legs int
	need int64 // extents that each leg still needs
	pvs  []*searchedPV
	// same is by how many extents less had to be asked for so that a round goes
	// another way: a search that fails would fail for all sizes in between.
	same int64
}

// searchedPV is a PV that may be used.
type searchedPV struct {
	free  []int64 // the sizes of its free areas in extents, the largest first
	taken bool    // the new LV has data on it
}

// offer is what a PV has for a round.
type offer struct {
	pv   *searchedPV
	size int64 // of the free area
	use  int64 // what of it is of use
}

// search looks for as many areas as there are legs, of each extents, in the first of
// which are meta extents of metadata.
func (v VolumeGroup) search(layout Layout, legs int, each, meta int64) *search {
	s := &search{legs: legs, need: each, same: math.MaxInt64}
	for _, p := range v.PhysicalVolumes { // create_pv_maps in lib/metadata/pv_map.c
		if !p.Allocatable || p.Missing {
			continue
		}
		pv := &searchedPV{}
		for _, bytes := range p.FreeAreas {
			pv.put(bytes / v.ExtentSize)
		}
		s.pvs = append(s.pvs, pv)
	}
	// Each policy goes on with what the one before it has found. The first two,
	// contiguous and cling, are about the PVs that an LV is on already. A new one is
	// on none: the first looks anywhere, once, and the second goes on there.
	s.round((*search).anywhere, meta)
	for s.round((*search).clinging, 0) {
	}
	if layout == RAID1 {
		return s // it is made with the policy cling
	}
	// The last one, too, prefers the PVs that are taken (maximise_cling).
	for s.round((*search).near, 0) || s.round((*search).anywhere, 0) {
	}
	return s
}

// round takes from what the PVs offer and says whether it got anything
// (_find_some_parallel_space, _alloc_parallel_area).
func (s *search) round(look func(*search, *searchedPV) (int64, bool), meta int64) bool {
	var offers []offer
	for _, pv := range s.pvs { // in the order of the VG: of equals the first is taken
		if size, ok := look(s, pv); ok {
			offers = append(offers, offer{pv, size, min(size, s.need)})
		}
	}
	if s.need == 0 || len(offers) < s.legs {
		return false
	}
	slices.SortStableFunc(offers, func(a, b offer) int { return cmp.Compare(b.use, a.use) })
	length := offers[s.legs-1].use
	s.unless(length)
	for _, o := range offers[:s.legs] {
		o.pv.take(o.size, length)
		o.pv.taken = o.pv.taken || length > meta // of metadata LVM keeps no note
	}
	s.need -= length
	return true
}

// anywhere offers the smallest of a PV's areas that is large enough, or its largest.
func (s *search) anywhere(pv *searchedPV) (int64, bool) {
	return s.walk(pv, func(f int64) bool { s.unless(f); return f >= s.need })
}

// clinging offers the largest area of a PV that is taken.
func (s *search) clinging(pv *searchedPV) (int64, bool) {
	if !pv.taken || len(pv.free) == 0 {
		return 0, false
	}
	return pv.free[0], true
}

// near offers an area of a PV that is taken: any is right, so that it is the last one
// that is come to.
func (s *search) near(pv *searchedPV) (int64, bool) {
	if !pv.taken {
		return 0, false
	}
	return s.walk(pv, func(int64) bool { return true })
}

// walk goes along the areas of a PV, of which the first and then those that are right
// are each taken in the place of the one before. What is left of such an area is put
// where its size belongs, in the list that is being walked: LVM goes on behind it, and
// never comes to those in between (_calc_required_extents, reinsert_changed_pv_area).
func (s *search) walk(pv *searchedPV, right func(int64) bool) (found int64, ok bool) {
	list := slices.Clone(pv.free)
	for i := 0; i < len(list); i++ {
		f := list[i]
		if ok && !right(f) {
			break
		}
		found, ok = f, true
		if s.unless(f - 1); s.need >= f {
			continue
		}
		list = slices.Delete(list, i, i+1)
		for i = 0; i < len(list) && list[i] >= f-s.need; i++ {
			s.unless(f - list[i] - 1)
		}
		list = slices.Insert(list, i, f)
	}
	return found, ok
}

// unless notes that the search may go another way when no more than n extents are needed.
func (s *search) unless(n int64) {
	if s.need > n {
		s.same = min(s.same, s.need-n)
	}
}

// take takes n extents of an area of that size.
func (p *searchedPV) take(size, n int64) {
	i := slices.Index(p.free, size)
	p.free = slices.Delete(p.free, i, i+1)
	p.put(size - n)
}

// put adds a free area.
func (p *searchedPV) put(size int64) {
	if size == 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(p.free, size, func(a, b int64) int { return cmp.Compare(b, a) })
	p.free = slices.Insert(p.free, i, size)
}
