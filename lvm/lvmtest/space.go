// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

// fits says that so many bytes fit and one extent more does not, which is
// ErrNoSpace and changes nothing. The client knows it before.
func (f *fixture) fits(spec lvm.Spec, size int64) {
	f.t.Helper()
	spec.VG, spec.Name = group, "a"
	g := f.group(group)
	extent := g.ExtentSize
	require.Equal(f.t, size, g.Largest(spec.Layout, spec.Legs, extent, g.Free))
	spec.Size = size + 1 // one byte takes a whole extent
	f.unchanged(group, func() {
		exit := failed(f.t, f.client.Create(context.Background(), spec), lvm.ErrNoSpace)
		require.Equal(f.t, 5, exit.Code)
	})
	spec.Size = size
	require.Equal(f.t, size, f.create(spec).Size)
	if size > extent {
		spec.Name, spec.Size = "b", size
		f.unchanged(group, func() { failed(f.t, f.client.Create(context.Background(), spec), lvm.ErrNoSpace) })
	}
	require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
}

var spaceContracts = []contract{
	{"a linear LV can have every free extent and not one more", func(f *fixture) {
		g := f.vg(group)
		f.fits(lvm.Spec{}, g.Free)
		require.Equal(f.t, g.Free, f.group(group).Free)
	}},
	{"nothing at all fits into a full VG", func(f *fixture) {
		g := f.vg(group)
		f.create(lvm.Spec{Name: "all", Size: g.Free})
		require.Zero(f.t, f.group(group).Free)
		failed(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "a", Size: 1}), lvm.ErrNoSpace)
	}},
	{"a striped LV is bounded by the smallest of its disks", func(f *fixture) {
		needs(f.t, "Striped", f.m.Features.Striped)
		g := f.vg(group)
		narrow := min(g.PhysicalVolumes[0].Free, g.PhysicalVolumes[1].Free)
		f.fits(lvm.Spec{Layout: lvm.Striped, Legs: 2}, 2*narrow)
	}},
	{"a raid1 LV is bounded by the smallest of its disks less its metadata", func(f *fixture) {
		needs(f.t, "RAID1", f.m.Features.RAID1)
		g := f.vg(group)
		narrow := min(g.PhysicalVolumes[0].Free, g.PhysicalVolumes[1].Free)
		f.fits(lvm.Spec{Layout: lvm.RAID1, Legs: 2}, narrow-g.ExtentSize)
	}},
	{"the copies of a raid1 LV share no disk, when it is made and when it grows", func(f *fixture) {
		needs(f.t, "RAID1", f.m.Features.RAID1)
		needs(f.t, "a third disk", len(f.m.Disks) > 2)
		g := f.vg(group, f.m.Disks[:3]...)
		free := map[string]int64{f.m.Disks[0]: 10, f.m.Disks[1]: 20, f.m.Disks[2]: 15}
		for _, p := range g.PhysicalVolumes {
			f.raw("lvcreate", "--yes", "--name", "rest-"+filepath.Base(p.Device), "--extents", fmt.Sprint(p.Free/g.ExtentSize-free[p.Device]), group, p.Device)
		}
		// With the policy normal one of 18 would begin on the second and the third disk, and
		// go on on the first and the second.
		f.fits(lvm.Spec{Layout: lvm.RAID1, Legs: 2}, 14*g.ExtentSize)
		f.create(lvm.Spec{Name: "a", Size: 4 * g.ExtentSize, Layout: lvm.RAID1, Legs: 2})
		f.apart("a")
		f.unchanged(group, func() {
			failed(f.t, f.client.Extend(context.Background(), group, "a", 10*g.ExtentSize), lvm.ErrNoSpace)
		})
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 9*g.ExtentSize), "it is on the first disk, which has 10")
		f.apart("a")
	}},
	{"more legs than disks is ErrNoSpace, however much is free", func(f *fixture) {
		f.vg(group)
		f.unchanged(group, func() {
			if f.m.Features.Striped {
				err := f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "a", Size: mib, Layout: lvm.Striped, Legs: 3})
				failed(f.t, err, lvm.ErrNoSpace)
			}
			if f.m.Features.RAID1 {
				err := f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "a", Size: mib, Layout: lvm.RAID1, Legs: 3})
				failed(f.t, err, lvm.ErrNoSpace)
			}
		})
	}},
	{"a size beyond what LVM can count is ErrNoSpace", func(f *fixture) {
		f.vg(group)
		f.unchanged(group, func() {
			for _, size := range []int64{1 << 54, 1 << 60, lvm.MaxSize} {
				failed(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "a", Size: size}), lvm.ErrNoSpace)
			}
		})
	}},
	{"free extents of a disk that must not be used do not count", func(f *fixture) {
		g := f.vg(group)
		f.raw("pvchange", "--allocatable", "n", f.m.Disks[1])
		f.t.Cleanup(func() { f.raw("pvchange", "--allocatable", "y", f.m.Disks[1]) })
		after := f.group(group)
		require.Equal(f.t, g.Free, after.Free, "the VG still calls them free")
		require.False(f.t, after.PhysicalVolumes[1].Allocatable)
		f.fits(lvm.Spec{}, after.PhysicalVolumes[0].Free)
	}},
	{"a VG can be filled and emptied again and again", func(f *fixture) {
		g := f.vg(group)
		for range 3 {
			half := lvm.RoundDown(g.Free/2, g.ExtentSize)
			f.create(lvm.Spec{Name: "a", Size: half})
			f.create(lvm.Spec{Name: "b", Size: g.Free - half})
			require.Zero(f.t, f.group(group).Free)
			require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
			require.NoError(f.t, f.client.Remove(context.Background(), group, "b"))
			require.Equal(f.t, g.Free, f.group(group).Free)
		}
	}},
}

// apart checks that no disk has parts of two images of a raid1 LV.
func (f *fixture) apart(name string) {
	f.t.Helper()
	of := map[string]string{} // disk → image
	for _, r := range f.rows("lvs", "--all", "-o", "lv_name,devices", "--select", `lv_parent="`+name+`"`, group) {
		image := strings.NewReplacer("_rmeta_", "_", "_rimage_", "_").Replace(r["lv_name"])
		for _, d := range strings.Split(r["devices"], ",") {
			disk, _, _ := strings.Cut(d, "(")
			if other, there := of[disk]; there {
				require.Equal(f.t, other, image, "%s has parts of both", disk)
			}
			of[disk] = image
		}
	}
	require.GreaterOrEqual(f.t, len(of), 2)
}
