// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

var activateContracts = []contract{
	{"every layout is deactivated and activated, twice each, and keeps its bytes", func(f *fixture) {
		f.vg(group)
		for _, s := range f.layouts() {
			f.create(s)
			f.write(group, s.Name, 4*mib, []byte("mine"))
			for range 2 {
				require.NoError(f.t, f.client.Deactivate(context.Background(), group, s.Name))
				require.False(f.t, f.lv(group, s.Name).Active)
			}
			if f.m.OpenDevice != nil {
				_, err := f.m.OpenDevice(path(group, s.Name))
				require.Error(f.t, err, "no device")
			}
			for range 2 {
				require.NoError(f.t, f.client.Activate(context.Background(), group, s.Name))
				require.True(f.t, f.lv(group, s.Name).Active)
			}
			if f.m.OpenDevice != nil {
				require.Equal(f.t, "mine", string(f.read(group, s.Name, 4*mib, 4)))
			}
		}
	}},
	{"activation is no commit", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib})
		f.unchanged(group, func() {
			require.NoError(f.t, f.client.Deactivate(context.Background(), group, "a"))
			require.NoError(f.t, f.client.Activate(context.Background(), group, "a"))
		})
	}},
	{"an open LV cannot be deactivated: ErrInUse", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib})
		d := f.open(group, "a")
		failed(f.t, f.client.Deactivate(context.Background(), group, "a"), lvm.ErrInUse)
		require.True(f.t, f.lv(group, "a").Active)
		require.NoError(f.t, f.client.Activate(context.Background(), group, "a"))
		require.NoError(f.t, d.Close())
		require.NoError(f.t, f.client.Deactivate(context.Background(), group, "a"))
	}},
	{"what is not there is ErrNotFound", func(f *fixture) {
		f.vg(group)
		failed(f.t, f.client.Activate(context.Background(), group, "a"), lvm.ErrNotFound)
		failed(f.t, f.client.Deactivate(context.Background(), group, "a"), lvm.ErrNotFound)
		failed(f.t, f.client.Activate(context.Background(), "nope", "a"), lvm.ErrNotFound)
	}},
	{"an LV that asks to be skipped is activated all the same", func(f *fixture) {
		f.vg(group)
		f.raw("lvcreate", "--yes", "--name", "a", "--type", "linear", "--size", "4m", "--setactivationskip", "y", "--addtag", owner, group)
		require.NoError(f.t, f.client.Deactivate(context.Background(), group, "a"))
		f.raw("lvchange", "--activate", "y", group+"/a")
		require.False(f.t, f.lv(group, "a").Active, "lvchange alone skips it, and says nothing")
		require.NoError(f.t, f.client.Activate(context.Background(), group, "a"))
		require.True(f.t, f.lv(group, "a").Active)
	}},
	{"a whole VG is deactivated past the client, as by a reboot, and its LVs come back one by one", func(f *fixture) {
		f.vg(group)
		specs := f.layouts()
		for _, s := range specs {
			f.create(s)
		}
		f.raw("vgchange", "--activate", "n", group)
		for _, l := range f.group(group).LogicalVolumes {
			require.False(f.t, l.Active, l.Name)
			require.False(f.t, l.Open, l.Name)
		}
		for _, s := range specs {
			require.NoError(f.t, f.client.Activate(context.Background(), group, s.Name))
			require.True(f.t, f.lv(group, s.Name).Active)
		}
		require.False(f.t, f.lv(group, admin).Active)
	}},
}
