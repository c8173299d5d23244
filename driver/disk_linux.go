// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var _ Disks = &Linux{}

// Glob implements Disks.
func (l *Linux) Glob(pattern string) ([]string, error) { return filepath.Glob(pattern) }

// Disk implements Disks with what is in sysfs.
func (l *Linux) Disk(path string) (Disk, bool, error) {
	var s unix.Stat_t
	switch err := unix.Stat(path, &s); {
	case errors.Is(err, fs.ErrNotExist):
		return Disk{}, false, nil
	case err != nil:
		return Disk{}, false, fmt.Errorf("device %s: %w", path, err)
	case s.Mode&unix.S_IFMT != unix.S_IFBLK:
		return Disk{}, false, refuse(refusedKind, "is no block device")
	}
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(s.Rdev), unix.Minor(s.Rdev)))
	if err != nil {
		return Disk{}, false, fmt.Errorf("device %s: %w", path, err)
	}
	r := &sysfs{dir: dir}
	name := filepath.Base(dir)
	d := Disk{
		Device: "/dev/" + strings.ReplaceAll(name, "!", "/"), // the kernel's way to write a slash (cciss!c0d0)
		Kind:   r.kind(name), Size: r.number("size") * 512, ReadOnly: r.number("ro") != 0, Holders: r.names("holders"),
	}
	if d.Kind == diskPartition {
		r.dir = filepath.Dir(dir) // what follows is said of the whole disk
	} else {
		d.Partitions = r.partitions()
	}
	d.Rotational, d.Removable = r.number("queue/rotational") != 0, r.number("removable") != 0
	if d.Kind == diskWhole {
		d.Twins = r.twins(name)
	}
	if r.err != nil {
		return Disk{}, false, fmt.Errorf("device %s: %w", path, r.err)
	}
	var own unix.Stat_t
	if err := unix.Stat(d.Device, &own); err != nil || own.Rdev != s.Rdev {
		return Disk{}, false, fmt.Errorf("device %s: the kernel calls it %s, and that is another one or not there", path, d.Device)
	}
	return d, true, nil
}

// sysfs reads a device's folder of /sys and keeps the first error.
type sysfs struct {
	dir string
	err error
}

func (r *sysfs) has(name string) bool {
	_, err := os.Stat(filepath.Join(r.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) && r.err == nil {
		r.err = err
	}
	return err == nil
}

func (r *sysfs) text(name string) string {
	b, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil && r.err == nil {
		r.err = err
	}
	return strings.TrimSpace(string(b))
}

func (r *sysfs) number(name string) int64 {
	n, err := strconv.ParseInt(r.text(name), 10, 64)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%s/%s: %w", r.dir, name, err)
	}
	return n
}

func (r *sysfs) names(folder string) (names []string) {
	entries, err := os.ReadDir(filepath.Join(r.dir, folder))
	if err != nil && r.err == nil {
		r.err = err
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (r *sysfs) partitions() []string {
	return slices.DeleteFunc(r.names("."), func(name string) bool { return !r.has(name + "/partition") })
}

func (r *sysfs) kind(name string) DiskKind {
	switch {
	case r.has("partition"):
		return diskPartition
	case r.has("dm/uuid") && strings.HasPrefix(r.text("dm/uuid"), "LVM-"):
		return diskLV
	case r.has("dm"):
		return diskMapped
	case r.has("md"):
		return diskRAID
	case strings.HasPrefix(name, "loop"):
		return diskLoop
	case strings.Contains(r.dir, "/devices/virtual/block/"):
		return diskVirtual
	default:
		return diskWhole
	}
}

// wwid is what the disk says it is, all over the world; empty when it does not. SCSI's
// "t10" names are left out: without a serial number they are those of a model.
func (r *sysfs) wwid() string {
	for _, file := range []string{"wwid", "device/wwid"} {
		if !r.has(file) {
			continue
		}
		for _, prefix := range []string{"naa.", "eui.", "uuid."} {
			if id := r.text(file); strings.HasPrefix(id, prefix) {
				return id
			}
		}
	}
	return ""
}

// twins are the other disks of the same WWID: several paths lead to one disk, and no
// multipath device has them.
func (r *sysfs) twins(name string) (twins []string) {
	id := r.wwid()
	if id == "" {
		return nil
	}
	entries, err := os.ReadDir("/sys/block")
	if err != nil && r.err == nil {
		r.err = err
	}
	for _, e := range entries {
		if e.Name() == name {
			continue
		}
		other := &sysfs{dir: filepath.Join("/sys/block", e.Name())} // it may be going: its errors are not ours
		if other.wwid() == id {
			twins = append(twins, e.Name())
		}
	}
	return twins
}

// Claim implements Disks. O_EXCL is the kernel's: mounts, swap, md, device-mapper and LVM
// hold their devices so, in whatever mount namespace they are.
func (l *Linux) Claim(device string) (DiskContent, error) {
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, ErrClaimed
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Signatures implements Disks: all that wipefs would wipe, and what blkid's low-level
// probing makes of the device, if that is anything else. Of a partition blkid also says
// what its table says of it, which is no signature.
func (l *Linux) Signatures(device string) (found []string, err error) {
	out, err := run("wipefs", "--no-act", "--noheadings", "--output", "OFFSET,TYPE", device)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) != 2 {
			return nil, fmt.Errorf("wipefs %s: %q is not an offset and a type", device, line)
		}
		found = append(found, words[1]+" at "+words[0])
	}
	if len(found) > 0 {
		return found, nil
	}
	out, err = run("blkid", "-p", "-o", "export", device)
	switch code := exitCode(err); {
	case code == blkidNothing:
		return nil, nil
	case code == blkidAmbivalent:
		return []string{"more than one, of which blkid cannot choose"}, nil
	case err != nil:
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			return nil, fmt.Errorf("blkid -p %s: %q is not a key and a value", device, line)
		}
		if key != "DEVNAME" && !strings.HasPrefix(key, "PART_ENTRY_") {
			found = append(found, key+" "+value)
		}
	}
	return found, nil
}
