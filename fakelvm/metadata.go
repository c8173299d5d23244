// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"time"
)

// On-disk sizes of LVM's format (lib/format_text/layout.h), in bytes.
const (
	sectorSize     = 512
	mdaOffset      = 4096             // of the metadata area on a PV
	maxDescription = 2047             // of the command line in the text; what is longer is cut off
	mdaSize        = 1<<20 - 4096     // the default: all up to the first extent
	mdaHeaderSize  = 512              // what precedes the ring buffer in the area
	dataOffset     = 1 << 20          // of the first extent: the default data alignment
	defaultExtent  = 4 << 20          // vgcreate's default extent size
	maxNameLen     = 127              // NAME_LEN-1 (lib/metadata/metadata-exported.h)
	maxDMNameLen   = 127              // DM_NAME_LEN-1 (linux/dm-ioctl.h)
	crcSeed        = 0xf597a6cf       // INITIAL_CRC (lib/misc/crc.h)
	minDeviceSize  = 2 << 20          // devices/pv_min_size: 2048 KiB
	maxExtents     = int64(1)<<32 - 1 // MAX_EXTENT_COUNT
)

// disk is a block device of the machine.
type disk struct {
	path         string
	size         int64
	major, minor int
	pages        map[int64]*page
	pv           *physicalVolume
	opens        int
	absent       bool

	rotational, removable, readOnly bool
	links                           []string
}

// physicalVolume is a disk with LVM's label.
type physicalVolume struct {
	disk    *disk
	vg      *volumeGroup // nil: an orphan
	uuid    string
	tags    []string
	start   int64   // bytes to the first extent
	extents int64   // 0 while an orphan
	area    int64   // size of the metadata area, bytes
	missing bool    // marked so in the VG's metadata
	blocked bool    // allocation is switched off (pvchange -x n)
	claimed bool    // marked as part of a VG by a command that died before its commit
	written bool    // of an orphan: its metadata area has an old text
	used    []usage // sorted by start

	ring int64 // where in the area the current text begins
	// textSize is the length of the text on this PV; a missing one keeps an old text.
	textSize int64
	seqno    int64 // of the text that it has
}

// usage is a run of extents that one LV has on a PV.
type usage struct {
	start, count int64
	lv           *logicalVolume
}

// volumeGroup is a set of PVs and the LVs on them.
type volumeGroup struct {
	name, uuid string
	systemID   string
	tags       []string
	extent     int64 // bytes
	pvs        []*physicalVolume
	lvs        []*logicalVolume
	byName     map[string]*logicalVolume
	seqno      int64
	noAuto     bool

	textSize    int64 // of the text at the last commit
	description string
	written     int64 // creation_time of the text
}

// kind is what an LV is; its segments follow from it.
type kind int

const (
	linear kind = iota
	striped
	raid1
	raidImage
	raidMeta
	thinPool
	poolData
	poolMeta
	poolSpare
	thinVolume
	thickSnapshot
)

// logicalVolume is a block device made of extents, or of other LVs.
type logicalVolume struct {
	vg         *volumeGroup
	name, uuid string
	kind       kind
	tags       []string // sorted
	segs       []segment
	size       int64 // extents
	created    time.Time
	host       string

	skipActivation bool
	noAuto         bool
	readOnly       bool
	notSynced      bool // raid1 --nosync
	stale          bool // a leg of raid1 that was missing when it was activated
	errorWhenFull  bool
	cling          bool // its allocation policy; else it is its VG's, normal

	active bool
	minor  int
	table  int64 // extents that the active device has
	opens  int   // by devices and mounts; what LVs hold of one another is derived

	parent *logicalVolume   // of a sub-LV: the raid1 LV or pool it is part of
	images []*logicalVolume // of a raid1 LV
	metas  []*logicalVolume // of a raid1 LV

	pool  *thinPoolState   // of a thin pool
	thin  *thinState       // of a thin volume
	snap  *snapState       // of a thick snapshot
	snaps []*logicalVolume // thick snapshots of this LV

	text     int // cached size of its part of the metadata text
	textSeen bool
}

// segment is a run of logical extents with one mapping.
type segment struct {
	start, count int64 // logical extents
	stripeSize   int64 // bytes, 0 when not striped
	stripes      []stripe
}

// stripe is where one leg of a segment lies.
type stripe struct {
	pv    *physicalVolume
	start int64 // extent on the PV
}

// visible tells whether reports show the LV without -a.
func (l *logicalVolume) visible() bool {
	switch l.kind {
	case raidImage, raidMeta, poolData, poolMeta, poolSpare:
		return false
	}
	return true
}

func (l *logicalVolume) bytes() int64 { return l.size * l.vg.extent }

func (l *logicalVolume) fullName() string { return l.vg.name + "/" + l.name }

// hasArea tells whether the LV takes extents of PVs itself.
func (l *logicalVolume) hasArea() bool {
	switch l.kind {
	case raid1, thinPool, thinVolume:
		return false
	}
	return true
}

// touch forgets what is cached of the LV's text.
func (l *logicalVolume) touch() { l.textSeen = false }

func (v *volumeGroup) lv(name string) *logicalVolume { return v.byName[name] }

func (v *volumeGroup) extents() (total, free int64) {
	for _, p := range v.pvs {
		total += p.extents
		free += p.extents - p.usedExtents()
	}
	return total, free
}

// partial tells whether a PV is absent now.
func (v *volumeGroup) partial() bool {
	for _, p := range v.pvs {
		if p.gone() {
			return true
		}
	}
	return false
}

// link puts an LV into its VG. Thin pools come first: LVM reads them before the
// thin volumes that need them.
func (v *volumeGroup) link(l *logicalVolume) {
	l.vg = v
	if l.kind == thinPool {
		v.lvs = slices.Insert(v.lvs, 0, l)
	} else {
		v.lvs = append(v.lvs, l)
	}
	if v.byName == nil {
		v.byName = map[string]*logicalVolume{}
	}
	v.byName[l.name] = l
	for _, s := range l.segs {
		l.occupy(s)
	}
}

// unlink takes an LV out of its VG and frees its extents. It returns the place
// that it had, for link to be undone.
func (v *volumeGroup) unlink(l *logicalVolume) int {
	i := slices.Index(v.lvs, l)
	v.lvs = slices.Delete(v.lvs, i, i+1)
	delete(v.byName, l.name)
	for _, s := range l.segs {
		l.vacate(s)
	}
	return i
}

// relink undoes unlink.
func (v *volumeGroup) relink(i int, l *logicalVolume) {
	v.lvs = slices.Insert(v.lvs, i, l)
	v.byName[l.name] = l
	for _, s := range l.segs {
		l.occupy(s)
	}
}

// occupy marks the extents of a segment as the LV's.
func (l *logicalVolume) occupy(s segment) {
	if !l.hasArea() {
		return
	}
	each := s.count / int64(len(s.stripes))
	for _, a := range s.stripes {
		u := usage{start: a.start, count: each, lv: l}
		i, _ := slices.BinarySearchFunc(a.pv.used, u.start, func(x usage, start int64) int { return int(x.start - start) })
		a.pv.used = slices.Insert(a.pv.used, i, u)
	}
}

// vacate frees the extents of a segment.
func (l *logicalVolume) vacate(s segment) {
	if !l.hasArea() {
		return
	}
	for _, a := range s.stripes {
		i, ok := slices.BinarySearchFunc(a.pv.used, a.start, func(x usage, start int64) int { return int(x.start - start) })
		if ok {
			a.pv.used = slices.Delete(a.pv.used, i, i+1)
		}
	}
}

// gone tells whether the PV cannot be used: its disk is absent or marked missing.
func (p *physicalVolume) gone() bool { return p.missing || p.disk.absent }

func (p *physicalVolume) usedExtents() int64 {
	var n int64
	for _, u := range p.used {
		n += u.count
	}
	return n
}

// path is the name that reports show.
func (p *physicalVolume) path() string {
	if p.disk.absent {
		return "[unknown]"
	}
	return p.disk.path
}

// mdaFree is the free space that reports show: what is left of the longest text,
// in whole sectors.
func (p *physicalVolume) mdaFree() int64 {
	free := p.maxText()
	if p.vg != nil {
		free -= p.textSize
	}
	return max(0, free/sectorSize*sectorSize)
}

// maxText is the longest text that LVM writes into the metadata area, a ring in
// which the old text and the new one must fit beside each other.
func (p *physicalVolume) maxText() int64 { return (p.area-mdaHeaderSize)/2 - sectorSize }

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

// metadataSize is the length of the text that describes the VG now.
func (v *volumeGroup) metadataSize(h *Host, description string, at int64) int64 {
	n := len(v.textHead()) + len(v.textTail(h, description, at))
	snapshots := 0
	for _, l := range v.lvs {
		if !l.textSeen {
			l.text, l.textSeen = len(l.metadata(snapshots)), true
		}
		n += l.text
		if l.snap != nil {
			snapshots++
		}
	}
	return int64(n)
}

// metadataText is the text as LVM writes it into the metadata area.
func (v *volumeGroup) metadataText(h *Host) string {
	var b strings.Builder
	b.WriteString(v.textHead())
	snapshots := 0
	for _, visible := range []bool{true, false} {
		for _, l := range v.lvs {
			if l.visible() == visible {
				b.WriteString(l.metadata(snapshots))
				if l.snap != nil {
					snapshots++
				}
			}
		}
	}
	b.WriteString(v.textTail(h, v.description, v.written))
	return b.String()
}

// textHead is the text before the LVs.
func (v *volumeGroup) textHead() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s {\nid = %q\nseqno = %d\nformat = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\n", v.name, v.uuid, v.seqno)
	writeTags(&b, v.tags)
	if v.systemID != "" {
		fmt.Fprintf(&b, "system_id = %q\n", v.systemID)
	}
	fmt.Fprintf(&b, "extent_size = %d\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\nphysical_volumes {\n", v.extent/sectorSize)
	for i, p := range v.pvs {
		status, flags := `"ALLOCATABLE"`, ""
		if p.blocked {
			status = ""
		}
		if p.missing {
			flags = `"MISSING"`
		}
		fmt.Fprintf(&b, "\npv%d {\nid = %q\ndevice = %q\n\nstatus = [%s]\nflags = [%s]\n", i, p.uuid, p.path(), status, flags)
		writeTags(&b, p.tags)
		fmt.Fprintf(&b, "dev_size = %d\npe_start = %d\npe_count = %d\n}\n", p.disk.size/sectorSize, p.start/sectorSize, p.extents)
	}
	b.WriteString("}\n\n")
	if len(v.lvs) > 0 {
		b.WriteString("logical_volumes {\n")
	}
	return b.String()
}

// textTail is the text after the LVs, with the final NUL.
func (v *volumeGroup) textTail(h *Host, description string, at int64) string {
	var b strings.Builder
	if len(v.lvs) > 0 {
		b.WriteString("}\n")
	}
	date := time.Unix(at, 0).UTC().Format("Mon Jan _2 15:04:05 2006")
	description = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(description)
	fmt.Fprintf(&b, "\n}\n# Generated by LVM2 version %s: %s\n\ncontents = \"Text Format Volume Group\"\nversion = 1\n\ndescription = \"%s\"\n\n", version, date, description)
	fmt.Fprintf(&b, "creation_host = %q\t# Linux %s 6.1.176 #1 Sat Jul  4 15:38:16 UTC 2026 x86_64\ncreation_time = %d\t# %s\n\n\x00", h.name, h.name, at, date)
	return b.String()
}

// metadata is the LV's part of the text. snapshots is how many thick snapshots
// precede it: each has a second, numbered entry.
func (l *logicalVolume) metadata(snapshots int) string {
	var b strings.Builder
	status := `"READ"`
	if !l.readOnly {
		status += `, "WRITE"`
	}
	if l.visible() && l.snap == nil {
		status += `, "VISIBLE"`
	}
	if l.notSynced {
		status += `, "NOTSYNCED"`
	}
	flags := ""
	if l.skipActivation {
		flags = `"ACTIVATION_SKIP"`
	}
	if l.errorWhenFull {
		flags = `"ERROR_WHEN_FULL"`
	}
	l.writeHead(&b, l.name, l.uuid, status, flags, l.tags)
	fmt.Fprintf(&b, "segment_count = %d\n\n", max(1, len(l.segs)))
	for i, s := range l.segs {
		fmt.Fprintf(&b, "segment%d {\nstart_extent = %d\nextent_count = %d\n\n", i+1, s.start, s.count)
		l.writeSegment(&b, s)
		b.WriteString("}\n")
	}
	b.WriteString("}\n")
	if l.snap != nil {
		l.writeHead(&b, fmt.Sprintf("snapshot%d", snapshots), l.snap.uuid, `"READ", "WRITE", "VISIBLE"`, "", nil)
		fmt.Fprintf(&b, "segment_count = 1\n\nsegment1 {\nstart_extent = 0\nextent_count = %d\n\ntype = \"snapshot\"\nchunk_size = %d\norigin = %q\ncow_store = %q\n}\n}\n",
			l.snap.origin.size, snapChunk/sectorSize, l.snap.origin.name, l.name)
	}
	return b.String()
}

func (l *logicalVolume) writeHead(b *strings.Builder, name, uuid, status, flags string, tags []string) {
	fmt.Fprintf(b, "\n%s {\nid = %q\nstatus = [%s]\nflags = [%s]\n", name, uuid, status, flags)
	writeTags(b, tags)
	fmt.Fprintf(b, "creation_time = %d\ncreation_host = %q\n", l.created.Unix(), l.host)
	if l.cling {
		b.WriteString("allocation_policy = \"cling\"\n")
	}
}

func (l *logicalVolume) writeSegment(b *strings.Builder, s segment) {
	switch l.kind {
	case raid1:
		fmt.Fprintf(b, "type = \"raid1\"\ndevice_count = %d\nregion_size = %d\n\nraids = [\n", len(l.images), raidRegion/sectorSize)
		for i := range l.images {
			comma := ","
			if i == len(l.images)-1 {
				comma = ""
			}
			fmt.Fprintf(b, "%q, %q%s\n", l.metas[i].name, l.images[i].name, comma)
		}
		b.WriteString("]\n")
	case thinPool:
		fmt.Fprintf(b, "type = \"thin-pool\"\nmetadata = %q\npool = %q\ntransaction_id = %d\nchunk_size = %d\ndiscards = \"passdown\"\nzero_new_blocks = %d\n",
			l.pool.meta.name, l.pool.data.name, l.pool.transaction, l.pool.chunk/sectorSize, digit(l.pool.zero))
	case thinVolume:
		fmt.Fprintf(b, "type = \"thin\"\nthin_pool = %q\ntransaction_id = %d\ndevice_id = %d\n", l.thin.pool.name, l.thin.transaction, l.thin.id)
		if l.thin.origin != nil {
			fmt.Fprintf(b, "origin = %q\n", l.thin.origin.name)
		}
	default:
		fmt.Fprintf(b, "type = \"striped\"\nstripe_count = %d\n", len(s.stripes))
		if len(s.stripes) > 1 {
			fmt.Fprintf(b, "stripe_size = %d\n", s.stripeSize/sectorSize)
		}
		b.WriteString("\nstripes = [\n")
		for i, a := range s.stripes {
			comma := ","
			if i == len(s.stripes)-1 {
				comma = ""
			}
			fmt.Fprintf(b, "\"pv%d\", %d%s\n", slices.Index(l.vg.pvs, a.pv), a.start, comma)
		}
		b.WriteString("]\n")
	}
}

func writeTags(b *strings.Builder, tags []string) {
	if len(tags) == 0 {
		return
	}
	b.WriteString("tags = [")
	for i, t := range tags {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(b, "%q", t)
	}
	b.WriteString("]\n")
}

// checksum is LVM's CRC: the common polynomial with a seed of its own and no
// final inversion.
func checksum(data []byte) uint32 {
	return ^crc32.Update(^uint32(crcSeed), crc32.IEEETable, data)
}

func digit(b bool) int {
	if b {
		return 1
	}
	return 0
}
