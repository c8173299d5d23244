// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/podlv/podlv/fakelvm"
	"golang.org/x/sys/unix"
)

// loopDevices are the devices behind the LVs: FILE.img in dir for the LV of that
// UUID, a loop device on it while the LV is active, links to that in dev.
type loopDevices struct{ dir, dev string }

// loopMajor is the major number of loop devices.
const loopMajor = 7

func (d *loopDevices) file(uuid string) string { return filepath.Join(d.dir, uuid+".img") }

// links are the names of an LV's device.
func (d *loopDevices) links(v fakelvm.Volume) []string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return []string{filepath.Join(d.dev, v.VG, v.Name), filepath.Join(d.dev, "mapper", double(v.VG)+"-"+double(v.Name))}
}

// hold tells the machine which LVs' devices are in use.
func (d *loopDevices) hold(h *fakelvm.Host) error {
	attached, err := d.attached()
	if err != nil {
		return err
	}
	var open map[string]bool
	for _, v := range h.Volumes() {
		n, ok := attached[d.file(v.UUID)]
		if !ok || !v.Active {
			continue
		}
		if open == nil {
			if open, err = openDevices(); err != nil {
				return err
			}
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		busy := exclusive(name)
		if busy || open[name] {
			if err := h.Hold(v.VG, v.Name, busy); err != nil {
				return err
			}
		}
	}
	return nil
}

// exclusive tells whether the kernel holds the device for itself: it is mounted.
func exclusive(device string) bool {
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		return errors.Is(err, unix.EBUSY)
	}
	_ = f.Close() // only read
	return false
}

// openDevices is the loop devices that some process has open.
func openDevices() (map[string]bool, error) {
	open := map[string]bool{}
	processes, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return nil, err
	}
	for _, fd := range processes {
		if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "/dev/loop") {
			open[target] = true // a process that has ended meanwhile has none
		}
	}
	return open, nil
}

// inode is a file, whatever it is called: the kernel's name for what is behind a loop
// device is another in each mount namespace, and one without its folders once the
// container that attached it is gone.
type inode struct{ device, number uint64 }

// attached is the number of the loop device of each of the machine's files.
func (d *loopDevices) attached() (map[string]int, error) {
	files, err := filepath.Glob(filepath.Join(d.dir, "*.img"))
	if err != nil {
		return nil, err
	}
	ours := map[inode]string{}
	for _, f := range files {
		var s unix.Stat_t
		if err := unix.Stat(f, &s); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		ours[inode{s.Dev, s.Ino}] = f
	}
	found := map[string]int{}
	if len(ours) == 0 {
		return found, nil
	}
	devices, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	for _, b := range devices {
		raw, err := os.ReadFile(b)
		if err != nil || !strings.HasSuffix(strings.TrimSpace(string(raw)), ".img") {
			continue // detached meanwhile, or somebody else's
		}
		n, err := strconv.Atoi(strings.TrimPrefix(strings.Split(b, "/")[3], "loop"))
		if err != nil {
			return nil, err
		}
		behind, err := behind(n)
		if errors.Is(err, unix.ENXIO) {
			continue // detached meanwhile
		}
		if err != nil {
			return nil, err
		}
		if f, ok := ours[behind]; ok {
			found[f] = n
		}
	}
	return found, nil
}

// behind is the file behind a loop device; ENXIO when there is none.
func behind(n int) (inode, error) {
	dev, err := openLoop(n, os.O_RDONLY)
	if err != nil {
		return inode{}, err
	}
	defer func() { _ = dev.Close() }() // only read
	info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if err != nil {
		return inode{}, fmt.Errorf("%s: %w", dev.Name(), err)
	}
	return inode{info.Device, info.Inode}, nil
}

// openLoop opens a loop device, and makes its node where nobody else does: in a container
// without udev.
func openLoop(n, flags int) (*os.File, error) {
	name := fmt.Sprintf("/dev/loop%d", n)
	dev, err := os.OpenFile(name, flags, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return dev, err
	}
	if err := unix.Mknod(name, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(n)))); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	return os.OpenFile(name, flags, 0)
}

// reconcile makes files, loop devices and links what the machine's LVs need. It can
// be repeated at any time: after a process that died it does what is left to do.
func (d *loopDevices) reconcile(volumes []fakelvm.Volume) error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	attached, err := d.attached()
	if err != nil {
		return err
	}
	wanted := map[string]fakelvm.Volume{}
	for _, v := range volumes {
		wanted[d.file(v.UUID)] = v
	}
	files, err := filepath.Glob(filepath.Join(d.dir, "*.img"))
	if err != nil {
		return err
	}
	for _, f := range files {
		v, ok := wanted[f]
		if ok && v.Active {
			continue
		}
		if n, on := attached[f]; on {
			if err := detach(n); err != nil {
				return err
			}
		}
		if !ok {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	links := map[string]string{}
	for _, v := range volumes {
		n, on := attached[d.file(v.UUID)]
		if err := d.size(v, n, on && v.Active); err != nil {
			return fmt.Errorf("%s/%s: %w", v.VG, v.Name, err)
		}
		if !v.Active {
			continue
		}
		if !on {
			if n, err = attach(d.file(v.UUID)); err != nil {
				return fmt.Errorf("%s/%s: %w", v.VG, v.Name, err)
			}
		}
		for _, l := range d.links(v) {
			links[l] = fmt.Sprintf("/dev/loop%d", n)
		}
	}
	return d.link(links)
}

// size makes the LV's file, or gives it and its device the LV's size.
func (d *loopDevices) size(v fakelvm.Volume, n int, on bool) error {
	file := d.file(v.UUID)
	info, err := os.Stat(file)
	if err == nil && info.Size() == v.Size {
		return nil
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if v.Origin != "" { // a snapshot begins as its origin
			if err := clone(d.file(v.Origin), file); err != nil {
				return err
			}
		}
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	err = f.Truncate(v.Size)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil || !on {
		return err
	}
	dev, err := openLoop(n, os.O_RDWR)
	if err != nil {
		return err
	}
	defer func() { _ = dev.Close() }() // nothing was written
	return unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_SET_CAPACITY, 0)
}

// clone copies a sparse file, hole for hole.
func clone(from, to string) error {
	src, err := os.Open(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an origin that was never activated is blank
	}
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }() // only read
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = copySparse(dst, src)
	if e := dst.Close(); err == nil {
		err = e
	}
	return err
}

func copySparse(dst, src *os.File) error {
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if err := dst.Truncate(info.Size()); err != nil {
		return err
	}
	for at := int64(0); at < info.Size(); {
		start, err := src.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return err
		}
		end, err := src.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(dst, start), io.NewSectionReader(src, start, end-start)); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// attach finds a free loop device and puts the file behind it.
func attach(file string) (int, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = control.Close() }() // nothing was written
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // the loop device keeps it
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return 0, fmt.Errorf("find a free loop device: %w", err)
		}
		dev, err := openLoop(n, os.O_RDWR)
		if err != nil {
			return 0, err
		}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &unix.LoopConfig{Fd: uint32(f.Fd())})
		_ = dev.Close() // nothing was written
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, unix.EBUSY) { // else another process was faster
			return 0, fmt.Errorf("attach %s: %w", dev.Name(), err)
		}
	}
	return 0, errors.New("no free loop device")
}

func detach(n int) error {
	dev, err := openLoop(n, os.O_RDWR)
	if err != nil {
		return err
	}
	defer func() { _ = dev.Close() }() // nothing was written
	if err := unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("detach %s: %w", dev.Name(), err)
	}
	return nil
}

// link makes the links of the active LVs and removes those of others. Which ones
// are the program's own stands in a file beside the images.
func (d *loopDevices) link(wanted map[string]string) error {
	list := filepath.Join(d.dir, "links")
	old, err := readLines(list)
	if err != nil {
		return err
	}
	var names []string
	for l := range wanted {
		names = append(names, l)
	}
	slices.Sort(names)
	all := slices.Clone(old) // names that a crash leaves behind must be known
	for _, l := range names {
		if !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	if len(all) > len(old) {
		if err := replace(list, []byte(strings.Join(all, "\n")+"\n")); err != nil {
			return err
		}
	}
	for _, l := range old {
		if _, ok := wanted[l]; ok {
			continue
		}
		if err := os.Remove(l); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		_ = os.Remove(filepath.Dir(l)) // the VG's folder goes with its last link
	}
	for _, l := range names {
		if now, err := os.Readlink(l); err == nil && now == wanted[l] {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(l), 0o755); err != nil {
			return err
		}
		tmp := l + ".new"
		_ = os.Remove(tmp) // left by a crash
		if err := os.Symlink(wanted[l], tmp); err != nil {
			return err
		}
		if err := os.Rename(tmp, l); err != nil {
			return err
		}
	}
	if slices.Equal(old, names) {
		return nil
	}
	content := ""
	if len(names) > 0 {
		content = strings.Join(names, "\n") + "\n"
	}
	return replace(list, []byte(content))
}

func readLines(file string) (lines []string, err error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	s := bufio.NewScanner(f)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	return lines, s.Err()
}
