// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

var nameContracts = []contract{
	{"names that we allow are allowed by LVM", func(f *fixture) {
		f.vg(group)
		var names []string
		for _, n := range []string{
			"a", "A", "0", "_a", ".a", "+a", "a-", "a_", "a.b", "a+b", "...", "lvol0", "all", "dev", "my-snapshot", "asnapshot", "a-pvmove",
			"thin_pool", "csi-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			strings.Repeat("a", longest(group)),
		} {
			require.NoError(f.t, lvm.ValidateName(group, n), n)
			require.NoError(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: n, Size: mib}), n)
			names = append(names, n)
		}
		g := f.group(group)
		for _, n := range names {
			_, ok := g.LogicalVolume(n)
			require.True(f.t, ok, n)
		}
		for _, n := range []string{"+a", "...", "a.b", names[len(names)-1]} {
			require.NoError(f.t, f.client.Remove(context.Background(), group, n), n)
		}
		require.Len(f.t, f.group(group).LogicalVolumes, 1+len(names)-4)
		for i := range names {
			names[i] = group + "/" + names[i]
		}
		f.try(append([]string{"lvremove", "--yes"}, names...)...) // four are gone already
	}},
	{"names that we refuse are refused by LVM", func(f *fixture) {
		f.vg(group)
		f.unchanged(group, func() {
			for _, n := range []string{
				"", ".", "..", "-a", "a b", "a@b", "a:b", "a=b", "a,b", "ä", "a\n", "a\"b", strings.Repeat("a", 128),
				"snapshot", "snapshot1", "pvmove", "pvmove0",
				"a_cdata", "a_cmeta", "a_corig", "a_cpool", "a_cvol", "a_iorig", "a_imeta", "a_mimage", "a_mlog", "a_pmspare",
				"a_rimage", "a_rmeta", "a_tdata", "a_tmeta", "a_vdata", "a_vorigin", "a_wcorig", "a_rimage_0", "lvol0_pmspare",
			} {
				require.ErrorIs(f.t, lvm.ValidateName(group, n), lvm.ErrInvalid, "%q", n)
				code, _ := f.try("lvcreate", "--yes", "--name", n, "--type", "linear", "--size", "1m", group)
				require.Equal(f.t, 3, code, "%q: bad command line", n)
			}
		})
	}},
	{"VG names", func(f *fixture) {
		disk := f.m.Disks[0]
		f.raw("pvcreate", "--yes", "-ff", disk)
		f.t.Cleanup(func() { f.raw("pvremove", "--yes", disk) })
		for _, n := range []string{"a", "_a", ".a", "+a", "a-b", "a.b+c_d", "snapshot", "pvmove", "x_rimage", strings.Repeat("a", 112)} {
			require.NoError(f.t, lvm.ValidateName(n, "a"), n)
			f.raw("vgcreate", n, disk)
			if len(n) > 50 {
				f.create(lvm.Spec{VG: n, Name: "ab", Size: mib})
			}
			f.raw("vgremove", "--yes", "-ff", n)
		}
		for _, n := range []string{"", ".", "..", "-a", "a b", "a@b", "a/b", "ä", strings.Repeat("a", 128)} {
			require.ErrorIs(f.t, lvm.ValidateName(n, "a"), lvm.ErrInvalid, "%q", n)
			code, _ := f.try("vgcreate", n, disk)
			require.Equal(f.t, 3, code, "%q", n)
		}
	}},
	{"the longest name serves snapshots, with their layers", func(f *fixture) {
		needs(f.t, "Snapshots", f.m.Features.Snapshots)
		f.vg(group)
		n := strings.Repeat("a", longest(group))
		require.ErrorIs(f.t, lvm.ValidateName(group, n+"a"), lvm.ErrInvalid)
		f.create(lvm.Spec{Name: n, Size: mib})
		for _, s := range []string{"b", n[1:]} {
			require.NoError(f.t, f.client.Snapshot(context.Background(), lvm.SnapshotSpec{VG: group, Origin: n, Name: s, Size: 4 * mib}))
		}
	}},
	{"a raid1 LV's longest name leaves room for what takes it apart", func(f *fixture) {
		needs(f.t, "RAID1", f.m.Features.RAID1)
		f.vg(group)
		n := strings.Repeat("a", 127-len("_rimage_0-missing_4294967295_0")-1-len(group))
		require.NoError(f.t, f.client.Create(context.Background(), lvm.Spec{VG: group, Name: n, Size: mib, Layout: lvm.RAID1, Legs: 2}))
		require.NoError(f.t, f.client.Remove(context.Background(), group, n))
		f.absent(group, n)
		f.runner.reset()
		err := f.client.Create(context.Background(), lvm.Spec{VG: group, Name: n + "a", Size: mib, Layout: lvm.RAID1, Legs: 2})
		require.ErrorIs(f.t, err, lvm.ErrInvalid)
		require.Empty(f.t, f.runner.verbs())
		n = strings.Repeat("a", longest(group)+1)
		code, _ := f.try("lvcreate", "--yes", "--name", n, "--type", "raid1", "--mirrors", "1", "--size", "1m", group)
		require.Equal(f.t, 5, code, "LVM refuses only when the name is too long for the copies")
		f.absent(group, n)
	}},
	{"hyphens count twice in the device's name, and only there", func(f *fixture) {
		f.vg(group)
		// group + "-" + twice the hyphens, with room for the longest layer.
		hyphens := (127 - len("_rimage_0") - len(group) - 1 - 1) / 2
		n := "a" + strings.Repeat("-", hyphens)
		require.NoError(f.t, lvm.ValidateName(group, n))
		require.ErrorIs(f.t, lvm.ValidateName(group, n+"-"), lvm.ErrInvalid)
		f.create(lvm.Spec{Name: n, Size: mib})
		vg, lv, ok := lvm.ParseDeviceName(lvm.DeviceName(group, n))
		require.True(f.t, ok)
		require.Equal(f.t, []string{group, n}, []string{vg, lv})
		if f.m.OpenDevice != nil {
			d, err := f.m.OpenDevice("/dev/mapper/" + lvm.DeviceName(group, n))
			require.NoError(f.t, err, "the device has the name that we say")
			require.NoError(f.t, d.Close())
		}
		require.NoError(f.t, f.client.Remove(context.Background(), group, n))
	}},
	{"tags that we allow are kept as they are", func(f *fixture) {
		f.vg(group)
		var tags []string
		for _, c := range "aZ09_+.-/=!:&#" {
			tags = append(tags, "x"+string(c)+"y")
		}
		tags = append(tags, "_", "+", ".", "/", "=", "!", ":", "&", "#", "podlv.pod=ns/na-me/0a1b-2c3d", strings.Repeat("t", 1024))
		for _, tag := range tags {
			require.NoError(f.t, lvm.ValidateTag(tag), tag)
		}
		l := f.create(lvm.Spec{Name: "a", Size: mib, Tags: tags})
		require.ElementsMatch(f.t, append(tags, owner), l.Tags)
		require.NoError(f.t, f.client.Tag(context.Background(), group, nil, tags, "a"))
		require.Equal(f.t, []string{owner}, f.lv(group, "a").Tags)
	}},
	{"tags that we refuse are refused by LVM, or are another tag there", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib})
		f.unchanged(group, func() {
			for _, tag := range []string{
				"", "a@b", "a b", "a~b", "a,b", "ä", "a%b", "a(b", "a\"b", "a'b", `a\b`, "a*b", "a?b", "a[b", "a{b", "a|b", "a;b", "a<b", "a$b", "a^b", "a`b", "a\nb",
			} {
				require.ErrorIs(f.t, lvm.ValidateTag(tag), lvm.ErrInvalid, "%q", tag)
				code, stderr := f.try("lvchange", "--addtag", tag, group+"/a")
				require.Equal(f.t, 3, code, "%q: %s", tag, stderr)
			}
		})
		require.ErrorIs(f.t, lvm.ValidateTag("@at"), lvm.ErrInvalid)
		f.raw("lvchange", "--addtag", "@at", group+"/a")
		require.Equal(f.t, []string{"at", owner}, f.lv(group, "a").Tags, "LVM drops a leading @")
	}},
	{"stricter than LVM: a tag that begins with a hyphen, or is longer than 1,024", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib})
		for _, tag := range []string{"-a", strings.Repeat("t", 1025)} {
			require.ErrorIs(f.t, lvm.ValidateTag(tag), lvm.ErrInvalid)
			f.raw("lvchange", "--addtag", tag, group+"/a")
			require.True(f.t, f.lv(group, "a").HasTag(tag), "LVM takes it, whatever lvm(8) says")
			f.raw("lvchange", "--deltag", tag, group+"/a")
		}
	}},
	{"a tag given twice is one tag", func(f *fixture) {
		f.vg(group)
		l := f.create(lvm.Spec{Name: "a", Size: mib, Tags: []string{"x", "x", owner}})
		require.Equal(f.t, []string{owner, "x"}, l.Tags)
	}},
}

// longest is how long a name without hyphens may be in a VG without hyphens:
// "VG/LV_rimage_0" and lvm2's own 3 characters make 127.
func longest(vg string) int { return 127 - 3 - len("_rimage_0") - len(vg) }
