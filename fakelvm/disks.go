// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// Glob gives the paths of disks, links to them included, that match a pattern of
// path.Match, sorted.
func (h *Host) Glob(pattern string) (paths []string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.disks {
		for _, p := range append([]string{d.path}, d.links...) {
			matches, err := path.Match(pattern, p)
			if err != nil {
				return nil, err
			}
			if matches && !d.absent {
				paths = append(paths, p)
			}
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// DiskAt is the disk that a path or a link leads to, as it was plugged in, and the names
// of the device-mapper devices that are made of it. ok is false when there is none.
func (h *Host) DiskAt(path string) (d Disk, holders []string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.linked(path)
	if x == nil || x.absent {
		return Disk{}, nil, false
	}
	return Disk{Path: x.path, Size: x.size, Rotational: x.rotational, Removable: x.removable, ReadOnly: x.readOnly, Links: slices.Clone(x.links)}, x.holders(), true
}

// linked is the disk of that path or link, whether it is present or not.
func (h *Host) linked(path string) *disk {
	for _, d := range h.disks {
		if d.path == path || slices.Contains(d.links, path) {
			return d
		}
	}
	return nil
}

// holders are the active LVs that have extents on the disk.
func (d *disk) holders() (names []string) {
	if d.pv == nil {
		return nil
	}
	for _, u := range d.pv.used {
		if name := fmt.Sprintf("dm-%d", u.lv.minor); u.lv.live() && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Claim opens a disk as its only holder, as open(2) with O_EXCL does. EBUSY when it is
// mounted, open or has holders.
func (h *Host) Claim(path string) (*Device, error) {
	h.mu.Lock()
	x := h.linked(path)
	busy := x != nil && (x.opens > 0 || len(x.holders()) > 0)
	for _, m := range h.mounts {
		busy = busy || x != nil && m.disk == x
	}
	h.mu.Unlock()
	switch {
	case x == nil:
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNoEntry}
	case busy:
		return nil, &fs.PathError{Op: "open", Path: path, Err: errBusy}
	}
	return h.Open(x.path)
}

// Signatures are what libblkid finds on a disk, LVM's label included: "ext4 at 0x438".
func (h *Host) Signatures(path string) (found []string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.linked(path)
	if x == nil || x.absent {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNoEntry}
	}
	if x.pv != nil {
		found = append(found, "LVM2_member at 0x218")
	}
	for _, s := range findSignatures(h, x) {
		found = append(found, fmt.Sprintf("%s at 0x%x", s.fstype, s.offset))
	}
	return found, nil
}
