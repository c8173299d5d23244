// SPDX-License-Identifier: Apache-2.0

// Package fakemount is the mounts, the block devices and the filesystems of a fake
// machine, for an agent that runs on one. There is only a Fake, which is a fakelvm.Host
// in the driver's words. driver/mounttest has the contract, and holds it to that.
package fakemount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
)

// Fake is the mounts and devices of a fake machine. It keeps nothing of its own.
type Fake struct{ Host *fakelvm.Host }

var (
	_ driver.Mounter    = Fake{}
	_ driver.Devices    = Fake{}
	_ driver.Filesystem = Fake{}
)

// Mounts implements driver.Mounter.
func (f Fake) Mounts() ([]driver.Mount, error) {
	if f.Host.Crashed() {
		return nil, fakelvm.ErrCrashed
	}
	var list []driver.Mount
	for _, m := range f.Host.Mounts() {
		line := driver.Mount{
			Source: m.Device, Number: driver.DeviceNumber{Major: uint32(m.Major), Minor: uint32(m.Minor)},
			Target: m.Target, Type: m.FSType, ReadOnly: slices.Contains(m.Options, "ro"),
		}
		if m.FSType == "devtmpfs" {
			if err := f.bound(&line, m.Root); err != nil {
				return nil, err
			}
		}
		list = append(list, line)
	}
	return list, nil
}

// dmMajor is the device mapper's major number on a fake machine.
const dmMajor = 254

// bound is what a device is that root, of devtmpfs, names.
func (f Fake) bound(line *driver.Mount, root string) error {
	line.Block = true
	if _, err := fmt.Sscanf(root, "/dm-%d", &line.Number.Minor); err == nil {
		line.Number.Major = dmMajor
		return nil
	}
	major, minor, err := f.Host.DeviceNumber("/dev" + root)
	line.Number = driver.DeviceNumber{Major: uint32(major), Minor: uint32(minor)}
	return err
}

// Mount implements driver.Mounter.
func (f Fake) Mount(device, target, fstype string, options []string) error {
	return f.Host.Mount(device, target, fstype, options)
}

// Unmount implements driver.Mounter.
func (f Fake) Unmount(target string) error {
	if !slices.ContainsFunc(f.Host.Mounts(), func(m fakelvm.Mount) bool { return m.Target == target }) && !f.Host.Crashed() {
		return nil
	}
	return f.Host.Unmount(target)
}

// MakeTarget implements driver.Mounter.
func (f Fake) MakeTarget(target string) error {
	if f.Host.Crashed() {
		return fakelvm.ErrCrashed
	}
	parent := path.Dir(target)
	switch {
	case !f.Host.IsDir(parent):
		return fmt.Errorf("%w: %s: the folder that it should be in is not there", driver.ErrTarget, target)
	case f.Host.Exists(target) && !f.Host.IsDir(target):
		return fmt.Errorf("%w: %s is occupied by something that is not a folder", driver.ErrTarget, target)
	case f.Host.IsDir(target):
		names, err := f.Host.ReadDir(target)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return fmt.Errorf("%w: %s is occupied: it has %q and %d more in it", driver.ErrTarget, target, names[0], len(names)-1)
		}
		return nil
	}
	return f.Host.MkdirAll(target)
}

// MakeTargetFile implements driver.Mounter.
func (f Fake) MakeTargetFile(target string) error {
	if f.Host.Crashed() {
		return fakelvm.ErrCrashed
	}
	switch {
	case !f.Host.IsDir(path.Dir(target)):
		return fmt.Errorf("%w: %s: the folder that it should be in is not there", driver.ErrTarget, target)
	case f.Host.IsDir(target):
		return fmt.Errorf("%w: %s is occupied by something that is not an empty file", driver.ErrTarget, target)
	case f.Host.Exists(target):
		return nil
	}
	return f.Host.MakeFile(target)
}

// RemoveTarget implements driver.Mounter.
func (f Fake) RemoveTarget(target string) error {
	if err := f.Host.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Device implements driver.Devices.
func (f Fake) Device(device string) (driver.Device, bool, error) {
	if f.Host.Crashed() {
		return driver.Device{}, false, fakelvm.ErrCrashed
	}
	if !f.Host.DeviceExists(device) {
		return driver.Device{}, false, nil
	}
	major, minor, err := f.Host.DeviceNumber(device)
	if err != nil {
		return driver.Device{}, false, err
	}
	size, err := f.Host.DeviceSize(device)
	if err != nil {
		return driver.Device{}, false, err
	}
	return driver.Device{Number: driver.DeviceNumber{Major: uint32(major), Minor: uint32(minor)}, Size: size}, true, nil
}

// Zero implements driver.Devices. It is one step, and does not stop inside it.
func (f Fake) Zero(ctx context.Context, device string, offset, length int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d, err := f.Host.Open(device)
	if err != nil {
		return err
	}
	return errors.Join(d.Zero(offset, length), d.Close())
}

// Copy implements driver.Devices. It is one step, and does not stop inside it.
func (f Fake) Copy(ctx context.Context, from, to string, length int64, sparse bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.Host.Copy(from, to, length, sparse)
}

// Detect implements driver.Filesystem. The fake's mkfs is whole or not there.
func (f Fake) Detect(device, _ string) (driver.Signature, error) {
	fstype, uuid, err := f.Host.Signature(device)
	if err != nil {
		return driver.Signature{}, err
	}
	return driver.Signature{Type: fstype, UUID: uuid}, nil
}

// Make implements driver.Filesystem.
func (f Fake) Make(device string, format driver.Format) error {
	return f.Host.Format(device, format.Type, format.UUID, format.Options...)
}

// Wipe implements driver.Filesystem.
func (f Fake) Wipe(device string) error { return f.Host.Wipe(device) }

// Grow implements driver.Filesystem.
func (f Fake) Grow(device, target, fstype string) error {
	for _, m := range f.Host.Mounts() {
		if m.Target == target && m.FSType == fstype {
			return f.Host.Grow(device)
		}
	}
	return fmt.Errorf("grow %s: no %s is mounted at %s", device, fstype, target)
}

// Adopt implements driver.Filesystem. It is one step, and does not stop inside it.
func (f Fake) Adopt(ctx context.Context, device string, format driver.Format) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.Host.Adopt(device, format.Type, format.UUID)
}

// Flush implements driver.Filesystem. A fake filesystem holds nothing in memory.
func (f Fake) Flush(target string) error {
	if f.Host.Crashed() {
		return fakelvm.ErrCrashed
	}
	_, _, err := f.Host.Usage(target)
	return err
}

// Usage implements driver.Filesystem. A fake filesystem has a thousandth of its
// bytes as inodes.
func (f Fake) Usage(target string) (driver.Usage, error) {
	size, used, err := f.Host.Usage(target)
	if err != nil {
		return driver.Usage{}, err
	}
	inodes := size / 1000
	return driver.Usage{TotalBytes: size, FreeBytes: size - used, UsedBytes: used, TotalInodes: inodes, FreeInodes: inodes - 1, UsedInodes: 1}, nil
}
