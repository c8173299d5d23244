// SPDX-License-Identifier: Apache-2.0

package fakelvm

import "slices"

// LVM's allocation with the policy `normal` (lib/metadata/lv_manip.c) tries in
// turn: one free area for each leg (contiguous); beside what the LV or this
// allocation has already (cling); anywhere, the largest areas first (normal).
// What one of them found is kept when the next takes over.

// area is a run of free extents.
type area struct {
	pv           *physicalVolume
	start, count int64
}

// request is one allocation.
type request struct {
	vg     *volumeGroup
	width  int               // areas that must be on different PVs
	each   int64             // extents a leg
	meta   int64             // extents of one more area, for a pool's metadata
	after  []*physicalVolume // for each leg: the PV on which the LV ends now
	ends   []int64           // for each leg: the extent behind the LV's last one
	on     []*physicalVolume // nil: any
	noWrap bool              // all or nothing in one area a leg
}

// grant is what was found.
type grant struct {
	legs [][]area // for each leg its areas; the n-th areas of all legs are equally long
	log  *area
}

// freeAreas is the runs of free extents of a PV, in order.
func (p *physicalVolume) freeAreas() []area {
	if p.gone() || p.blocked {
		return nil
	}
	var free []area
	next := int64(0)
	for _, u := range p.used {
		if u.start > next {
			free = append(free, area{p, next, u.start - next})
		}
		next = u.start + u.count
	}
	if next < p.extents {
		free = append(free, area{p, next, p.extents - next})
	}
	return free
}

// allocate finds extents. missing is how many more would be needed when ok is false.
func allocate(r request) (g grant, missing int64, ok bool) {
	free := map[*physicalVolume][]area{}
	var pvs []*physicalVolume
	for _, p := range r.vg.pvs {
		if r.on != nil && !slices.Contains(r.on, p) {
			continue
		}
		if areas := p.freeAreas(); len(areas) > 0 {
			free[p] = areas
			pvs = append(pvs, p)
		}
	}
	a := &allocation{request: r, free: free, pvs: pvs, left: r.each, logLeft: r.meta}
	a.legs = make([][]area, r.width)
	a.contiguous()
	if !r.noWrap {
		a.spread(true)
		a.spread(false)
	}
	if a.left == 0 && a.logLeft > 0 {
		a.takeLog(true)
	}
	if a.left > 0 || a.logLeft > 0 {
		return a.grant, a.left*int64(r.width) + a.logLeft, false
	}
	return a.grant, 0, true
}

type allocation struct {
	request
	grant
	free    map[*physicalVolume][]area
	pvs     []*physicalVolume
	left    int64 // extents a leg still needs
	logLeft int64
}

// contiguous gives each leg all it needs from one area: behind the LV's end, or
// for a new LV the smallest that fits on a PV.
func (a *allocation) contiguous() {
	var found []area
	if a.after != nil {
		for i, p := range a.after {
			for _, f := range a.free[p] {
				if f.start == a.ends[i] && f.count >= a.left {
					found = append(found, f)
				}
			}
		}
	} else {
		for _, p := range a.pvs {
			if f, ok := a.fitting(p, a.left); ok {
				found = append(found, f)
			}
		}
	}
	a.settle(found, a.left)
}

// fitting is the smallest area of a PV that holds n extents; of equal ones the last.
func (a *allocation) fitting(p *physicalVolume, n int64) (area, bool) {
	var best area
	for _, f := range a.free[p] {
		if f.count >= n && (best.pv == nil || f.count <= best.count) {
			best = f
		}
	}
	return best, best.pv != nil
}

// spread goes on, area by area, until it has all or nothing is left: only on the
// PVs in use already when cling is set.
func (a *allocation) spread(cling bool) {
	for a.left > 0 {
		var found []area
		for _, p := range a.pvs {
			if cling && !a.clings(p) {
				continue
			}
			if f, ok := a.fitting(p, a.left); ok {
				found = append(found, f)
			} else if f, ok := a.largest(p); ok {
				found = append(found, f)
			}
		}
		slices.SortStableFunc(found, func(x, y area) int { return int(min(y.count, a.left) - min(x.count, a.left)) })
		before := a.left
		a.settle(found, 1)
		if a.left == before {
			return
		}
	}
}

func (a *allocation) clings(p *physicalVolume) bool {
	if slices.Contains(a.after, p) {
		return true
	}
	for _, leg := range a.legs {
		if len(leg) > 0 && leg[len(leg)-1].pv == p {
			return true
		}
	}
	return false
}

func (a *allocation) largest(p *physicalVolume) (area, bool) {
	var best area
	for _, f := range a.free[p] {
		if f.count > best.count {
			best = f
		}
	}
	return best, best.pv != nil
}

// settle takes the first areas found, one for each leg, if they are enough in
// number and at least atLeast extents long.
func (a *allocation) settle(found []area, atLeast int64) {
	n := len(a.legs)
	if a.left == 0 || len(found) < n {
		return
	}
	length := a.left
	for _, f := range found[:n] {
		length = min(length, f.count)
	}
	if length < atLeast || length == 0 {
		return
	}
	chosen := found[:n]
	if a.logLeft > 0 && length == a.left {
		defer a.takeLog(false)
	}
	for i, f := range chosen {
		a.take(area{f.pv, f.start, length})
		leg := a.legs[i]
		if k := len(leg) - 1; k >= 0 && leg[k].pv == f.pv && leg[k].start+leg[k].count == f.start {
			leg[k].count += length
		} else {
			a.legs[i] = append(leg, area{f.pv, f.start, length})
		}
	}
	a.left -= length
}

// takeLog finds room for a pool's metadata: on a PV that the data does not use if
// there is one, else anywhere when anywhere is set.
func (a *allocation) takeLog(anywhere bool) {
	for _, p := range a.pvs {
		if !anywhere && a.clings(p) {
			continue
		}
		if f, ok := a.fitting(p, a.logLeft); ok {
			taken := area{p, f.start, a.logLeft}
			a.take(taken)
			a.log, a.logLeft = &taken, 0
			return
		}
	}
}

// take removes extents from what is free.
func (a *allocation) take(t area) {
	list := a.free[t.pv]
	for i, f := range list {
		if t.start < f.start || t.start >= f.start+f.count {
			continue
		}
		var parts []area
		if t.start > f.start {
			parts = append(parts, area{f.pv, f.start, t.start - f.start})
		}
		if end := t.start + t.count; end < f.start+f.count {
			parts = append(parts, area{f.pv, end, f.start + f.count - end})
		}
		a.free[t.pv] = slices.Replace(list, i, i+1, parts...)
		return
	}
}

// segments turns a grant into the segments of an LV, from logical extent first.
func (g grant) segments(first, stripeSize int64) []segment {
	var segs []segment
	for i := range g.legs[0] {
		s := segment{start: first, stripeSize: stripeSize}
		for _, leg := range g.legs {
			s.stripes = append(s.stripes, stripe{leg[i].pv, leg[i].start})
			s.count += leg[i].count
		}
		segs = append(segs, s)
		first += s.count
	}
	return segs
}
