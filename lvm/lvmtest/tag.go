// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

var tagContracts = []contract{
	{"many LVs change their tags by one command", func(f *fixture) {
		f.vg(group)
		var names []string
		for i := range 6 {
			names = append(names, fmt.Sprintf("a%d", i))
			f.create(lvm.Spec{Name: names[i], Size: mib, Tags: []string{"podlv.state=new", fmt.Sprintf("n=%d", i)}})
		}
		f.create(lvm.Spec{Name: "b", Size: mib, Tags: []string{"podlv.state=new"}})
		f.runner.reset()
		require.NoError(f.t, f.client.Tag(context.Background(), group, []string{"x", "y=1"}, []string{"podlv.state=new"}, names...))
		require.Equal(f.t, []string{"lvchange"}, f.runner.verbs())
		for i, n := range names {
			require.Equal(f.t, []string{fmt.Sprintf("n=%d", i), owner, "x", "y=1"}, f.lv(group, n).Tags)
		}
		require.Equal(f.t, []string{owner, "podlv.state=new"}, f.lv(group, "b").Tags)
	}},
	{"LVs that are not there are passed over", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib})
		require.NoError(f.t, f.client.Tag(context.Background(), group, []string{"x"}, nil, "nope", "a", "nope2"))
		require.Equal(f.t, []string{owner, "x"}, f.lv(group, "a").Tags)
		f.unchanged(group, func() {
			require.NoError(f.t, f.client.Tag(context.Background(), group, []string{"y"}, nil, "nope"))
		})
	}},
	{"LVs of others are passed over", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib})
		require.NoError(f.t, f.client.Tag(context.Background(), group, []string{"x"}, nil, admin, "a"))
		require.Empty(f.t, f.lv(group, admin).Tags)
		require.True(f.t, f.lv(group, "a").HasTag("x"))
	}},
	{"the owner tag cannot be removed", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib})
		f.runner.reset()
		err := f.client.Tag(context.Background(), group, nil, []string{owner}, "a")
		require.ErrorIs(f.t, err, lvm.ErrInvalid)
		require.Empty(f.t, f.runner.verbs())
	}},
	{"somebody else's LV becomes the owner's, by its UUID, in one commit", func(f *fixture) {
		f.vg(group)
		f.raw("lvcreate", "--yes", "--name", "theirs", "--type", "linear", "--size", "4m", group)
		l := f.lv(group, "theirs")
		other := l.UUID[:len(l.UUID)-1] + map[bool]string{true: "b", false: "a"}[strings.HasSuffix(l.UUID, "a")]
		f.unchanged(group, func() {
			require.ErrorIs(f.t, f.client.Own(context.Background(), group, "theirs", other, "x"), lvm.ErrNotFound)
			require.ErrorIs(f.t, f.client.Own(context.Background(), group, "nope", l.UUID, "x"), lvm.ErrNotFound)
			require.ErrorIs(f.t, f.client.Own(context.Background(), group, "theirs", `"||lv_name!="`, "x"), lvm.ErrInvalid)
		})
		f.runner.reset()
		require.NoError(f.t, f.client.Own(context.Background(), group, "theirs", l.UUID, "x", "y=1"))
		require.Equal(f.t, []string{"lvchange", "fullreport"}, f.runner.verbs())
		require.Equal(f.t, []string{owner, "x", "y=1"}, f.lv(group, "theirs").Tags)
		require.NoError(f.t, f.client.Own(context.Background(), group, "theirs", l.UUID, "z"), "once more")
		require.Equal(f.t, []string{owner, "x", "y=1", "z"}, f.lv(group, "theirs").Tags)
		require.NoError(f.t, f.client.Remove(context.Background(), group, "theirs"))
	}},
	{"a tag that is there already, and one that is not there to be removed", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib, Tags: []string{"x"}})
		require.NoError(f.t, f.client.Tag(context.Background(), group, []string{"x"}, []string{"y"}, "a"))
		require.Equal(f.t, []string{owner, "x"}, f.lv(group, "a").Tags)
	}},
	{"tags outlive deactivation, growth and a change of other tags", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib, Tags: []string{"x=1"}})
		require.NoError(f.t, f.client.Deactivate(context.Background(), group, "a"))
		require.NoError(f.t, f.client.Tag(context.Background(), group, []string{"y=2"}, nil, "a"))
		require.NoError(f.t, f.client.Extend(context.Background(), group, "a", 8*mib))
		require.NoError(f.t, f.client.Activate(context.Background(), group, "a"))
		require.Equal(f.t, []string{owner, "x=1", "y=2"}, f.lv(group, "a").Tags)
	}},
	{"an open LV can be tagged", func(f *fixture) {
		f.vg(group)
		f.create(lvm.Spec{Name: "a", Size: mib})
		d := f.open(group, "a")
		require.NoError(f.t, f.client.Tag(context.Background(), group, []string{"x"}, nil, "a"))
		require.NoError(f.t, d.Close())
		require.True(f.t, f.lv(group, "a").HasTag("x"))
	}},
	{"a VG that is not there is ErrNotFound", func(f *fixture) {
		f.vg(group)
		failed(f.t, f.client.Tag(context.Background(), "nope", []string{"x"}, nil, "a"), lvm.ErrNotFound)
	}},
	{"nothing to do runs no command", func(f *fixture) {
		require.NoError(f.t, f.client.Tag(context.Background(), group, []string{"x"}, nil))
		require.NoError(f.t, f.client.Tag(context.Background(), group, nil, nil, "a"))
		require.ErrorIs(f.t, f.client.Tag(context.Background(), group, []string{"a b"}, nil, "a"), lvm.ErrInvalid)
		require.ErrorIs(f.t, f.client.Tag(context.Background(), group, []string{"x"}, nil, `a" || lv_name="b`), lvm.ErrInvalid)
		require.Empty(f.t, f.runner.verbs())
	}},
	{"five hundred names fit into one command", func(f *fixture) {
		f.vg(group)
		names := make([]string, 501)
		for i := range names {
			names[i] = fmt.Sprintf("csi-%064d", i)
		}
		f.create(lvm.Spec{Name: names[499], Size: mib})
		f.create(lvm.Spec{Name: names[500], Size: mib})
		f.runner.reset()
		require.NoError(f.t, f.client.Tag(context.Background(), group, []string{"x"}, nil, names...))
		require.Equal(f.t, []string{"lvchange", "lvchange"}, f.runner.verbs())
		for _, n := range names[499:] {
			require.True(f.t, f.lv(group, n).HasTag("x"))
		}
	}},
}
