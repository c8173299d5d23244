// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/podlv/podlv/lvm"
)

// RealMachine is this machine with its lvm and these disks, all of whose content
// is lost. It needs root, and LVM_SYSTEM_DIR with an lvm.conf that is ours to
// change and that lets lvm see these disks only: test-lvm and microVMs have one.
func RealMachine(t *testing.T, disks []string) Machine {
	t.Helper()
	dir := os.Getenv("LVM_SYSTEM_DIR")
	if dir == "" {
		t.Fatal("LVM_SYSTEM_DIR is not set: run this through make test-lvm, which makes an lvm.conf of its own")
	}
	conf := lvmConf(filepath.Join(dir, "lvm.conf"))
	return Machine{
		Runner:     lvm.Exec{},
		Disks:      disks,
		OpenDevice: openBlockDevice,
		Features: Features{
			Striped: true, RAID1: true, Thin: true, Snapshots: true,
			HideDisk:    func(disk string) (func() error, error) { return conf.hide(disk) },
			Configure:   func(text string) (func() error, error) { return conf.add(text) },
			Commits:     commits,
			Stamp:       lvm.Stamp,
			DieCreating: dieCreating,
		},
	}
}

// openBlockDevice opens a device past the page cache of others: what was written
// through another name of it, or through the LV above it, is seen.
func openBlockDevice(path string) (Device, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("drop the cache of %s: %w", path, err)
	}
	return blockDevice{f}, nil
}

type blockDevice struct{ *os.File }

// Close writes all that was written to the device first.
func (d blockDevice) Close() error {
	syncErr := d.Sync()
	if err := d.File.Close(); err != nil {
		return err
	}
	return syncErr
}

// lvmConf is the path of an lvm.conf.
type lvmConf string

// change rewrites the file and returns what undoes it.
func (c lvmConf) change(edit func(string) (string, error)) (restore func() error, err error) {
	before, err := os.ReadFile(string(c))
	if err != nil {
		return nil, err
	}
	after, err := edit(string(before))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(string(c), []byte(after), 0o644); err != nil {
		return nil, err
	}
	return func() error { return os.WriteFile(string(c), before, 0o644) }, nil
}

// hide turns the rule that lets lvm see a disk into one that hides it.
func (c lvmConf) hide(disk string) (func() error, error) {
	return c.change(func(text string) (string, error) {
		rule := fmt.Sprintf("%q", "a|^"+disk+"$|")
		if !strings.Contains(text, rule) {
			return "", fmt.Errorf("hide %s: no rule %s in %s", disk, rule, string(c))
		}
		return strings.Replace(text, rule, fmt.Sprintf("%q", "r|^"+disk+"$|"), 1), nil
	})
}

func (c lvmConf) add(text string) (func() error, error) {
	return c.change(func(before string) (string, error) { return before + text + "\n", nil })
}

// metadataArea is how far from the start of a PV its metadata lies, at most.
const metadataArea = 1 << 20

// commits reads the ring of metadata texts at the start of a PV. A text begins
// with the VG's name and is padded to sectors; its sequence number tells its
// place. What the ring has begun to overwrite is left out.
func commits(disk, vg string) ([]string, error) {
	d, err := openBlockDevice(disk)
	if err != nil {
		return nil, err
	}
	area := make([]byte, metadataArea)
	_, err = d.ReadAt(area, 0)
	if e := d.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	number := regexp.MustCompile(`(?m)^seqno = (\d+)$`)
	texts := map[int]string{}
	for offset := 0; offset+512 <= len(area); offset += 512 {
		if !bytes.HasPrefix(area[offset:], []byte(vg+" {\n")) {
			continue
		}
		end := bytes.IndexByte(area[offset:], 0)
		if end < 0 {
			continue
		}
		text := string(area[offset : offset+end])
		if m := number.FindStringSubmatch(text); m != nil && strings.HasPrefix(text[:min(len(text), 4096)], vg+" {") {
			n, _ := strconv.Atoi(m[1])
			texts[n] = text
		}
	}
	var order []int
	for n := range texts {
		order = append(order, n)
	}
	sort.Ints(order)
	var list []string
	for _, n := range order {
		list = append(list, texts[n])
	}
	return list, nil
}

// dieCreating leaves what a vgcreate leaves that is killed at its first write after the
// PV's label (seen with strace, at each of its writes): the label of a PV in a VG, and no
// VG. The VG is made and removed, and the label it had meanwhile is put back.
func dieCreating(vg, disk string) error {
	ctx, run := context.Background(), lvm.Exec{}
	if _, err := run.Run(ctx, "vgcreate", vg, disk); err != nil {
		return err
	}
	label := make([]byte, 512)
	at := func(do func(d Device) error) error {
		d, err := openBlockDevice(disk)
		if err != nil {
			return err
		}
		return errors.Join(do(d), d.Close())
	}
	err := at(func(d Device) error { _, err := d.ReadAt(label, 512); return err })
	if err != nil {
		return err
	}
	if _, err := run.Run(ctx, "vgremove", "--yes", vg); err != nil {
		return err
	}
	return at(func(d Device) error { _, err := d.WriteAt(label, 512); return err })
}
