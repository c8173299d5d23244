// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// group is a VG as it lies on the disks, which is read extent by extent: free space is
// what no LV lies on, whatever LVM says it is.
type group struct {
	extent int64 // bytes
	total  int64 // bytes in extents, of all PVs
	taken  int64 // bytes that LVs lie on
	own    int64 // of these, what is no LV's: the spare of the thin pools' metadata
	lvs    map[string]*logicalVolume
}

// logicalVolume is an LV, with its parts.
type logicalVolume struct {
	name string
	size int64 // bytes, as it shows itself
	lies int64 // bytes that it lies on: more for a mirror, none for a thin volume
	pool string
	tags []string
}

func (l *logicalVolume) tag(key string) string {
	for _, t := range l.tags {
		if v, ok := strings.CutPrefix(t, key+"="); ok {
			return v
		}
	}
	return ""
}

// A part of an LV is named after it: [vol_rimage_0], [pool_tdata]. The spare of the
// pools' metadata is the VG's own.
var part = regexp.MustCompile(`^\[(.+?)(?:_rimage_\d+|_rmeta_\d+|_tdata|_tmeta)?\]$`)

// rows are the columns of a report, which the machine makes outside its sequence of
// commands: an oracle changes nothing and meets no faults.
func rows(host Machine, command, columns string, more ...string) ([][]string, error) {
	args := append([]string{command, "--noheadings", "--separator", "|", "--units", "b", "--nosuffix", "-o", columns}, more...)
	out, complaint, code := host.Setup(args...)
	if code != 0 {
		return nil, fmt.Errorf("%s: exit status %d: %s", command, code, strings.TrimSpace(complaint))
	}
	var all [][]string
	for line := range strings.Lines(out) {
		columns := strings.Split(strings.TrimSpace(line), "|")
		all = append(all, columns)
	}
	return all, nil
}

// span is extents of a PV that an LV lies on.
type span struct {
	first, last int64
	lv          string
}

// read reads a machine's VGs, and says what cannot be: extents that two LVs have, or
// that a disk does not have.
func read(host Machine) (groups map[string]*group, wrong []string, err error) {
	groups = map[string]*group{}
	all, err := rows(host, "vgs", "vg_name,vg_extent_size")
	if err != nil {
		return nil, nil, err
	}
	for _, r := range all {
		groups[r[0]] = &group{extent: number(r[1]), lvs: map[string]*logicalVolume{}}
	}
	sizes := map[string]int64{} // PV → extents
	if all, err = rows(host, "pvs", "pv_name,vg_name,pv_pe_count"); err != nil {
		return nil, nil, err
	}
	for _, r := range all {
		if g := groups[r[1]]; g != nil {
			sizes[r[0]] = number(r[2])
			g.total += number(r[2]) * g.extent
		}
	}
	if all, err = rows(host, "lvs", "vg_name,lv_name,lv_size,pool_lv,lv_tags"); err != nil {
		return nil, nil, err
	}
	for _, r := range all {
		l := &logicalVolume{name: r[1], size: number(r[2]), pool: r[3]}
		if r[4] != "" {
			l.tags = strings.Split(r[4], ",")
		}
		groups[r[0]].lvs[l.name] = l
	}
	if all, err = rows(host, "lvs", "vg_name,lv_name,seg_pe_ranges", "-a", "--segments"); err != nil {
		return nil, nil, err
	}
	spans := map[string][]span{} // by PV
	for _, r := range all {
		g, name := groups[r[0]], r[1]
		if m := part.FindStringSubmatch(name); m != nil {
			name = m[1]
		}
		for _, text := range strings.Fields(r[2]) {
			pv, s, ok := parseSpan(text)
			if !ok {
				continue // it lies on other LVs, which lie on disks
			}
			s.lv = r[0] + "/" + name
			spans[pv] = append(spans[pv], s)
			bytes := (s.last - s.first + 1) * g.extent
			g.taken += bytes
			if l := g.lvs[name]; l != nil {
				l.lies += bytes
			} else {
				g.own += bytes
			}
		}
	}
	for pv, list := range spans {
		wrong = append(wrong, overlaps(pv, sizes[pv], list)...)
	}
	return groups, wrong, nil
}

// overlaps are the extents of a PV that are given away twice, or are not there.
func overlaps(pv string, size int64, list []span) (wrong []string) {
	slices.SortFunc(list, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	end, holder := int64(-1), ""
	for _, s := range list {
		if s.first <= end {
			wrong = append(wrong, fmt.Sprintf("extents %d to %d of %s belong to %s and to %s", s.first, min(end, s.last), pv, holder, s.lv))
		}
		if s.last >= size {
			wrong = append(wrong, fmt.Sprintf("%s has extents to %d of %s, which has %d", s.lv, s.last, pv, size))
		}
		if s.last > end {
			end, holder = s.last, s.lv
		}
	}
	return wrong
}

// parseSpan reads "/dev/sdb:0-15".
func parseSpan(text string) (pv string, s span, ok bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || !strings.HasPrefix(text, "/") {
		return "", span{}, false
	}
	first, last, _ := strings.Cut(text[i+1:], "-")
	return text[:i], span{first: number(first), last: number(last)}, true
}

// number reads a whole number of a report; what is none would be a mistake of the fake,
// and counts as 0.
func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
