// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Mount is one line of the mount table.
type Mount struct {
	Device  string // as the kernel names it: /dev/mapper/vg0-a; devtmpfs for a bound device
	Major   int
	Minor   int
	Root    string // what of the filesystem is mounted: /, or the bound folder or device
	Target  string
	FSType  string
	Options []string
}

// mount is a Mount and what holds it.
type mount struct {
	Mount
	lv   *logicalVolume
	disk *disk
	uuid string
}

// Mount mounts a device's filesystem on a folder of the fake tree, or binds a
// folder or device to a target when options contain "bind" (device is then the
// source). "remount" changes the options of the mount at the target.
//
// Errors are the kernel's: ENOENT for a missing device or target, EINVAL for a
// device without such a superblock, one smaller than its filesystem or a second
// xfs with the same UUID, EBUSY for the same filesystem on the same target.
func (h *Host) Mount(device, target, fstype string, options []string) error {
	text := fmt.Sprintf("mount -t %s -o %s %s %s", fstype, strings.Join(options, ","), device, target)
	return h.kernel("mount", text, func(s *step) error {
		m, err := h.newMount(device, path.Clean(target), fstype, options)
		if err != nil {
			return fmt.Errorf("mount %s on %s: %w", device, target, err)
		}
		s.commit(func() {
			if m == nil { // a remount
				return
			}
			h.mounts = append(h.mounts, m)
		})
		return nil
	})
}

func (h *Host) newMount(device, target, fstype string, options []string) (*mount, error) {
	if slices.Contains(options, "remount") {
		m := h.mountAt(target)
		if m == nil {
			return nil, errInvalid
		}
		m.Options = cleanOptions(options)
		return nil, nil
	}
	isFolder, exists := h.folders[target]
	if !exists {
		return nil, errNoEntry
	}
	if slices.Contains(options, "bind") || slices.Contains(options, "rbind") {
		return h.bind(device, target, isFolder, options)
	}
	if !isFolder {
		return nil, errInvalid
	}
	b, err := h.device(device)
	if err != nil {
		return nil, err
	}
	if b.lv != nil && b.lv.pool != nil {
		return nil, errInvalid
	}
	f, known := filesystemNamed(fstype)
	sigs := findSignatures(h, b.content())
	i := slices.IndexFunc(sigs, func(s signature) bool { return s.fstype == f.name })
	switch {
	case !known || i < 0:
		return nil, errInvalid
	case sigs[i].bytes > b.size():
		return nil, errInvalid
	}
	m := &mount{lv: b.lv, disk: b.disk, uuid: sigs[i].uuid}
	m.Device, m.Root, m.Target, m.FSType = b.path(), "/", target, fstype
	m.Major, m.Minor = b.number()
	m.Options = cleanOptions(options)
	for _, other := range h.mounts {
		same := other.lv == m.lv && other.disk == m.disk
		switch {
		case same && other.Target == target && h.mountAt(target) == other:
			return nil, errBusy
		case !same && other.FSType == fstype && other.uuid == m.uuid && fstype != "ext4" && !slices.Contains(options, "nouuid"):
			return nil, errInvalid
		}
	}
	return m, nil
}

// bind makes a mount of something that is there already.
func (h *Host) bind(source, target string, isFolder bool, options []string) (*mount, error) {
	source = path.Clean(source)
	m := &mount{}
	m.Target, m.Options = target, cleanOptions(options)
	if b, err := h.device(source); err == nil {
		if isFolder {
			return nil, errInvalid // a device cannot be bound to a folder (ENOTDIR)
		}
		_, minor := b.number()
		m.Device, m.FSType, m.Root, m.Major, m.Minor = "devtmpfs", "devtmpfs", fmt.Sprintf("/dm-%d", minor), 0, 5
		if b.disk != nil {
			m.Root = strings.TrimPrefix(b.disk.path, "/dev")
		}
		return m, nil
	}
	sourceFolder, exists := h.folders[source]
	if !exists {
		return nil, errNoEntry
	}
	if sourceFolder != isFolder {
		return nil, errInvalid
	}
	if under, inside := h.covering(source); under != nil {
		m.lv, m.disk, m.uuid = under.lv, under.disk, under.uuid
		m.Device, m.Major, m.Minor, m.FSType = under.Device, under.Major, under.Minor, under.FSType
		m.Root = path.Join(under.Root, inside)
		return m, nil
	}
	m.Device, m.FSType, m.Root, m.Major, m.Minor = "rootfs", "ext4", source, 8, 1
	return m, nil
}

// covering is the mount that a path lies on, and the path below its target.
func (h *Host) covering(p string) (m *mount, inside string) {
	for dir := p; ; dir = path.Dir(dir) {
		if m := h.mountAt(dir); m != nil {
			return m, strings.TrimPrefix(p, dir)
		}
		if dir == "/" {
			return nil, ""
		}
	}
}

// mountAt is the mount on top of a target.
func (h *Host) mountAt(target string) *mount {
	for _, m := range slices.Backward(h.mounts) {
		if m.Target == target {
			return m
		}
	}
	return nil
}

func (h *Host) mountedDevice(b blockDevice) bool {
	for _, m := range h.mounts {
		if m.lv == b.lv && m.disk == b.disk {
			return true
		}
	}
	return false
}

// cleanOptions is the options that stay visible in the mount table.
func cleanOptions(options []string) []string {
	out := []string{"rw"}
	for _, o := range options {
		switch o {
		case "", "rw", "bind", "rbind", "remount", "defaults":
		case "ro":
			out[0] = "ro"
		default:
			out = append(out, o)
		}
	}
	return out
}

// Unmount takes the topmost mount off a target. EINVAL: there is none. EBUSY:
// something is mounted below it.
func (h *Host) Unmount(target string) error {
	return h.kernel("unmount", "umount "+target, func(s *step) error {
		target := path.Clean(target)
		m := h.mountAt(target)
		if m == nil {
			return fmt.Errorf("umount %s: %w", target, errInvalid)
		}
		for _, other := range h.mounts {
			if strings.HasPrefix(other.Target, target+"/") {
				return fmt.Errorf("umount %s: %w", target, errBusy)
			}
		}
		s.commit(func() { h.mounts = slices.Delete(h.mounts, slices.Index(h.mounts, m), slices.Index(h.mounts, m)+1) })
		return nil
	})
}

// Mounts is the mount table, oldest first. It is no step and works after a crash:
// the table is the machine's, not the process's.
func (h *Host) Mounts() []Mount {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Mount, 0, len(h.mounts))
	for _, m := range h.mounts {
		line := m.Mount
		line.Options = slices.Clone(m.Options)
		out = append(out, line)
	}
	return out
}

// Usage is what statfs says of the filesystem that a path lies on: its size and
// what is used of it, bytes. What files would use is not modelled.
func (h *Host) Usage(p string) (size, used int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m, _ := h.covering(path.Clean(p))
	if m == nil || m.lv == nil && m.disk == nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: p, Err: errNoEntry}
	}
	for _, s := range findSignatures(h, blockDevice{disk: m.disk, lv: m.lv}.content()) {
		return s.bytes, s.bytes / 64, nil
	}
	return 0, 0, errIO
}

// MkdirAll makes a folder of the fake tree and those above it. It is a step.
func (h *Host) MkdirAll(p string) error {
	return h.kernel("mkdir", "mkdir -p "+p, func(s *step) error {
		p := path.Clean(p)
		for dir := p; dir != "/"; dir = path.Dir(dir) {
			if folder, ok := h.folders[dir]; ok && !folder {
				return &fs.PathError{Op: "mkdir", Path: dir, Err: errExists}
			}
		}
		s.commit(func() {
			for dir := p; dir != "/"; dir = path.Dir(dir) {
				h.folders[dir] = true
			}
		})
		return nil
	})
}

// MakeFile makes an empty file, to bind a device to. It is a step, and no error
// that the file is there.
func (h *Host) MakeFile(p string) error {
	return h.kernel("mkfile", "touch "+p, func(s *step) error {
		p := path.Clean(p)
		if folder, ok := h.folders[p]; ok && folder {
			return &fs.PathError{Op: "open", Path: p, Err: errInvalid}
		}
		if !h.folders[path.Dir(p)] {
			return &fs.PathError{Op: "open", Path: p, Err: errNoEntry}
		}
		s.commit(func() { h.folders[p] = false })
		return nil
	})
}

// Remove removes a file or an empty folder. ENOENT, ENOTEMPTY or EBUSY (a mount
// point) as rmdir.
func (h *Host) Remove(p string) error {
	return h.kernel("remove", "rm "+p, func(s *step) error {
		p := path.Clean(p)
		if _, ok := h.folders[p]; !ok {
			return &fs.PathError{Op: "remove", Path: p, Err: errNoEntry}
		}
		if h.mountAt(p) != nil {
			return &fs.PathError{Op: "remove", Path: p, Err: errBusy}
		}
		for other := range h.folders {
			if strings.HasPrefix(other, p+"/") {
				return &fs.PathError{Op: "remove", Path: p, Err: errNotEmpty}
			}
		}
		s.commit(func() { delete(h.folders, p); delete(h.files, p) })
		return nil
	})
}

// Exists tells whether the path is in the fake tree or a device.
func (h *Host) Exists(p string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.folders[path.Clean(p)]; ok {
		return true
	}
	_, err := h.device(p)
	return err == nil
}

// IsDir tells whether the path is a folder of the fake tree.
func (h *Host) IsDir(p string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.folders[path.Clean(p)]
}

// ReadDir is the names in a folder of the fake tree, sorted.
func (h *Host) ReadDir(p string) ([]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p = path.Clean(p)
	if !h.folders[p] {
		return nil, &fs.PathError{Op: "readdir", Path: p, Err: errNoEntry}
	}
	names := map[string]bool{}
	for other := range h.folders {
		if other != "/" && path.Dir(other) == p {
			names[path.Base(other)] = true
		}
	}
	return sortedKeys(names), nil
}
