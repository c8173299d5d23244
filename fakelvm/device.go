// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/podlv/podlv/lvm"
)

// blockDevice is what a path under /dev leads to: a disk or an active LV.
type blockDevice struct {
	disk *disk
	lv   *logicalVolume
}

// device resolves a path: a disk's own, /dev/VG/LV or /dev/mapper/NAME.
func (h *Host) device(path string) (blockDevice, error) {
	if d := h.disk(path); d != nil && !d.absent {
		return blockDevice{disk: d}, nil
	}
	if l := h.lvAt(path); l != nil {
		return blockDevice{lv: l}, nil
	}
	return blockDevice{}, &fs.PathError{Op: "open", Path: path, Err: errNoEntry}
}

// lvAt is the active LV whose device has that path.
func (h *Host) lvAt(path string) *logicalVolume {
	if dm, ok := strings.CutPrefix(path, "/dev/mapper/"); ok {
		for _, vg := range h.present() {
			for _, l := range vg.lvs {
				if l.live() && dmName(vg.name, l.name) == dm {
					return l
				}
			}
		}
		return nil
	}
	rest, ok := strings.CutPrefix(path, "/dev/")
	if !ok {
		return nil
	}
	vgName, lvName, _ := strings.Cut(rest, "/")
	for _, vg := range h.namedVGs(vgName) {
		if l := vg.lv(lvName); l != nil && l.active && l.visible() && l.pool == nil {
			return l
		}
	}
	return nil
}

// hasFolder tells whether there is a folder /dev/VG: it holds the active LVs that
// users see, among them a pool as long as it has had no volume.
func (h *Host) hasFolder(vg string) bool {
	for _, v := range h.namedVGs(vg) {
		for _, l := range v.lvs {
			if l.active && l.visible() && (l.pool == nil || l.pool.transaction == 0) {
				return true
			}
		}
	}
	return false
}

func (b blockDevice) size() int64 {
	switch {
	case b.disk != nil:
		return b.disk.size
	case b.lv.snap != nil:
		return b.lv.snap.origin.table * b.lv.vg.extent
	}
	return b.lv.table * b.lv.vg.extent
}

func (b blockDevice) path() string {
	if b.disk != nil {
		return b.disk.path
	}
	return "/dev/mapper/" + dmName(b.lv.vg.name, b.lv.name)
}

func (b blockDevice) number() (major, minor int) {
	if b.disk != nil {
		return b.disk.major, b.disk.minor
	}
	return dmMajor, b.lv.minor
}

func (b blockDevice) opens() *int {
	if b.disk != nil {
		return &b.disk.opens
	}
	return &b.lv.opens
}

func (b blockDevice) content() content {
	if b.disk != nil {
		return diskContent{b.disk}
	}
	return b.lv
}

// content is what disks and LVs have in common: bytes.
type content interface {
	read(h *Host, p []byte, off int64) error
	write(h *Host, p []byte, off int64) error
	zeroRange(h *Host, off, n int64) error
}

type diskContent struct{ d *disk }

func (c diskContent) read(h *Host, p []byte, off int64) error  { return c.d.read(h, p, off) }
func (c diskContent) write(_ *Host, p []byte, off int64) error { return c.d.write(p, off) }
func (c diskContent) zeroRange(_ *Host, off, n int64) error    { return c.d.zero(off, n) }

// Device is an opened block device. While it is open, its LV cannot be removed
// or deactivated. It is of no use after a Reboot.
type Device struct {
	h     *Host
	at    blockDevice
	boots int
	path  string

	once sync.Once
}

// Open opens the device of an active LV (/dev/VG/LV, /dev/mapper/NAME) or a disk.
// The error is an errNoEntry when there is none. Opening is no step.
func (h *Host) Open(path string) (*Device, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.faults.dead {
		return nil, ErrCrashed
	}
	b, err := h.device(path)
	if err != nil {
		return nil, err
	}
	*b.opens()++
	return &Device{h: h, at: b, boots: h.boots, path: path}, nil
}

// Close gives the device up. A second Close does nothing.
func (d *Device) Close() error {
	d.once.Do(func() {
		d.h.mu.Lock()
		defer d.h.mu.Unlock()
		if d.boots == d.h.boots {
			*d.at.opens()--
		}
	})
	return nil
}

// Size is the size of the device in bytes. It grows with an lvextend.
func (d *Device) Size() int64 {
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	return d.at.size()
}

// ReadAt reads as io.ReaderAt says. What was never written since the disk was new
// is zero; what another LV left there is still there.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	d.h.mu.Lock()
	defer d.h.mu.Unlock()
	if err := d.alive(); err != nil {
		return 0, err
	}
	return readFull(func(p []byte, off int64) error { return d.at.content().read(d.h, p, off) }, p, off, d.at.size())
}

// WriteAt writes as io.WriterAt says; beyond the end it is ENOSPC, as on a block
// device. A full thin pool answers EIO (lvm's default is to queue for 60 seconds
// first) or, with --errorwhenfull y, ENOSPC. Writing is a step.
func (d *Device) WriteAt(p []byte, off int64) (n int, err error) {
	err = d.h.kernel("write", fmt.Sprintf("write %s %d+%d", d.path, off, len(p)), func(s *step) error {
		if err := d.alive(); err != nil {
			return err
		}
		if off < 0 || off+int64(len(p)) > d.at.size() {
			return errNoSpace
		}
		s.at(BeforeCommit)
		if err := d.at.poolError(d.at.content().write(d.h, p, off)); err != nil {
			return err
		}
		s.at(AfterCommit)
		n = len(p)
		return nil
	})
	return n, err
}

// Zero makes a range read as zeroes, as the ioctl BLKZEROOUT does: on a thin
// volume it takes chunks. It is one step; a crash between its points leaves the
// first half zeroed.
func (d *Device) Zero(off, n int64) error {
	return d.h.kernel("zero", fmt.Sprintf("zero %s %d+%d", d.path, off, n), func(s *step) error {
		if err := d.alive(); err != nil {
			return err
		}
		if off < 0 || n < 0 || off+n > d.at.size() {
			return errInvalid
		}
		s.at(BeforeCommit)
		half := n / 2 / sectorSize * sectorSize
		if err := d.at.content().zeroRange(d.h, off, half); err != nil {
			return d.at.poolError(err)
		}
		s.at(AfterCommit)
		return d.at.poolError(d.at.content().zeroRange(d.h, off+half, n-half))
	})
}

// alive tells whether the device can still be used.
func (d *Device) alive() error {
	if d.boots != d.h.boots {
		return &fs.PathError{Op: "read", Path: d.path, Err: fs.ErrClosed}
	}
	return nil
}

// poolError is what a device of a full pool answers in place of ENOSPC.
func (b blockDevice) poolError(err error) error {
	if errors.Is(err, errNoSpace) && b.lv != nil && b.lv.thin != nil && !b.lv.thin.pool.errorWhenFull {
		return errIO
	}
	return err
}

// kernel runs a kernel-side change as a step.
func (h *Host) kernel(verb, text string, body func(*step) error) error {
	return h.step(context.Background(), verb, text, body)
}

// DeviceExists tells whether the path leads to a device.
func (h *Host) DeviceExists(path string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := h.device(path)
	return err == nil
}

// DeviceNumber is the major and minor number of the device.
func (h *Host) DeviceNumber(path string) (major, minor int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := h.device(path)
	if err != nil {
		return 0, 0, err
	}
	major, minor = b.number()
	return major, minor, nil
}

// DeviceSize is the size of the device in bytes.
func (h *Host) DeviceSize(path string) (int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := h.device(path)
	if err != nil {
		return 0, err
	}
	return b.size(), nil
}

var (
	_ io.ReaderAt = (*Device)(nil)
	_ io.WriterAt = (*Device)(nil)
)

// Stamp is lvm.Stamp of one of the machine's disks.
func (h *Host) Stamp(path string) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.disk(path)
	switch {
	case d == nil || d.absent:
		return "", &fs.PathError{Op: "open", Path: path, Err: errNoEntry}
	case d.pv == nil:
		return "", fmt.Errorf("%s %w", path, lvm.ErrNoLabel)
	default:
		return fmt.Sprintf("%d %d at %d", d.pv.seqno, d.pv.textSize, d.pv.ring), nil
	}
}
