// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

var reportContracts = []contract{
	{"a machine without VGs reports none", func(f *fixture) {
		groups, err := f.client.VolumeGroups(context.Background())
		require.NoError(f.t, err)
		require.Empty(f.t, groups)
	}},
	{"a PV without a VG is no VG", func(f *fixture) {
		disk := f.m.Disks[0]
		f.raw("pvcreate", "--yes", "-ff", disk)
		f.t.Cleanup(func() { f.raw("pvremove", "--yes", disk) })
		groups, err := f.client.VolumeGroups(context.Background())
		require.NoError(f.t, err)
		require.Empty(f.t, groups)
	}},
	{"all of all VGs comes with one command", func(f *fixture) {
		f.vg(group, f.m.Disks[0])
		f.vg(other, f.m.Disks[1])
		f.runner.reset()
		groups, err := f.client.VolumeGroups(context.Background())
		require.NoError(f.t, err)
		require.Equal(f.t, []string{"fullreport"}, f.runner.verbs())
		require.Len(f.t, groups, 2)
		for i, name := range []string{group, other} {
			require.Equal(f.t, name, groups[i].Name)
			require.Len(f.t, groups[i].PhysicalVolumes, 1)
			require.Equal(f.t, f.m.Disks[i], groups[i].PhysicalVolumes[0].Device)
			require.Len(f.t, groups[i].LogicalVolumes, 1)
			require.Equal(f.t, name, groups[i].LogicalVolumes[0].VG)
		}
	}},
	{"sizes of a VG are those of its extents", func(f *fixture) {
		g := f.vg(group)
		require.Equal(f.t, 4*mib, g.ExtentSize)
		require.Zero(f.t, g.MissingPVs)
		require.Equal(f.t, g.Size-2*g.ExtentSize, g.Free, "the administrator's LV has two extents")
		for _, r := range f.rows("pvs", "-o", "pv_name,dev_size,pe_start,pv_size") {
			size, _ := strconv.ParseInt(r["dev_size"], 10, 64)
			require.Equal(f.t, strconv.FormatInt(mib, 10), r["pe_start"])
			require.Equal(f.t, strconv.FormatInt(lvm.RoundDown(size-mib, g.ExtentSize), 10), r["pv_size"], "whole extents after the first MiB")
		}
		for _, p := range g.PhysicalVolumes {
			require.True(f.t, p.Allocatable)
			require.False(f.t, p.Missing)
			require.NotEmpty(f.t, p.UUID)
		}
	}},
	{"a VG's tags, UUID and extent size", func(f *fixture) {
		f.vg(group)
		f.raw("vgchange", "--addtag", "rack=7", "--addtag", "fast", group)
		g := f.group(group)
		require.Equal(f.t, []string{"fast", "rack=7"}, g.Tags)
		rows := f.rows("vgs", "-o", "vg_uuid", group)
		require.Equal(f.t, rows[0]["vg_uuid"], g.UUID)
		f.raw("vgchange", "--deltag", "rack=7", group)
		require.Equal(f.t, []string{"fast"}, f.group(group).Tags)
	}},
	{"every field of a linear LV", func(f *fixture) {
		f.vg(group)
		before := time.Now().Add(-time.Minute)
		f.raw("lvcreate", "--yes", "--name", "a", "--type", "linear", "--size", "12m", "--addtag", "t2", "--addtag", "t1", group, f.m.Disks[0])
		l := f.lv(group, "a")
		require.WithinRange(f.t, l.Created, before, time.Now().Add(time.Minute))
		require.Equal(f.t, f.rows("lvs", "-o", "lv_uuid", group+"/a")[0]["lv_uuid"], l.UUID)
		l.UUID, l.Created = "", time.Time{}
		require.Equal(f.t, lvm.LogicalVolume{
			VG: group, Name: "a", Size: 12 * mib, Tags: []string{"t1", "t2"}, Active: true, Type: "linear", Stripes: 1,
			DataPercent: -1, MetadataPercent: -1,
			Segments: []lvm.Segment{{Type: "linear", Size: 12 * mib, Legs: 1, Ranges: f.m.Disks[0] + ":2-4"}},
		}, l)
	}},
	{"an LV in pieces has a segment for each", func(f *fixture) {
		f.vg(group)
		f.raw("lvcreate", "--yes", "--name", "a", "--type", "linear", "--extents", "1", group, f.m.Disks[0])
		f.raw("lvcreate", "--yes", "--name", "b", "--type", "linear", "--extents", "1", group, f.m.Disks[0])
		f.raw("lvextend", "--extents", "3", group+"/a", f.m.Disks[0])
		l := f.lv(group, "a")
		require.Equal(f.t, 12*mib, l.Size)
		require.Equal(f.t, []lvm.Segment{
			{Type: "linear", Size: 4 * mib, Legs: 1, Ranges: f.m.Disks[0] + ":2-2"},
			{Type: "linear", Size: 8 * mib, Legs: 1, Ranges: f.m.Disks[0] + ":4-5"},
		}, l.Segments)
	}},
	{"disks come in the order in which the VG has them, and with their free areas", func(f *fixture) {
		needs(f.t, "RAID1", f.m.Features.RAID1)
		first, second := f.m.Disks[1], f.m.Disks[0]
		all := f.vg(group, first, second).PhysicalVolumes[1].Free
		f.raw("lvcreate", "--yes", "--name", "a", "--type", "linear", "--extents", "3", group, second)
		f.raw("lvcreate", "--yes", "--name", "b", "--type", "raid1", "--mirrors", "1", "--extents", "5", group)
		f.raw("lvremove", "--yes", group+"/a")
		pvs := f.group(group).PhysicalVolumes
		require.Equal(f.t, []string{first, second}, []string{pvs[0].Device, pvs[1].Device})
		require.Equal(f.t, []int64{pvs[0].Free}, pvs[0].FreeAreas)
		require.Equal(f.t, []int64{12 * mib, all - (3+1+5)*4*mib}, pvs[1].FreeAreas, "the images of raid1 and their metadata are not free")
	}},
	{"LVM's inner LVs are not shown", func(f *fixture) {
		needs(f.t, "Thin", f.m.Features.Thin)
		f.vg(group)
		f.raw("lvcreate", "--yes", "--name", "pool", "--type", "thin-pool", "--size", "16m", group)
		g := f.group(group)
		require.Len(f.t, g.LogicalVolumes, 2, "the pool and the administrator's")
		pool, _ := g.LogicalVolume("pool")
		require.True(f.t, pool.IsThinPool())
		require.Len(f.t, f.rows("lvs", "-a", "-o", "lv_name", group), 5, "with its data, its metadata and the spare")
	}},
	{"a report changes nothing", func(f *fixture) {
		f.vg(group)
		f.unchanged(group, func() {
			for range 3 {
				_, err := f.client.VolumeGroups(context.Background())
				require.NoError(f.t, err)
			}
		})
	}},
	{"looking up what is not there is ErrNotFound", func(f *fixture) {
		_, err := f.client.Lookup(context.Background(), group, "a")
		require.ErrorIs(f.t, err, lvm.ErrNotFound)
		_, err = f.client.VolumeGroup(context.Background(), group)
		require.ErrorIs(f.t, err, lvm.ErrNotFound)
		f.vg(group)
		f.absent(group, "a")
	}},
	{"the machine's lvm.conf does not make a removal discard", func(f *fixture) {
		needs(f.t, "Configure", f.m.Features.Configure != nil)
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.vg(group)
		restore, err := f.m.Features.Configure(`devices { issue_discards = 1 }`)
		require.NoError(f.t, err)
		f.dirty(8*mib, nil) // and removes it, as the client does
		require.NoError(f.t, restore())
		f.create(lvm.Spec{Name: "a", Size: 8 * mib})
		require.Equal(f.t, old(4<<20), f.read(group, "a", 4*mib, 4<<20), "the bytes are there")
	}},
	{"the machine's lvm.conf does not disturb", func(f *fixture) {
		needs(f.t, "Configure", f.m.Features.Configure != nil)
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 10 * mib, Tags: []string{"x=1", "y=2"}})
		want := f.group(group)
		for _, hostile := range []string{
			`config { checks = 1 } nonsense { at_all = 1 }`, // a warning on stderr each time
			`global { units = "s" suffix = 1 si_unit_consistency = 0 }
			report { time_format = "%Y" list_item_separator = "; " compact_output = 1 binary_values_as_numeric = 0 }`,
			`report { prefixes = 1 }`,
			`report { aligned = 0 buffered = 0 headings = 0 separator = ";" quoted = 0 columns_as_rows = 1 output_format = "basic" }
			report { compact_output_cols = "lv_tags" lvs_sort = "-lv_name" vgs_cols = "vg_name" mark_hidden_devices = 0 }`,
			`log { verbose = 3 indent = 0 report_command_log = 1 command_names = 1 }`,
			`log { prefix = "lvm says: " silent = 1 }`,
			`backup { backup = 1 archive = 1 }`,
		} {
			restore, err := f.m.Features.Configure(hostile)
			require.NoError(f.t, err)
			got, err := f.client.VolumeGroup(context.Background(), group)
			create := f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "b", Size: 4 * mib, Tags: []string{"z"}})
			l, lookup := f.client.Lookup(context.Background(), group, "b")
			remove := f.client.Remove(context.Background(), group, "b")
			require.NoError(f.t, restore())
			require.NoError(f.t, err, hostile)
			require.Equal(f.t, want, got, hostile)
			require.NoError(f.t, create, hostile)
			require.NoError(f.t, lookup, hostile)
			require.Equal(f.t, []string{owner, "z"}, l.Tags, hostile)
			require.NoError(f.t, remove, hostile)
			want = f.group(group)
		}
	}},
}
