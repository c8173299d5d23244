// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

var extendContracts = []contract{
	{"extents that are named are taken, and no others", extendOnto},
	{"an LV grows to the size, rounded up to extents, and keeps its bytes and tags", func(f *fixture) {
		g := f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib, Tags: []string{"t"}})
		f.write(group, "a", 0, []byte("mine"))
		for _, c := range []struct{ ask, get int64 }{{4*mib + 1, 8 * mib}, {8*mib + 513, 12 * mib}, {16 * mib, 16 * mib}} {
			f.runner.reset()
			require.NoError(f.t, f.client.Extend(context.Background(), group, "a", c.ask))
			require.Equal(f.t, []string{"lvextend"}, f.runner.verbs())
			l := f.lv(group, "a")
			require.Equal(f.t, c.get, l.Size)
			require.True(f.t, l.Active)
			require.Equal(f.t, []string{owner, "t"}, l.Tags)
			require.Equal(f.t, g.Free-c.get, f.group(group).Free)
		}
		if f.m.OpenDevice != nil {
			require.Equal(f.t, "mine", string(f.read(group, "a", 0, 4)))
			f.write(group, "a", 16*mib-4, []byte("last"))
		}
	}},
	{"an LV that is as large already is left alone", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 8 * mib})
		f.unchanged(group, func() {
			for _, size := range []int64{1, 4 * mib, 8*mib - 1, 8 * mib} {
				require.NoError(f.t, f.client.Extend(context.Background(), group, "a", size))
			}
		})
	}},
	{"an LV that is open can grow", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		d := f.open(group, "a")
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 8*mib))
		require.NoError(f.t, d.Close())
		require.Equal(f.t, 8*mib, f.lv(group, "a").Size)
	}},
	{"an LV that is not active can grow and stays inactive", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		require.NoError(f.t, f.client.Deactivate(context.Background(), group, "a"))
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 8*mib))
		l := f.lv(group, "a")
		require.Equal(f.t, 8*mib, l.Size)
		require.False(f.t, l.Active)
	}},
	{"an LV can grow by every free extent and not one more", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		free := f.group(group).Free
		f.unchanged(group, func() {
			failed(f.t, f.client.Extend(context.Background(), group, "a", 4*mib+free+1), lvm.ErrNoSpace)
			failed(f.t, f.client.Extend(context.Background(), group, "a", lvm.MaxSize), lvm.ErrNoSpace)
		})
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 4*mib+free))
		require.Zero(f.t, f.group(group).Free)
	}},
	{"a striped LV grows in whole stripes, to the boundary", func(f *fixture) {
		needs(f.t, "Striped", f.m.Features.Striped)
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 8 * mib, Layout: lvm.Striped, Legs: 2})
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 8*mib+1))
		l := f.lv(group, "a")
		require.Equal(f.t, 16*mib, l.Size)
		require.Equal(f.t, 2, l.Stripes)
		g := f.group(group)
		most := 16*mib + 2*min(g.PhysicalVolumes[0].Free, g.PhysicalVolumes[1].Free)
		f.unchanged(group, func() { failed(f.t, f.client.Extend(context.Background(), group, "a", most+1), lvm.ErrNoSpace) })
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", most))
		require.Equal(f.t, most, f.lv(group, "a").Size)
	}},
	{"a raid1 LV grows on all its copies, to the boundary", func(f *fixture) {
		needs(f.t, "RAID1", f.m.Features.RAID1)
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 8 * mib, Layout: lvm.RAID1, Legs: 2})
		before := f.group(group)
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 9*mib))
		g := f.group(group)
		require.Equal(f.t, 12*mib, f.lv(group, "a").Size)
		require.Equal(f.t, before.Free-8*mib, g.Free)
		most := 12*mib + min(g.PhysicalVolumes[0].Free, g.PhysicalVolumes[1].Free)
		f.unchanged(group, func() { failed(f.t, f.client.Extend(context.Background(), group, "a", most+1), lvm.ErrNoSpace) })
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", most))
	}},
	{"a thin volume grows without taking anything", func(f *fixture) {
		needs(f.t, "Thin", f.m.Features.Thin)
		f.vg(group)
		f.pool("16m")
		f.create(lvm.Spec{Name: "a", Size: 8 * mib, Layout: lvm.Thin, Pool: "pool"})
		before := f.group(group).Free
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 1<<40))
		require.Equal(f.t, int64(1)<<40, f.lv(group, "a").Size)
		require.Equal(f.t, before, f.group(group).Free)
	}},
	{"what is not there is ErrNotFound", func(f *fixture) {
		f.vg(group)
		f.unchanged(group, func() {
			failed(f.t, f.client.Extend(context.Background(), group, "nope", mib), lvm.ErrNotFound)
			failed(f.t, f.client.Extend(context.Background(), "nope", "a", mib), lvm.ErrNotFound)
		})
	}},
	{"impossible sizes run no command", func(f *fixture) {
		for _, size := range []int64{0, -1, lvm.MaxSize + 1} {
			require.ErrorIs(f.t, f.client.Extend(context.Background(), group, "a", size), lvm.ErrInvalid)
		}
		require.ErrorIs(f.t, f.client.Extend(context.Background(), group, "a/b", mib), lvm.ErrInvalid)
		require.Empty(f.t, f.runner.verbs())
	}},
	{"the new extents show the bytes of whoever had them", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		f.dirty(8*mib, nil)
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 12*mib))
		require.Equal(f.t, old(8<<20), f.read(group, "a", 4*mib, 8<<20))
	}},
	{"the origin of a thick snapshot cannot grow while it is active: ErrInUse", func(f *fixture) {
		needs(f.t, "Snapshots", f.m.Features.Snapshots)
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}))
		f.unchanged(group, func() {
			failed(f.t, f.client.Extend(context.Background(), group, "a", 8*mib), lvm.ErrInUse)
		})
		require.NoError(f.t, f.client.Deactivate(context.Background(), group, "a"))
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 8*mib))
		require.Equal(f.t, 8*mib, f.lv(group, "a").Size)
	}},
}

// extendOnto: extents that are named are the ones that are taken, and no others.
func extendOnto(f *fixture) {
	f.vg(group)
	ctx := context.Background()
	require.NoError(f.t, f.client.Create(ctx, lvm.Spec{VG: group, Name: "a", Size: 8 * mib}))
	f.raw("lvcreate", "--yes", "--name", "spare", "--size", "12m", group, f.m.Disks[1]+":20-40")
	spare := f.rows("lvs", "-o", "seg_pe_ranges", "-S", "lv_name=spare", group)[0]["seg_pe_ranges"]
	require.Equal(f.t, f.m.Disks[1]+":20-22", spare)
	code, stderr := f.try("lvextend", "--size", "20m", group+"/a", spare)
	require.NotZero(f.t, code, "they are taken: %s", stderr)
	f.raw("lvremove", "--yes", group+"/spare")
	f.raw("lvextend", "--size", "20m", group+"/a", spare)
	var ranges []string
	for _, r := range f.rows("lvs", "-o", "seg_pe_ranges", "-S", "lv_name=a", group) {
		ranges = append(ranges, r["seg_pe_ranges"])
	}
	require.Contains(f.t, ranges, spare)
	code, stderr = f.try("lvextend", "--size", "40m", group+"/a", f.m.Disks[1]+":50-52")
	require.NotZero(f.t, code, "three extents are not five: %s", stderr)
	f.raw("lvextend", "--size", "32m", group+"/a", f.m.Disks[1]+":60:70-71")
}
