// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"bytes"
	"context"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

// chunk is the unit in which a small thin pool hands out space.
const chunk = 64 << 10

// smallPool is a pool of 8 MiB, 128 chunks, whose writes fail at once when it is
// full; by default they wait a minute.
func (f *fixture) smallPool() {
	f.t.Helper()
	needs(f.t, "Thin", f.m.Features.Thin)
	f.vg(group)
	f.pool("8m")
	f.raw("lvchange", "--errorwhenfull", "y", group+"/pool")
}

var thinContracts = []contract{
	{"a pool says whether it zeroes what it hands out", func(f *fixture) {
		f.vg(group)
		f.raw("lvcreate", "--yes", "--type", "thin-pool", "--name", "clean", "--size", "16m", group)
		f.raw("lvcreate", "--yes", "--type", "thin-pool", "--name", "dirty", "--zero", "n", "--size", "16m", group)
		require.True(f.t, f.lv(group, "clean").Zeroes)
		require.False(f.t, f.lv(group, "dirty").Zeroes)
		f.raw("lvchange", "--zero", "y", group+"/dirty")
		require.True(f.t, f.lv(group, "dirty").Zeroes)
		require.False(f.t, f.lv(group, admin).Zeroes, "it is no pool")
	}},
	{"thin volumes may be larger than their pool, and than the VG", func(f *fixture) {
		f.smallPool()
		for i, size := range []int64{100 * mib, 1 << 40, 100 << 40} {
			name := string(rune('a' + i))
			require.Equal(f.t, size, f.create(lvm.Spec{Name: name, Size: size, Layout: lvm.Thin, Pool: "pool"}).Size)
		}
	}},
	{"a pool fills by what is written, in whole chunks, and empties by removal", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.smallPool()
		f.create(lvm.Spec{Name: "a", Size: 64 * mib, Layout: lvm.Thin, Pool: "pool"})
		require.Zero(f.t, f.lv(group, "pool").DataPercent)
		f.write(group, "a", 0, make([]byte, 32*chunk))
		require.Equal(f.t, 25.0, f.lv(group, "pool").DataPercent, "32 of 128 chunks, zeroes count too")
		require.InDelta(f.t, 100.0*32/1024, f.lv(group, "a").DataPercent, 0.01, "of its own 1,024")
		f.write(group, "a", 40*chunk+chunk/2, []byte("x"))
		require.InDelta(f.t, 100.0*33/128, f.lv(group, "pool").DataPercent, 0.01)
		f.write(group, "a", 0, []byte("again"))
		require.InDelta(f.t, 100.0*33/128, f.lv(group, "pool").DataPercent, 0.01)
		require.Positive(f.t, f.lv(group, "pool").MetadataPercent)
		require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
		require.Zero(f.t, f.lv(group, "pool").DataPercent)
	}},
	{"a full pool: writes fail; then new volumes are ErrNoSpace; removal helps", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.smallPool()
		f.create(lvm.Spec{Name: "a", Size: 64 * mib, Layout: lvm.Thin, Pool: "pool"})
		f.write(group, "a", 0, bytes.Repeat([]byte{7}, 128*chunk))
		require.Equal(f.t, 100.0, f.lv(group, "pool").DataPercent)
		// LVM asks whether a write has failed, not how much is used.
		f.create(lvm.Spec{Name: "b", Size: 64 * mib, Layout: lvm.Thin, Pool: "pool"})
		f.write(group, "a", 5*chunk, []byte("a chunk that it has"))
		require.Empty(f.t, f.lv(group, "pool").Health)

		d := f.open(group, "b")
		_, err := d.WriteAt(make([]byte, chunk), 0)
		closed := d.Close()
		require.True(f.t, err != nil || closed != nil, "a write that needs a chunk must fail")
		require.Equal(f.t, "out_of_data", f.lv(group, "pool").Health)
		f.unchanged(group, func() {
			failed(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "c", Size: mib, Layout: lvm.Thin, Pool: "pool"}), lvm.ErrNoSpace)
			failed(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "c"}), lvm.ErrNoSpace)
		})
		require.NoError(f.t, f.client.Extend(context.Background(), group, "b", 128*mib), "no space is needed for that")
		require.Equal(f.t, "a chunk that it has", string(f.read(group, "a", 5*chunk, 19)))

		require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
		require.Zero(f.t, f.lv(group, "pool").DataPercent)
		require.Empty(f.t, f.lv(group, "pool").Health)
		f.create(lvm.Spec{Name: "c", Size: mib, Layout: lvm.Thin, Pool: "pool"})
		f.write(group, "c", 0, []byte("works"))
	}},
	{"a thin snapshot has its origin's bytes and shares its space", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.smallPool()
		f.create(lvm.Spec{Name: "a", Size: 16 * mib, Layout: lvm.Thin, Pool: "pool"})
		f.write(group, "a", 0, bytes.Repeat([]byte("then"), 16*chunk/4))
		f.runner.reset()
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Tags: []string{"t"}}))
		require.Equal(f.t, []string{"lvcreate"}, f.runner.verbs())
		s := f.lv(group, "s")
		require.True(f.t, s.Active, "not skipped")
		require.Equal(f.t, 16*mib, s.Size)
		require.Equal(f.t, "a", s.Origin)
		require.Equal(f.t, "pool", s.Pool)
		require.Equal(f.t, "thin", s.Type)
		require.Equal(f.t, []string{owner, "t"}, s.Tags)
		require.Equal(f.t, 12.5, f.lv(group, "pool").DataPercent, "shared")
		f.write(group, "a", 0, []byte("now!"))
		require.Equal(f.t, "thenthen", string(f.read(group, "s", 0, 8)))
		require.Equal(f.t, "now!then", string(f.read(group, "a", 0, 8)))
		require.InDelta(f.t, 100.0*17/128, f.lv(group, "pool").DataPercent, 0.01)
		f.write(group, "s", chunk, []byte("mine"))
		require.Equal(f.t, "then", string(f.read(group, "a", chunk, 4)))
	}},
	{"a thin snapshot outlives its origin", func(f *fixture) {
		f.smallPool()
		f.create(lvm.Spec{Name: "a", Size: 16 * mib, Layout: lvm.Thin, Pool: "pool"})
		f.write(group, "a", 0, []byte("then"))
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s"}))
		require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
		require.Empty(f.t, f.lv(group, "s").Origin)
		if f.m.OpenDevice != nil {
			require.Equal(f.t, "then", string(f.read(group, "s", 0, 4)))
		}
		require.NoError(f.t, f.client.Deactivate(context.Background(), group, "s"))
		require.NoError(f.t, f.client.Activate(context.Background(), group, "s"))
	}},
	{"a snapshot of a thin volume can be thick", func(f *fixture) {
		needs(f.t, "Snapshots", f.m.Features.Snapshots)
		f.smallPool()
		f.create(lvm.Spec{Name: "a", Size: 16 * mib, Layout: lvm.Thin, Pool: "pool"})
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}))
		s := f.lv(group, "s")
		require.Equal(f.t, "a", s.Origin)
		require.Empty(f.t, s.Pool)
		require.NoError(f.t, f.client.Remove(context.Background(), group, "s"))
	}},
	{"an inactive pool says nothing of its use", func(f *fixture) {
		f.smallPool()
		f.create(lvm.Spec{Name: "a", Size: 16 * mib, Layout: lvm.Thin, Pool: "pool"})
		f.raw("vgchange", "--activate", "n", group)
		pool := f.lv(group, "pool")
		require.Equal(f.t, []float64{-1, -1}, []float64{pool.DataPercent, pool.MetadataPercent})
		require.Equal(f.t, -1.0, f.lv(group, "a").DataPercent)
		f.create(lvm.Spec{Name: "b", Size: 16 * mib, Layout: lvm.Thin, Pool: "pool"})
	}},
	{"a pool of others is never removed", func(f *fixture) {
		f.smallPool()
		f.unchanged(group, func() { require.NoError(f.t, f.client.Remove(context.Background(), group, "pool")) })
	}},
}
