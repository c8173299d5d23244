// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

const (
	mib = int64(1) << 20
	// owner is the tag of the LVs that the client under test owns.
	owner = "podlv.dev"
	// group and other are the VGs that tests make.
	group = "contract"
	other = "contract2"
	// admin is an LV in each of them that is nobody's business.
	admin = "admin"
)

// fixture is the machine of one subtest and the client under test.
type fixture struct {
	t      *testing.T
	m      Machine
	runner *recorder
	client *lvm.Client
}

func newFixture(t *testing.T, m Machine) *fixture {
	t.Helper()
	require.GreaterOrEqual(t, len(m.Disks), 2, "the suite needs two disks")
	f := &fixture{t: t, m: m, runner: &recorder{runner: m.Runner}}
	c, err := lvm.NewClient(f.runner, owner)
	require.NoError(t, err)
	f.client = c
	return f
}

// recorder passes commands on and keeps them.
type recorder struct {
	runner lvm.Runner

	mu       sync.Mutex
	commands [][]string
	// before, when set, is called before each command of the client.
	before func(args []string)
}

// Run implements lvm.Runner.
func (r *recorder) Run(ctx context.Context, args ...string) ([]byte, error) {
	r.mu.Lock()
	r.commands = append(r.commands, args)
	before := r.before
	r.mu.Unlock()
	if before != nil {
		before(args)
	}
	return r.runner.Run(ctx, args...)
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = nil
}

func (r *recorder) verbs() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var verbs []string
	for _, c := range r.commands {
		verbs = append(verbs, c[0])
	}
	return verbs
}

// raw runs a command that must succeed, past the client.
func (f *fixture) raw(args ...string) string {
	f.t.Helper()
	stdout, err := f.m.Runner.Run(context.Background(), args...)
	var exit *lvm.ExitError
	if errors.As(err, &exit) {
		require.Failf(f.t, "a command of the suite failed", "lvm %.300s: exit status %d: %.2000s", strings.Join(args, " "), exit.Code, exit.Stderr)
	}
	require.NoError(f.t, err)
	return string(stdout)
}

// try runs a command past the client; its exit status and complaints.
func (f *fixture) try(args ...string) (code int, stderr string) {
	f.t.Helper()
	_, err := f.m.Runner.Run(context.Background(), args...)
	if err == nil {
		return 0, ""
	}
	var exit *lvm.ExitError
	require.ErrorAs(f.t, err, &exit, "lvm %s", strings.Join(args, " "))
	return exit.Code, exit.Stderr
}

// rows are the lines of a raw report of lvs, vgs or pvs.
func (f *fixture) rows(args ...string) []map[string]string {
	f.t.Helper()
	args = append(args, "--reportformat", "json", "--units", "b", "--nosuffix", "--binary")
	var doc struct {
		Report []map[string][]map[string]string `json:"report"`
	}
	stdout := f.raw(args...)
	require.NoError(f.t, json.Unmarshal([]byte(stdout), &doc), stdout)
	require.Len(f.t, doc.Report, 1, stdout)
	for _, rows := range doc.Report[0] {
		return rows
	}
	return nil
}

// vg makes a VG over disks, with the administrator's LV in it, and removes both
// when the test is over, after it has looked that the LV is unharmed and that
// what the client owns can be removed. With no disks: over the first two.
func (f *fixture) vg(name string, disks ...string) lvm.VolumeGroup {
	f.t.Helper()
	if len(disks) == 0 {
		disks = f.m.Disks[:2]
	}
	f.raw(append([]string{"vgcreate", "--yes", "-ff", name}, disks...)...)
	f.t.Cleanup(func() { f.destroy(name, disks) })
	f.raw("lvcreate", "--yes", "--name", admin, "--type", "linear", "--extents", "2", name, disks[0])
	text := bytes.Repeat([]byte("this belongs to the administrator\n"), 100)
	f.write(name, admin, 0, text)
	g := f.group(name)
	before, _ := g.LogicalVolume(admin)
	f.t.Cleanup(func() {
		g := f.group(name)
		after, _ := g.LogicalVolume(admin)
		if f.m.OpenDevice != nil {
			if !after.Active {
				require.NoError(f.t, f.client.Activate(context.Background(), name, admin))
			}
			require.Equal(f.t, text, f.read(name, admin, 0, len(text)), "the administrator's bytes were touched")
		}
		after.Active, after.Open = before.Active, before.Open
		require.Equal(f.t, before, after, "the administrator's LV was touched")
		f.removeOwned(g)
	})
	return g
}

// removeOwned removes all that the client owns, through the client, and looks
// that it is gone.
func (f *fixture) removeOwned(g lvm.VolumeGroup) {
	f.t.Helper()
	var snapshots, others []string // a thick origin cannot go before its snapshots
	for _, l := range g.LogicalVolumes {
		switch {
		case !l.HasTag(owner):
		case l.Origin != "" && l.Pool == "":
			snapshots = append(snapshots, l.Name)
		default:
			others = append(others, l.Name)
		}
	}
	if len(snapshots)+len(others) == 0 {
		return
	}
	for _, n := range append(snapshots, others...) {
		require.NoError(f.t, f.client.Remove(context.Background(), g.Name, n))
	}
	for _, l := range f.group(g.Name).LogicalVolumes {
		require.False(f.t, l.HasTag(owner), "%s/%s is left", g.Name, l.Name)
	}
}

// destroy removes a VG and its PVs, and looks that nothing of them is left.
func (f *fixture) destroy(vg string, disks []string) {
	f.t.Helper()
	f.raw("vgremove", "--yes", "-ff", vg)
	f.raw(append([]string{"pvremove", "--yes"}, disks...)...)
	for _, r := range f.rows("pvs", "-o", "pv_name,vg_name") {
		require.NotEqual(f.t, vg, r["vg_name"], "the VG is left")
		require.NotContains(f.t, disks, r["pv_name"], "the PV is left")
	}
}

// group is the VG as the client reports it, after a look at its sums.
func (f *fixture) group(name string) lvm.VolumeGroup {
	f.t.Helper()
	g, err := f.client.VolumeGroup(context.Background(), name)
	require.NoError(f.t, err)
	var size, free int64
	for _, p := range g.PhysicalVolumes {
		size, free = size+p.Size, free+p.Free
		for _, a := range p.FreeAreas {
			require.Positive(f.t, a)
			p.Free -= a
		}
		require.Zero(f.t, p.Free, "%s has as much free as its areas", p.Device)
	}
	require.Equal(f.t, g.Size, size, "the VG is as large as its PVs")
	require.Equal(f.t, g.Free, free, "as much is free in the VG as in its PVs")
	for _, l := range g.LogicalVolumes {
		var sum int64
		for _, s := range l.Segments {
			sum += s.Size
		}
		if l.Origin == "" || l.Pool != "" { // a thick snapshot's segments are those of its store
			require.Equal(f.t, l.Size, sum, "%s is as large as its segments", l.Name)
		}
	}
	return g
}

func (f *fixture) lv(vg, name string) lvm.LogicalVolume {
	f.t.Helper()
	l, ok := f.group(vg).LogicalVolume(name)
	require.True(f.t, ok, "LV %s/%s is not there", vg, name)
	return l
}

// absent says that there is no such LV.
func (f *fixture) absent(vg, name string) {
	f.t.Helper()
	_, err := f.client.Lookup(context.Background(), vg, name)
	require.ErrorIs(f.t, err, lvm.ErrNotFound)
}

// unchanged runs something that must not change the VG at all.
func (f *fixture) unchanged(vg string, do func()) {
	f.t.Helper()
	before := f.group(vg)
	do()
	require.Equal(f.t, before, f.group(vg), "the VG changed")
}

// create makes an LV through the client.
func (f *fixture) create(spec lvm.Spec) lvm.LogicalVolume {
	f.t.Helper()
	if spec.VG == "" {
		spec.VG = group
	}
	require.NoError(f.t, f.client.Create(context.Background(), spec))
	return f.lv(spec.VG, spec.Name)
}

// failed looks at the error of a failed command: the class that the state
// explains, and what LVM said.
func failed(t *testing.T, err, class error) *lvm.ExitError {
	t.Helper()
	require.ErrorIs(t, err, class)
	var exit *lvm.ExitError
	require.ErrorAs(t, err, &exit, "what LVM said must not be lost")
	require.NotZero(t, exit.Code)
	require.NotEmpty(t, strings.TrimSpace(exit.Stderr))
	for _, other := range []error{lvm.ErrInvalid, lvm.ErrNotFound, lvm.ErrExists, lvm.ErrNoSpace, lvm.ErrInUse, lvm.ErrMetadataFull, lvm.ErrUnavailable} {
		if !errors.Is(class, other) {
			require.NotErrorIs(t, err, other, "an error is of one class only")
		}
	}
	return exit
}

func path(vg, lv string) string { return "/dev/" + vg + "/" + lv }

// open holds a device open until it is closed; a test that ends before must not
// leave it so.
func (f *fixture) open(vg, lv string) Device {
	f.t.Helper()
	needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
	d, err := f.m.OpenDevice(path(vg, lv))
	require.NoError(f.t, err)
	once := &closeOnce{Device: d}
	f.t.Cleanup(func() { _ = once.Close() })
	return once
}

// closeOnce closes a device the first time only.
type closeOnce struct {
	Device
	done bool
}

// Close implements io.Closer.
func (c *closeOnce) Close() error {
	if c.done {
		return nil
	}
	c.done = true
	return c.Device.Close()
}

// write writes to an LV where devices can be opened, else does nothing.
func (f *fixture) write(vg, lv string, offset int64, b []byte) {
	f.t.Helper()
	if f.m.OpenDevice == nil {
		return
	}
	d := f.open(vg, lv)
	_, err := d.WriteAt(b, offset)
	require.NoError(f.t, err)
	require.NoError(f.t, d.Close())
}

func (f *fixture) read(vg, lv string, offset int64, n int) []byte {
	f.t.Helper()
	d := f.open(vg, lv)
	b := make([]byte, n)
	_, err := d.ReadAt(b, offset)
	require.NoError(f.t, err)
	require.NoError(f.t, d.Close())
	return b
}

// needs skips the test when a feature is not declared.
func needs(t *testing.T, feature string, have bool) {
	t.Helper()
	if !have {
		t.Skipf("this machine declares no %s", feature)
	}
}
