// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"k8s.io/mount-utils"
)

// Linux is the real Mounter, Devices and Filesystem: mount(8) through mount-utils, the
// kernel's mount table, and the tools of e2fsprogs, xfsprogs, btrfs-progs and
// util-linux. mount-utils' FormatAndMount is not used: it formats whenever blkid
// finds nothing, and a damaged superblock is nothing, too.
type Linux struct{ mounter mount.Interface }

// NewLinux is the mounts and devices of this machine.
func NewLinux() *Linux { return &Linux{mounter: mount.NewWithoutSystemd("")} }

var (
	_ Mounter    = &Linux{}
	_ Devices    = &Linux{}
	_ Filesystem = &Linux{}
)

// Mounts implements Mounter.
func (l *Linux) Mounts() ([]Mount, error) {
	table, err := mount.ParseMountInfo("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	list := make([]Mount, 0, len(table))
	for _, m := range table {
		line := Mount{Source: m.Source, Target: m.MountPoint, Type: m.FsType, ReadOnly: slices.Contains(m.MountOptions, "ro")}
		switch {
		case strings.HasPrefix(m.Source, "/dev/"):
			// The table's own number is not the block device's for btrfs.
			if d, ok, err := blockDevice(m.Source); err == nil && ok {
				line.Number = d
			}
		case m.Root != "/" && (m.FsType == "devtmpfs" || m.FsType == "tmpfs"):
			// Only where a device node can be bound from: looking at a path of a
			// network filesystem could take forever.
			if d, ok, err := blockDevice(m.MountPoint); err == nil && ok {
				line.Number, line.Block = d, true
			}
		}
		list = append(list, line)
	}
	return list, nil
}

// Mount implements Mounter.
func (l *Linux) Mount(device, target, fstype string, options []string) error {
	if err := l.mounter.Mount(device, target, fstype, options); err != nil {
		return fmt.Errorf("mount %s at %s as %s with options %q: %w", device, target, fstype, strings.Join(options, ","), err)
	}
	return nil
}

// Unmount implements Mounter.
func (l *Linux) Unmount(target string) error {
	if err := l.mounter.Unmount(target); err != nil {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	return nil
}

// MakeTarget implements Mounter.
func (l *Linux) MakeTarget(target string) error {
	err := os.Mkdir(target, 0o750)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s: the folder that it should be in is not there", ErrTarget, target)
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("target path: %w", err)
	}
	entries, err := os.ReadDir(target)
	if err != nil {
		return fmt.Errorf("%w: %s is occupied by something that is not a folder: %w", ErrTarget, target, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: %s is occupied: %d entries are in it, %q first", ErrTarget, target, len(entries), entries[0].Name())
	}
	return nil
}

// MakeTargetFile implements Mounter.
func (l *Linux) MakeTargetFile(target string) error {
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s: the folder that it should be in is not there", ErrTarget, target)
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("target path: %w", err)
	}
	info, err := os.Lstat(target)
	switch {
	case err != nil:
		return fmt.Errorf("target path: %w", err)
	case !info.Mode().IsRegular() || info.Size() > 0:
		return fmt.Errorf("%w: %s is occupied by something that is not an empty file", ErrTarget, target)
	default:
		return nil
	}
}

// RemoveTarget implements Mounter.
func (l *Linux) RemoveTarget(target string) error {
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("target path: %w", err)
	}
	return nil
}

// Device implements Devices.
func (l *Linux) Device(device string) (Device, bool, error) {
	n, ok, err := blockDevice(device)
	if !ok || err != nil {
		return Device{}, false, err
	}
	f, err := os.Open(device)
	if err != nil {
		return Device{}, false, fmt.Errorf("device: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return Device{}, false, fmt.Errorf("size of device %s: %w", device, err)
	}
	return Device{Number: n, Size: size}, true, nil
}

// zeroStep is how much one BLKZEROOUT zeroes: what a call that is given up waits
// for.
const zeroStep = 64 * mib

// Zero implements Devices with the ioctl BLKZEROOUT, which writes zeros where the
// disk has no command of its own that is sure to. Discards are not: no disk tells
// whether they zero.
func (l *Linux) Zero(ctx context.Context, device string, offset, length int64) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("zero device: %w", err)
	}
	defer f.Close()
	for end := offset + length; offset < end; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("zero device %s: %w", device, err)
		}
		part := [2]uint64{uint64(offset), uint64(min(zeroStep, end-offset))}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&part))); errno != 0 {
			return fmt.Errorf("zero %d bytes at %d of device %s: %w", part[1], part[0], device, errno)
		}
		offset += int64(part[1])
	}
	if err := f.Sync(); err != nil { // the disk's own cache
		return fmt.Errorf("zero device %s: %w", device, err)
	}
	return nil
}

// blockDevice gives a device's number. ok is false when there is none.
func blockDevice(path string) (n DeviceNumber, ok bool, err error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return n, false, nil
		}
		return n, false, fmt.Errorf("device %s: %w", path, err)
	}
	if s.Mode&unix.S_IFMT != unix.S_IFBLK {
		return n, false, nil
	}
	return DeviceNumber{Major: unix.Major(s.Rdev), Minor: unix.Minor(s.Rdev)}, true, nil
}

// Exit statuses of blkid -p (blkid(8), "EXIT STATUS").
const (
	blkidNothing    = 2
	blkidAmbivalent = 8
)

// Detect implements Filesystem with blkid's low-level probing, which reads the
// device and no cache.
func (l *Linux) Detect(device string) (Signature, error) {
	out, err := run("blkid", "-p", "-s", "TYPE", "-s", "UUID", "-s", "PTTYPE", "-o", "export", device)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		switch exit.ExitCode() {
		case blkidNothing:
			// blkid says the same of a device that it cannot read.
			return Signature{}, readable(device)
		case blkidAmbivalent:
			return Signature{Type: "ambivalent"}, nil
		}
	}
	if err != nil {
		return Signature{}, err
	}
	var s Signature
	for _, line := range strings.Split(string(out), "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch {
		case key == "TYPE":
			s.Type = value
		case key == "UUID":
			s.UUID = value
		case key == "PTTYPE" && s.Type == "":
			s.Type = value
		}
	}
	return s, nil
}

// readable reads a device's first and last sectors.
func readable(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("device: %w", err)
	}
	defer f.Close()
	buf := make([]byte, 4096)
	if _, err := f.ReadAt(buf, 0); err != nil {
		return fmt.Errorf("read device: %w", err)
	}
	return nil
}

// Make implements Filesystem. No discards: a fresh LV's extents need none, and on
// some disks they take minutes.
func (l *Linux) Make(device string, format Format) error {
	args, err := mkfsArgs(format)
	if err != nil {
		return err
	}
	if _, err := run("mkfs."+format.Type, append(args, device)...); err != nil {
		return fmt.Errorf("make %s on %s: %w", format.Type, device, err)
	}
	return nil
}

// mkfsArgs are the arguments of mkfs.TYPE but for the device.
func mkfsArgs(format Format) ([]string, error) {
	var args []string
	switch format.Type {
	case "ext4":
		args = []string{"-q", "-F", "-m", "0", "-U", format.UUID, "-E", "nodiscard"}
	case "xfs":
		args = []string{"-q", "-f", "-K", "-m", "uuid=" + format.UUID}
	case "btrfs":
		args = []string{"-q", "-f", "-K", "-U", format.UUID}
	default:
		return nil, fmt.Errorf("%w: filesystem %q", errInvalid, format.Type)
	}
	return append(args, format.Options...), nil
}

// Wipe implements Filesystem.
func (l *Linux) Wipe(device string) error {
	_, err := run("wipefs", "--all", "--force", "--quiet", device)
	return err
}

// Grow implements Filesystem.
func (l *Linux) Grow(device, target, fstype string) error {
	var err error
	switch fstype {
	case "ext4":
		_, err = run("resize2fs", device)
	case "xfs":
		_, err = run("xfs_growfs", target)
	case "btrfs":
		_, err = run("btrfs", "filesystem", "resize", "max", target)
	default:
		return fmt.Errorf("%w: filesystem %q", errInvalid, fstype)
	}
	if err != nil {
		return fmt.Errorf("grow %s on %s: %w", fstype, device, err)
	}
	return nil
}

// Usage implements Filesystem.
func (l *Linux) Usage(target string) (Usage, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(target, &s); err != nil {
		return Usage{}, fmt.Errorf("statfs %s: %w", target, err)
	}
	block := s.Frsize
	return Usage{
		TotalBytes: int64(s.Blocks) * block, FreeBytes: int64(s.Bavail) * block, UsedBytes: int64(s.Blocks-s.Bfree) * block,
		TotalInodes: int64(s.Files), FreeInodes: int64(s.Ffree), UsedInodes: int64(s.Files - s.Ffree),
	}, nil
}

// run runs a program to its end. Its error has what the program complained of.
func run(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, strings.Join(strings.Fields(stderr.String()), " "))
	}
	return stdout.Bytes(), nil
}
