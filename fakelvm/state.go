// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"time"
)

// The state of a machine as JSON: what is on its disks, and what the kernel made of
// it. What a process holds (open devices, faults, steps, the log) is no part of it,
// nor are mounts and the fake tree.
type machineState struct {
	Name   string
	Serial uint64
	Auto   bool
	Disks  []diskState
	VGs    []vgState
}

type diskState struct {
	Path         string
	Size         int64
	Major, Minor int
	Absent       bool        `json:",omitempty"`
	Rotational   bool        `json:",omitempty"`
	Removable    bool        `json:",omitempty"`
	ReadOnly     bool        `json:",omitempty"`
	Links        []string    `json:",omitempty"`
	PV           *pvState    `json:",omitempty"`
	Content      []pageState `json:",omitempty"`
}

type pageState struct {
	At   int64
	Data []byte
}

type pvState struct {
	UUID             string
	Tags             []string `json:",omitempty"`
	Start, Area      int64
	Extents          int64
	Ring, Seqno      int64
	TextSize         int64
	Missing, Blocked bool `json:",omitempty"`
	Claimed, Written bool `json:",omitempty"`
}

type vgState struct {
	Name, UUID, SystemID string
	Tags                 []string `json:",omitempty"`
	Extent               int64
	PVs                  []int // disks
	LVs                  []lvState
	Seqno                int64
	NoAuto               bool `json:",omitempty"`
	TextSize             int64
	Description          string
	Written              int64
}

// lvState refers to other LVs and to PVs by their places in the VG; -1 is none.
type lvState struct {
	Name, UUID    string
	Kind          kind
	Tags          []string `json:",omitempty"`
	Segments      []segmentState
	Size          int64
	Created       time.Time
	Host          string
	Skip, NoAuto  bool `json:",omitempty"`
	ReadOnly      bool `json:",omitempty"`
	NotSynced     bool `json:",omitempty"`
	Stale         bool `json:",omitempty"`
	ErrorWhenFull bool `json:",omitempty"`
	Cling         bool `json:",omitempty"`
	Active        bool `json:",omitempty"`
	Minor         int
	Table         int64
	Parent        int
	Images, Metas []int          `json:",omitempty"`
	Pool          *poolState     `json:",omitempty"`
	Thin          *thinFileState `json:",omitempty"`
	SnapshotOf    int
	SnapshotUUID  string          `json:",omitempty"`
	Exceptions    map[int64]int64 `json:",omitempty"`
	Invalid       bool            `json:",omitempty"`
}

type segmentState struct {
	Start, Count, Stripe int64
	PVs                  []int
	At                   []int64
}

type poolState struct {
	Data, Meta                 int
	Chunk, Transaction, Cursor int64
	Zero, OutOfData            bool
	Suspended                  bool `json:",omitempty"`
	Loaded                     int64
	Thins                      []int
}

type thinFileState struct {
	Pool, Origin, Shares int
	ID, Transaction      int64
	Chunks               map[int64]int64
	Own                  int
}

// Save is the machine as JSON, for Load.
func (h *Host) Save() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := machineState{Name: h.name, Serial: h.serial, Auto: h.auto}
	at := map[*physicalVolume]int{}
	for i, d := range h.disks {
		s := diskState{Path: d.path, Size: d.size, Major: d.major, Minor: d.minor, Absent: d.absent, Rotational: d.rotational, Removable: d.removable, ReadOnly: d.readOnly, Links: d.links}
		for n, p := range d.pages {
			s.Content = append(s.Content, pageState{n, p[:]})
		}
		sort.Slice(s.Content, func(a, b int) bool { return s.Content[a].At < s.Content[b].At })
		if p := d.pv; p != nil {
			at[p] = i
			s.PV = &pvState{p.uuid, p.tags, p.start, p.area, p.extents, p.ring, p.seqno, p.textSize, p.missing, p.blocked, p.claimed, p.written}
		}
		m.Disks = append(m.Disks, s)
	}
	for _, vg := range h.vgs {
		v := vgState{vg.name, vg.uuid, vg.systemID, vg.tags, vg.extent, nil, nil, vg.seqno, vg.noAuto, vg.textSize, vg.description, vg.written}
		for _, p := range vg.pvs {
			v.PVs = append(v.PVs, at[p])
		}
		for _, l := range vg.lvs {
			v.LVs = append(v.LVs, vg.save(l))
		}
		m.VGs = append(m.VGs, v)
	}
	return json.Marshal(m)
}

// place is where an LV stands in its VG, -1 for none.
func (v *volumeGroup) place(l *logicalVolume) int {
	for i, x := range v.lvs {
		if x == l {
			return i
		}
	}
	return -1
}

func (v *volumeGroup) places(lvs []*logicalVolume) (out []int) {
	for _, l := range lvs {
		out = append(out, v.place(l))
	}
	return out
}

func (v *volumeGroup) save(l *logicalVolume) lvState {
	s := lvState{
		Name: l.name, UUID: l.uuid, Kind: l.kind, Tags: l.tags, Size: l.size, Created: l.created, Host: l.host,
		Skip: l.skipActivation, NoAuto: l.noAuto, ReadOnly: l.readOnly, NotSynced: l.notSynced, Stale: l.stale,
		ErrorWhenFull: l.errorWhenFull, Cling: l.cling, Active: l.active, Minor: l.minor, Table: l.table,
		Parent: v.place(l.parent), Images: v.places(l.images), Metas: v.places(l.metas), SnapshotOf: -1,
	}
	for _, seg := range l.segs {
		t := segmentState{Start: seg.start, Count: seg.count, Stripe: seg.stripeSize}
		for _, a := range seg.stripes {
			for i, p := range v.pvs {
				if p == a.pv {
					t.PVs, t.At = append(t.PVs, i), append(t.At, a.start)
				}
			}
		}
		s.Segments = append(s.Segments, t)
	}
	if p := l.pool; p != nil {
		s.Pool = &poolState{v.place(p.data), v.place(p.meta), p.chunk, p.transaction, p.cursor, p.zero, p.outOfData, p.suspended, p.loaded, v.places(p.thins)}
	}
	if t := l.thin; t != nil {
		s.Thin = &thinFileState{v.place(t.pool), v.place(t.origin), v.place(t.shares), t.id, t.transaction, t.chunks, t.own}
	}
	if t := l.snap; t != nil {
		s.SnapshotOf, s.SnapshotUUID, s.Exceptions, s.Invalid = v.place(t.origin), t.uuid, t.exceptions, t.invalid
	}
	return s
}

// Load is the machine that Save wrote. Nothing is open or mounted on it.
func Load(state []byte) (*Host, error) {
	var m machineState
	if err := json.Unmarshal(state, &m); err != nil {
		return nil, fmt.Errorf("fakelvm: state: %w", err)
	}
	h := New()
	h.name, h.serial, h.auto = m.Name, m.Serial, m.Auto
	for _, s := range m.Disks {
		d := &disk{path: s.Path, size: s.Size, major: s.Major, minor: s.Minor, absent: s.Absent, rotational: s.Rotational, removable: s.Removable, readOnly: s.ReadOnly, links: s.Links}
		for _, p := range s.Content {
			if len(p.Data) != pageSize {
				return nil, errors.New("fakelvm: state: a page of another size")
			}
			if d.pages == nil {
				d.pages = map[int64]*page{}
			}
			pg := page(p.Data)
			d.pages[p.At] = &pg
		}
		if p := s.PV; p != nil {
			d.pv = &physicalVolume{disk: d, uuid: p.UUID, tags: p.Tags, start: p.Start, area: p.Area, extents: p.Extents, ring: p.Ring, seqno: p.Seqno, textSize: p.TextSize, missing: p.Missing, blocked: p.Blocked, claimed: p.Claimed, written: p.Written}
		}
		h.disks = append(h.disks, d)
	}
	for _, s := range m.VGs {
		vg, err := h.load(s)
		if err != nil {
			return nil, err
		}
		h.vgs = append(h.vgs, vg)
	}
	return h, nil
}

func (h *Host) load(s vgState) (*volumeGroup, error) {
	vg := &volumeGroup{
		name: s.Name, uuid: s.UUID, systemID: s.SystemID, tags: s.Tags, extent: s.Extent, seqno: s.Seqno, noAuto: s.NoAuto,
		textSize: s.TextSize, description: s.Description, written: s.Written, byName: map[string]*logicalVolume{},
	}
	for _, i := range s.PVs {
		if i < 0 || i >= len(h.disks) || h.disks[i].pv == nil {
			return nil, fmt.Errorf("fakelvm: state: VG %s has a PV that is not there", s.Name)
		}
		p := h.disks[i].pv
		p.vg = vg
		vg.pvs = append(vg.pvs, p)
	}
	for range s.LVs {
		vg.lvs = append(vg.lvs, &logicalVolume{vg: vg})
	}
	at := func(i int) *logicalVolume {
		if i < 0 || i >= len(vg.lvs) {
			return nil
		}
		return vg.lvs[i]
	}
	all := func(places []int) (lvs []*logicalVolume) {
		for _, i := range places {
			lvs = append(lvs, at(i))
		}
		return lvs
	}
	for i, t := range s.LVs {
		l := vg.lvs[i]
		l.name, l.uuid, l.kind, l.tags, l.size, l.created, l.host = t.Name, t.UUID, t.Kind, t.Tags, t.Size, t.Created, t.Host
		l.skipActivation, l.noAuto, l.readOnly, l.notSynced, l.stale = t.Skip, t.NoAuto, t.ReadOnly, t.NotSynced, t.Stale
		l.errorWhenFull, l.cling, l.active, l.minor, l.table = t.ErrorWhenFull, t.Cling, t.Active, t.Minor, t.Table
		l.parent, l.images, l.metas = at(t.Parent), all(t.Images), all(t.Metas)
		for _, seg := range t.Segments {
			x := segment{start: seg.Start, count: seg.Count, stripeSize: seg.Stripe}
			for k, p := range seg.PVs {
				x.stripes = append(x.stripes, stripe{vg.pvs[p], seg.At[k]})
			}
			l.segs = append(l.segs, x)
			l.occupy(x)
		}
		if l.active {
			h.minors[l.minor] = true
		}
		vg.byName[l.name] = l
		if p := t.Pool; p != nil {
			l.pool = &thinPoolState{lv: l, data: at(p.Data), meta: at(p.Meta), chunk: p.Chunk, transaction: p.Transaction, cursor: p.Cursor, zero: p.Zero, outOfData: p.OutOfData, suspended: p.Suspended, loaded: p.Loaded, thins: all(p.Thins)}
		}
		if p := t.Thin; p != nil {
			l.thin = &thinState{lv: l, pool: at(p.Pool), origin: at(p.Origin), shares: at(p.Shares), id: p.ID, transaction: p.Transaction, chunks: p.Chunks, own: p.Own}
		}
		if o := at(t.SnapshotOf); o != nil {
			l.snap = &snapState{origin: o, uuid: t.SnapshotUUID, exceptions: t.Exceptions, invalid: t.Invalid}
			o.snaps = append(o.snaps, l)
		}
	}
	for _, l := range vg.lvs { // how often each chunk is mapped follows from the maps
		if l.thin == nil {
			continue
		}
		p := l.thin.pool.pool
		for _, c := range l.thin.chunks {
			if p.refs == nil {
				p.refs = map[int64]int32{}
			}
			p.refs[c]++
		}
	}
	return vg, nil
}

// Volume is an LV as a program sees it that gives the fake's LVs real devices.
type Volume struct {
	VG, Name, UUID string
	Size           int64 // bytes, of the device: of the origin for a thick snapshot
	Active         bool
	Origin         string // UUID of what the LV is a snapshot of
}

// Volumes is the LVs that have or could have a device of their own, in the order in
// which they were made: no pools, no parts of others.
func (h *Host) Volumes() (out []Volume) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, vg := range h.vgs {
		for _, l := range vg.lvs {
			if !l.visible() || l.pool != nil {
				continue
			}
			v := Volume{VG: vg.name, Name: l.name, UUID: l.uuid, Size: l.bytes(), Active: l.active, Origin: uuidOf(l.origin())}
			if l.snap != nil {
				v.Size = l.snap.origin.bytes()
			}
			out = append(out, v)
		}
	}
	return out
}

// Hold says that something outside holds the LV's device: mounted or just open. It
// is for a program that gives LVs real devices, whose users the Host cannot see.
func (h *Host) Hold(vg, lv string, mounted bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, v := range h.namedVGs(vg) {
		if l := v.lv(lv); l != nil {
			if mounted {
				h.mounts = append(h.mounts, &mount{Mount: Mount{Device: "/dev/mapper/" + dmName(vg, lv), Root: "/"}, lv: l})
			} else {
				l.opens++
			}
			return nil
		}
	}
	return fmt.Errorf("fakelvm: there is no LV %s/%s", vg, lv)
}
