// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

var stampContracts = []contract{
	{"every commit changes the stamp of every PV", stampChanges},
	{"looking at it, reading and activating change no stamp", stampStays},
	{"a disk that is no PV has no stamp", stampOfNoPV},
	{"a PV that joins changes the stamps of those that are there", stampOfNewPV},
}

// stamps are those of disks.
func (f *fixture) stamps(disks ...string) []string {
	f.t.Helper()
	if f.m.Features.Stamp == nil {
		f.t.Skip("disks cannot be read here")
	}
	var all []string
	for _, d := range disks {
		s, err := f.m.Features.Stamp(d)
		require.NoError(f.t, err)
		all = append(all, s)
	}
	return all
}

func stampChanges(f *fixture) {
	f.vg(group)
	ctx, disks := context.Background(), f.m.Disks[:2]
	before := f.stamps(disks...)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"create", func() error { return f.client.Create(ctx, lvm.Spec{VG: group, Name: "v", Size: 8 * mib}) }},
		{"tag", func() error { return f.client.Tag(ctx, group, []string{"a"}, nil, "v") }},
		{"untag", func() error { return f.client.Tag(ctx, group, nil, []string{"a"}, "v") }},
		{"extend", func() error { return f.client.Extend(ctx, group, "v", 16*mib) }},
		{"an administrator's extend", func() error { f.raw("lvextend", "--size", "20m", group+"/v"); return nil }},
		{"an administrator's tag", func() error { f.raw("vgchange", "--addtag", "t", group); return nil }},
		{"rename there", func() error { f.raw("lvrename", group, "v", "w"); return nil }},
		{"rename back", func() error { f.raw("lvrename", group, "w", "v"); return nil }},
		{"remove", func() error { return f.client.Remove(ctx, group, "v") }},
	} {
		require.NoError(f.t, step.do(), step.name)
		after := f.stamps(disks...)
		for i := range disks {
			require.NotEqual(f.t, before[i], after[i], "%s, on %s", step.name, disks[i])
		}
		before = after
	}
}

func stampStays(f *fixture) {
	f.vg(group)
	ctx, disks := context.Background(), f.m.Disks[:2]
	require.NoError(f.t, f.client.Create(ctx, lvm.Spec{VG: group, Name: "v", Size: 8 * mib}))
	before := f.stamps(disks...)
	f.group(group)
	_, err := f.client.Lookup(ctx, group, "v")
	require.NoError(f.t, err)
	require.NoError(f.t, f.client.Deactivate(ctx, group, "v"))
	require.NoError(f.t, f.client.Activate(ctx, group, "v"))
	require.Error(f.t, f.client.Create(ctx, lvm.Spec{VG: group, Name: "v", Size: 8 * mib}), "it is there")
	require.Error(f.t, f.client.Create(ctx, lvm.Spec{VG: group, Name: "w", Size: 1 << 50}), "no room")
	if f.m.OpenDevice != nil {
		f.write(group, "v", 0, []byte("bytes"))
	}
	require.Equal(f.t, before, f.stamps(disks...))
}

func stampOfNoPV(f *fixture) {
	if f.m.Features.Stamp == nil {
		f.t.Skip("disks cannot be read here")
	}
	_, err := f.m.Features.Stamp(f.m.Disks[0])
	require.ErrorIs(f.t, err, lvm.ErrNoLabel)
	_, err = f.m.Features.Stamp("/dev/not-there")
	require.Error(f.t, err)
}

func stampOfNewPV(f *fixture) {
	if len(f.m.Disks) < 3 {
		f.t.Skip("a third disk is needed")
	}
	f.vg(group)
	before := f.stamps(f.m.Disks[0])
	f.raw("vgextend", "--yes", group, f.m.Disks[2])
	f.t.Cleanup(func() { // before the VG goes, which knows of two
		f.raw("vgreduce", group, f.m.Disks[2])
		f.raw("pvremove", "--yes", f.m.Disks[2])
	})
	require.NotEqual(f.t, before, f.stamps(f.m.Disks[0]))
}
