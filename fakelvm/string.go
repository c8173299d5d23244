// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"strings"
)

// String prints the whole machine for golden tests: disks, VGs with their LVs, the
// mount table, the fake tree below no mount. It leaves out what differs between
// equal machines: UUIDs of LVM's, times, numbers of devices, counts of commits.
func (h *Host) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	for _, d := range h.disks {
		fmt.Fprintf(&b, "disk %s %s", d.path, plainSize(d.size))
		switch {
		case d.pv != nil && d.pv.vg != nil:
			fmt.Fprintf(&b, " pv of %s, %d of %d extents used", d.pv.vg.name, d.pv.usedExtents(), d.pv.extents)
		case d.pv != nil:
			b.WriteString(" pv")
		default:
			for _, s := range findSignatures(h, d) {
				fmt.Fprintf(&b, " %s %s", s.fstype, s.uuid)
			}
		}
		if d.absent {
			b.WriteString(" absent")
		}
		if d.opens > 0 {
			fmt.Fprintf(&b, " open=%d", d.opens)
		}
		if d.pv != nil && d.pv.missing {
			b.WriteString(" missing")
		}
		b.WriteByte('\n')
	}
	for _, vg := range h.vgs {
		total, free := vg.extents()
		fmt.Fprintf(&b, "vg %s %s free of %s", vg.name, plainSize(free*vg.extent), plainSize(total*vg.extent))
		if len(vg.tags) > 0 {
			fmt.Fprintf(&b, " tags=%s", strings.Join(sorted(vg.tags), ","))
		}
		if vg.partial() {
			b.WriteString(" partial")
		}
		b.WriteByte('\n')
		for _, l := range vg.inNameOrder() {
			h.printLV(&b, l)
		}
	}
	for _, m := range h.mounts {
		fmt.Fprintf(&b, "mount %s", m.Device)
		if m.Root != "/" {
			fmt.Fprintf(&b, "[%s]", m.Root)
		}
		fmt.Fprintf(&b, " on %s type %s (%s)\n", m.Target, m.FSType, strings.Join(m.Options, ","))
	}
	return b.String()
}

func (v *volumeGroup) inNameOrder() []*logicalVolume {
	names := make(map[string]bool, len(v.lvs))
	for n := range v.byName {
		names[n] = true
	}
	var out []*logicalVolume
	for _, n := range sortedKeys(names) {
		out = append(out, v.byName[n])
	}
	return out
}

func (h *Host) printLV(b *strings.Builder, l *logicalVolume) {
	fmt.Fprintf(b, "  %s %s %s", nameOf(l), l.what(), plainSize(l.bytes()))
	if l.live() {
		b.WriteString(" active")
		if l.table != l.size && l.visible() {
			fmt.Fprintf(b, " device=%s", plainSize(l.table*l.vg.extent))
		}
	}
	if l.pool != nil && l.pool.suspended {
		b.WriteString(" suspended")
	}
	if l.opens > 0 {
		fmt.Fprintf(b, " open=%d", l.opens)
	}
	if l.skipActivation {
		b.WriteString(" skip")
	}
	if o := l.origin(); o != nil {
		fmt.Fprintf(b, " of %s", o.name)
	}
	if l.snap != nil && l.snap.invalid {
		b.WriteString(" invalid")
	}
	if p := l.poolLV(); p != nil {
		fmt.Fprintf(b, " in %s %d chunks", p.name, len(l.thin.chunks))
	}
	if l.pool != nil {
		fmt.Fprintf(b, " %d of %d chunks used", len(l.pool.refs), l.pool.chunks())
	}
	if len(l.tags) > 0 {
		fmt.Fprintf(b, " tags=%s", strings.Join(sorted(l.tags), ","))
	}
	for i := range l.segs {
		if r := ranges(l, &l.segs[i], false); l.hasArea() {
			fmt.Fprintf(b, " %s", strings.Join(r, "|"))
		}
	}
	if l.visible() && l.pool == nil {
		for _, s := range findSignatures(h, l) {
			fmt.Fprintf(b, " %s %s", s.fstype, s.uuid)
		}
	}
	b.WriteByte('\n')
}

// what is one word for the kind of an LV.
func (l *logicalVolume) what() string {
	switch l.kind {
	case striped:
		return "striped"
	case raid1:
		return "raid1"
	case raidImage, raidMeta, poolData, poolMeta, poolSpare:
		return "part"
	case thinPool:
		return "thin-pool"
	case thinVolume:
		if l.thin.origin != nil {
			return "thin-snapshot"
		}
		return "thin"
	case thickSnapshot:
		return "snapshot"
	}
	return "linear"
}

// plainSize is a size that reads well and is exact.
func plainSize(n int64) string {
	for i, unit := range []string{"EiB", "PiB", "TiB", "GiB", "MiB", "KiB"} {
		if f := int64(1) << (60 - 10*i); n >= f && n%f == 0 {
			return fmt.Sprintf("%d%s", n/f, unit)
		}
	}
	return fmt.Sprintf("%dB", n)
}
