// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"syscall"
)

// pageSize is the unit in which a disk keeps what was written.
const pageSize = 4096

type page [pageSize]byte

// Errors of the kernel's side are its error numbers, so that errors.Is works with
// syscall.EBUSY and the like.
var (
	errIO      error = syscall.EIO    // a device that cannot serve a request
	errNoSpace error = syscall.ENOSPC // a full thin pool, or a write behind the end
	// errSuspended stands for the wait, perhaps for ever, of who uses a suspended device.
	errSuspended       = errors.New("fakelvm: the device is suspended")
	errBusy      error = syscall.EBUSY
	errInvalid   error = syscall.EINVAL
	errNotEmpty  error = syscall.ENOTEMPTY
	errNoEntry   error = syscall.ENOENT // an fs.ErrNotExist
	errExists    error = syscall.EEXIST // an fs.ErrExist
)

// read fills p from the disk; what was never written is zero.
func (d *disk) read(h *Host, p []byte, off int64) error {
	if d.absent {
		return errIO
	}
	whole, first := p, off
	for len(p) > 0 {
		n, in := off/pageSize, off%pageSize
		part := p[:min(int64(len(p)), pageSize-in)]
		if pg := d.pages[n]; pg != nil {
			copy(part, pg[in:])
		} else {
			clear(part)
		}
		p, off = p[len(part):], off+int64(len(part))
	}
	if d.pv != nil && first < d.pv.start {
		d.pv.overlay(h, whole, first)
	}
	return nil
}

// write stores p on the disk. Pages that become all zero are dropped.
func (d *disk) write(p []byte, off int64) error {
	if d.absent {
		return errIO
	}
	for len(p) > 0 {
		n, in := off/pageSize, off%pageSize
		part := p[:min(int64(len(p)), pageSize-in)]
		pg := d.pages[n]
		switch {
		case len(part) == pageSize && allZero(part):
			delete(d.pages, n)
		case pg == nil && allZero(part): // is zero already
		default:
			if pg == nil {
				pg = new(page)
				if d.pages == nil {
					d.pages = map[int64]*page{}
				}
				d.pages[n] = pg
			}
			copy(pg[in:], part)
		}
		p, off = p[len(part):], off+int64(len(part))
	}
	return nil
}

// zero makes a range zero without walking through what is zero already.
func (d *disk) zero(off, length int64) error {
	if d.absent {
		return errIO
	}
	first, last := roundUp(off, pageSize)/pageSize, (off+length)/pageSize
	if first > last { // inside one page
		return d.write(make([]byte, length), off)
	}
	if int64(len(d.pages)) < last-first {
		for n := range d.pages {
			if n >= first && n < last {
				delete(d.pages, n)
			}
		}
	} else {
		for n := first; n < last; n++ {
			delete(d.pages, n)
		}
	}
	if head := first*pageSize - off; head > 0 {
		if err := d.write(make([]byte, head), off); err != nil {
			return err
		}
	}
	if tail := off + length - last*pageSize; tail > 0 {
		return d.write(make([]byte, tail), last*pageSize)
	}
	return nil
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// overlay lays LVM's label, metadata header and metadata text over what was read
// of a PV: they are rendered when somebody looks.
func (p *physicalVolume) overlay(h *Host, buf []byte, off int64) {
	end := off + int64(len(buf))
	put := func(at int64, data []byte) {
		for i := range data {
			if x := at + int64(i); x >= off && x < end {
				buf[x-off] = data[i]
			}
		}
	}
	if off < 1024 {
		put(512, p.label())
	}
	if end <= mdaOffset {
		return
	}
	header := make([]byte, mdaHeaderSize)
	copy(header[4:], " LVM2 x[5A%r0N*>")
	binary.LittleEndian.PutUint32(header[20:], 1)
	binary.LittleEndian.PutUint64(header[24:], mdaOffset)
	binary.LittleEndian.PutUint64(header[32:], uint64(p.area))
	if p.vg != nil && p.vg.textSize > 0 {
		text := []byte(p.vg.metadataText(h))
		binary.LittleEndian.PutUint64(header[40:], uint64(p.ring))
		binary.LittleEndian.PutUint64(header[48:], uint64(len(text)))
		binary.LittleEndian.PutUint32(header[56:], checksum(text))
		fit := min(int64(len(text)), p.area-p.ring)
		put(mdaOffset+p.ring, text[:fit])
		put(mdaOffset+mdaHeaderSize, text[fit:])
	}
	if p.vg == nil && p.written {
		put(mdaOffset+mdaHeaderSize, []byte("an old text"))
	}
	binary.LittleEndian.PutUint32(header, checksum(header[4:]))
	put(mdaOffset, header)
}

// label is the sector that makes a disk a PV (label_header and pv_header).
func (p *physicalVolume) label() []byte {
	s := make([]byte, sectorSize)
	copy(s, "LABELONE")
	binary.LittleEndian.PutUint64(s[8:], 1)
	binary.LittleEndian.PutUint32(s[20:], 32)
	copy(s[24:], "LVM2 001")
	copy(s[32:], strings.ReplaceAll(p.uuid, "-", ""))
	binary.LittleEndian.PutUint64(s[64:], uint64(p.disk.size))
	binary.LittleEndian.PutUint64(s[72:], uint64(p.start))
	binary.LittleEndian.PutUint64(s[104:], mdaOffset)
	binary.LittleEndian.PutUint64(s[112:], uint64(p.area))
	binary.LittleEndian.PutUint32(s[136:], 2)
	if p.vg != nil || p.claimed {
		binary.LittleEndian.PutUint32(s[140:], 1)
	}
	binary.LittleEndian.PutUint32(s[16:], checksum(s[20:]))
	return s
}

// runFunc serves one part of a request that lies in one piece on a disk.
type runFunc func(d *disk, off int64, done, n int64) error

// eachRun maps n bytes at off of an LV that has extents of its own to its disks.
func (l *logicalVolume) eachRun(off, n int64, f runFunc) error {
	var done int64
	for done < n {
		at := off + done
		s := l.segmentAt(at / l.vg.extent)
		if s == nil {
			return errIO
		}
		in := at - s.start*l.vg.extent
		left := s.count*l.vg.extent - in
		leg, inLeg := int64(0), in
		if k := int64(len(s.stripes)); k > 1 {
			chunk := in / s.stripeSize
			leg = chunk % k
			inLeg = chunk/k*s.stripeSize + in%s.stripeSize
			left = min(left, s.stripeSize-in%s.stripeSize)
		}
		a := s.stripes[leg]
		part := min(left, n-done)
		if err := f(a.pv.disk, a.pv.start+a.start*l.vg.extent+inLeg, done, part); err != nil {
			return err
		}
		done += part
	}
	return nil
}

func (l *logicalVolume) segmentAt(extent int64) *segment {
	for i := range l.segs {
		if s := &l.segs[i]; extent >= s.start && extent < s.start+s.count {
			return s
		}
	}
	return nil
}

// read fills p from the LV as its device shows it.
func (l *logicalVolume) read(h *Host, p []byte, off int64) error {
	switch l.kind {
	case raid1:
		err := errIO
		for _, image := range l.images {
			if err = image.read(h, p, off); err == nil {
				return nil
			}
		}
		return err
	case thinPool:
		return l.pool.data.read(h, p, off)
	case thinVolume:
		return l.thin.read(h, p, off)
	case thickSnapshot:
		return l.snap.read(h, l, p, off)
	}
	return l.eachRun(off, int64(len(p)), func(d *disk, at, done, n int64) error {
		return d.read(h, p[done:done+n], at)
	})
}

// write stores p on the LV as its device would.
func (l *logicalVolume) write(h *Host, p []byte, off int64) error {
	for _, s := range l.snaps {
		if s.active {
			s.snap.preserve(h, s, off, int64(len(p)))
		}
	}
	switch l.kind {
	case raid1:
		wrote := false
		for _, image := range l.images {
			wrote = image.write(h, p, off) == nil || wrote
		}
		if !wrote {
			return errIO
		}
		return nil
	case thinPool:
		return l.pool.data.write(h, p, off)
	case thinVolume:
		return l.thin.write(h, p, off)
	case thickSnapshot:
		return l.snap.write(h, l, p, off)
	}
	return l.eachRun(off, int64(len(p)), func(d *disk, at, done, n int64) error {
		return d.write(p[done:done+n], at)
	})
}

// zeroRange makes a range of the LV read as zero, cheaply where nothing is there.
func (l *logicalVolume) zeroRange(h *Host, off, n int64) error {
	switch {
	case l.kind == raid1:
		for _, image := range l.images {
			_ = image.zeroRange(h, off, n) // a missing leg is skipped, as md does
		}
		return nil
	case l.kind == thinVolume:
		return l.thin.zeroRange(h, off, n)
	case l.kind == thickSnapshot || len(l.snaps) > 0:
		buf := make([]byte, 64<<10)
		for n > 0 {
			part := min(n, int64(len(buf)))
			if err := l.write(h, buf[:part], off); err != nil {
				return err
			}
			off, n = off+part, n-part
		}
		return nil
	}
	return l.eachRun(off, n, func(d *disk, at, _, part int64) error { return d.zero(at, part) })
}

// readFull makes an io.ReaderAt of a read that knows no end.
func readFull(read func([]byte, int64) error, p []byte, off, size int64) (int, error) {
	if off >= size {
		return 0, io.EOF
	}
	var eof error
	if int64(len(p)) > size-off {
		p, eof = p[:size-off], io.EOF
	}
	if err := read(p, off); err != nil {
		return 0, err
	}
	return len(p), eof
}
