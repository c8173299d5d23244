// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"bytes"
	"fmt"
)

// Copy makes the first n bytes of the device to those of the device from; with sparse
// it writes nothing where there are zeros. It refuses a mounted to with EBUSY, and
// fails with EIO where from is a broken snapshot. It is one step; a crash between its
// points leaves the first half copied.
func (h *Host) Copy(from, to string, n int64, sparse bool) error {
	return h.kernel("copy", fmt.Sprintf("copy %s %s %d", from, to, n), func(s *step) error {
		in, err := h.device(from)
		if err != nil {
			return err
		}
		out, err := h.writable(to)
		if err != nil {
			return err
		}
		if n < 0 || n > in.size() || n > out.size() {
			return errInvalid
		}
		s.at(BeforeCommit)
		half := n / 2 / pageSize * pageSize
		if err := h.copyRange(in, out, 0, half, sparse); err != nil {
			return err
		}
		s.at(AfterCommit)
		return h.copyRange(in, out, half, n, sparse)
	})
}

// copyRange writes only what differs: a page of a device that was never written takes
// no memory.
func (h *Host) copyRange(from, to blockDevice, at, end int64, sparse bool) error {
	src, dst, zeros := make([]byte, 64<<10), make([]byte, 64<<10), make([]byte, 64<<10)
	for ; at < end; at += int64(len(src)) {
		src, dst := src[:min(int64(len(src)), end-at)], dst[:min(int64(len(dst)), end-at)]
		if err := from.content().read(h, src, at); err != nil {
			return err
		}
		if sparse && bytes.Equal(src, zeros[:len(src)]) {
			continue
		}
		if err := to.content().read(h, dst, at); err != nil {
			return err
		}
		if !sparse && bytes.Equal(src, dst) && to.lv != nil && to.lv.thin == nil {
			continue
		}
		if err := to.poolError(to.content().write(h, src, at)); err != nil {
			return err
		}
	}
	return nil
}

// Adopt makes of the copy of a filesystem on an unmounted device one of its own: it
// takes all of the device and has another UUID. EINVAL when there is none of that
// type, EBUSY when it is mounted. A crash between its points leaves it grown, and with
// the UUID that it had.
func (h *Host) Adopt(device, fstype, uuid string) error {
	return h.kernel("adopt", fmt.Sprintf("adopt %s %s %s", fstype, uuid, device), func(s *step) error {
		fail := func(err error) error { return fmt.Errorf("adopt %s on %s: %w", fstype, device, err) }
		b, err := h.writable(device)
		if err != nil {
			return fail(err)
		}
		id, err := parseUUID(uuid)
		if err != nil {
			return fail(err)
		}
		found := findSignatures(h, b.content())
		f, known := filesystemNamed(fstype)
		if !known || len(found) != 1 || found[0].fstype != fstype || found[0].bytes > b.size() {
			return fail(errInvalid)
		}
		if found[0].bytes < b.size()/4096*4096 && f.tooSmallToResize(b.size()) {
			return fail(errInvalid)
		}
		block := make([]byte, 4096)
		at := f.magicAt / 4096 * 4096
		if err := b.content().read(h, block, at); err != nil {
			return fail(err)
		}
		f.setSize(block, b.size())
		s.at(BeforeCommit)
		if err := b.poolError(b.content().write(h, block, at)); err != nil {
			return fail(err)
		}
		s.at(AfterCommit)
		return failed(fail, b.poolError(b.content().write(h, id, f.uuidAt)))
	})
}
