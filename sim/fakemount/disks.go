// SPDX-License-Identifier: Apache-2.0

package fakemount

import (
	"errors"
	"syscall"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
)

var _ driver.Disks = Fake{}

// Glob implements driver.Disks.
func (f Fake) Glob(pattern string) ([]string, error) {
	if f.Host.Crashed() {
		return nil, fakelvm.ErrCrashed
	}
	return f.Host.Glob(pattern)
}

// Disk implements driver.Disks.
func (f Fake) Disk(path string) (driver.Disk, bool, error) {
	if f.Host.Crashed() {
		return driver.Disk{}, false, fakelvm.ErrCrashed
	}
	d, holders, ok := f.Host.DiskAt(path)
	if ok {
		return driver.Disk{
			Device: d.Path, Kind: "disk", Size: d.Size, Rotational: d.Rotational, Removable: d.Removable, ReadOnly: d.ReadOnly, Holders: holders,
		}, true, nil
	}
	if !f.Host.DeviceExists(path) {
		return driver.Disk{}, false, nil
	}
	size, err := f.Host.DeviceSize(path)
	return driver.Disk{Device: path, Kind: "logical volume", Size: size}, true, err
}

// Claim implements driver.Disks.
func (f Fake) Claim(device string) (driver.DiskContent, error) {
	d, err := f.Host.Claim(device)
	if errors.Is(err, syscall.EBUSY) {
		return nil, driver.ErrClaimed
	}
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Signatures implements driver.Disks.
func (f Fake) Signatures(device string) ([]string, error) {
	if f.Host.Crashed() {
		return nil, fakelvm.ErrCrashed
	}
	return f.Host.Signatures(device)
}
