// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"bytes"
	"context"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

// origin is an LV of 16 MiB with known bytes.
func (f *fixture) origin() {
	f.t.Helper()
	needs(f.t, "Snapshots", f.m.Features.Snapshots)
	f.vg(group)
	f.create(lvm.Spec{Name: "a", Size: 16 * mib})
	f.write(group, "a", 0, bytes.Repeat([]byte("then"), 1<<20))
}

var snapshotContracts = []contract{
	{"a thick snapshot has its origin's bytes, whatever the origin does then", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.origin()
		before := f.group(group).Free
		f.runner.reset()
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 8 * mib, Tags: []string{"t"}}))
		require.Equal(f.t, []string{"lvcreate"}, f.runner.verbs())
		s := f.lv(group, "s")
		require.Equal(f.t, "a", s.Origin)
		require.Equal(f.t, 8*mib, s.Size, "the size of its store, not of what it shows")
		require.Equal(f.t, []string{owner, "t"}, s.Tags)
		require.True(f.t, s.Active)
		require.False(f.t, s.Invalid)
		require.Zero(f.t, s.DataPercent)
		require.Equal(f.t, before-8*mib, f.group(group).Free)
		f.write(group, "a", mib, []byte("now!"))
		require.Equal(f.t, "thenthen", string(f.read(group, "s", mib, 8)))
		require.Equal(f.t, "now!then", string(f.read(group, "a", mib, 8)))
		require.Positive(f.t, f.lv(group, "s").DataPercent)
		f.write(group, "s", 2*mib, []byte("mine"))
		require.Equal(f.t, "then", string(f.read(group, "a", 2*mib, 4)))
	}},
	{"a thick snapshot that overflows is invalid; its origin is unharmed", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.origin()
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}))
		f.write(group, "a", 0, bytes.Repeat([]byte("now!"), 8<<20/4))
		s := f.lv(group, "s")
		require.True(f.t, s.Invalid)
		require.Equal(f.t, 100.0, s.DataPercent)
		require.Equal(f.t, "now!", string(f.read(group, "a", 8*mib-4, 4)))
		require.False(f.t, f.lv(group, "a").Invalid)
		d, err := f.m.OpenDevice(path(group, "s"))
		if err == nil {
			_, err = d.ReadAt(make([]byte, 4096), 0)
			require.NoError(f.t, d.Close())
		}
		require.Error(f.t, err, "its bytes are lost")
		require.NoError(f.t, f.client.Remove(context.Background(), group, "s"))
	}},
	{"a store larger than could ever be used is made smaller", func(f *fixture) {
		f.origin()
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 64 * mib}))
		require.Equal(f.t, 20*mib, f.lv(group, "s").Size)
	}},
	{"a thick LV's snapshot needs a size", func(f *fixture) {
		f.origin()
		f.unchanged(group, func() {
			failed(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s"}), lvm.ErrInvalid)
		})
	}},
	{"no space, no origin, no VG, a name that is taken", func(f *fixture) {
		f.origin()
		g := f.group(group)
		f.create(lvm.Spec{Name: "filler", Size: g.Free - 4*mib})
		f.unchanged(group, func() {
			snap := func(vg, origin, name string, size int64) error {
				return f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: vg, Origin: origin, Name: name, Size: size})
			}
			failed(f.t, snap(group, "a", "s", 8*mib), lvm.ErrNoSpace)
			failed(f.t, snap(group, "nope", "s", 4*mib), lvm.ErrNotFound)
			failed(f.t, snap("nope", "a", "s", 4*mib), lvm.ErrNotFound)
			failed(f.t, snap(group, "a", "filler", 4*mib), lvm.ErrExists)
			require.ErrorIs(f.t, snap(group, "a", "s s", 4*mib), lvm.ErrInvalid)
			require.ErrorIs(f.t, snap(group, "a/b", "s", 4*mib), lvm.ErrInvalid)
			require.ErrorIs(f.t, snap(group, "a", "s", -1), lvm.ErrInvalid)
		})
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}))
		require.Zero(f.t, f.group(group).Free)
	}},
	{"a snapshot of a snapshot is ErrInvalid", func(f *fixture) {
		f.origin()
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}))
		f.unchanged(group, func() {
			failed(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "s", Name: "s2", Size: 4 * mib}), lvm.ErrInvalid)
		})
	}},
	{"a thick snapshot grows while it and its origin are active, up to what could ever be used", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.origin()
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}))
		f.write(group, "a", 0, bytes.Repeat([]byte("now!"), 3<<20/4))
		full := f.lv(group, "s").DataPercent
		require.Greater(f.t, full, 70.0)
		require.NoError(f.t, f.client.Extend(context.Background(), group, "s", 12*mib))
		s := f.lv(group, "s")
		require.Equal(f.t, 12*mib, s.Size)
		require.True(f.t, s.Active)
		require.Less(f.t, s.DataPercent, full/2)
		f.write(group, "a", 4*mib, bytes.Repeat([]byte("now!"), 8<<20/4))
		require.False(f.t, f.lv(group, "s").Invalid, "it would have been full")
		require.Equal(f.t, "thenthen", string(f.read(group, "s", mib, 8)))
		require.NoError(f.t, f.client.Extend(context.Background(), group, "s", 64*mib))
		require.Equal(f.t, 20*mib, f.lv(group, "s").Size)
		require.NoError(f.t, f.client.Extend(context.Background(), group, "s", 64*mib), "no error, and nothing is done")
		require.Equal(f.t, 20*mib, f.lv(group, "s").Size)
	}},
	{"a thick snapshot that overflowed grows in vain", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.origin()
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}))
		f.write(group, "a", 0, bytes.Repeat([]byte("now!"), 8<<20/4))
		require.True(f.t, f.lv(group, "s").Invalid)
		_ = f.client.Extend(context.Background(), group, "s", 12*mib)
		require.True(f.t, f.lv(group, "s").Invalid)
	}},
	{"a thick snapshot is removed while its origin is in use", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.origin()
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 8 * mib}))
		d, err := f.m.OpenDevice(path(group, "a"))
		require.NoError(f.t, err)
		defer func() { require.NoError(f.t, d.Close()) }()
		require.NoError(f.t, f.client.Remove(context.Background(), group, "s"))
		require.Equal(f.t, "then", string(f.read(group, "a", 0, 4)))
	}},
	{"a thick snapshot is deactivated with its origin and keeps its bytes", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.origin()
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 8 * mib}))
		f.write(group, "a", 0, []byte("now!"))
		require.NoError(f.t, f.client.Deactivate(context.Background(), group, "a"))
		require.False(f.t, f.lv(group, "s").Active)
		require.NoError(f.t, f.client.Activate(context.Background(), group, "a"))
		require.True(f.t, f.lv(group, "s").Active)
		require.Equal(f.t, "then", string(f.read(group, "s", 0, 4)))
		require.Equal(f.t, "now!", string(f.read(group, "a", 0, 4)))
	}},
	{"a thick snapshot cannot be deactivated alone: ErrInvalid; activated, it brings its origin", func(f *fixture) {
		f.origin()
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 8 * mib}))
		f.unchanged(group, func() {
			failed(f.t, f.client.Deactivate(context.Background(), group, "s"), lvm.ErrInvalid)
		})
		require.NoError(f.t, f.client.Deactivate(context.Background(), group, "a"))
		require.NoError(f.t, f.client.Activate(context.Background(), group, "s"))
		for _, n := range []string{"a", "s"} {
			require.True(f.t, f.lv(group, n).Active)
		}
	}},
}
