// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// flakeyPrefix starts the names of the device-mapper devices that Flakey makes.
const flakeyPrefix = "flakey-"

// Fault is how a FlakeyDisk behaves.
type Fault string

// The faults that dm-flakey can play; the text is its table's features (the
// kernel's Documentation/admin-guide/device-mapper/dm-flakey.rst).
const (
	Healthy    Fault = "healthy"
	FailAll    Fault = ""               // reads and writes end with EIO
	FailWrites Fault = "1 error_writes" // writes end with EIO, reads work
	DropWrites Fault = "1 drop_writes"  // writes seem to work and are thrown away, reads work
)

// FlakeyDisk is a device over a whole disk that can be made to fail.
type FlakeyDisk struct {
	// Path of the device, /dev/mapper/flakey-….
	Path    string
	disk    string
	sectors string
}

// Flakey makes a healthy FlakeyDisk over a disk. In a machine, lvm sees the disk
// through it from now on and no longer directly, else it would find each physical
// volume twice. It is gone after a reboot: make it again then. It needs the kernel
// module dm-flakey and root.
func Flakey(disk string) (*FlakeyDisk, error) {
	out, err := exec.Command("blockdev", "--getsz", disk).Output()
	if err != nil {
		return nil, fmt.Errorf("size of %s: %w", disk, err)
	}
	name := flakeyPrefix + filepath.Base(disk)
	d := &FlakeyDisk{Path: "/dev/mapper/" + name, disk: disk, sectors: strings.TrimSpace(string(out))}
	if _, err := strconv.ParseInt(d.sectors, 10, 64); err != nil {
		return nil, fmt.Errorf("size of %s: %w", disk, err)
	}
	if err := dmsetup("create", name, "--table", d.table(Healthy)); err != nil {
		return nil, err
	}
	return d, hideFromLVM(disk, true)
}

// Set makes the device healthy or faulty, at once, for every request from now on.
func (d *FlakeyDisk) Set(f Fault) error {
	name := filepath.Base(d.Path)
	// noflush, nolockfs: a device that fails now cannot be flushed to become healthy.
	if err := dmsetup("suspend", "--noflush", "--nolockfs", name); err != nil {
		return err
	}
	load := dmsetup("load", name, "--table", d.table(f))
	if err := dmsetup("resume", name); err != nil {
		return err
	}
	return load
}

// Remove takes the device away; it must not be in use. lvm sees the disk directly
// again.
func (d *FlakeyDisk) Remove() error {
	if err := dmsetup("remove", filepath.Base(d.Path)); err != nil {
		return err
	}
	return hideFromLVM(d.disk, false)
}

// table is the device-mapper table: healthy is up for ever, all else down for ever.
func (d *FlakeyDisk) table(f Fault) string {
	if f == Healthy {
		return fmt.Sprintf("0 %s flakey %s 0 1 0", d.sectors, d.disk)
	}
	return strings.TrimSpace(fmt.Sprintf("0 %s flakey %s 0 0 1 %s", d.sectors, d.disk, f))
}

func dmsetup(args ...string) error {
	cmd := exec.Command("dmsetup", args...)
	if Boot() > 0 { // no udev: device nodes are made by dmsetup or by nobody
		cmd.Env = append(os.Environ(), "DM_DISABLE_UDEV=1")
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("dmsetup %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// hideFromLVM rejects or no longer rejects a disk in the filter of lvm.conf in
// LVM_SYSTEM_DIR; without one, lvm is not configured by us and is left alone.
func hideFromLVM(disk string, hide bool) error {
	dir := os.Getenv("LVM_SYSTEM_DIR")
	if dir == "" {
		return nil
	}
	path := filepath.Join(dir, "lvm.conf")
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("hide %s from lvm: %w", disk, err)
	}
	accept, reject := fmt.Sprintf("%q", "a|^"+disk+"$|"), fmt.Sprintf("%q", "r|^"+disk+"$|")
	if !hide {
		accept, reject = reject, accept
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), accept, reject, 1)), 0o644); err != nil {
		return fmt.Errorf("hide %s from lvm: %w", disk, err)
	}
	return nil
}
