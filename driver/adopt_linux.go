// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// Adopt implements Filesystem. What the tools do, and why it is in this order, is in
// docs/lvm-behaviour.md, "Copies of filesystems".
func (l *Linux) Adopt(ctx context.Context, device string, format Format) error {
	var steps []func() error
	step := func(name string, args ...string) {
		steps = append(steps, func() error { _, err := run(name, args...); return err })
	}
	switch format.Type {
	case "ext4":
		steps = append(steps, func() error { return checkExt4(device) })
		step("resize2fs", device)
		step("tune2fs", "-U", format.UUID, device)
	case "xfs":
		steps = append(steps, func() error { return l.growAside(device, format.Type, "nouuid") })
		// What xfs_admin -U is, which is a script and needs a shell.
		step("xfs_db", "-x", "-p", "xfs_admin", "-c", "uuid "+format.UUID, device)
	case "btrfs":
		steps = append(steps, func() error { return l.adoptBtrfs(device, format.UUID) })
	default:
		return fmt.Errorf("%w: filesystem %q", errInvalid, format.Type)
	}
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("adopt %s on %s: %w", format.Type, device, err)
		}
		if err := s(); err != nil {
			return fmt.Errorf("adopt %s on %s: %w", format.Type, device, err)
		}
	}
	// xfs_db 6.1 ends with status 0 also when it has changed nothing.
	found, err := l.Detect(device, format.Type)
	if err == nil && found != (Signature{Type: format.Type, UUID: format.UUID}) {
		err = fmt.Errorf("adopt %s on %s: found %s, expected UUID %s", format.Type, device, found.describe(), format.UUID)
	}
	return err
}

// growAside lets a filesystem that is not mounted take all of its device, and replays
// its log.
func (l *Linux) growAside(device, fstype, options string) error {
	return mountedAside(device, fstype, options, func(target string) error { return l.Grow(device, target, fstype) })
}

// adoptBtrfs grows only what can grow: to its own size Linux refuses it below 256 MiB.
func (l *Linux) adoptBtrfs(device, id string) error {
	has, most, err := renameBtrfs(device, id)
	if err != nil || has >= most {
		return err
	}
	return l.growAside(device, "btrfs", "")
}

// checkExt4 replays the journal and checks the filesystem, which resize2fs and tune2fs
// want just before them. It repairs only what is safe to repair without asking.
func checkExt4(device string) error {
	const repaired = 1 // e2fsck(8), "EXIT CODE"
	_, err := run("e2fsck", "-f", "-p", device)
	var exit interface{ ExitCode() int }
	if errors.As(err, &exit) && exit.ExitCode() == repaired {
		return nil
	}
	return err
}

// mountedAside mounts a filesystem where nobody else sees it, calls work with the
// target, and unmounts it. The mount is in a mount namespace of one thread, which ends
// with it: an agent that is killed leaves no mount behind.
func mountedAside(device, fstype, options string, work func(target string) error) error {
	done := make(chan error, 1)
	go onThreadOfItsOwn(func() {
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
				return fmt.Errorf("a mount namespace of its own: %w", err)
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("a mount namespace of its own: %w", err)
			}
			target, err := folderAside()
			if err != nil {
				return err
			}
			if err := unix.Mount(device, target, fstype, unix.MS_NOATIME, options); err != nil {
				return fmt.Errorf("mount %s as %s with options %q: %w (the node's kernel log may say more)", device, fstype, options, err)
			}
			err = work(target)
			if e := unix.Unmount(target, unix.UMOUNT_NOFOLLOW); e != nil {
				err = errors.Join(err, fmt.Errorf("unmount %s: %w", device, e))
			}
			return err
		}()
	})
	return <-done
}

// folderAside is a folder that there is, and that no tool needs: what is in it is hidden
// for the thread that mounts something there.
func folderAside() (string, error) {
	candidates := []string{"/mnt", "/tmp", "/run"} // a container may have been made from nothing
	for _, dir := range candidates {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", fmt.Errorf("there is none of the folders %s to mount a filesystem at", list(candidates))
}

// onThreadOfItsOwn calls work on a thread that ends with the goroutine it is called on.
// That is not the process's first one, which never ends, and whose mount namespace
// /proc/self shows to everybody: the agent would see another mount table from then on.
func onThreadOfItsOwn(work func()) {
	runtime.LockOSThread() // never unlocked, which is what ends the thread
	if unix.Gettid() != unix.Getpid() {
		work()
		return
	}
	// While this goroutine holds the first thread, another one cannot get it.
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		onThreadOfItsOwn(work)
	}()
	<-done
}

// The superblock of btrfs (kernel, fs/btrfs/accessors.h, struct btrfs_super_block), as
// far as its UUIDs go.
const (
	btrfsSuperSize = 4096
	btrfsMagic     = "_BHRfS_M"
	btrfsChecksum  = 32   // bytes at the start
	btrfsAt        = 48   // where the superblock itself lies
	btrfsTotal     = 0x70 // bytes of all its devices
	btrfsSums      = 0xc4
	btrfsFlags     = 0xbc
	btrfsOwnUUID   = 0x20
	btrfsTreeUUID  = 0x23b
	btrfsFlagTree  = 1 << 10 // BTRFS_FEATURE_INCOMPAT_METADATA_UUID, Linux 5.0
)

// renameBtrfs gives a btrfs another UUID, as btrfstune -M does: the old one stays that
// of its trees (metadata_uuid). btrfstune 6.2 itself commits a transaction and so makes
// a filesystem with a log, which a copy of one in use has, impossible to mount; and the
// log cannot be replayed before, because Linux refuses to mount a second filesystem of
// one UUID. It gives the size in bytes that the filesystem has, and could have.
func renameBtrfs(device, id string) (has, most int64, err error) {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return 0, 0, err
	}
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("device: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, 0, fmt.Errorf("size of device %s: %w", device, err)
	}
	// The first is what a mount reads, and is changed last.
	for _, at := range []int64{256 << 30, 64 << 20, 64 << 10} {
		if at+btrfsSuperSize > size {
			continue
		}
		super := make([]byte, btrfsSuperSize)
		if _, err := f.ReadAt(super, at); err != nil {
			return 0, 0, fmt.Errorf("read device: %w", err)
		}
		if !isBtrfs(super, at) {
			if at == 64<<10 {
				return 0, 0, fmt.Errorf("no superblock of btrfs with a CRC32C on %s", device)
			}
			continue // a copy that is larger than its source has none here yet
		}
		setBtrfsUUID(super, parsed)
		has = int64(binary.LittleEndian.Uint64(super[btrfsTotal:]))
		if _, err := f.WriteAt(super, at); err != nil {
			return 0, 0, fmt.Errorf("write device: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return 0, 0, fmt.Errorf("write device: %w", err)
	}
	return has, size / btrfsSuperSize * btrfsSuperSize, nil
}

// isBtrfs says whether a superblock is whole, and of the one kind that podlv makes.
func isBtrfs(super []byte, at int64) bool {
	return string(super[0x40:0x48]) == btrfsMagic && int64(binary.LittleEndian.Uint64(super[btrfsAt:])) == at &&
		binary.LittleEndian.Uint16(super[btrfsSums:]) == 0 && binary.LittleEndian.Uint32(super) == btrfsSum(super)
}

func btrfsSum(super []byte) uint32 {
	return crc32.Checksum(super[btrfsChecksum:], crc32.MakeTable(crc32.Castagnoli))
}

func setBtrfsUUID(super []byte, id uuid.UUID) {
	own, tree := super[btrfsOwnUUID:btrfsOwnUUID+16], super[btrfsTreeUUID:btrfsTreeUUID+16]
	flags := binary.LittleEndian.Uint64(super[btrfsFlags:])
	if flags&btrfsFlagTree == 0 {
		copy(tree, own)
	}
	copy(own, id[:])
	flags |= btrfsFlagTree
	if bytes.Equal(own, tree) {
		flags &^= btrfsFlagTree
		clear(tree)
	}
	binary.LittleEndian.PutUint64(super[btrfsFlags:], flags)
	binary.LittleEndian.PutUint32(super, btrfsSum(super))
}

// copyStep is how much is read at once: a call that is given up waits for that.
// sparseStep is what is left out where it is zero: a chunk of a thin pool.
const (
	copyStep   = 4 * mib
	sparseStep = 64 << 10
)

// Copy implements Devices, past the page cache: a node's memory is for its pods.
func (l *Linux) Copy(ctx context.Context, from, to string, length int64, sparse bool) error {
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return fmt.Errorf("copy device: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|unix.O_DIRECT|unix.O_EXCL, 0)
	if err != nil {
		return fmt.Errorf("copy device: %w", err)
	}
	defer out.Close()
	// Memory of its own is aligned as O_DIRECT wants it.
	buf, err := unix.Mmap(-1, 0, copyStep, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("memory to copy with: %w", err)
	}
	defer func() { _ = unix.Munmap(buf) }() // of a mapping of its own it cannot fail
	zeros := make([]byte, sparseStep)
	for at := int64(0); at < length; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("copy device %s: %w", from, err)
		}
		part := buf[:min(copyStep, length-at)]
		if _, err := in.ReadAt(part, at); err != nil {
			return fmt.Errorf("copy %d bytes at %d: %w", len(part), at, err)
		}
		step := len(part)
		if sparse {
			step = sparseStep
		}
		for i := 0; i < len(part); i += step {
			piece := part[i:min(i+step, len(part))]
			if sparse && bytes.Equal(piece, zeros[:len(piece)]) {
				continue
			}
			if _, err := out.WriteAt(piece, at+int64(i)); err != nil {
				return fmt.Errorf("copy %d bytes at %d: %w", len(piece), at+int64(i), err)
			}
		}
		at += int64(len(part))
	}
	if err := out.Sync(); err != nil { // the disk's own cache
		return fmt.Errorf("copy device %s: %w", to, err)
	}
	return nil
}

// Flush implements Filesystem.
func (l *Linux) Flush(target string) error {
	f, err := os.Open(target)
	if err != nil {
		return fmt.Errorf("flush filesystem: %w", err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("flush filesystem at %s: %w", target, err)
	}
	return nil
}
