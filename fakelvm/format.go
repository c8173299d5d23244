// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// signature is what blkid finds on a device.
type signature struct {
	fstype string
	uuid   string
	offset int64 // of its magic
	length int64 // of its magic
	bytes  int64 // what the filesystem thinks the device's size is; 0 unknown
}

// filesystem is how a filesystem is recognised and made: where its superblock
// lies, and the smallest device that its mkfs takes (tried with e2fsprogs 1.47.0,
// xfsprogs 6.1.0 and btrfs-progs 6.2).
type filesystem struct {
	name    string
	magicAt int64
	magic   string
	uuidAt  int64
	minimum int64
	small   string // what mkfs says below the minimum
}

var filesystems = []filesystem{
	{"xfs", 0, "XFSB", 32, 300 << 20, "Filesystem must be larger than 300MB."},
	{"ext4", 1080, "\x53\xef", 1128, 128 << 10, "Filesystem too small for a journal"},
	{"btrfs", 65600, "_BHRfS_M", 65568, 114294784, "minimum size for each btrfs device is 114294784"},
}

// findSignatures is what blkid would find, LVM's own label included.
func findSignatures(h *Host, c interface {
	read(h *Host, p []byte, off int64) error
},
) []signature {
	var found []signature
	buf := make([]byte, 4096)
	for _, f := range filesystems {
		block := f.magicAt / 4096 * 4096
		if c.read(h, buf, block) != nil {
			return nil
		}
		at := f.magicAt - block
		if string(buf[at:at+int64(len(f.magic))]) != f.magic {
			continue
		}
		s := signature{fstype: f.name, offset: f.magicAt, length: int64(len(f.magic))}
		s.uuid = formatUUID(buf[f.uuidAt-block : f.uuidAt-block+16])
		switch f.name {
		case "ext4":
			s.bytes = int64(binary.LittleEndian.Uint32(buf[1028:])) * (1024 << binary.LittleEndian.Uint32(buf[1048:]))
		case "xfs":
			s.bytes = int64(binary.BigEndian.Uint64(buf[8:])) * int64(binary.BigEndian.Uint32(buf[4:]))
		case "btrfs":
			s.bytes = int64(binary.LittleEndian.Uint64(buf[112:]))
		}
		found = append(found, s)
	}
	return found
}

func formatUUID(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func parseUUID(s string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err != nil || len(b) != 16 {
		return nil, fmt.Errorf("fakelvm: %q is no UUID", s)
	}
	return b, nil
}

func filesystemNamed(name string) (filesystem, bool) {
	for _, f := range filesystems {
		if f.name == name {
			return f, true
		}
	}
	return filesystem{}, false
}

// superblock is a superblock that blkid recognises, with the filesystem's size.
func (f filesystem) superblock(uuid []byte, size int64) (block []byte, at int64) {
	block = make([]byte, 4096)
	at = f.magicAt / 4096 * 4096
	copy(block[f.magicAt-at:], f.magic)
	copy(block[f.uuidAt-at:], uuid)
	f.setSize(block, size)
	return block, at
}

// setSize writes the filesystem's size into the block that holds its superblock.
func (f filesystem) setSize(block []byte, size int64) {
	switch f.name {
	case "ext4": // blocks of 1 KiB in small filesystems, of 4 KiB in others
		log := uint32(0)
		if size >= 512<<20 {
			log = 2
		}
		binary.LittleEndian.PutUint32(block[1028:], uint32(size>>(10+log)))
		binary.LittleEndian.PutUint32(block[1048:], log)
	case "xfs":
		binary.BigEndian.PutUint32(block[4:], 4096)
		binary.BigEndian.PutUint64(block[8:], uint64(size/4096))
	case "btrfs":
		binary.LittleEndian.PutUint64(block[112:], uint64(size/4096*4096))
	}
}

// Format is mkfs: it destroys what was recognised on the device, gives a thin
// volume's chunks back (mkfs discards) and writes a superblock with the given
// filesystem UUID. fstype is ext4, xfs or btrfs; options are kept in the log only.
// It refuses a mounted device (EBUSY) and one below the real tool's minimum size.
// A crash after its commit leaves the old content destroyed and no superblock.
func (h *Host) Format(device, fstype, uuid string, options ...string) error {
	text := strings.Join(append([]string{"mkfs." + fstype, "-U", uuid}, append(options, device)...), " ")
	return h.kernel("format", text, func(s *step) error {
		fail := func(err error) error { return fmt.Errorf("mkfs.%s %s: %w", fstype, device, err) }
		f, ok := filesystemNamed(fstype)
		if !ok {
			return fail(errInvalid)
		}
		id, err := parseUUID(uuid)
		if err != nil {
			return fail(err)
		}
		b, err := h.writable(device)
		if err != nil {
			return fail(err)
		}
		if b.size() < f.minimum {
			return fail(fmt.Errorf("device of %d bytes: %s", b.size(), f.small))
		}
		s.at(BeforeCommit)
		if b.lv != nil && b.lv.thin != nil {
			b.lv.thin.discard(0, b.size())
		}
		if err := h.erase(b); err != nil {
			return fail(err)
		}
		s.at(AfterCommit)
		block, at := f.superblock(id, b.size())
		return failed(fail, b.poolError(b.content().write(h, block, at)))
	})
}

func failed(wrap func(error) error, err error) error {
	if err == nil {
		return nil
	}
	return wrap(err)
}

// erase zeroes where superblocks lie.
func (h *Host) erase(b blockDevice) error {
	for _, at := range []int64{0, 65536} {
		if n := min(4096, b.size()-at); n > 0 {
			blank := make([]byte, n)
			old := make([]byte, n)
			if err := b.content().read(h, old, at); err != nil {
				return err
			}
			if bytes.Equal(blank, old) {
				continue
			}
			if err := b.content().write(h, blank, at); err != nil {
				return b.poolError(err)
			}
		}
	}
	return nil
}

// writable is a device that may be opened exclusively.
func (h *Host) writable(device string) (blockDevice, error) {
	b, err := h.device(device)
	if err != nil {
		return b, err
	}
	for _, m := range h.mounts {
		if m.lv != nil && m.lv == b.lv || m.disk != nil && m.disk == b.disk {
			return b, errBusy
		}
	}
	if b.disk != nil && b.disk.pv != nil {
		return b, errBusy // LVM's devices hold it
	}
	if b.lv != nil && b.lv.readOnly {
		return b, errInvalid
	}
	return b, nil
}

// Signature is what blkid -p says of a device: the type and UUID of the filesystem
// on it, both empty for none. Two at once are an error, as for blkid. It is no step.
func (h *Host) Signature(device string) (fstype, uuid string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.faults.dead {
		return "", "", ErrCrashed
	}
	b, err := h.device(device)
	if err != nil {
		return "", "", err
	}
	if err := b.content().read(h, make([]byte, 512), 0); err != nil {
		return "", "", err
	}
	if b.disk != nil && b.disk.pv != nil {
		return "LVM2_member", b.disk.pv.uuid, nil
	}
	found := findSignatures(h, b.content())
	switch len(found) {
	case 0:
		return "", "", nil
	case 1:
		return found[0].fstype, found[0].uuid, nil
	}
	return "", "", fmt.Errorf("fakelvm: %s: more than one signature: %s and %s", device, found[0].fstype, found[1].fstype)
}

// FilesystemSize is the size in bytes that the filesystem on the device has, 0 for none.
func (h *Host) FilesystemSize(device string) (int64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, err := h.device(device)
	if err != nil {
		return 0, err
	}
	for _, s := range findSignatures(h, b.content()) {
		return s.bytes, nil
	}
	return 0, nil
}

// tooSmallToResize: Linux resizes no btrfs to less than 256 MiB, nor to what it has.
func (f filesystem) tooSmallToResize(size int64) bool { return f.name == "btrfs" && size < 256<<20 }

// Grow is resize2fs, xfs_growfs or btrfs filesystem resize max: the filesystem on
// the device takes all of it. xfs and btrfs must be mounted, as for the real tools.
func (h *Host) Grow(device string) error {
	return h.kernel("grow", "grow "+device, func(s *step) error {
		b, err := h.device(device)
		if err != nil {
			return err
		}
		found := findSignatures(h, b.content())
		if len(found) != 1 {
			return fmt.Errorf("grow %s: %w", device, errInvalid)
		}
		f, _ := filesystemNamed(found[0].fstype)
		if f.name != "ext4" && !h.mountedDevice(b) {
			return fmt.Errorf("grow %s: %s is not mounted: %w", device, f.name, errInvalid)
		}
		if f.tooSmallToResize(b.size()) {
			return fmt.Errorf("grow %s: %w", device, errInvalid)
		}
		block := make([]byte, 4096)
		at := f.magicAt / 4096 * 4096
		if err := b.content().read(h, block, at); err != nil {
			return err
		}
		f.setSize(block, b.size())
		s.at(BeforeCommit)
		if err := b.poolError(b.content().write(h, block, at)); err != nil {
			return err
		}
		s.at(AfterCommit)
		return nil
	})
}

// SetUUID gives the filesystem on an unmounted device another UUID, as tune2fs -U,
// xfs_admin -U and btrfstune -U do.
func (h *Host) SetUUID(device, uuid string) error {
	return h.kernel("setuuid", "setuuid "+uuid+" "+device, func(s *step) error {
		b, err := h.writable(device)
		if err != nil {
			return err
		}
		id, err := parseUUID(uuid)
		if err != nil {
			return err
		}
		found := findSignatures(h, b.content())
		if len(found) != 1 {
			return fmt.Errorf("setuuid %s: %w", device, errInvalid)
		}
		f, _ := filesystemNamed(found[0].fstype)
		s.at(BeforeCommit)
		if err := b.poolError(b.content().write(h, id, f.uuidAt)); err != nil {
			return err
		}
		s.at(AfterCommit)
		return nil
	})
}

// Wipe is wipefs -a: nothing on the device is recognised any more. The rest of the
// content stays. It refuses a mounted device with EBUSY.
func (h *Host) Wipe(device string) error {
	return h.kernel("wipe", "wipefs -a "+device, func(s *step) error {
		b, err := h.writable(device)
		if err != nil {
			return fmt.Errorf("wipefs %s: %w", device, err)
		}
		s.at(BeforeCommit)
		for _, sig := range findSignatures(h, b.content()) {
			if err := b.content().write(h, make([]byte, sig.length), sig.offset); err != nil {
				return fmt.Errorf("wipefs %s: %w", device, b.poolError(err))
			}
		}
		s.at(AfterCommit)
		return nil
	})
}
