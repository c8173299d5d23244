// SPDX-License-Identifier: Apache-2.0

package fakelvm

import "slices"

// LVM's allocation with the policy `normal` (lib/metadata/lv_manip.c) tries in
// turn, and with `cling` the first two of: behind the LV's end (contiguous); on the PVs that it has already (cling);
// anywhere, the largest areas first (normal). What one of them found is kept when
// the next takes over. Which of a PV's free areas is taken follows from an
// accident of LVM's, kept here: an area that is looked at is moved in the very
// list that is being walked.

// area is a run of extents of a PV.
type area struct {
	pv           *physicalVolume
	start, count int64
	left         int64 // of a free area: what no earlier leg of this round wants
}

// request is one allocation.
type request struct {
	vg    *volumeGroup
	width int               // areas that must be on different PVs
	each  int64             // extents a leg
	meta  int64             // extents of one more area, for a pool's metadata
	front int64             // of each, extents in front that are a raid image's metadata
	after []*physicalVolume // for each leg: the PV on which the LV ends now
	ends  []int64           // for each leg: the extent behind the LV's last one
	have  []*physicalVolume // the PVs that it begins on: LVM means all that it is on, and sees no further (_for_each_pv)
	on    []place           // nil: anywhere
	cling bool              // only where the LV, or this allocation, is: the policy "cling"
	share bool              // it is a share of what is free: less will do
}

// grant is what was found.
type grant struct {
	each int64    // extents of a leg: what was asked for, or less of a share
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
			free = append(free, area{pv: p, start: next, count: u.start - next})
		}
		next = u.start + u.count
	}
	if next < p.extents {
		free = append(free, area{pv: p, start: next, count: p.extents - next})
	}
	return free
}

// policy is one of the ways to look for areas.
type policy struct {
	contiguous bool // only behind the LV's end
	cling      bool // only where the LV is, or else this allocation
	anywhere   bool // the last resort
	positional bool // the n-th area found is for the n-th leg
}

// allocation is a request while it is worked on.
type allocation struct {
	request
	grant
	pvs      []*physicalVolume
	free     map[*physicalVolume][]*area // the largest first
	need     int64                       // extents that each leg still needs
	needMeta int64
	slots    []candidate
}

// candidate is an area that a round may take.
type candidate struct {
	area *area
	use  int64
}

// allocate finds extents. missing is how many more would be needed when ok is false.
func allocate(r request) (g grant, missing int64, ok bool) {
	a := &allocation{request: r, free: map[*physicalVolume][]*area{}, need: r.each, needMeta: r.meta}
	for _, p := range r.vg.placesOn(r.on) {
		for _, f := range p.freeAreas() {
			f.left = f.count
			a.insert(&f)
		}
		if len(a.free[p.physicalVolume]) > 0 {
			a.pvs = append(a.pvs, p.physicalVolume)
		}
	}
	a.legs = make([][]area, r.width)
	extends := r.after != nil
	a.repeat(policy{contiguous: extends, positional: extends}, false)
	a.repeat(policy{cling: true, positional: true}, true)
	if extends && !r.cling {
		a.repeat(policy{cling: true}, true)
	}
	for a.need > 0 && !r.cling {
		before := a.need
		if a.round(policy{cling: true, anywhere: true}); a.need == before {
			if a.round(policy{anywhere: true}); a.need == before {
				break
			}
		}
	}
	a.grant.each = r.each - a.need
	if a.need > 0 && !(r.share && a.grant.each > 0) {
		return a.grant, a.need*int64(r.width) + a.needMeta, false
	}
	return a.grant, 0, true
}

// repeat tries a policy until it finds nothing more, or just once.
func (a *allocation) repeat(p policy, often bool) {
	for a.need > 0 {
		before := a.need
		if a.round(p); a.need == before || !often {
			return
		}
	}
}

// insert puts a free area where its size belongs, behind those of the same size.
// It returns the place.
func (a *allocation) insert(f *area) int {
	list := a.free[f.pv]
	i := slices.IndexFunc(list, func(x *area) bool { return f.left > x.count })
	if i < 0 {
		i = len(list)
	}
	a.free[f.pv] = slices.Insert(list, i, f)
	return i
}

// moved puts a free area at its new place after its size has changed.
func (a *allocation) moved(f *area) int {
	i := slices.Index(a.free[f.pv], f)
	a.free[f.pv] = slices.Delete(a.free[f.pv], i, i+1)
	return a.insert(f)
}

// round looks for one area for each leg, and for the metadata the first time, and
// takes as much of them as all of them have.
func (a *allocation) round(p policy) {
	a.slots = nil
	if p.positional {
		a.slots = make([]candidate, a.width)
	}
	for _, pv := range a.pvs {
		for _, f := range slices.Clone(a.free[pv]) {
			if f.left != f.count {
				f.left = f.count
				a.moved(f)
			}
		}
	}
	fixed := len(a.slots)
	wanted := a.width
	if a.needMeta > 0 {
		wanted++
	}
	for _, pv := range a.pvs {
		a.consider(pv, p)
	}
	sorted := fixed // what comes before keeps its order
	if p.anywhere && !p.cling && len(a.slots) >= a.width && len(a.slots) < wanted {
		sorted = a.width
		for _, pv := range a.pvs { // the metadata may go where the data goes
			a.consider(pv, p)
		}
	}
	filled := 0
	for _, s := range a.slots {
		if s.area != nil {
			filled++
		}
	}
	if filled < wanted || slices.ContainsFunc(a.slots[:fixed], func(s candidate) bool { return s.area == nil }) {
		return
	}
	slices.SortStableFunc(a.slots[sorted:], func(x, y candidate) int { return int(y.use - x.use) })
	a.settle()
}

// settle takes the areas that the slots hold.
func (a *allocation) settle() {
	meta := -1
	if a.needMeta > 0 { // the smallest area that is large enough, which is the last
		for i := len(a.slots) - 1; i >= 0 && meta < 0; i-- {
			if a.slots[i].use >= a.needMeta {
				meta = i
			}
		}
		if meta < a.width {
			return
		}
	}
	length := a.need
	for _, s := range a.slots[:a.width] {
		length = min(length, s.use)
	}
	joined := true // all legs go on where they ended
	for i, s := range a.slots[:a.width] {
		k := len(a.legs[i]) - 1
		joined = joined && k >= 0 && a.legs[i][k].pv == s.area.pv && a.legs[i][k].start+a.legs[i][k].count == s.area.start
	}
	for i, s := range a.slots[:a.width] {
		t := a.take(s.area, length)
		if leg := a.legs[i]; joined {
			leg[len(leg)-1].count += length
		} else {
			a.legs[i] = append(leg, t)
		}
	}
	a.need -= length
	if meta >= 0 {
		t := a.take(a.slots[meta].area, a.needMeta)
		a.log, a.needMeta = &t, 0
	}
}

// take cuts extents off the beginning of a free area.
func (a *allocation) take(f *area, n int64) area {
	t := area{pv: f.pv, start: f.start, count: n}
	f.start, f.count = f.start+n, f.count-n
	f.left = f.count
	if i := slices.Index(a.free[f.pv], f); f.count == 0 {
		a.free[f.pv] = slices.Delete(a.free[f.pv], i, i+1)
	} else {
		a.moved(f)
	}
	return t
}

// consider offers a PV's areas to the round: with a wish for a certain place the
// first that fits the wish, else one after the other, each in the last one's
// stead, as long as they are large enough.
func (a *allocation) consider(pv *physicalVolume, p policy) {
	found := -1
	for i := 0; i < len(a.free[pv]); i++ {
		f := a.free[pv][i]
		if f.left == 0 {
			continue
		}
		if p.contiguous || p.cling {
			slot, fits := a.suits(f, p)
			if !fits && p.contiguous {
				continue
			}
			if !fits {
				return
			}
			if p.positional {
				a.slots[slot] = candidate{f, f.count}
				return
			}
		} else if f.left < a.need && found >= 0 {
			return
		}
		if found < 0 {
			a.slots = append(a.slots, candidate{})
			found = len(a.slots) - 1
		}
		use := max(a.need, a.request.meta)
		if use >= f.left {
			use, f.left = f.left, 0
		} else {
			f.left -= use
			i = a.moved(f)
		}
		a.slots[found] = candidate{f, use}
	}
}

// suits tells whether an area lies where the policy wants one, and for which leg.
func (a *allocation) suits(f *area, p policy) (slot int, ok bool) {
	open := func(i int) bool { return !p.positional || a.slots[i].area == nil }
	for i, pv := range a.after {
		if !p.anywhere && open(i) && pv == f.pv && a.ends[i] == f.start {
			return i, true
		}
	}
	if p.contiguous {
		return 0, false
	}
	if !p.anywhere {
		for i, pv := range a.have {
			if i %= a.width; open(i) && pv == f.pv {
				return i, true
			}
		}
	}
	if a.needMeta > 0 {
		return 0, false
	}
	for i, leg := range a.legs {
		for k, t := range leg {
			if k == 0 && t.count == a.front {
				continue // LVM forgets an area that metadata fill
			}
			if open(i) && t.pv == f.pv {
				return i, true
			}
		}
	}
	return 0, false
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
