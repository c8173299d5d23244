// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"encoding/json"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"
)

// VolumeGroup is one VG of the machine, with all in it, as one report saw it.
type VolumeGroup struct {
	Name            string
	UUID            string
	Tags            []string
	Size            int64            // bytes in extents; less than its disks by their metadata
	Free            int64            // bytes of unallocated extents
	ExtentSize      int64            // bytes
	MissingPVs      int              // PVs whose disk is not there; with one, no LV can be made or extended
	MetadataFree    int64            // bytes left in the fullest metadata area
	Sequence        int64            // goes up with every metadata commit
	PhysicalVolumes []PhysicalVolume // in the order in which LVM looks for room on them
	LogicalVolumes  []LogicalVolume  // without LVM's inner ones (raid images, pool data)
}

// PhysicalVolume is one disk of a VG.
type PhysicalVolume struct {
	Device      string // "/dev/sdb"; "[unknown]" when the disk is missing
	UUID        string
	Size        int64 // bytes in extents
	Free        int64 // bytes of unallocated extents
	Missing     bool
	Allocatable bool    // false after pvchange -xn
	FreeAreas   []int64 // bytes of each run of unallocated extents, in no order
}

// LogicalVolume is one LV.
type LogicalVolume struct {
	VG              string
	Name            string
	UUID            string
	Size            int64    // bytes; of a thick snapshot: of the store for its changes
	Tags            []string // in alphabetical order
	Created         time.Time
	Active          bool // it has a device, /dev/VG/NAME
	Open            bool // somebody holds the device: a mount, a program, another LV
	Type            string
	Stripes         int     // of its first segment; for raid1 the copies
	Origin          string  // of a snapshot: the LV that it was made of
	Pool            string  // of a thin volume: its pool
	DataPercent     float64 // thin pool, thin volume, thick snapshot: how full; -1 unknown
	MetadataPercent float64 // thin pool: how full its metadata is; -1 unknown
	MetadataSize    int64   // bytes, of a thin pool's metadata; else 0
	ChunkSize       int64   // bytes, what a thin pool hands out at a time; else 0
	Zeroes          bool    // thin pool: what it hands out is zeroed before
	Invalid         bool    // a thick snapshot that overflowed: its bytes are lost
	Health          string  // lvm2's word for what is wrong; empty when nothing is
	Segments        []Segment
}

// Segment is a run of an LV's bytes that lie on the same devices.
type Segment struct {
	Type   string // lvm2's segment type: "linear", "striped", "raid1", "thin", "thin-pool", "snapshot"…
	Size   int64  // bytes
	Legs   int    // stripes or raid images
	Ranges string // lvm2's words: "/dev/sdb:0-15 /dev/sdc:0-15"
}

// HasTag says whether the LV carries the tag.
func (l LogicalVolume) HasTag(tag string) bool {
	for _, t := range l.Tags {
		if t == tag {
			return true
		}
	}
	return false
}

// TagValue is what follows "key=" in the LV's first such tag.
func (l LogicalVolume) TagValue(key string) (value string, ok bool) {
	for _, t := range l.Tags {
		if v, found := strings.CutPrefix(t, key+"="); found {
			return v, true
		}
	}
	return "", false
}

// IsThinPool says whether the LV is a thin pool.
func (l LogicalVolume) IsThinPool() bool { return l.Type == "thin-pool" }

// A pool that is as full as this is full: lvm2 may refuse new volumes in it
// (docs/lvm-behaviour.md). It rounds percentages to hundredths.
const (
	poolFull         = 99.99
	poolMetadataFull = 75
)

// IsFull says whether a thin pool has no room for anything new.
func (l LogicalVolume) IsFull() bool {
	return l.DataPercent >= poolFull || l.MetadataPercent >= poolMetadataFull
}

// LogicalVolume finds an LV of the VG by name.
func (v VolumeGroup) LogicalVolume(name string) (LogicalVolume, bool) {
	for _, l := range v.LogicalVolumes {
		if l.Name == name {
			return l, true
		}
	}
	return LogicalVolume{}, false
}

// reportArgs asks for all that parseReport reads, in one command.
// Fields of segments stand in the seg report only: in the lv report they make
// lvm2 refuse with "columns which lead to change of report type".
func reportArgs() []string {
	return []string{
		"fullreport", "--reportformat", "json", "--units", "b", "--nosuffix", "--binary",
		"--configreport", "vg", "-o", "vg_name,vg_uuid,vg_tags,vg_size,vg_free,vg_extent_size,vg_missing_pv_count,vg_mda_free,vg_seqno",
		// Not sorted: in the order of the metadata, in which LVM looks for room.
		"--configreport", "pv", "--sort", "", "-o", "pv_name,pv_uuid,pv_size,pv_free,pv_missing,pv_allocatable",
		"--configreport", "lv", "-o", "lv_name,lv_uuid,lv_size,lv_tags,lv_time,lv_active,lv_device_open,origin,pool_lv,data_percent,metadata_percent,lv_metadata_size,lv_snapshot_invalid,lv_health_status",
		"--configreport", "seg", "-o", "lv_uuid,segtype,stripes,seg_size,seg_pe_ranges,zero,chunk_size",
		// Here are also the extents of inner LVs, so that what is free is told, not computed.
		"--configreport", "pvseg", "--select", `segtype="free" && pvseg_size>0`, "-o", "pv_uuid,pvseg_size",
	}
}

// row is one line of a report: every value of lvm2's "json" format is a string.
type row map[string]string

// parseReport reads what reportArgs asked for. Any field that is missing or is
// not what it should be is an error: a report that is half understood must not
// be acted on.
func parseReport(stdout []byte) ([]VolumeGroup, error) {
	var doc struct {
		Report []struct {
			VG    []row `json:"vg"`
			PV    []row `json:"pv"`
			LV    []row `json:"lv"`
			PVSeg []row `json:"pvseg"`
			Seg   []row `json:"seg"`
		} `json:"report"`
	}
	if err := json.Unmarshal(stdout, &doc); err != nil {
		return nil, fmt.Errorf("read lvm's report: %w", err)
	}
	var groups []VolumeGroup
	p := &parser{}
	for _, part := range doc.Report {
		// PVs that belong to no VG come as a part without one.
		if len(part.VG) == 0 {
			continue
		}
		if len(part.VG) != 1 {
			return nil, fmt.Errorf("read lvm's report: %d VGs in one part", len(part.VG))
		}
		g := p.group(part.VG[0])
		areas := map[string][]int64{}
		for _, r := range part.PVSeg {
			uuid := p.text(r, "pv_uuid")
			areas[uuid] = append(areas[uuid], p.number(r, "pvseg_size")*g.ExtentSize)
		}
		for _, r := range part.PV {
			pv := p.physical(r)
			pv.FreeAreas = areas[pv.UUID]
			g.PhysicalVolumes = append(g.PhysicalVolumes, pv)
		}
		segments, zeroes, chunks := map[string][]Segment{}, map[string]bool{}, map[string]int64{}
		for _, r := range part.Seg {
			uuid := p.text(r, "lv_uuid")
			zeroes[uuid], chunks[uuid] = p.number(r, "zero") == 1, p.number(r, "chunk_size")
			segments[uuid] = append(segments[uuid], p.segment(r))
		}
		for _, r := range part.LV {
			l := p.logical(r)
			l.VG = g.Name
			l.Segments = segments[l.UUID]
			if len(l.Segments) > 0 {
				l.Type, l.Stripes = l.Segments[0].Type, l.Segments[0].Legs
			}
			if l.IsThinPool() {
				l.Zeroes, l.ChunkSize = zeroes[l.UUID], chunks[l.UUID]
			}
			g.LogicalVolumes = append(g.LogicalVolumes, l)
		}
		// lvm.conf can change LVM's own order (report/lvs_sort_full), and VGs have none.
		sort.SliceStable(g.LogicalVolumes, func(i, j int) bool { return g.LogicalVolumes[i].Name < g.LogicalVolumes[j].Name })
		groups = append(groups, g)
	}
	sort.SliceStable(groups, func(i, j int) bool { return groups[i].Name < groups[j].Name })
	if p.err != nil {
		return nil, fmt.Errorf("read lvm's report: %w", p.err)
	}
	return groups, nil
}

// parser reads fields and keeps the first thing that was wrong.
type parser struct{ err error }

func (p *parser) group(r row) VolumeGroup {
	return VolumeGroup{
		Name:         p.text(r, "vg_name"),
		UUID:         p.text(r, "vg_uuid"),
		Tags:         p.list(r, "vg_tags"),
		Size:         p.number(r, "vg_size"),
		Free:         p.number(r, "vg_free"),
		ExtentSize:   p.number(r, "vg_extent_size"),
		MissingPVs:   int(p.number(r, "vg_missing_pv_count")),
		MetadataFree: p.number(r, "vg_mda_free"),
		Sequence:     p.number(r, "vg_seqno"),
	}
}

func (p *parser) physical(r row) PhysicalVolume {
	return PhysicalVolume{
		Device:      p.text(r, "pv_name"),
		UUID:        p.text(r, "pv_uuid"),
		Size:        p.number(r, "pv_size"),
		Free:        p.number(r, "pv_free"),
		Missing:     p.number(r, "pv_missing") == 1,
		Allocatable: p.number(r, "pv_allocatable") == 1,
	}
}

func (p *parser) logical(r row) LogicalVolume {
	return LogicalVolume{
		Name:            p.text(r, "lv_name"),
		UUID:            p.text(r, "lv_uuid"),
		Size:            p.number(r, "lv_size"),
		Tags:            p.list(r, "lv_tags"),
		Created:         time.Unix(p.number(r, "lv_time"), 0).UTC(),
		Active:          p.text(r, "lv_active") == "active",
		Open:            p.number(r, "lv_device_open") == 1,
		Origin:          p.text(r, "origin"),
		Pool:            p.text(r, "pool_lv"),
		DataPercent:     p.percent(r, "data_percent"),
		MetadataPercent: p.percent(r, "metadata_percent"),
		MetadataSize:    p.size(r, "lv_metadata_size"),
		Invalid:         p.number(r, "lv_snapshot_invalid") == 1,
		Health:          p.text(r, "lv_health_status"),
	}
}

func (p *parser) segment(r row) Segment {
	return Segment{
		Type:   p.text(r, "segtype"),
		Size:   p.number(r, "seg_size"),
		Legs:   int(p.number(r, "stripes")),
		Ranges: p.text(r, "seg_pe_ranges"),
	}
}

func (p *parser) text(r row, field string) string {
	v, ok := r[field]
	if !ok && p.err == nil {
		p.err = fmt.Errorf("field %s is missing", field)
	}
	return v
}

func (p *parser) list(r row, field string) []string {
	v := p.text(r, field)
	if v == "" {
		return nil
	}
	return strings.Split(v, ",")
}

// number reads a whole number; with --binary -1 stands for "does not apply".
func (p *parser) number(r row, field string) int64 {
	v := p.text(r, field)
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("field %s: %q is not a whole number", field, v)
	}
	return n
}

// size reads a size that is empty where there is none.
func (p *parser) size(r row, field string) int64 {
	if v, there := r[field]; there && v == "" {
		return 0
	}
	return p.number(r, field)
}

// percent reads "12.34"; -1 when lvm2 prints nothing, as for an inactive LV.
func (p *parser) percent(r row, field string) float64 {
	v := p.text(r, field)
	if v == "" {
		return -1
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("field %s: %q is not a percentage", field, v)
	}
	return f
}
