// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

// hide makes a disk vanish; restore, or the end of the test, brings it back.
func (f *fixture) hide(disk string) (restore func()) {
	f.t.Helper()
	bring, err := f.m.Features.HideDisk(disk)
	require.NoError(f.t, err)
	hidden := true
	restore = func() {
		f.t.Helper()
		if hidden {
			hidden = false
			require.NoError(f.t, bring())
		}
	}
	f.t.Cleanup(restore)
	return restore
}

// halfGone is a VG whose second disk is missing, with the LVs a (on the first
// disk), b (on the second) and, where there are such, a striped and a raid1 LV.
func (f *fixture) halfGone() (back func()) {
	f.t.Helper()
	needs(f.t, "HideDisk", f.m.Features.HideDisk != nil)
	f.vg(group)
	for i, n := range []string{"a", "b"} {
		f.raw("lvcreate", "--yes", "--name", n, "--type", "linear", "--size", "8m", "--addtag", owner, group, f.m.Disks[i])
		f.write(group, n, 0, []byte("mine"))
	}
	// LVM takes an empty PV back without being asked: let this one never be empty.
	f.raw("lvcreate", "--yes", "--name", "kept", "--type", "linear", "--extents", "1", group, f.m.Disks[1])
	for _, s := range f.layouts() {
		if s.Layout == lvm.Striped || s.Layout == lvm.RAID1 {
			f.create(s)
		}
	}
	f.raw("vgchange", "--activate", "n", group)
	return f.hide(f.m.Disks[1])
}

var brokenContracts = []contract{
	{"a VG with a missing PV is reported whole", func(f *fixture) {
		f.halfGone()
		g := f.group(group)
		require.Equal(f.t, 1, g.MissingPVs)
		require.Len(f.t, g.PhysicalVolumes, 2)
		require.False(f.t, g.PhysicalVolumes[0].Missing)
		require.True(f.t, g.PhysicalVolumes[1].Missing)
		require.NotEqual(f.t, f.m.Disks[1], g.PhysicalVolumes[1].Device)
		a, _ := g.LogicalVolume("a")
		b, _ := g.LogicalVolume("b")
		require.Empty(f.t, a.Health)
		require.Equal(f.t, "partial", b.Health)
		require.Equal(f.t, 8*mib, b.Size)
		require.Equal(f.t, []string{owner}, b.Tags)
	}},
	{"with a PV missing, LVs that are complete can be activated, others are ErrUnavailable", func(f *fixture) {
		f.halfGone()
		require.NoError(f.t, f.client.Activate(context.Background(), group, "a"))
		require.True(f.t, f.lv(group, "a").Active)
		if f.m.OpenDevice != nil {
			require.Equal(f.t, "mine", string(f.read(group, "a", 0, 4)))
		}
		failed(f.t, f.client.Activate(context.Background(), group, "b"), lvm.ErrUnavailable)
		require.False(f.t, f.lv(group, "b").Active)
		if f.m.Features.Striped {
			failed(f.t, f.client.Activate(context.Background(), group, "striped"), lvm.ErrUnavailable)
		}
		if f.m.Features.RAID1 {
			require.NoError(f.t, f.client.Activate(context.Background(), group, "raid1"), "one copy is enough")
			require.NoError(f.t, f.client.Deactivate(context.Background(), group, "raid1"))
		}
		require.NoError(f.t, f.client.Deactivate(context.Background(), group, "a"))
	}},
	{"with a PV missing, nothing can be made or grown: ErrUnavailable", func(f *fixture) {
		f.halfGone()
		f.unchanged(group, func() {
			failed(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "c", Size: mib}), lvm.ErrUnavailable)
			failed(f.t, f.client.Extend(context.Background(), group, "a", 16*mib), lvm.ErrUnavailable)
			failed(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "c", Size: 1 << 45}), lvm.ErrUnavailable)
			if f.m.Features.Snapshots {
				failed(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}), lvm.ErrUnavailable)
			}
		})
	}},
	{"with a PV missing, LVs can be tagged and removed; then the PV must be restored by hand", func(f *fixture) {
		back := f.halfGone()
		require.NoError(f.t, f.client.Tag(context.Background(), group, []string{"x"}, nil, "a", "b"))
		require.Equal(f.t, []string{owner, "x"}, f.lv(group, "b").Tags)
		require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
		require.NoError(f.t, f.client.Remove(context.Background(), group, "b"))
		require.NoError(f.t, f.client.Remove(context.Background(), group, "nope"))
		f.absent(group, "a")
		f.absent(group, "b")
		back()
		require.Equal(f.t, 1, f.group(group).MissingPVs, "the disk is there, the VG calls it missing")
		failed(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "c", Size: mib}), lvm.ErrUnavailable)
		f.raw("vgextend", "--restoremissing", group, f.m.Disks[1])
		require.Zero(f.t, f.group(group).MissingPVs)
		f.absent(group, "b")
		f.create(lvm.Spec{Name: "c", Size: mib})
	}},
	{"a PV that comes back before anything changed is simply there again", func(f *fixture) {
		back := f.halfGone()
		require.Equal(f.t, 1, f.group(group).MissingPVs)
		back()
		g := f.group(group)
		require.Zero(f.t, g.MissingPVs)
		for _, l := range g.LogicalVolumes {
			require.Empty(f.t, l.Health, l.Name)
		}
		require.NoError(f.t, f.client.Activate(context.Background(), group, "b"))
		if f.m.OpenDevice != nil {
			require.Equal(f.t, "mine", string(f.read(group, "b", 0, 4)))
		}
		f.create(lvm.Spec{Name: "c", Size: mib})
	}},
	{"two VGs of one name are both reported and neither is touched", func(f *fixture) {
		needs(f.t, "HideDisk", f.m.Features.HideDisk != nil)
		f.vg(group, f.m.Disks[0])
		f.create(lvm.Spec{Name: "a", Size: mib})
		f.raw("vgchange", "--activate", "n", group)
		restore := f.hide(f.m.Disks[0])
		f.raw("pvcreate", "--yes", "-ff", f.m.Disks[1])
		f.raw("vgcreate", group, f.m.Disks[1])
		restore()
		f.t.Cleanup(func() {
			defer f.hide(f.m.Disks[0])()
			f.destroy(group, f.m.Disks[1:2])
		})

		groups, err := f.client.VolumeGroups(context.Background())
		require.NoError(f.t, err)
		require.Len(f.t, groups, 2)
		require.NotEqual(f.t, groups[0].UUID, groups[1].UUID)
		for _, g := range groups {
			require.Equal(f.t, group, g.Name)
		}
		_, err = f.client.VolumeGroup(context.Background(), group)
		require.ErrorIs(f.t, err, lvm.ErrUnavailable)
		for _, do := range []func() error{
			func() error { return f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "b", Size: mib}) },
			func() error { return f.client.Remove(context.Background(), group, "a") },
			func() error { return f.client.Remove(context.Background(), group, "nope") },
			func() error { return f.client.Extend(context.Background(), group, "a", 8*mib) },
			func() error { return f.client.Tag(context.Background(), group, []string{"x"}, nil, "a") },
			func() error { return f.client.Activate(context.Background(), group, "a") },
		} {
			failed(f.t, do(), lvm.ErrUnavailable)
		}
		after, err := f.client.VolumeGroups(context.Background())
		require.NoError(f.t, err)
		require.ElementsMatch(f.t, groups, after)
	}},
	{"a full metadata area is ErrMetadataFull, and LVs can still be removed", func(f *fixture) {
		f.vg(group)
		for _, n := range []string{"a", "b"} {
			f.create(lvm.Spec{Name: n, Size: 4 * mib})
		}
		f.fillMetadata()
		exit := f.overflow(func(i int) error {
			return f.client.Create(context.Background(), lvm.Spec{VG: group, Name: fmt.Sprintf("n%d", i), Size: mib})
		})
		require.Equal(f.t, 5, exit.Code)
		require.Less(f.t, f.group(group).MetadataFree, int64(8192))
		f.unchanged(group, func() {
			long := []string{strings.Repeat("l", 1000), strings.Repeat("m", 1000)}
			failed(f.t, f.client.Tag(context.Background(), group, long, nil, "a"), lvm.ErrMetadataFull)
			failed(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "c", Size: mib, Tags: long}), lvm.ErrMetadataFull)
		})
		require.NoError(f.t, f.client.Activate(context.Background(), group, "a"))
		require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
		require.NoError(f.t, f.client.Remove(context.Background(), group, "n0"))
		f.create(lvm.Spec{Name: "c", Size: mib})
	}},
	{"a create that the metadata area has no room for leaves no device behind", func(f *fixture) {
		f.vg(group)
		f.fillMetadata()
		var name string
		f.overflow(func(i int) error {
			name = fmt.Sprintf("n%d", i)
			return f.client.Create(context.Background(), lvm.Spec{VG: group, Name: name, Size: mib, Tags: []string{strings.Repeat("l", 1000)}})
		})
		f.absent(group, name)
		if f.m.OpenDevice != nil {
			_, err := f.m.OpenDevice(path(group, name))
			require.Error(f.t, err)
		}
	}},
}

// fillMetadata leaves a few KiB in the metadata area, by long tags on an LV of
// somebody else.
func (f *fixture) fillMetadata() {
	f.t.Helper()
	f.raw("lvcreate", "--yes", "--name", "talkative", "--type", "linear", "--extents", "1", group)
	n := 0
	for {
		room := f.group(group).MetadataFree - 4096
		count := min(room/1100, 100) // 100 of them are 100 KiB of arguments
		if count <= 0 {
			return
		}
		args := []string{"lvchange"}
		for range count {
			args = append(args, "--addtag", fmt.Sprintf("%s%d", strings.Repeat("t", 990), n))
			n++
		}
		f.raw(append(args, group+"/talkative")...)
	}
}

// overflow repeats a change until the metadata area is full.
func (f *fixture) overflow(change func(i int) error) *lvm.ExitError {
	f.t.Helper()
	for i := range 100 {
		if err := change(i); err != nil {
			return failed(f.t, err, lvm.ErrMetadataFull)
		}
	}
	f.t.Fatal("the metadata area never fills")
	return nil
}
