// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"bytes"
	"context"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

// grown is what a caller has written to all of a spare.
func grown(n int64) []byte { return bytes.Repeat([]byte("what was written"), int(n/16)) }

var overContracts = []contract{
	{"an LV of each layout grows by the spare's extents, whatever is free beside them", func(f *fixture) {
		f.vg(group)
		f.fragment()
		for _, spec := range f.layouts() {
			if spec.Layout == lvm.Thin {
				continue
			}
			legs := int64(max(1, spec.Legs))
			f.create(spec)
			f.write(group, spec.Name, 0, []byte("mine"))
			spec.Size = f.lv(group, spec.Name).Size
			before := f.group(group).Free
			spare := spec
			spare.Name, spare.Size, spare.Tags = "spare", 24*mib, []string{"t"}
			f.create(spare)
			f.write(group, "spare", 0, grown(spare.Size))
			f.runner.reset()
			require.NoError(f.t, f.client.ExtendOver(context.Background(), group, spec.Name, spec.Size+spare.Size, "spare", "t"), spec.Name)
			require.Equal(f.t, []string{"lvs", "lvremove", "lvextend"}, f.runner.verbs())
			f.absent(group, "spare")
			l := f.lv(group, spec.Name)
			require.Equal(f.t, spec.Size+spare.Size, l.Size)
			taken := spare.Size
			if spec.Layout == lvm.RAID1 {
				taken *= legs
			}
			require.Equal(f.t, before-taken, f.group(group).Free)
			if f.m.OpenDevice != nil {
				require.Equal(f.t, "mine", string(f.read(group, spec.Name, 0, 4)))
				require.Equal(f.t, grown(spare.Size), f.read(group, spec.Name, spec.Size, int(spare.Size)), spec.Name)
			}
		}
	}},
	{"a raid1 LV grows by a spare that is made on its disks", func(f *fixture) {
		needs(f.t, "RAID1", f.m.Features.RAID1)
		needs(f.t, "a third disk", len(f.m.Disks) > 2)
		g := f.vg(group, f.m.Disks[:3]...)
		ctx := context.Background()
		a := lvm.Spec{VG: group, Name: "a", Size: 4 * g.ExtentSize, Layout: lvm.RAID1, Legs: 2, On: f.m.Disks[1:3]}
		require.NoError(f.t, f.client.Create(ctx, a))
		disks, err := f.client.Disks(ctx, group, "a")
		require.NoError(f.t, err)
		require.ElementsMatch(f.t, f.m.Disks[1:3], disks)
		// The first disk would be taken, because it comes first, and has most.
		f.create(lvm.Spec{Name: "other", Size: 8 * g.ExtentSize, On: f.m.Disks[1:2]})
		spare := lvm.Spec{VG: group, Name: "spare", Size: 6 * g.ExtentSize, Layout: lvm.RAID1, Legs: 2, On: disks}
		require.NoError(f.t, f.client.Create(ctx, spare))
		require.NoError(f.t, f.client.ExtendOver(ctx, group, "a", 10*g.ExtentSize, "spare"))
		f.apart("a")
		disks, err = f.client.Disks(ctx, group, "a")
		require.NoError(f.t, err)
		require.ElementsMatch(f.t, f.m.Disks[1:3], disks)
		// One that is on other disks is of no use.
		spare.On = f.m.Disks[:2]
		require.NoError(f.t, f.client.Create(ctx, spare))
		require.Error(f.t, f.client.ExtendOver(ctx, group, "a", 16*g.ExtentSize, "spare"))
		require.Equal(f.t, 10*g.ExtentSize, f.lv(group, "a").Size)
	}},
	{"the disks of an LV are named", func(f *fixture) {
		f.vg(group)
		ctx := context.Background()
		f.create(lvm.Spec{Name: "a", Size: 4 * mib, On: f.m.Disks[1:2]})
		disks, err := f.client.Disks(ctx, group, "a")
		require.NoError(f.t, err)
		require.Equal(f.t, f.m.Disks[1:2], disks)
		_, err = f.client.Disks(ctx, group, "nope")
		require.ErrorIs(f.t, err, lvm.ErrNotFound)
		_, err = f.client.Disks(ctx, "nope", "a")
		require.ErrorIs(f.t, err, lvm.ErrNotFound)
		require.ErrorIs(f.t, f.client.Create(ctx, lvm.Spec{VG: group, Name: "b", Size: mib, On: []string{"--force"}}), lvm.ErrInvalid)
		require.Error(f.t, f.client.Create(ctx, lvm.Spec{VG: group, Name: "b", Size: mib, On: []string{"/dev/nope"}}))
	}},
	{"an LV that is open grows", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		f.create(lvm.Spec{Name: "spare", Size: 4 * mib})
		d := f.open(group, "a")
		require.NoError(f.t, f.client.ExtendOver(context.Background(), group, "a", 8*mib, "spare"))
		require.NoError(f.t, d.Close())
		require.Equal(f.t, 8*mib, f.lv(group, "a").Size)
	}},
	{"every free extent can be a spare", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		free := f.group(group).Free
		f.create(lvm.Spec{Name: "spare", Size: free})
		require.NoError(f.t, f.client.ExtendOver(context.Background(), group, "a", 4*mib+free, "spare"))
		require.Zero(f.t, f.group(group).Free)
	}},
	{"without its spare nothing grows", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		f.create(lvm.Spec{Name: "other", Size: 4 * mib, Tags: []string{"other"}})
		f.unchanged(group, func() {
			ctx := context.Background()
			require.ErrorIs(f.t, f.client.ExtendOver(ctx, group, "a", 8*mib, "spare"), lvm.ErrNotFound)
			failed(f.t, f.client.ExtendOver(ctx, "nope", "a", 8*mib, "other"), lvm.ErrNotFound)
			require.Error(f.t, f.client.ExtendOver(ctx, group, "a", 8*mib, "other", "t"), "it lacks the tag")
			require.Error(f.t, f.client.ExtendOver(ctx, group, "a", 8*mib, admin), "it is not the owner's")
		})
	}},
	{"a spare that is open stays: ErrInUse", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		f.create(lvm.Spec{Name: "spare", Size: 4 * mib})
		d := f.open(group, "spare")
		failed(f.t, f.client.ExtendOver(context.Background(), group, "a", 8*mib, "spare"), lvm.ErrInUse)
		require.NoError(f.t, d.Close())
		require.Equal(f.t, 4*mib, f.lv(group, "a").Size)
		f.lv(group, "spare")
	}},
	{"the spare is gone where the LV could not grow, and the LV is as it was", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib})
		f.create(lvm.Spec{Name: "spare", Size: 4 * mib})
		require.Error(f.t, f.client.ExtendOver(context.Background(), group, "a", 12*mib, "spare"), "the spare is too small, whatever else is free")
		f.absent(group, "spare")
		require.Equal(f.t, 4*mib, f.lv(group, "a").Size)
		f.create(lvm.Spec{Name: "spare", Size: 4 * mib})
		failed(f.t, f.client.ExtendOver(context.Background(), group, "nope", 8*mib, "spare"), lvm.ErrNotFound)
		f.absent(group, "spare")
		needs(f.t, "Snapshots", f.m.Features.Snapshots)
		f.create(lvm.Spec{Name: "spare", Size: 4 * mib})
		require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a", Name: "s", Size: 4 * mib}))
		failed(f.t, f.client.ExtendOver(context.Background(), group, "a", 8*mib, "spare"), lvm.ErrInUse)
	}},
	{"impossible arguments run no command", func(f *fixture) {
		ctx := context.Background()
		for _, size := range []int64{0, -1, lvm.MaxSize + 1} {
			require.ErrorIs(f.t, f.client.ExtendOver(ctx, group, "a", size, "spare"), lvm.ErrInvalid)
		}
		require.ErrorIs(f.t, f.client.ExtendOver(ctx, group, "a/b", mib, "spare"), lvm.ErrInvalid)
		require.ErrorIs(f.t, f.client.ExtendOver(ctx, group, "a", mib, "spare/b"), lvm.ErrInvalid)
		require.ErrorIs(f.t, f.client.ExtendOver(ctx, group, "a", mib, "spare", "a b"), lvm.ErrInvalid)
		require.Empty(f.t, f.runner.verbs())
	}},
}

// fragment leaves free runs of one to three extents at the start of each disk, between
// LVs of the administrator's.
func (f *fixture) fragment() {
	f.t.Helper()
	var holes []string
	for i, disk := range f.m.Disks[:2] {
		for k := range 3 {
			hole := fmt.Sprintf("hole-%d-%d", i, k)
			f.raw("lvcreate", "--yes", "--name", hole, "--extents", fmt.Sprint(1+k%3), group, disk)
			f.raw("lvcreate", "--yes", "--name", fmt.Sprintf("wall-%d-%d", i, k), "--extents", "1", group, disk)
			holes = append(holes, group+"/"+hole)
		}
	}
	f.raw(append([]string{"lvremove", "--yes"}, holes...)...)
}
