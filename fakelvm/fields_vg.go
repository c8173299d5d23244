// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"slices"
	"strings"
)

func sorted(list []string) []string {
	if slices.IsSorted(list) {
		return list
	}
	out := slices.Clone(list)
	slices.Sort(out)
	return out
}

// ofPV makes a field of the row's PV.
func ofPV(name string, typ byte, get func(*physicalVolume) value) field {
	return field{name: name, section: "pv", typ: typ, get: func(_ *Host, r row) value {
		if r.pv == nil {
			return value{}
		}
		return get(r.pv)
	}}
}

// ofVG makes a field of the row's VG.
func ofVG(name string, typ byte, get func(*volumeGroup) value) field {
	return field{name: name, section: "vg", typ: typ, get: func(_ *Host, r row) value {
		if r.vg == nil {
			return value{}
		}
		return get(r.vg)
	}}
}

func vgFlag(name, word string, get func(*volumeGroup) bool) field {
	f := ofVG(name, typeBinary, func(v *volumeGroup) value { return value{num: float64(digit(get(v)))} })
	f.word = word
	return f
}

func pvFlag(name, word string, get func(*physicalVolume) bool) field {
	f := ofPV(name, typeBinary, func(p *physicalVolume) value { return value{num: float64(digit(get(p)))} })
	f.word = word
	return f
}

func text(s string) value { return value{text: s} }

func list(l []string) value {
	l = sorted(l)
	return value{text: strings.Join(l, ","), list: l}
}

// here is a number that a PV without its disk has none of.
func here(get func(*physicalVolume) int64) func(*physicalVolume) value {
	return func(p *physicalVolume) value {
		if p.disk.absent {
			return formatNumber(0)
		}
		return formatNumber(get(p))
	}
}

func pvSize(p *physicalVolume) int64 {
	if p.vg == nil {
		return p.disk.size
	}
	return p.extents * p.vg.extent
}

func pvUsed(p *physicalVolume) int64 {
	if p.vg == nil {
		return 0
	}
	return p.usedExtents() * p.vg.extent
}

var pvFields = []field{
	ofPV("pv_fmt", typeString, func(*physicalVolume) value { return text("lvm2") }),
	ofPV("pv_uuid", typeString, func(p *physicalVolume) value { return text(p.uuid) }),
	ofPV("dev_size", typeSize, here(func(p *physicalVolume) int64 { return p.disk.size })),
	ofPV("pv_name", typeString, func(p *physicalVolume) value { return text(p.path()) }),
	ofPV("pv_major", typeNumber, here(func(p *physicalVolume) int64 { return int64(p.disk.major) })),
	ofPV("pv_minor", typeNumber, here(func(p *physicalVolume) int64 { return int64(p.disk.minor) })),
	ofPV("pv_mda_free", typeSize, here((*physicalVolume).mdaFree)),
	ofPV("pv_mda_size", typeSize, here(func(p *physicalVolume) int64 { return p.area })),
	ofPV("pv_ext_vsn", typeString, func(p *physicalVolume) value {
		if p.disk.absent {
			return text("")
		}
		return text("2")
	}),
	ofPV("pe_start", typeSize, func(p *physicalVolume) value { return formatNumber(p.start) }),
	ofPV("pv_size", typeSize, func(p *physicalVolume) value { return formatNumber(pvSize(p)) }),
	ofPV("pv_free", typeSize, func(p *physicalVolume) value { return formatNumber(pvSize(p) - pvUsed(p)) }),
	ofPV("pv_used", typeSize, func(p *physicalVolume) value { return formatNumber(pvUsed(p)) }),
	ofPV("pv_attr", typeString, func(p *physicalVolume) value {
		a := []byte("---")
		if p.vg != nil && !p.blocked {
			a[0] = 'a'
		} else if p.vg != nil {
			a[0] = 'u'
		}
		if p.gone() {
			a[2] = 'm'
		}
		return text(string(a))
	}),
	pvFlag("pv_allocatable", "allocatable", func(p *physicalVolume) bool { return p.vg != nil && !p.blocked }),
	pvFlag("pv_exported", "exported", func(*physicalVolume) bool { return false }),
	pvFlag("pv_missing", "missing", (*physicalVolume).gone),
	ofPV("pv_pe_count", typeNumber, func(p *physicalVolume) value { return formatNumber(p.extents) }),
	ofPV("pv_pe_alloc_count", typeNumber, func(p *physicalVolume) value { return formatNumber(p.usedExtents()) }),
	ofPV("pv_tags", typeList, func(p *physicalVolume) value { return list(p.tags) }),
	ofPV("pv_mda_count", typeNumber, here(func(*physicalVolume) int64 { return 1 })),
	ofPV("pv_mda_used_count", typeNumber, here(func(*physicalVolume) int64 { return 1 })),
	ofPV("pv_ba_start", typeSize, func(*physicalVolume) value { return formatNumber(0) }),
	ofPV("pv_ba_size", typeSize, func(*physicalVolume) value { return formatNumber(0) }),
	pvFlag("pv_in_use", "used", func(p *physicalVolume) bool { return p.vg != nil || p.claimed }),
	pvFlag("pv_duplicate", "duplicate", func(*physicalVolume) bool { return false }),
	none("pv", typeString, "pv_device_id"),
	none("pv", typeString, "pv_device_id_type"),
}

func (v *volumeGroup) count(which func(*logicalVolume) bool) value {
	n := int64(0)
	for _, l := range v.lvs {
		if which(l) {
			n++
		}
	}
	return formatNumber(n)
}

// areas is the PVs of the VG that are there.
func (v *volumeGroup) areas() (there []*physicalVolume) {
	for _, p := range v.pvs {
		if !p.gone() {
			there = append(there, p)
		}
	}
	return there
}

func (v *volumeGroup) least(get func(*physicalVolume) int64) value {
	n := int64(-1)
	for _, p := range v.pvs { // those that are back and still called missing count
		if x := get(p); !p.disk.absent && (n < 0 || x < n) {
			n = x
		}
	}
	return formatNumber(max(n, 0))
}

var vgFields = []field{
	ofVG("vg_fmt", typeString, func(*volumeGroup) value { return text("lvm2") }),
	ofVG("vg_uuid", typeString, func(v *volumeGroup) value { return text(v.uuid) }),
	ofVG("vg_name", typeString, func(v *volumeGroup) value { return text(v.name) }),
	ofVG("vg_attr", typeString, func(v *volumeGroup) value {
		if v.partial() {
			return text("wz-pn-")
		}
		return text("wz--n-")
	}),
	ofVG("vg_permissions", typeString, func(*volumeGroup) value { return text("writeable") }),
	vgFlag("vg_extendable", "extendable", func(*volumeGroup) bool { return true }),
	vgFlag("vg_exported", "exported", func(*volumeGroup) bool { return false }),
	vgFlag("vg_autoactivation", "enabled", func(v *volumeGroup) bool { return !v.noAuto }),
	vgFlag("vg_partial", "partial", (*volumeGroup).partial),
	ofVG("vg_allocation_policy", typeString, func(*volumeGroup) value { return text("normal") }),
	vgFlag("vg_clustered", "clustered", func(*volumeGroup) bool { return false }),
	vgFlag("vg_shared", "shared", func(*volumeGroup) bool { return false }),
	ofVG("vg_size", typeSize, func(v *volumeGroup) value { t, _ := v.extents(); return formatNumber(t * v.extent) }),
	ofVG("vg_free", typeSize, func(v *volumeGroup) value { _, f := v.extents(); return formatNumber(f * v.extent) }),
	ofVG("vg_sysid", typeString, func(v *volumeGroup) value { return text(v.systemID) }),
	ofVG("vg_systemid", typeString, func(v *volumeGroup) value { return text(v.systemID) }),
	none("vg", typeString, "vg_lock_type"),
	none("vg", typeString, "vg_lock_args"),
	ofVG("vg_extent_size", typeSize, func(v *volumeGroup) value { return formatNumber(v.extent) }),
	ofVG("vg_extent_count", typeNumber, func(v *volumeGroup) value { t, _ := v.extents(); return formatNumber(t) }),
	ofVG("vg_free_count", typeNumber, func(v *volumeGroup) value { _, f := v.extents(); return formatNumber(f) }),
	ofVG("max_lv", typeNumber, func(*volumeGroup) value { return formatNumber(0) }),
	ofVG("max_pv", typeNumber, func(*volumeGroup) value { return formatNumber(0) }),
	ofVG("pv_count", typeNumber, func(v *volumeGroup) value { return formatNumber(int64(len(v.pvs))) }),
	ofVG("vg_missing_pv_count", typeNumber, func(v *volumeGroup) value { return formatNumber(int64(len(v.pvs) - len(v.areas()))) }),
	ofVG("lv_count", typeNumber, func(v *volumeGroup) value { return v.count((*logicalVolume).visible) }),
	ofVG("snap_count", typeNumber, func(v *volumeGroup) value {
		return v.count(func(l *logicalVolume) bool { return l.snap != nil })
	}),
	ofVG("vg_seqno", typeNumber, func(v *volumeGroup) value { return formatNumber(v.seqno) }),
	ofVG("vg_tags", typeList, func(v *volumeGroup) value { return list(v.tags) }),
	none("vg", typeString, "vg_profile"),
	ofVG("vg_mda_count", typeNumber, func(v *volumeGroup) value { return formatNumber(int64(len(v.areas()))) }),
	ofVG("vg_mda_used_count", typeNumber, func(v *volumeGroup) value { return formatNumber(int64(len(v.areas()))) }),
	ofVG("vg_mda_free", typeSize, func(v *volumeGroup) value { return v.least((*physicalVolume).mdaFree) }),
	ofVG("vg_mda_size", typeSize, func(v *volumeGroup) value {
		return v.least(func(p *physicalVolume) int64 { return p.area })
	}),
	ofVG("vg_mda_copies", typeString, func(*volumeGroup) value { return text("unmanaged") }),
}

// ofSeg makes a field of the row's segment. An LV without segments has none.
func ofSeg(name string, typ byte, get func(*logicalVolume, *segment) value) field {
	return field{name: name, section: "seg", typ: typ, get: func(_ *Host, r row) value {
		if r.lv == nil || r.seg == nil {
			return value{undef: true}
		}
		return get(r.lv, r.seg)
	}}
}

// legs is how many stripes or images a segment has; thin volumes have none.
func legs(l *logicalVolume, s *segment) int64 {
	switch {
	case l.kind == raid1:
		return int64(len(l.images))
	case l.thin != nil:
		return 0
	case l.pool != nil:
		return 1
	}
	return int64(len(s.stripes))
}

// ranges is where a segment lies: `name:first-last` of each leg.
func ranges(l *logicalVolume, s *segment, bracket bool) []string {
	name := func(sub *logicalVolume) string {
		if bracket {
			return "[" + sub.name + "]"
		}
		return sub.name
	}
	var out []string
	switch {
	case l.kind == raid1:
		for _, image := range l.images {
			out = append(out, fmt.Sprintf("%s:%d-%d", name(image), s.start, s.start+s.count-1))
		}
	case l.pool != nil:
		out = append(out, fmt.Sprintf("%s:%d-%d", name(l.pool.data), s.start, s.start+s.count-1))
	case l.thin != nil:
	default:
		each := s.count / int64(len(s.stripes))
		for _, a := range s.stripes {
			out = append(out, fmt.Sprintf("%s:%d-%d", a.pv.path(), a.start, a.start+each-1))
		}
	}
	return out
}

func devices(l *logicalVolume, s *segment) []string {
	var out []string
	switch {
	case l.kind == raid1:
		for _, image := range l.images {
			out = append(out, fmt.Sprintf("%s(%d)", image.name, s.start))
		}
	case l.pool != nil:
		out = append(out, fmt.Sprintf("%s(%d)", l.pool.data.name, s.start))
	case l.thin != nil:
	default:
		for _, a := range s.stripes {
			out = append(out, fmt.Sprintf("%s(%d)", a.pv.path(), a.start))
		}
	}
	return out
}

func segtype(l *logicalVolume, s *segment) string {
	switch {
	case l.kind == raid1:
		return "raid1"
	case l.pool != nil:
		return "thin-pool"
	case l.thin != nil:
		return "thin"
	case len(s.stripes) > 1:
		return "striped"
	}
	return "linear"
}

// when is a value that only some LVs have.
func when(has bool, v value) value {
	if !has {
		return value{undef: true}
	}
	return v
}

var segFields = []field{
	{name: "segtype", section: "seg", typ: typeString, get: func(_ *Host, r row) value {
		switch {
		case r.used != nil && r.used.lv == nil:
			return text("free")
		case r.lv == nil || r.seg == nil:
			return value{undef: true}
		}
		return text(segtype(r.lv, r.seg))
	}},
	ofSeg("stripes", typeNumber, func(l *logicalVolume, s *segment) value { return formatNumber(legs(l, s)) }),
	ofSeg("data_stripes", typeNumber, func(l *logicalVolume, s *segment) value { return formatNumber(legs(l, s)) }),
	none("seg", typeNumber, "reshape_len"),
	none("seg", typeNumber, "reshape_len_le"),
	ofSeg("data_copies", typeNumber, func(l *logicalVolume, _ *segment) value { return formatNumber(max(1, int64(len(l.images)))) }),
	none("seg", typeNumber, "data_offset"),
	none("seg", typeNumber, "new_data_offset"),
	ofSeg("parity_chunks", typeNumber, func(l *logicalVolume, _ *segment) value {
		return when(l.kind == raid1, formatNumber(int64(len(l.images))-1))
	}),
	ofSeg("stripe_size", typeSize, func(_ *logicalVolume, s *segment) value {
		if len(s.stripes) < 2 {
			return formatNumber(0)
		}
		return formatNumber(s.stripeSize)
	}),
	ofSeg("region_size", typeSize, func(l *logicalVolume, _ *segment) value {
		if l.kind == raid1 {
			return formatNumber(raidRegion)
		}
		return formatNumber(0)
	}),
	ofSeg("chunk_size", typeSize, func(l *logicalVolume, _ *segment) value {
		switch {
		case l.snap != nil:
			return formatNumber(snapChunk)
		case l.pool != nil:
			return formatNumber(l.pool.chunk)
		}
		return formatNumber(0)
	}),
	ofSeg("thin_count", typeNumber, func(l *logicalVolume, _ *segment) value {
		if l.pool == nil {
			return value{undef: true}
		}
		return formatNumber(int64(len(l.pool.thins)))
	}),
	ofSeg("discards", typeString, func(l *logicalVolume, _ *segment) value {
		return when(l.pool != nil || l.thin != nil, text("passdown"))
	}),
	none("seg", typeString, "cache_metadata_format"),
	none("seg", typeString, "cache_mode"),
	{name: "zero", section: "seg", typ: typeBinary, word: "zero", get: func(_ *Host, r row) value {
		switch {
		case r.lv != nil && r.lv.pool != nil:
			return value{num: float64(digit(r.lv.pool.zero))}
		case r.lv != nil && r.lv.thin != nil:
			return value{num: float64(digit(r.lv.thin.pool.pool.zero))}
		}
		return value{undef: true}
	}},
	ofSeg("transaction_id", typeNumber, func(l *logicalVolume, _ *segment) value {
		switch {
		case l.pool != nil:
			return formatNumber(l.pool.transaction)
		case l.thin != nil:
			return formatNumber(l.thin.transaction)
		}
		return value{undef: true}
	}),
	ofSeg("thin_id", typeNumber, func(l *logicalVolume, _ *segment) value {
		if l.thin == nil {
			return value{undef: true}
		}
		return formatNumber(l.thin.id)
	}),
	ofSeg("seg_start", typeSize, func(l *logicalVolume, s *segment) value { return formatNumber(s.start * l.vg.extent) }),
	ofSeg("seg_start_pe", typeNumber, func(_ *logicalVolume, s *segment) value { return formatNumber(s.start) }),
	ofSeg("seg_size", typeSize, func(l *logicalVolume, s *segment) value { return formatNumber(s.count * l.vg.extent) }),
	ofSeg("seg_size_pe", typeNumber, func(_ *logicalVolume, s *segment) value { return formatNumber(s.count) }),
	ofSeg("seg_tags", typeList, func(*logicalVolume, *segment) value { return value{} }),
	ofSeg("seg_pe_ranges", typeList, func(l *logicalVolume, s *segment) value {
		r := ranges(l, s, false)
		return value{text: strings.Join(r, " "), list: r}
	}),
	ofSeg("seg_le_ranges", typeList, func(l *logicalVolume, s *segment) value {
		r := ranges(l, s, true)
		return value{text: strings.Join(r, ","), list: r}
	}),
	ofSeg("seg_metadata_le_ranges", typeList, func(l *logicalVolume, _ *segment) value {
		var r []string
		for _, m := range l.metas {
			r = append(r, fmt.Sprintf("[%s]:0-%d", m.name, m.size-1))
		}
		return value{text: strings.Join(r, ","), list: r}
	}),
	ofSeg("devices", typeList, func(l *logicalVolume, s *segment) value {
		d := devices(l, s)
		return value{text: strings.Join(d, ","), list: d}
	}),
	ofSeg("metadata_devices", typeList, func(l *logicalVolume, _ *segment) value {
		var d []string
		for _, m := range l.metas {
			d = append(d, m.name+"(0)")
		}
		return value{text: strings.Join(d, ","), list: d}
	}),
	none("seg", typeString, "seg_monitor"),
	none("seg", typeString, "cache_policy"),
	none("seg", typeString, "cache_settings"),
	none("seg", typeString, "vdo_compression"),
	none("seg", typeString, "vdo_deduplication"),
	none("seg", typeString, "vdo_use_metadata_hints"),
	none("seg", typeString, "vdo_minimum_io_size"),
	none("seg", typeString, "vdo_block_map_cache_size"),
	none("seg", typeString, "vdo_block_map_era_length"),
	none("seg", typeString, "vdo_use_sparse_index"),
	none("seg", typeString, "vdo_index_memory_size"),
	none("seg", typeString, "vdo_slab_size"),
	none("seg", typeString, "vdo_ack_threads"),
	none("seg", typeString, "vdo_bio_threads"),
	none("seg", typeString, "vdo_bio_rotation"),
	none("seg", typeString, "vdo_cpu_threads"),
	none("seg", typeString, "vdo_hash_zone_threads"),
	none("seg", typeString, "vdo_logical_threads"),
	none("seg", typeString, "vdo_physical_threads"),
	none("seg", typeString, "vdo_max_discard"),
	none("seg", typeString, "vdo_write_policy"),
	none("seg", typeString, "vdo_header_size"),
}

var pvsegFields = []field{
	{name: "pvseg_start", section: "pvseg", typ: typeNumber, get: func(_ *Host, r row) value {
		if r.used == nil {
			return value{}
		}
		return formatNumber(r.used.start)
	}},
	{name: "pvseg_size", section: "pvseg", typ: typeNumber, get: func(_ *Host, r row) value {
		if r.used == nil {
			return value{}
		}
		return formatNumber(r.used.count)
	}},
}
