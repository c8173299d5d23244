// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"slices"
	"strconv"
	"strings"
)

// place is a PV that an LV may be made on, or some of its extents.
type place struct {
	*physicalVolume
	only []area // nil: all of them; what is named does not overlap
}

// freeAreas is the runs of free extents of the place, in order.
func (p place) freeAreas() []area {
	free := p.physicalVolume.freeAreas()
	if p.only == nil {
		return free
	}
	var within []area
	for _, f := range free {
		for _, o := range p.only {
			start, end := max(f.start, o.start), min(f.start+f.count, o.start+o.count)
			if start < end {
				within = append(within, area{pv: f.pv, start: start, count: end - start})
			}
		}
	}
	slices.SortFunc(within, func(a, b area) int { return int(a.start - b.start) })
	return within
}

// placesOn are those that on names, or all PVs of the VG.
func (v *volumeGroup) placesOn(on []place) []place {
	if on != nil {
		return on
	}
	var all []place
	for _, p := range v.pvs {
		all = append(all, place{physicalVolume: p})
	}
	return all
}

// placesNamed reads PVs as lvcreate and lvextend take them: PATH[:RANGE]…, of which a
// range is A, A-B, A-, -B or A+N extents. PVs with nothing free are passed over.
func (c *command) placesNamed(vg *volumeGroup, words []string) (on []place, code int) {
	for _, word := range words {
		path, ranges, some := strings.Cut(word, ":")
		i := slices.IndexFunc(vg.pvs, func(x *physicalVolume) bool { return x.disk.path == path })
		if i < 0 {
			return nil, c.failed("Physical Volume %q not found in Volume Group %q.", path, vg.name)
		}
		p := place{physicalVolume: vg.pvs[i]}
		switch {
		case p.blocked:
			c.fail("WARNING: Physical volume %s not allocatable.", path)
			continue
		case p.usedExtents() == p.extents:
			c.fail("WARNING: No free extents on physical volume %q.", path)
			continue
		}
		if !some {
			p.only = []area{{pv: p.physicalVolume, count: p.extents}}
		}
		for some {
			var text string
			text, ranges, some = strings.Cut(ranges, ":")
			start, end, ok := parseRange(text, p.extents)
			if !ok {
				return nil, c.failed("Physical extent parsing error at %s", text)
			}
			if start > end || end > p.extents-1 {
				return nil, c.failed("PE range error: start extent %d to end extent %d.", start, end)
			}
			p.only = append(p.only, area{pv: p.physicalVolume, start: start, count: end - start + 1})
		}
		at := slices.IndexFunc(on, func(x place) bool { return x.physicalVolume == p.physicalVolume })
		if at < 0 {
			on, at = append(on, place{physicalVolume: p.physicalVolume}), len(on)
		}
		for _, a := range p.only {
			for _, b := range on[at].only {
				if a.start < b.start+b.count && b.start < a.start+a.count {
					return nil, c.failed("Overlapping PE ranges specified (%d-%d, %d-%d) on %s.", a.start, a.start+a.count-1, b.start, b.start+b.count-1, path)
				}
			}
			on[at].only = append(on[at].only, a)
		}
	}
	if len(words) > 0 && len(on) == 0 {
		return nil, c.failed("No specified PVs have space available.")
	}
	return on, exitOK
}

// parseRange reads one range of a PV that has so many extents: the first and the last.
func parseRange(text string, extents int64) (start, end int64, ok bool) {
	number := func(s string, empty int64) (int64, bool) {
		if s == "" {
			return empty, true
		}
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil && n >= 0
	}
	if from, count, ok := strings.Cut(text, "+"); ok {
		a, okA := number(from, 0)
		n, okN := number(count, extents-a)
		return a, a + max(n, 1) - 1, okA && okN
	}
	from, to, ranged := strings.Cut(text, "-")
	a, okA := number(from, 0)
	b, okB := number(to, extents-1)
	if !ranged {
		b = a
	}
	return a, b, okA && okB && text != ""
}
