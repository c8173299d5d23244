// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/podlv/podlv/fakelvm"
	"golang.org/x/sys/unix"
)

// locked runs work on the machine while no other process does, and stores what it
// made of it. The state is replaced by a rename: a process that dies leaves the
// old one or the new one.
func (p *program) locked(work func(*fakelvm.Host) (int, error)) (int, error) {
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return exitInit, err
	}
	dir, err := filepath.Abs(p.dir)
	if err == nil { // the kernel names the files behind loop devices so
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return exitInit, err
	}
	p.dir = dir
	lock, err := os.OpenFile(filepath.Join(p.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return exitInit, err
	}
	defer func() { _ = lock.Close() }() // which gives the lock up
	for {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return exitInit, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	file := filepath.Join(p.dir, "state.json")
	before, err := os.ReadFile(file)
	h := fakelvm.New()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return exitInit, err
	default:
		if h, err = fakelvm.Load(before); err != nil {
			return exitInit, err
		}
	}
	if err := p.plug(h); err != nil {
		return exitInit, err
	}
	var devices *loopDevices
	if p.loop {
		devices = &loopDevices{dir: filepath.Join(p.dir, "lv"), dev: p.dev}
		if err := p.boot(h); err != nil {
			return exitInit, err
		}
		if err := devices.hold(h); err != nil {
			return exitInit, err
		}
	}
	code, err := work(h)
	if errors.Is(err, errDestroyed) {
		return p.destroy(devices, file)
	}
	if err != nil {
		return code, err
	}
	after, err := h.Save()
	if err != nil {
		return exitInit, err
	}
	if !bytes.Equal(before, after) {
		if err := replace(file, after); err != nil {
			return exitInit, err
		}
	}
	if err := p.stamp(h); err != nil { // after the state: who sees the new stamp sees that
		return exitInit, err
	}
	if devices != nil {
		if err := devices.reconcile(h.Volumes()); err != nil {
			return exitInit, err
		}
	}
	return code, nil
}

// errDestroyed is a machine that is to be thrown away.
var errDestroyed = errors.New("the machine is to be thrown away")

// destroy removes the machine's devices and its state.
func (p *program) destroy(devices *loopDevices, file string) (int, error) {
	if devices != nil {
		if err := devices.reconcile(nil); err != nil {
			return exitInit, err
		}
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return exitInit, err
	}
	return 0, nil
}

// watchPeriod is how often watch looks whether the state is another.
const watchPeriod = 20 * time.Millisecond

// watch prints the state whenever it is another, until nobody reads it any more.
func (p *program) watch() error {
	var last fs.FileInfo
	for ; ; time.Sleep(watchPeriod) {
		file := filepath.Join(p.dir, "state.json")
		now, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) || err == nil && last != nil && os.SameFile(last, now) && last.ModTime().Equal(now.ModTime()) {
			continue // it is replaced as a whole
		}
		if err != nil {
			return err
		}
		state, err := os.ReadFile(file) // if it is a newer one, it is printed twice
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		var line bytes.Buffer
		if err := json.Compact(&line, state); err != nil {
			return err
		}
		line.WriteByte('\n')
		if _, err := p.stdout.Write(line.Bytes()); err != nil {
			return err
		}
		last = now
	}
}

// plug adds the disks of FAKELVM_DISKS that the machine has not got.
func (p *program) plug(h *fakelvm.Host) error {
	for _, spec := range strings.FieldsFunc(p.disks, func(r rune) bool { return r == ',' || r == ' ' }) {
		path, size, ok := strings.Cut(spec, "=")
		if !ok {
			return fmt.Errorf("FAKELVM_DISKS: %q is not PATH=SIZE", spec)
		}
		if h.HasDisk(path) {
			continue
		}
		n, err := parseSize(size)
		if err != nil {
			return fmt.Errorf("FAKELVM_DISKS: %s: %w", path, err)
		}
		if err := h.AddDisk(fakelvm.Disk{Path: path, Size: n}); err != nil {
			return err
		}
	}
	return nil
}

// boot lets the machine boot when the kernel did: its loop devices are gone.
func (p *program) boot(h *fakelvm.Host) error {
	now, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	file := filepath.Join(p.dir, "boot")
	seen, err := os.ReadFile(file)
	switch {
	case err == nil && bytes.Equal(seen, now):
		return nil
	case err == nil:
		h.Reboot()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return replace(file, now)
}

// replace writes a file as a whole or not at all.
func replace(file string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the first error says more
	}
	return err
}
