// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

var removeContracts = []contract{
	{"an LV is gone with its device and its space is free again, by one command", func(f *fixture) {
		before := f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 40 * mib})
		f.runner.reset()
		require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
		require.Equal(f.t, []string{"lvremove"}, f.runner.verbs())
		f.absent(group, "a")
		require.Equal(f.t, before.Free, f.group(group).Free)
		require.Equal(f.t, before.LogicalVolumes, f.group(group).LogicalVolumes)
		if f.m.OpenDevice != nil {
			_, err := f.m.OpenDevice(path(group, "a"))
			require.Error(f.t, err)
		}
	}},
	{"every layout leaves nothing behind", func(f *fixture) {
		before := f.vg(group)
		for _, s := range f.layouts() {
			f.create(s)
			require.NoError(f.t, f.client.Remove(context.Background(), group, s.Name))
			f.absent(group, s.Name)
		}
		require.Equal(f.t, before.Free-f.poolSize(), f.group(group).Free)
	}},
	{"removing what is not there is done already", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "ab", Size: mib})
		f.unchanged(group, func() {
			for _, n := range []string{"a", "abc", "A", "AB", "a.", "nope"} {
				require.NoError(f.t, f.client.Remove(context.Background(), group, n))
			}
		})
	}},
	{"an LV of that name without our tag is left alone", func(f *fixture) {
		f.vg(group)
		f.raw("lvcreate", "--yes", "--name", "b", "--type", "linear", "--size", "4m", "--addtag", owner+".not", "--addtag", "x"+owner, group)
		f.unchanged(group, func() {
			require.NoError(f.t, f.client.Remove(context.Background(), group, admin))
			require.NoError(f.t, f.client.Remove(context.Background(), group, "b"), "tags that only look like ours")
		})
	}},
	{"an LV of that name in another VG is left alone", func(f *fixture) {
		f.vg(group, f.m.Disks[0])
		f.vg(other, f.m.Disks[1])
		f.create(lvm.Spec{Name: "a", Size: mib})
		f.create(lvm.Spec{VG: other, Name: "a", Size: mib})
		f.unchanged(other, func() { require.NoError(f.t, f.client.Remove(context.Background(), group, "a")) })
		f.absent(group, "a")
	}},
	{"a VG that is not there is ErrNotFound", func(f *fixture) {
		f.vg(group)
		failed(f.t, f.client.Remove(context.Background(), "nope", "a"), lvm.ErrNotFound)
	}},
	{"an open LV is ErrInUse and keeps all its bytes", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		f.write(group, "a", 0, []byte("mine"))
		d := f.open(group, "a")
		before := f.lv(group, "a")
		require.True(f.t, before.Open)
		exit := failed(f.t, f.client.Remove(context.Background(), group, "a"), lvm.ErrInUse)
		require.Equal(f.t, 5, exit.Code)
		require.Equal(f.t, before, f.lv(group, "a"))
		require.NoError(f.t, d.Close())
		require.Equal(f.t, "mine", string(f.read(group, "a", 0, 4)))
		require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
		f.absent(group, "a")
	}},
	{"an inactive LV is removed", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		require.NoError(f.t, f.client.Deactivate(context.Background(), group, "a"))
		require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
		f.absent(group, "a")
	}},
	{"the origin of thick snapshots is left alone, whoever made them; without them it goes", func(f *fixture) {
		needs(f.t, "Snapshots", f.m.Features.Snapshots)
		before := f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 8 * mib})
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "ours", Size: 4 * mib}))
		f.raw("lvcreate", "--yes", "--snapshot", "--name", "theirs", "--size", "4m", group+"/a")
		f.unchanged(group, func() { require.NoError(f.t, f.client.Remove(context.Background(), group, "a")) })
		require.NoError(f.t, f.client.Remove(context.Background(), group, "ours"))
		f.unchanged(group, func() {
			require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
			require.NoError(f.t, f.client.Remove(context.Background(), group, "theirs"))
		})
		f.raw("lvremove", "--yes", group+"/theirs")
		require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
		f.absent(group, "a")
		require.Equal(f.t, before.Free, f.group(group).Free)
	}},
	{"LVM itself removes an origin's snapshots with it", func(f *fixture) {
		needs(f.t, "Snapshots", f.m.Features.Snapshots)
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 8 * mib})
		f.raw("lvcreate", "--yes", "--snapshot", "--name", "theirs", "--size", "4m", group+"/a")
		f.raw("lvremove", "--yes", group+"/a")
		f.absent(group, "theirs")
	}},
	{"an open thick snapshot is ErrInUse, and its origin is kept", func(f *fixture) {
		needs(f.t, "Snapshots", f.m.Features.Snapshots)
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 8 * mib})
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}))
		d := f.open(group, "s")
		failed(f.t, f.client.Remove(context.Background(), group, "s"), lvm.ErrInUse)
		code, _ := f.try("lvremove", "--yes", group+"/a")
		require.Equal(f.t, 5, code)
		require.NoError(f.t, d.Close())
		f.lv(group, "a")
		f.lv(group, "s")
	}},
	{"a thick snapshot goes alone", func(f *fixture) {
		needs(f.t, "Snapshots", f.m.Features.Snapshots)
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 8 * mib})
		before := f.group(group).Free
		f.write(group, "a", 0, []byte("mine"))
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}))
		require.NoError(f.t, f.client.Remove(context.Background(), group, "s"))
		require.Equal(f.t, before, f.group(group).Free)
		if f.m.OpenDevice != nil {
			require.Equal(f.t, "mine", string(f.read(group, "a", 0, 4)))
		}
	}},
}

// layouts is one LV of each layout of the machine, all with another name. It
// makes the pool for the thin one.
func (f *fixture) layouts() []lvm.Spec {
	f.t.Helper()
	specs := []lvm.Spec{{Name: "linear", Size: 12 * mib}}
	if f.m.Features.Striped {
		specs = append(specs, lvm.Spec{Name: "striped", Size: 12 * mib, Layout: lvm.Striped, Legs: 2})
	}
	if f.m.Features.RAID1 {
		specs = append(specs, lvm.Spec{Name: "raid1", Size: 12 * mib, Layout: lvm.RAID1, Legs: 2})
	}
	if f.m.Features.Thin {
		f.pool("16m")
		specs = append(specs, lvm.Spec{Name: "thin", Size: 12 * mib, Layout: lvm.Thin, Pool: "pool"})
	}
	for i := range specs {
		specs[i].VG = group
	}
	return specs
}

// poolSize is what pool("16m") takes: data, metadata and the spare of the latter.
func (f *fixture) poolSize() int64 {
	if !f.m.Features.Thin {
		return 0
	}
	return 16*mib + 2*4*mib
}
