// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"io"

	"github.com/podlv/podlv/lvm"
)

// Machine is what the contract is played on.
type Machine struct {
	Runner lvm.Runner
	// Disks are the paths of at least two empty disks of one size, 1 GiB or more
	// each. With three, more is tested.
	Disks []string
	// OpenDevice opens an LV's device by its path, /dev/VG/LV, as a program does
	// that reads and writes it: until it is closed, the LV is in use. Writes reach
	// the device before Close returns. nil: devices cannot be opened here.
	OpenDevice func(path string) (Device, error)
	Features   Features
}

// Device is an open block device.
type Device interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// Features are what a machine can do beyond linear LVs, reports and tags.
type Features struct {
	Striped bool
	RAID1   bool
	Thin    bool
	// Snapshots: thick ones. Thin ones come with Thin.
	Snapshots bool
	// HideDisk makes a disk vanish for LVM until restore. No LV of the disk is
	// active then.
	HideDisk func(disk string) (restore func() error, err error)
	// Configure appends text to the machine's lvm.conf until restore.
	Configure func(text string) (restore func() error, err error)
	// Commits reads the text of the metadata of a VG's last commits from its disk,
	// the oldest first: LVM writes them one after the other into a ring.
	Commits func(disk, vg string) ([]string, error)
	// DieCreating runs a vgcreate of a PV that dies when it has marked the PV as used, and
	// before its commit.
	DieCreating func(vg, disk string) error
	// Stamp is lvm.Stamp. nil: the disks cannot be read here.
	Stamp func(disk string) (string, error)
}
