// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
	"k8s.io/mount-utils"

	"github.com/podlv/podlv/program"
)

// Linux is the real Mounter, Devices and Filesystem: mount(2), the kernel's mount
// table as mount-utils reads it, and the tools of e2fsprogs, xfsprogs, btrfs-progs
// and util-linux.
//
// mount-utils' own Mount starts mount(8), which finds out nothing that is not known
// here and takes an eighth of a publish (docs/performance.md). Its FormatAndMount
// formats whenever blkid finds nothing, and a damaged superblock is nothing, too.
type Linux struct{}

// NewLinux is the mounts and devices of this machine.
func NewLinux() *Linux { return &Linux{} }

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
		line := Mount{Source: deviceName(m.Source), Target: m.MountPoint, Type: m.FsType, ReadOnly: slices.Contains(m.MountOptions, "ro")}
		switch {
		case strings.HasPrefix(line.Source, "/dev/") && m.Major != 0:
			line.Number = DeviceNumber{Major: uint32(m.Major), Minor: uint32(m.Minor)}
		case strings.HasPrefix(line.Source, "/dev/"): // btrfs has a number of its own, which is no block device's
			if d, ok, err := blockDevice(line.Source); err == nil && ok {
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

// Shared says whether what is mounted below path is seen by the rest of the
// machine: in a container it is only with mount propagation Bidirectional.
func Shared(path string) (bool, error) {
	table, err := mount.ParseMountInfo("/proc/self/mountinfo")
	if err != nil {
		return false, fmt.Errorf("read the mount table: %w", err)
	}
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return false, err
	}
	shared, longest := false, -1
	for _, m := range table {
		below := path == m.MountPoint || strings.HasPrefix(path, strings.TrimSuffix(m.MountPoint, "/")+"/")
		if below && len(m.MountPoint) >= longest {
			longest = len(m.MountPoint)
			shared = slices.ContainsFunc(m.OptionalFields, func(f string) bool { return strings.HasPrefix(f, "shared:") })
		}
	}
	return shared, nil
}

// deviceName is the name by which LVM knows a mount's source. btrfs prints the
// name that it learned last, which after a scan by udev is the kernel's, /dev/dm-5.
func deviceName(source string) string {
	dm, ok := strings.CutPrefix(source, "/dev/dm-")
	if !ok {
		return source
	}
	name, err := os.ReadFile("/sys/block/dm-" + dm + "/dm/name")
	if err != nil {
		return source
	}
	return "/dev/mapper/" + strings.TrimSpace(string(name))
}

// kernelFlags are the mount options that are flags of mount(2): "bind", "ro" and
// those of anyMount; all others are the filesystem's.
var kernelFlags = map[string]uintptr{
	"bind": unix.MS_BIND, "ro": unix.MS_RDONLY, "noexec": unix.MS_NOEXEC, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV,
	"noatime": unix.MS_NOATIME, "relatime": unix.MS_RELATIME, "strictatime": unix.MS_STRICTATIME, "nodiratime": unix.MS_NODIRATIME,
	"lazytime": unix.MS_LAZYTIME, "nolazytime": 0, "sync": unix.MS_SYNCHRONOUS, "dirsync": unix.MS_DIRSYNC,
}

// Mount implements Mounter.
func (l *Linux) Mount(device, target, fstype string, options []string) error {
	var flags uintptr
	var data []string
	for _, o := range options {
		if f, ok := kernelFlags[o]; ok {
			flags |= f
		} else {
			data = append(data, o)
		}
	}
	err := unix.Mount(device, target, fstype, flags, strings.Join(data, ","))
	if err == nil && flags&unix.MS_BIND != 0 && flags != unix.MS_BIND {
		err = restrict(target, flags)
	}
	if err != nil {
		return fmt.Errorf("mount %s at %s as %s with options %q: %w (the node's kernel log may say more)", device, target, fstype, strings.Join(options, ","), err)
	}
	return nil
}

// restrict gives a bind flags beside those of what is bound, in a second step: the
// first pays no heed to them (mount(2), "Creating a bind mount").
func restrict(target string, flags uintptr) error {
	var s unix.Statfs_t
	err := unix.Statfs(target, &s)
	if err == nil {
		// statfs's flags are mount(2)'s, as far as these go (statfs(2)).
		has := uintptr(s.Flags) & (unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
		err = unix.Mount("", target, "", unix.MS_REMOUNT|flags|has, "")
	}
	if err != nil {
		return errors.Join(err, unix.Unmount(target, unix.UMOUNT_NOFOLLOW))
	}
	return nil
}

// Unmount implements Mounter. Never lazily: the device would stay in use.
func (l *Linux) Unmount(target string) error {
	err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: nothing is mounted there
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
		return fmt.Errorf("%w: %s is occupied: it has %q and %d more in it", ErrTarget, target, entries[0].Name(), len(entries)-1)
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
	err := unix.Rmdir(target)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case !errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("remove target path %s: %w", target, err)
	}
	info, err := os.Lstat(target)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("remove target path: %w", err)
	case !info.Mode().IsRegular() || info.Size() > 0:
		return fmt.Errorf("%w: %s is neither a folder nor an empty file; it is left alone", ErrTarget, target)
	}
	if err := unix.Unlink(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove target path %s: %w", target, err)
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
func (l *Linux) Detect(device, expected string) (Signature, error) {
	s, err := probe(device, "-n", expected)
	if err != nil || s.Type != expected {
		s, err = probe(device)
	}
	if err == nil && s.Type == "xfs" {
		return wholeXFS(device, s)
	}
	return s, err
}

// wholeXFS tells an xfs from one whose mkfs died: that one has a superblock, and
// the UUID, but a flag in it that makes the kernel refuse it (xfs_dsb.sb_inprogress).
func wholeXFS(device string, s Signature) (Signature, error) {
	const inProgress = 126
	f, err := os.Open(device)
	if err != nil {
		return Signature{}, fmt.Errorf("device: %w", err)
	}
	defer f.Close()
	flag := make([]byte, 1)
	if _, err := f.ReadAt(flag, inProgress); err != nil {
		return Signature{}, fmt.Errorf("read device: %w", err)
	}
	if flag[0] != 0 {
		s.Type = "xfs that mkfs did not finish"
	}
	return s, nil
}

// probe is one run of blkid.
func probe(device string, options ...string) (Signature, error) {
	args := append([]string{"-p", "-s", "TYPE", "-s", "UUID", "-s", "PTTYPE", "-o", "export"}, options...)
	out, err := run("blkid", append(args, device)...)
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

// readable reads the start of a device, where every signature but a RAID's is.
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

// Wipe implements Filesystem. Without --force wipefs opens the device exclusively,
// and so refuses one that is mounted.
func (l *Linux) Wipe(device string) error {
	_, err := run("wipefs", "--all", "--quiet", device)
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
		if all, e := l.hasAll(device, target); all || e != nil {
			return e // Linux resizes none of less than 256 MiB, not even to what it has
		}
		_, err = run("btrfs", "filesystem", "resize", "max", target)
	default:
		return fmt.Errorf("%w: filesystem %q", errInvalid, fstype)
	}
	if err != nil {
		return fmt.Errorf("grow %s on %s: %w", fstype, device, err)
	}
	return nil
}

// hasAll says whether the btrfs mounted at target takes all of device.
func (l *Linux) hasAll(device, target string) (bool, error) {
	u, err := l.Usage(target)
	if err != nil {
		return false, err
	}
	d, _, err := l.Device(device)
	return u.TotalBytes >= d.Size/btrfsSuperSize*btrfsSuperSize, err
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
	stdout, stderr, err := program.Run(name, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, strings.Join(strings.Fields(string(stderr)), " "))
	}
	return stdout, nil
}

// exitCode is that of a program that run says has failed; -1 of anything else.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
