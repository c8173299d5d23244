// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

var createContracts = []contract{
	{"a linear LV of exactly its extents, active, with its tags, by one command", func(f *fixture) {
		before := f.vg(group)
		f.runner.reset()
		require.NoError(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "a", Size: 16 * mib, Tags: []string{"podlv.id=x", "podlv.state=new"}}))
		require.Equal(f.t, []string{"lvcreate"}, f.runner.verbs())
		l := f.lv(group, "a")
		require.Equal(f.t, 16*mib, l.Size)
		require.Equal(f.t, []string{owner, "podlv.id=x", "podlv.state=new"}, l.Tags)
		require.True(f.t, l.Active)
		require.False(f.t, l.Open)
		require.Equal(f.t, "linear", l.Type)
		require.Equal(f.t, before.Free-16*mib, f.group(group).Free)
	}},
	{"sizes round up to whole extents", func(f *fixture) {
		f.vg(group)
		for i, c := range []struct{ ask, get int64 }{
			{1, 4 * mib}, {511, 4 * mib}, {513, 4 * mib}, {4*mib - 1, 4 * mib}, {4 * mib, 4 * mib}, {4*mib + 1, 8 * mib}, {10*mib + 7, 12 * mib},
		} {
			before := f.group(group).Free
			l := f.create(lvm.Spec{Name: fmt.Sprintf("a%d", i), Size: c.ask})
			require.Equal(f.t, c.get, l.Size, "%d bytes", c.ask)
			takes, err := lvm.Linear.Allocation(c.ask, 4*mib, 0)
			require.NoError(f.t, err)
			require.Equal(f.t, before-takes, f.group(group).Free)
		}
	}},
	{"extents of another size", func(f *fixture) {
		disk := f.m.Disks[0]
		f.raw("pvcreate", "--yes", "-ff", disk)
		f.raw("vgcreate", "--physicalextentsize", "16m", other, disk)
		f.t.Cleanup(func() { f.destroy(other, []string{disk}) })
		g := f.group(other)
		require.Equal(f.t, 16*mib, g.ExtentSize)
		require.Zero(f.t, g.Size%(16*mib))
		require.Equal(f.t, 16*mib, f.create(lvm.Spec{VG: other, Name: "a", Size: 1}).Size)
	}},
	{"a striped LV rounds up to whole extents in every stripe", func(f *fixture) {
		needs(f.t, "Striped", f.m.Features.Striped)
		f.vg(group)
		for i, c := range []struct{ ask, get int64 }{{1, 8 * mib}, {9 * mib, 16 * mib}, {16 * mib, 16 * mib}, {17 * mib, 24 * mib}} {
			before := f.group(group).Free
			spec := lvm.Spec{Name: fmt.Sprintf("a%d", i), Size: c.ask, Layout: lvm.Striped, Legs: 2}
			l := f.create(spec)
			require.Equal(f.t, c.get, l.Size)
			require.Equal(f.t, "striped", l.Type)
			require.Equal(f.t, 2, l.Stripes)
			for _, disk := range f.m.Disks[:2] {
				require.Contains(f.t, l.Segments[0].Ranges, disk+":", "a stripe on each disk")
			}
			takes, err := lvm.Striped.Allocation(c.ask, 4*mib, 2)
			require.NoError(f.t, err)
			require.Equal(f.t, before-takes, f.group(group).Free)
		}
	}},
	{"a raid1 LV has its bytes twice and an extent of metadata for each copy", func(f *fixture) {
		needs(f.t, "RAID1", f.m.Features.RAID1)
		f.vg(group)
		for i, c := range []struct{ ask, get int64 }{{1, 4 * mib}, {10 * mib, 12 * mib}} {
			before := f.group(group)
			l := f.create(lvm.Spec{Name: fmt.Sprintf("a%d", i), Size: c.ask, Layout: lvm.RAID1, Legs: 2, Tags: []string{"t"}})
			require.Equal(f.t, c.get, l.Size)
			require.Equal(f.t, "raid1", l.Type)
			require.Equal(f.t, 2, l.Stripes)
			require.Equal(f.t, []string{owner, "t"}, l.Tags)
			require.True(f.t, l.Active)
			takes, err := lvm.RAID1.Allocation(c.ask, 4*mib, 2)
			require.NoError(f.t, err)
			after := f.group(group)
			require.Equal(f.t, before.Free-takes, after.Free)
			for i, p := range after.PhysicalVolumes {
				require.Equal(f.t, before.PhysicalVolumes[i].Free-takes/2, p.Free, "half of it on each disk")
			}
		}
	}},
	{"three legs on three disks", func(f *fixture) {
		needs(f.t, "third disk", len(f.m.Disks) >= 3)
		f.vg(group, f.m.Disks[:3]...)
		if f.m.Features.Striped {
			require.Equal(f.t, 12*mib, f.create(lvm.Spec{Name: "s", Size: 1, Layout: lvm.Striped, Legs: 3}).Size)
		}
		if f.m.Features.RAID1 {
			before := f.group(group).Free
			require.Equal(f.t, 3, f.create(lvm.Spec{Name: "r", Size: 1, Layout: lvm.RAID1, Legs: 3}).Stripes)
			require.Equal(f.t, before-24*mib, f.group(group).Free)
		}
	}},
	{"a thin volume takes nothing from the VG", func(f *fixture) {
		needs(f.t, "Thin", f.m.Features.Thin)
		f.vg(group)
		f.pool("16m")
		before := f.group(group)
		f.runner.reset()
		require.NoError(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "a", Size: 10*mib + 1, Layout: lvm.Thin, Pool: "pool", Tags: []string{"t"}}))
		require.Equal(f.t, []string{"lvcreate"}, f.runner.verbs())
		l := f.lv(group, "a")
		require.Equal(f.t, 12*mib, l.Size)
		require.Equal(f.t, "thin", l.Type)
		require.Equal(f.t, "pool", l.Pool)
		require.Equal(f.t, []string{owner, "t"}, l.Tags)
		require.True(f.t, l.Active)
		require.Zero(f.t, l.DataPercent)
		require.Equal(f.t, before.Free, f.group(group).Free)
	}},
	{"a new LV and all its tags are in the same commit", func(f *fixture) {
		needs(f.t, "Commits", f.m.Features.Commits != nil)
		f.vg(group)
		specs := []lvm.Spec{{Name: "a-linear"}}
		if f.m.Features.Striped {
			specs = append(specs, lvm.Spec{Name: "a-striped", Layout: lvm.Striped, Legs: 2})
		}
		if f.m.Features.RAID1 {
			specs = append(specs, lvm.Spec{Name: "a-raid", Layout: lvm.RAID1, Legs: 2})
		}
		if f.m.Features.Thin {
			f.pool("16m")
			specs = append(specs, lvm.Spec{Name: "a-thin", Layout: lvm.Thin, Pool: "pool"})
		}
		for _, s := range specs {
			s.VG, s.Size, s.Tags = group, 8*mib, []string{"podlv.id=" + s.Name, "podlv.state=new"}
			require.NoError(f.t, f.client.Create(context.Background(), s))
			f.alwaysTagged(s.Name, append(s.Tags, owner))
		}
		if f.m.Features.Snapshots {
			tags := []string{"podlv.kind=snapshot"}
			require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: "a-linear", Name: "a-thick", Size: 4 * mib, Tags: tags}))
			f.alwaysTagged("a-thick", append(tags, owner))
		}
	}},
	{"a linear LV is one commit", func(f *fixture) {
		before := f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib})
		require.Equal(f.t, before.Sequence+1, f.group(group).Sequence)
	}},
	{"a name that is taken is ErrExists and changes nothing", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: 4 * mib, Tags: []string{"first"}})
		f.unchanged(group, func() {
			err := f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "a", Size: 4 * mib, Tags: []string{"second"}})
			exit := failed(f.t, err, lvm.ErrExists)
			require.Equal(f.t, 5, exit.Code)
			err = f.client.Create(context.Background(), lvm.Spec{VG: group, Name: admin, Size: 4 * mib})
			failed(f.t, err, lvm.ErrExists)
			err = f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "a", Size: 1 << 50})
			failed(f.t, err, lvm.ErrExists)
		})
	}},
	{"a VG that is not there is ErrNotFound", func(f *fixture) {
		f.vg(group)
		err := f.client.Create(context.Background(), lvm.Spec{VG: "nope", Name: "a", Size: mib})
		failed(f.t, err, lvm.ErrNotFound)
	}},
	{"a pool that is not there is ErrNotFound, an LV that is none is ErrInvalid", func(f *fixture) {
		needs(f.t, "Thin", f.m.Features.Thin)
		f.vg(group)
		f.unchanged(group, func() {
			err := f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "a", Size: mib, Layout: lvm.Thin, Pool: "nope"})
			failed(f.t, err, lvm.ErrNotFound)
			err = f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "a", Size: mib, Layout: lvm.Thin, Pool: admin})
			failed(f.t, err, lvm.ErrInvalid)
		})
	}},
	{"impossible requests run no command", func(f *fixture) {
		f.vg(group)
		f.unchanged(group, func() {
			f.runner.reset()
			for _, s := range []lvm.Spec{
				{Name: "a"},
				{Name: "a", Size: -1},
				{Name: "a", Size: lvm.MaxSize + 1},
				{Name: "", Size: mib},
				{Name: "a/b", Size: mib},
				{Name: "a", Size: mib, Tags: []string{"a,b"}},
				{Name: "a", Size: mib, Layout: "raid6"},
				{Name: "a", Size: mib, Layout: lvm.Striped, Legs: 1},
				{Name: "a", Size: mib, Layout: lvm.Striped, Legs: 129},
				{Name: "a", Size: mib, Layout: lvm.RAID1, Legs: 1},
				{Name: "a", Size: mib, Layout: lvm.RAID1, Legs: 11},
				{Name: "a", Size: mib, Layout: lvm.Thin},
			} {
				s.VG = group
				require.ErrorIs(f.t, f.client.Create(context.Background(), s), lvm.ErrInvalid, "%+v", s)
			}
			require.Empty(f.t, f.runner.verbs())
		})
	}},
	{"twenty at once all succeed", func(f *fixture) {
		before := f.vg(group)
		var wait sync.WaitGroup
		errs := make([]error, 20)
		for i := range errs {
			wait.Go(func() {
				errs[i] = f.client.Create(context.Background(), lvm.Spec{VG: group, Name: fmt.Sprintf("a%d", i), Size: 4 * mib, Tags: []string{fmt.Sprintf("n=%d", i)}})
			})
		}
		wait.Wait()
		for i, err := range errs {
			require.NoError(f.t, err)
			l := f.lv(group, fmt.Sprintf("a%d", i))
			require.Equal(f.t, []string{fmt.Sprintf("n=%d", i), owner}, l.Tags)
		}
		require.Equal(f.t, before.Free-20*4*mib, f.group(group).Free)
		require.Equal(f.t, before.Sequence+20, f.group(group).Sequence)
	}},
}

// pool makes a thin pool named pool, of somebody else's.
func (f *fixture) pool(size string) {
	f.t.Helper()
	f.raw("lvcreate", "--yes", "--name", "pool", "--type", "thin-pool", "--size", size, group)
}

// alwaysTagged says that in every commit that has the LV it has the tags.
func (f *fixture) alwaysTagged(name string, tags []string) {
	f.t.Helper()
	commits, err := f.m.Features.Commits(f.m.Disks[0], group)
	require.NoError(f.t, err)
	seen := 0
	for _, text := range commits {
		// An LV is a section "name {" at the second level, its tags a list of strings.
		_, section, ok := strings.Cut(text, "\n"+name+" {")
		if !ok {
			continue
		}
		section, _, _ = strings.Cut(section, "\n}")
		seen++
		for _, tag := range tags {
			require.Contains(f.t, section, `"`+tag+`"`, "a commit has the LV without its tags")
		}
	}
	require.NotZero(f.t, seen, "no commit has the LV %s", name)
}
