// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// fieldTables is every field of lvm2 2.03.16's reports in its own order; tests
// compare it with captured reports. What the fake has nothing of is empty, as lvm
// prints it.
var fieldTables = [][]field{lvFields, lvDeviceFields, lvStatusFields, pvFields, vgFields, segFields, pvsegFields}

// str makes a field of the LV's text; rows without an LV are empty.
func str(name string, get func(*logicalVolume) string) field {
	return field{name: name, section: "lv", typ: typeString, get: func(_ *Host, r row) value {
		if r.lv == nil {
			return value{}
		}
		return value{text: get(r.lv)}
	}}
}

// none makes a field that is always empty.
func none(section string, typ byte, name string) field {
	return field{name: name, section: section, typ: typ, get: func(*Host, row) value { return value{undef: typ != typeString} }}
}

// flag makes a binary field.
func flag(name, word string, get func(*logicalVolume) bool) field {
	return field{name: name, section: "lv", typ: typeBinary, word: word, get: func(_ *Host, r row) value {
		if r.lv == nil {
			return value{}
		}
		return value{num: float64(digit(get(r.lv)))}
	}}
}

// deviceFlag makes a binary field that is unknown while the LV has no device.
func deviceFlag(name, word string, get func(*logicalVolume) bool) field {
	f := flag(name, word, get)
	inner := f.get
	f.get = func(h *Host, r row) value {
		if r.lv == nil || !r.lv.live() {
			return value{undef: true}
		}
		return inner(h, r)
	}
	return f
}

// num makes a number or size field; a negative number of a device is printed -1.
func num(name string, typ byte, get func(*logicalVolume) (n int64, has bool)) field {
	return field{name: name, section: "lv", typ: typ, get: func(_ *Host, r row) value {
		if r.lv == nil {
			return value{undef: true}
		}
		n, has := get(r.lv)
		if !has {
			return value{undef: true, num: math.NaN()}
		}
		return formatNumber(n)
	}}
}

// words makes a list field.
func words(name string, get func(*logicalVolume) []string) field {
	return field{name: name, section: "lv", typ: typeList, get: func(_ *Host, r row) value {
		if r.lv == nil {
			return value{}
		}
		list := get(r.lv)
		return value{text: strings.Join(list, ","), list: list}
	}}
}

func nameOf(l *logicalVolume) string {
	switch {
	case l == nil:
		return ""
	case !l.visible():
		return "[" + l.name + "]"
	}
	return l.name
}

func uuidOf(l *logicalVolume) string {
	if l == nil {
		return ""
	}
	return l.uuid
}

func (l *logicalVolume) origin() *logicalVolume {
	switch {
	case l.snap != nil:
		return l.snap.origin
	case l.thin != nil:
		return l.thin.origin
	}
	return nil
}

func (l *logicalVolume) poolLV() *logicalVolume {
	if l.thin != nil {
		return l.thin.pool
	}
	return nil
}

func (l *logicalVolume) dataLV() *logicalVolume {
	if l.pool != nil {
		return l.pool.data
	}
	return nil
}

func (l *logicalVolume) metadataLV() *logicalVolume {
	if l.pool != nil {
		return l.pool.meta
	}
	return nil
}

// descendants is the snapshots of an LV and theirs.
func (l *logicalVolume) descendants() (names []string) {
	for _, x := range l.vg.lvs {
		for o := x.origin(); o != nil; o = o.origin() {
			if o == l {
				names = append(names, x.name)
				break
			}
		}
	}
	return names
}

func (l *logicalVolume) ancestors() (names []string) {
	for o := l.origin(); o != nil; o = o.origin() {
		names = append(names, o.name)
	}
	return names
}

// layout and role are how LVM describes what an LV is.
func (l *logicalVolume) layout() []string {
	switch l.kind {
	case striped:
		return []string{"striped"}
	case raid1:
		return []string{"raid", "raid1"}
	case thinPool:
		return []string{"thin", "pool"}
	case thinVolume:
		return []string{"thin", "sparse"}
	}
	return []string{"linear"}
}

func (l *logicalVolume) role() []string {
	switch l.kind {
	case raidImage:
		return []string{"private", "raid", "image"}
	case raidMeta:
		return []string{"private", "raid", "metadata"}
	case poolData:
		return []string{"private", "thin", "pool", "data"}
	case poolMeta:
		return []string{"private", "thin", "pool", "metadata"}
	case poolSpare:
		return []string{"private", "pool", "spare"}
	case thinPool:
		return []string{"private"}
	}
	role := []string{"public"}
	thins := 0
	if l.thin != nil {
		for _, t := range l.thin.pool.pool.thins {
			if t.thin.origin == l {
				thins++
			}
		}
	}
	role = append(role, origins("thin", thins)...)
	if l.thin != nil && l.thin.origin != nil {
		role = append(role, "snapshot", "thinsnapshot")
	}
	role = append(role, origins("thick", len(l.snaps))...)
	if l.snap != nil {
		role = append(role, "snapshot", "thicksnapshot")
	}
	return unique(role)
}

// unique drops what a list of roles has already (str_list_add in lvm2's
// lib/datastruct/str_list.c).
func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func origins(what string, n int) []string {
	switch {
	case n == 0:
		return nil
	case n == 1:
		return []string{"origin", what + "origin"}
	}
	return []string{"origin", what + "origin", "multi" + what + "origin"}
}

func (l *logicalVolume) modules() []string {
	switch {
	case l.kind == raid1:
		return []string{"raid"}
	case l.pool != nil:
		return []string{"thin-pool"}
	case l.thin != nil:
		return []string{"thin", "thin-pool"}
	case l.snap != nil || len(l.snaps) > 0:
		return []string{"snapshot"}
	}
	return nil
}

func activeWord(l *logicalVolume) string {
	if l.live() {
		return "active"
	}
	return ""
}

// path is the name of the LV's device; LVM's internal LVs have none to use.
func (l *logicalVolume) path() string {
	if !l.visible() || l.pool != nil {
		return ""
	}
	return "/dev/" + l.fullName()
}

var lvFields = []field{
	str("lv_uuid", uuidOf), str("lv_name", nameOf),
	str("lv_full_name", (*logicalVolume).fullName), str("lv_path", (*logicalVolume).path),
	str("lv_dm_path", func(l *logicalVolume) string { return "/dev/mapper/" + dmName(l.vg.name, l.name) }),
	str("lv_parent", func(l *logicalVolume) string {
		if l.parent == nil {
			return ""
		}
		return l.parent.name
	}),
	words("lv_layout", (*logicalVolume).layout), words("lv_role", (*logicalVolume).role),
	flag("lv_initial_image_sync", "initial image sync", func(l *logicalVolume) bool { return l.kind == raid1 && !l.notSynced }),
	flag("lv_image_synced", "image synced", func(l *logicalVolume) bool { return l.kind == raidImage && l.live() }),
	flag("lv_merging", "merging", never), flag("lv_converting", "converting", never),
	str("lv_allocation_policy", func(l *logicalVolume) string {
		if l.cling {
			return "cling"
		}
		return "inherit"
	}),
	flag("lv_allocation_locked", "allocation locked", never), flag("lv_fixed_minor", "fixed minor", never),
	flag("lv_skip_activation", "skip activation", func(l *logicalVolume) bool { return l.skipActivation }),
	flag("lv_autoactivation", "enabled", func(l *logicalVolume) bool { return !l.noAuto }),
	str("lv_when_full", func(l *logicalVolume) string {
		switch {
		case l.pool == nil:
			return ""
		case l.errorWhenFull:
			return "error"
		}
		return "queue"
	}),
	str("lv_active", activeWord),
	flag("lv_active_locally", "active locally", (*logicalVolume).live),
	flag("lv_active_remotely", "active remotely", never),
	flag("lv_active_exclusively", "active exclusively", (*logicalVolume).live),
	str("lv_major", minusOne), str("lv_minor", minusOne),
	str("lv_read_ahead", func(*logicalVolume) string { return "auto" }),
	num("lv_size", typeSize, func(l *logicalVolume) (int64, bool) { return l.bytes(), true }),
	num("lv_metadata_size", typeSize, func(l *logicalVolume) (int64, bool) {
		if l.pool == nil {
			return 0, false
		}
		return l.pool.meta.bytes(), true
	}),
	num("seg_count", typeNumber, func(l *logicalVolume) (int64, bool) { return int64(len(l.segs)), true }),
	str("origin", func(l *logicalVolume) string { return nameOf(l.origin()) }),
	str("origin_uuid", func(l *logicalVolume) string { return uuidOf(l.origin()) }),
	num("origin_size", typeSize, func(l *logicalVolume) (int64, bool) {
		switch {
		case l.snap != nil:
			return l.snap.origin.bytes(), true
		case len(l.snaps) > 0:
			return l.bytes(), true
		}
		return 0, false
	}),
	words("lv_ancestors", (*logicalVolume).ancestors), words("lv_full_ancestors", (*logicalVolume).ancestors),
	words("lv_descendants", (*logicalVolume).descendants), words("lv_full_descendants", (*logicalVolume).descendants),
	str("raid_mismatch_count", func(l *logicalVolume) string { return onLiveRaid(l, "0") }),
	str("raid_sync_action", func(l *logicalVolume) string { return onLiveRaid(l, "idle") }),
	none("lv", typeString, "raid_write_behind"),
	none("lv", typeString, "raid_min_recovery_rate"),
	none("lv", typeString, "raid_max_recovery_rate"),
	none("lv", typeString, "raidintegritymode"),
	str("raidintegrityblocksize", minusOne),
	none("lv", typeString, "integritymismatches"),
	none("lv", typeString, "move_pv"),
	none("lv", typeString, "move_pv_uuid"),
	none("lv", typeString, "convert_lv"),
	none("lv", typeString, "convert_lv_uuid"),
	none("lv", typeString, "mirror_log"),
	none("lv", typeString, "mirror_log_uuid"),
	str("data_lv", func(l *logicalVolume) string { return nameOf(l.dataLV()) }),
	str("data_lv_uuid", func(l *logicalVolume) string { return uuidOf(l.dataLV()) }),
	str("metadata_lv", func(l *logicalVolume) string { return nameOf(l.metadataLV()) }),
	str("metadata_lv_uuid", func(l *logicalVolume) string { return uuidOf(l.metadataLV()) }),
	str("pool_lv", func(l *logicalVolume) string { return nameOf(l.poolLV()) }),
	str("pool_lv_uuid", func(l *logicalVolume) string { return uuidOf(l.poolLV()) }),
	words("lv_tags", func(l *logicalVolume) []string { return sorted(l.tags) }),
	none("lv", typeString, "lv_profile"),
	none("lv", typeString, "lv_lockargs"),
	{name: "lv_time", section: "lv", typ: typeTime, get: func(_ *Host, r row) value {
		if r.lv == nil {
			return value{}
		}
		return value{text: r.lv.created.UTC().Format("2006-01-02 15:04:05 -0700"), num: float64(r.lv.created.Unix())}
	}},
	none("lv", typeString, "lv_time_removed"),
	str("lv_host", func(l *logicalVolume) string { return l.host }),
	words("lv_modules", (*logicalVolume).modules),
	flag("lv_historical", "historical", never),
	str("writecache_block_size", minusOne),
}

func never(*logicalVolume) bool      { return false }
func minusOne(*logicalVolume) string { return "-1" }

func onLiveRaid(l *logicalVolume, word string) string {
	if l.kind == raid1 && l.live() {
		return word
	}
	return ""
}

// onDevice is a number of the LV's device, -1 while it has none.
func onDevice(name string, typ byte, get func(*logicalVolume) int64) field {
	return field{name: name, section: "lv", typ: typ, get: func(_ *Host, r row) value {
		if r.lv == nil || !r.lv.live() {
			return value{text: "-1", num: -1, undef: true}
		}
		return formatNumber(get(r.lv))
	}}
}

var lvDeviceFields = []field{
	onDevice("lv_kernel_major", typeNumber, func(*logicalVolume) int64 { return dmMajor }),
	onDevice("lv_kernel_minor", typeNumber, func(l *logicalVolume) int64 { return int64(l.minor) }),
	onDevice("lv_kernel_read_ahead", typeSize, func(l *logicalVolume) int64 {
		switch {
		case l.pool != nil:
			return 0
		case l.kind == striped:
			return 2 * int64(len(l.segs[0].stripes)) * l.segs[0].stripeSize
		}
		return 128 << 10
	}),
	str("lv_permissions", func(l *logicalVolume) string {
		switch {
		case !l.live():
			return "unknown"
		case l.readOnly:
			return "read-only"
		}
		return "writeable"
	}),
	deviceFlag("lv_suspended", "suspended", func(l *logicalVolume) bool { return l.pool != nil && l.pool.suspended }),
	deviceFlag("lv_live_table", "live table present", (*logicalVolume).live),
	deviceFlag("lv_inactive_table", "inactive table present", never),
	{name: "lv_device_open", section: "lv", typ: typeBinary, word: "open", get: func(h *Host, r row) value {
		if r.lv == nil || !r.lv.live() {
			return value{undef: true}
		}
		return value{num: float64(digit(h.open(r.lv)))}
	}},
}

// open tells whether anything has the LV's device open.
func (h *Host) open(l *logicalVolume) bool {
	if l.pool != nil { // its own device lies on another one as soon as it has had a volume
		return l.active && l.pool.transaction > 0
	}
	if l.opens > 0 || l.held() {
		return true
	}
	for _, m := range h.mounts {
		if m.lv == l {
			return true
		}
	}
	return false
}

// percent formats as dm does: never 0.00 for something, nor 100.00 for not all.
func percent(part, whole int64) value {
	if whole <= 0 {
		return value{undef: true}
	}
	p := float64(part) * 100 / float64(whole)
	text := fmt.Sprintf("%.2f", p)
	switch {
	case text == "0.00" && part > 0:
		text = "0.01"
	case text == "100.00" && part < whole:
		text = "99.99"
	}
	return value{text: text, num: p}
}

func percentField(name string, get func(*logicalVolume) (part, whole int64)) field {
	return field{name: name, section: "lv", typ: typePercent, get: func(_ *Host, r row) value {
		if r.lv == nil || !r.lv.live() && !r.lv.working() {
			return value{undef: true}
		}
		return percent(get(r.lv))
	}}
}

// dataUse is what data_percent is made of.
func dataUse(l *logicalVolume) (part, whole int64) {
	switch {
	case l.snap != nil && l.snap.invalid:
		return 1, 1
	case l.snap != nil && len(l.snap.exceptions) == 0:
		return 0, 1
	case l.snap != nil:
		return l.snap.usedChunks() * snapChunk, l.bytes()
	case l.pool != nil:
		return int64(len(l.pool.refs)), l.pool.chunks()
	case l.thin != nil:
		return int64(len(l.thin.chunks)) * l.thin.pool.pool.chunk, l.bytes()
	}
	return 0, 0
}

func syncUse(l *logicalVolume) (part, whole int64) {
	if l.kind == raid1 {
		return 1, 1
	}
	return 0, 0
}

var lvStatusFields = []field{
	percentField("data_percent", dataUse), percentField("snap_percent", dataUse),
	percentField("metadata_percent", func(l *logicalVolume) (int64, int64) {
		if l.pool == nil {
			return 0, 0
		}
		return l.pool.metaBlocks(), l.pool.metaTotal()
	}),
	percentField("copy_percent", syncUse), percentField("sync_percent", syncUse),
	none("lv", typeString, "cache_total_blocks"),
	none("lv", typeString, "cache_used_blocks"),
	none("lv", typeString, "cache_dirty_blocks"),
	none("lv", typeString, "cache_read_hits"),
	none("lv", typeString, "cache_read_misses"),
	none("lv", typeString, "cache_write_hits"),
	none("lv", typeString, "cache_write_misses"),
	none("lv", typeString, "kernel_cache_settings"),
	none("lv", typeString, "kernel_cache_policy"),
	none("lv", typeString, "kernel_metadata_format"),
	str("lv_health_status", health),
	str("kernel_discards", func(l *logicalVolume) string {
		if l.pool != nil && l.live() {
			return "nopassdown"
		}
		return ""
	}),
	unknownUnless("lv_check_needed", "check needed", func(l *logicalVolume) bool { return l.pool != nil && l.live() }, never),
	unknownUnless("lv_merge_failed", "merge failed", func(l *logicalVolume) bool { return l.snap != nil && l.live() }, never),
	unknownUnless("lv_snapshot_invalid", "snapshot invalid", func(l *logicalVolume) bool { return l.snap != nil && l.live() },
		func(l *logicalVolume) bool { return l.snap.invalid }),
	none("lv", typeString, "vdo_operating_mode"),
	none("lv", typeString, "vdo_compression_state"),
	none("lv", typeString, "vdo_index_state"),
	none("lv", typeString, "vdo_used_size"),
	none("lv", typeString, "vdo_saving_percent"),
	none("lv", typeString, "writecache_total_blocks"),
	none("lv", typeString, "writecache_free_blocks"),
	none("lv", typeString, "writecache_writeback_blocks"),
	none("lv", typeString, "writecache_error"),
	{name: "lv_attr", section: "lv", typ: typeString, get: func(h *Host, r row) value {
		if r.lv == nil {
			return value{}
		}
		return value{text: h.attr(r.lv)}
	}},
}

// unknownUnless makes a binary field that only some LVs have.
func unknownUnless(name, word string, has, get func(*logicalVolume) bool) field {
	return field{name: name, section: "lv", typ: typeBinary, word: word, get: func(_ *Host, r row) value {
		if r.lv == nil || !has(r.lv) {
			return value{undef: true, num: -1}
		}
		return value{num: float64(digit(get(r.lv)))}
	}}
}

func health(l *logicalVolume) string {
	switch {
	case l.partial():
		return "partial"
	case l.pool != nil && l.live() && l.pool.outOfData:
		return "out_of_data"
	}
	return ""
}

// attr is the ten letters of lv_attr (man lvs, NOTES).
func (h *Host) attr(l *logicalVolume) string {
	a := []byte("-wi-------")
	if l.cling {
		a[2] = 'l'
	}
	switch {
	case l.pool != nil:
		a[0], a[6] = 't', 't'
	case l.thin != nil:
		a[0], a[6] = 'V', 't'
	case l.kind == poolData:
		a[0] = 'T'
	case l.kind == poolMeta || l.kind == poolSpare:
		a[0] = 'e'
	case l.kind == raidMeta:
		a[0], a[6] = 'e', 'r'
	case l.kind == raidImage:
		a[0], a[6] = 'i', 'r'
		if !l.live() || l.stale {
			a[0] = 'I'
		}
	case l.kind == raid1:
		a[0], a[6] = 'r', 'r'
		if l.notSynced {
			a[0] = 'R'
		}
	case l.snap != nil:
		a[0], a[6] = 's', 's'
	}
	if len(l.snaps) > 0 {
		a[0] = 'o'
		if a[6] == '-' {
			a[6] = 's'
		}
	}
	if l.readOnly {
		a[1] = 'r'
	}
	if l.live() {
		a[4] = 'a'
		if l.snap != nil && l.snap.invalid {
			a[4] = 'I'
		}
		if h.open(l) {
			a[5] = 'o'
		}
	}
	if l.pool != nil && l.pool.zero || l.thin != nil && l.thin.pool.pool.zero {
		a[7] = 'z'
	}
	switch health(l) {
	case "partial":
		a[8] = 'p'
	case "out_of_data":
		a[8] = 'D'
	}
	if l.skipActivation {
		a[9] = 'k'
	}
	return string(a)
}
