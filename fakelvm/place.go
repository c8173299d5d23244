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
	only []area // nil: all of them
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
// range is A, A-B, A-, -B or A+N extents. A PV that is named twice is one place.
func (c *command) placesNamed(vg *volumeGroup, words []string) (on []place, code int) {
	for _, word := range words {
		path, ranges, some := strings.Cut(word, ":")
		i := slices.IndexFunc(vg.pvs, func(x *physicalVolume) bool { return x.disk.path == path })
		if i < 0 {
			return nil, c.failed("Physical Volume %q not found in Volume Group %q.", path, vg.name)
		}
		p := place{physicalVolume: vg.pvs[i]}
		for some {
			var text string
			text, ranges, some = strings.Cut(ranges, ":")
			o, ok := parseRange(text, p.extents)
			if !ok {
				return nil, c.failed("Physical extent parsing error at %s", text)
			}
			o.pv = p.physicalVolume
			p.only = append(p.only, o)
		}
		at := slices.IndexFunc(on, func(x place) bool { return x.physicalVolume == p.physicalVolume })
		switch {
		case at < 0:
			on = append(on, p)
		case p.only == nil:
			on[at].only = nil
		case on[at].only != nil:
			on[at].only = append(on[at].only, p.only...)
		}
	}
	return on, exitOK
}

// parseRange reads one range of a PV that has so many extents.
func parseRange(text string, extents int64) (area, bool) {
	number := func(s string, empty int64) (int64, bool) {
		if s == "" {
			return empty, true
		}
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil && n >= 0
	}
	if from, count, ok := strings.Cut(text, "+"); ok {
		a, okA := number(from, 0)
		n, okN := number(count, 0)
		return area{start: a, count: min(n, max(0, extents-a))}, okA && okN && n > 0
	}
	from, to, ranged := strings.Cut(text, "-")
	a, okA := number(from, 0)
	b, okB := number(to, extents-1)
	if !ranged {
		b = a
	}
	return area{start: a, count: min(b, extents-1) - a + 1}, okA && okB && a <= b && a < extents
}
