// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/podlv/podlv/lvm"
)

// ErrTarget is a target path that nothing can be mounted at.
var ErrTarget = errors.New("target path cannot be used")

// Mounter is the node's mount table and the folders that are mounted on.
// mounttest has the contract; Linux is the real one.
type Mounter interface {
	// Mounts is the mount table as the agent's mount namespace has it, in the
	// kernel's order: of two mounts at one target the last is the visible one.
	Mounts() ([]Mount, error)
	// Mount mounts the filesystem on device at target. With the option "bind" and no
	// fstype, device is what is bound there: a folder, or a device to a file.
	Mount(device, target, fstype string, options []string) error
	// Unmount takes the visible mount off target; it is no error when there is none.
	Unmount(target string) error
	// MakeTarget makes target, an empty folder; it is no error when it is one
	// already. ErrTarget when its parent is not there, or target is a file or has
	// something in it.
	MakeTarget(target string) error
	// MakeTargetFile makes target, an empty file, which a device can be bound to; it
	// is no error when it is one already. ErrTarget when its parent is not there, or
	// target is not a file or has something in it.
	MakeTargetFile(target string) error
	// RemoveTarget removes target, an empty folder or an empty file; it is no error
	// when it is not there. ErrTarget when it is anything else, which is never removed.
	RemoveTarget(target string) error
}

// Mount is a line of the mount table.
type Mount struct {
	Source string       // what is mounted: "/dev/mapper/vg-lv", "tmpfs"
	Number DeviceNumber // of the block device that Source names, or that is bound; zero if it is none
	Target string
	Type   string // filesystem
	// ReadOnly is the mount's own, not the filesystem's.
	ReadOnly bool
	// Block: what is mounted is a device itself, bound to a file.
	Block bool
}

// DeviceNumber is a block device's number; zero is none.
type DeviceNumber struct{ Major, Minor uint32 }

// String is "major:minor".
func (n DeviceNumber) String() string { return fmt.Sprintf("%d:%d", n.Major, n.Minor) }

// Devices is the node's block devices.
type Devices interface {
	// Device looks at a device. ok is false when there is none of that name.
	Device(device string) (d Device, ok bool, err error)
	// Zero makes length bytes of device from offset on read as zeros, also after a
	// power loss. It may stop when ctx ends, with ctx's error and a part done.
	Zero(ctx context.Context, device string, offset, length int64) error
	// Copy makes the first length bytes of the device to those of the device from,
	// also after a power loss. sparse: to reads as zeros, and where from does, nothing
	// is written. It is refused while to is mounted. It may stop when ctx ends, with
	// ctx's error and a part done.
	Copy(ctx context.Context, from, to string, length int64, sparse bool) error
}

// Filesystem is what is on the node's block devices.
type Filesystem interface {
	// Detect says what is on device. If a whole filesystem of the expected type is,
	// that is the answer, whatever else seems to be there: a tenant can write bytes
	// that look like a RAID's or a disk's. An mkfs that did not finish is nothing of
	// the expected type.
	Detect(device, expected string) (Signature, error)
	// Make makes a filesystem on device, over whatever is on it.
	Make(device string, format Format) error
	// Wipe takes the signature of every filesystem off device.
	Wipe(device string) error
	// Grow lets the filesystem on device, which is mounted at target, take all of
	// the device; it is no error when it has it.
	Grow(device, target, fstype string) error
	// Adopt makes of the copy of a filesystem, which may have been in use when it was
	// copied, one of its own: its log is replayed, it takes all of device, and has
	// format's UUID; the original may be mounted meanwhile. It is never made anew. The
	// UUID is the last that changes; after an error or a death the copy is of no use.
	// It may stop when ctx ends, with ctx's error.
	Adopt(ctx context.Context, device string, format Format) error
	// Flush writes what the filesystem mounted at target holds in memory to its device.
	Flush(target string) error
	// Usage is statfs of the filesystem mounted at target.
	Usage(target string) (Usage, error)
}

// Device is a block device.
type Device struct {
	Number DeviceNumber
	Size   int64 // bytes
}

// Signature is what says what is on a device; zero when nothing is.
type Signature struct {
	// Type is a filesystem's name, or another word of blkid's when there is
	// something else ("LVM2_member", "crypto_LUKS", "dos"); "ambivalent" when more
	// than one thing seems to be there.
	Type string
	UUID string
}

// Format says what filesystem to make.
type Format struct {
	Type    string // ext4, xfs or btrfs
	UUID    string
	Options []string // arguments of mkfs.TYPE that came through the allow-list
}

// Usage is how full a filesystem is.
type Usage struct {
	TotalBytes, FreeBytes, UsedBytes    int64 // free: to a process without privileges
	TotalInodes, FreeInodes, UsedInodes int64 // all 0 where the filesystem has no fixed number (btrfs)
}

// volumeOf is the LV that a mount's source names.
func volumeOf(m Mount) (vg, lv string, ok bool) {
	if name, found := strings.CutPrefix(m.Source, "/dev/mapper/"); found {
		return lvm.ParseDeviceName(name)
	}
	if rest, found := strings.CutPrefix(m.Source, "/dev/"); found {
		vg, lv = path.Split(rest)
		vg = strings.TrimSuffix(vg, "/")
		return vg, lv, vg != "" && lv != "" && !strings.Contains(vg, "/")
	}
	return "", "", false
}

// mountedAt is the visible mount at target, nil when there is none.
func mountedAt(mounter Mounter, target string) (*Mount, error) {
	mounts, err := mounter.Mounts()
	if err != nil {
		return nil, err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].Target == target {
			return &mounts[i], nil
		}
	}
	return nil, nil
}

// mountedVolumes are the LVs in the mount table, as VG/LV.
func mountedVolumes(mounter Mounter) (map[string]bool, error) {
	mounts, err := mounter.Mounts()
	if err != nil {
		return nil, err
	}
	all := map[string]bool{}
	for _, m := range mounts {
		if vg, lv, ok := volumeOf(m); ok {
			all[vg+"/"+lv] = true
		}
	}
	return all, nil
}

// devicePath is an LV's device node, which lvm makes at activation.
func devicePath(vg, lv string) string { return "/dev/" + vg + "/" + lv }
