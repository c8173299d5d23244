// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/podlv/podlv/lvm"
)

// Disk is a block device that a Host is made of.
type Disk struct {
	Path string // for instance /dev/fake0
	Size int64  // bytes; whole sectors of 512 are used
	// What the kernel says of it, and other paths that lead to it.
	Rotational, Removable, ReadOnly bool
	Links                           []string
}

// Host is one fake machine. New makes one; the zero value is not usable.
type Host struct {
	mu      sync.Mutex
	name    string
	now     func() time.Time
	disks   []*disk        // in the order in which LVM scans them
	vgs     []*volumeGroup // those with at least one PV present
	mounts  []*mount
	folders map[string]bool // the fake tree: true for a folder, false for a file
	files   map[string][]byte
	minors  map[int]bool // device-mapper minors in use
	serial  uint64       // source of UUIDs
	auto    bool         // LVs are activated at boot
	boots   int

	faults faults
}

// New makes a machine with the given disks and nothing on them. Disks that share
// a path or are smaller than a sector are a programming error and panic.
func New(disks ...Disk) *Host {
	h := &Host{
		name:    "fake",
		now:     time.Now,
		folders: map[string]bool{"/": true},
		files:   map[string][]byte{},
		minors:  map[int]bool{},
		auto:    true,
	}
	h.SetName("fake")
	for _, d := range disks {
		if err := h.AddDisk(d); err != nil {
			panic(err)
		}
	}
	return h
}

// SetName names the machine and seeds its UUIDs: two Hosts of different names
// never make the same one. Call it before anything is created.
func (h *Host) SetName(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(name)) // never fails
	h.name, h.serial = name, sum.Sum64()
}

// SetClock gives the machine another clock for creation times.
func (h *Host) SetClock(now func() time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = now
}

// SetAutoActivate says whether Reboot activates the LVs, as a system with LVM's
// event-based activation does (the default), or leaves them inactive.
func (h *Host) SetAutoActivate(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.auto = on
}

// AddDisk plugs an empty disk in.
func (h *Host) AddDisk(d Disk) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if d.Size < sectorSize || !strings.HasPrefix(d.Path, "/") {
		return fmt.Errorf("fakelvm: disk %q of %d bytes: want an absolute path and at least one sector", d.Path, d.Size)
	}
	if h.disk(d.Path) != nil {
		return fmt.Errorf("fakelvm: there is a disk %s already", d.Path)
	}
	h.disks = append(h.disks, &disk{
		path: d.Path, size: d.Size / sectorSize * sectorSize, major: 98, minor: 16 * (len(h.disks) + 1),
		rotational: d.Rotational, removable: d.Removable, readOnly: d.ReadOnly, links: slices.Clone(d.Links),
	})
	return nil
}

// HasDisk tells whether there is a disk of that path, present or taken away.
func (h *Host) HasDisk(path string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.disk(path) != nil
}

// Disks are the paths of all disks, also of those that were taken away.
func (h *Host) Disks() (paths []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.disks {
		paths = append(paths, d.path)
	}
	return paths
}

// TakeDisk takes a disk away, as a broken cable does: its PV is missing, what
// is read or written there fails. ReturnDisk brings it back with its content.
func (h *Host) TakeDisk(path string) error { return h.setAbsent(path, true) }

// ReturnDisk undoes TakeDisk. The VG keeps the PV marked as missing if its
// metadata was changed in the meantime, as LVM does.
func (h *Host) ReturnDisk(path string) error { return h.setAbsent(path, false) }

func (h *Host) setAbsent(path string, absent bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.disk(path)
	if d == nil {
		return fmt.Errorf("fakelvm: there is no disk %s", path)
	}
	d.absent = absent
	if p := d.pv; p != nil && !absent && p.usedExtents() == 0 {
		p.missing = false // LVM takes an empty PV back without being asked
	}
	return nil
}

// CreateVG makes PVs of the disks and a VG of the PVs, with lvm's defaults. It
// is for setting a machine up: it is no step and meets no faults.
func (h *Host) CreateVG(name string, disks ...string) error {
	_, stderr, code := h.Setup(append([]string{"vgcreate", name}, disks...)...)
	if code != 0 {
		return fmt.Errorf("fakelvm: vgcreate %s: exit status %d: %s", name, code, strings.TrimSpace(stderr))
	}
	return nil
}

// Setup runs one lvm command outside the sequence of steps and past all faults
// and returns what it printed and its exit status.
func (h *Host) Setup(args ...string) (stdout, stderr string, code int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.execute(&step{}, args)
}

// Run is lvm.Runner: one lvm command is one step. See the package's text for
// what can be made to happen to it.
func (h *Host) Run(ctx context.Context, args ...string) ([]byte, error) {
	if len(args) == 0 {
		return nil, errors.New("fakelvm: no command given")
	}
	started := time.Now()
	var stdout, stderr string
	var code int
	err := h.step(ctx, args[0], strings.Join(args, " "), func(s *step) error {
		if f := s.failure; f != nil {
			stderr, code = f.Stderr, f.Code
			return nil
		}
		stdout, stderr, code = h.execute(s, args)
		return nil
	})
	var gaveUp *gaveUpError
	switch {
	case errors.As(err, &gaveUp):
		return nil, &lvm.HungError{Args: args, Age: time.Since(started), Cause: gaveUp.cause}
	case err != nil:
		return nil, err
	case code != 0:
		return []byte(stdout), &lvm.ExitError{Args: args, Code: code, Stderr: stderr}
	}
	return []byte(stdout), nil
}

// execute runs one command with h.mu held.
func (h *Host) execute(s *step, args []string) (stdout, stderr string, code int) {
	c := &command{h: h, s: s, name: args[0], args: args}
	code = c.run(args[1:])
	return c.out.String(), c.err.String(), code
}

// Reboot is a crash of the whole machine and its next start: nothing is mounted,
// nothing is open, /run is empty, LVs are active only if they are activated at boot.
// What was written stays: a Host has no cache that could be lost. It implies Restart.
func (h *Host) Reboot() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.boots++
	h.mounts = nil
	h.forgetVolatile()
	h.faults.restart()
	h.minors = map[int]bool{}
	for _, d := range h.disks {
		d.opens = 0
	}
	for _, vg := range h.vgs {
		for _, l := range vg.lvs {
			l.active, l.opens, l.minor = false, 0, 0
			if l.pool != nil {
				l.pool.suspended, l.pool.loaded = false, 0
			}
		}
	}
	if !h.auto {
		return
	}
	for _, vg := range h.present() {
		if vg.noAuto {
			continue
		}
		for _, l := range vg.lvs {
			if l.visible() && !l.skipActivation && !l.noAuto {
				_ = h.activate(l) // an LV on a missing PV stays inactive
			}
		}
	}
}

// disk is the disk of that path, whether it is present or not.
func (h *Host) disk(path string) *disk {
	for _, d := range h.disks {
		if d.path == path {
			return d
		}
	}
	return nil
}

// present is the VGs that LVM sees, in the order in which it processes them:
// the one found last comes first (lvmcache puts each new VG at the head).
func (h *Host) present() []*volumeGroup {
	var found []*volumeGroup
	seen := map[*volumeGroup]bool{}
	for _, d := range h.disks {
		if d.absent || d.pv == nil || d.pv.vg == nil || seen[d.pv.vg] {
			continue
		}
		seen[d.pv.vg] = true
		found = append(found, d.pv.vg)
	}
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found
}

// namedVGs is the VGs of one name; more than one only after a foreign disk came in.
func (h *Host) namedVGs(name string) []*volumeGroup {
	var vgs []*volumeGroup
	for _, vg := range h.present() {
		if vg.name == name {
			vgs = append(vgs, vg)
		}
	}
	return vgs
}

// newUUID makes an LVM UUID: 32 characters in groups of 6-4-4-4-4-4-6.
func (h *Host) newUUID() string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	var b strings.Builder
	for i := range 32 {
		switch i {
		case 6, 10, 14, 18, 22, 26:
			b.WriteByte('-')
		}
		h.serial += 0x9e3779b97f4a7c15 // splitmix64
		z := h.serial
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		b.WriteByte(letters[(z^z>>31)%uint64(len(letters))])
	}
	return b.String()
}

// sortedKeys is the keys of a set in order.
func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
