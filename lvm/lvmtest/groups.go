// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"
	"errors"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

var groupContracts = []contract{
	{"a PV gets the UUID that is asked for, and keeps it when it is asked again", initAgain},
	{"no two PVs of one UUID", initTwice},
	{"a device with a signature is refused and left as it is", initSigned},
	{"a VG is made of PVs, with the extents that are asked for", createGroup},
	{"a VG that is there is not made again", createGroupAgain},
	{"a PV of another VG is refused", groupTaken},
	{"a VG grows by PVs", extendGroup},
	{"a VG that misses a PV grows all the same", extendBroken},
	{"a PV that was taken out of its VG shows it", labelAfterwards},
	{"a PV that a vgcreate died over is made one again", renewedPV},
	{"no command is run for what is no device, UUID or extent", groupsInvalid},
}

// UUIDs of PVs that tests make.
const (
	uuidOne = "podlv0-test-aaaa-bbbb-cccc-dddd-eeeee1"
	uuidTwo = "podlv0-test-aaaa-bbbb-cccc-dddd-eeeee2"
)

// bare gives the machine's first disks without a VG, and without the texts of those that
// other tests had on them; what the test makes of them is removed when it is over.
func (f *fixture) bare(n int) []string {
	f.t.Helper()
	if len(f.m.Disks) < n {
		f.t.Skipf("%d disks are needed", n)
	}
	disks := f.m.Disks[:n]
	for _, disk := range disks {
		f.blank(disk)
	}
	f.t.Cleanup(func() {
		for _, name := range []string{group, other} {
			if _, err := f.client.VolumeGroup(context.Background(), name); err == nil {
				f.raw("vgremove", "--yes", "-ff", name)
			}
		}
		for _, r := range f.rows("pvs", "-o", "pv_name") {
			f.raw("pvremove", "--yes", "-ff", r["pv_name"])
		}
	})
	return disks
}

// blank zeroes where a disk has LVM's label and texts.
func (f *fixture) blank(disk string) {
	f.t.Helper()
	if f.m.OpenDevice == nil {
		return
	}
	d, err := f.m.OpenDevice(disk)
	require.NoError(f.t, err)
	_, err = d.WriteAt(make([]byte, mib), 0)
	require.NoError(f.t, errors.Join(err, d.Close()))
}

// label is that of a disk.
func (f *fixture) label(disk string) lvm.Label {
	f.t.Helper()
	needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
	d, err := f.m.OpenDevice(disk)
	require.NoError(f.t, err)
	l, err := lvm.ParseLabel(d)
	require.NoError(f.t, errors.Join(err, d.Close()))
	return l
}

func initAgain(f *fixture) {
	disk := f.bare(1)[0]
	for range 2 {
		require.NoError(f.t, f.client.InitPV(context.Background(), group, disk, uuidOne, false))
		require.Equal(f.t, uuidOne, f.rows("pvs", "-o", "pv_uuid")[0]["pv_uuid"])
	}
	require.Equal(f.t, lvm.Label{UUID: uuidOne}, f.label(disk))
}

func initTwice(f *fixture) {
	disks := f.bare(2)
	require.NoError(f.t, f.client.InitPV(context.Background(), group, disks[0], uuidOne, false))
	var exit *lvm.ExitError
	require.ErrorAs(f.t, f.client.InitPV(context.Background(), group, disks[1], uuidOne, false), &exit)
	require.Len(f.t, f.rows("pvs"), 1)
}

func initSigned(f *fixture) {
	disks := f.bare(2)
	needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
	touch := func(b []byte) {
		d, err := f.m.OpenDevice(disks[0])
		require.NoError(f.t, err)
		_, err = d.WriteAt(b, 1024)
		require.NoError(f.t, errors.Join(err, d.Close()))
	}
	touch(ext4Superblock())
	f.t.Cleanup(func() { touch(make([]byte, 1024)) })
	ctx := context.Background()
	require.NoError(f.t, f.client.InitPV(ctx, group, disks[1], uuidTwo, false))
	require.Error(f.t, f.client.InitPV(ctx, group, disks[0], uuidOne, false))
	require.Error(f.t, f.client.CreateGroup(ctx, group, 4*mib, disks...))
	require.NoError(f.t, f.client.CreateGroup(ctx, group, 4*mib, disks[1]))
	require.Error(f.t, f.client.ExtendGroup(ctx, group, disks[0]))
	d, err := f.m.OpenDevice(disks[0])
	require.NoError(f.t, err)
	after := make([]byte, 1024)
	_, err = d.ReadAt(after, 1024)
	require.NoError(f.t, errors.Join(err, d.Close()))
	require.Equal(f.t, ext4Superblock(), after)
}

// twoPVs makes PVs of two disks.
func (f *fixture) twoPVs() []string {
	f.t.Helper()
	disks := f.bare(2)
	require.NoError(f.t, f.client.InitPV(context.Background(), group, disks[0], uuidOne, false))
	require.NoError(f.t, f.client.InitPV(context.Background(), group, disks[1], uuidTwo, false))
	return disks
}

func createGroup(f *fixture) {
	disks := f.twoPVs()
	require.NoError(f.t, f.client.CreateGroup(context.Background(), group, mib, disks...))
	g := f.group(group)
	require.Equal(f.t, mib, g.ExtentSize)
	require.Len(f.t, g.PhysicalVolumes, 2)
	require.Equal(f.t, uuidOne, g.PhysicalVolumes[0].UUID)
	require.Equal(f.t, uuidTwo, g.PhysicalVolumes[1].UUID)
	require.Equal(f.t, g.Size, g.Free)
	if f.m.OpenDevice != nil {
		require.Equal(f.t, lvm.Label{UUID: uuidOne, Used: true, Committed: true, Written: true}, f.label(disks[0]))
	}
}

func createGroupAgain(f *fixture) {
	disks := f.twoPVs()
	require.NoError(f.t, f.client.CreateGroup(context.Background(), group, 4*mib, disks[0]))
	f.unchanged(group, func() {
		failed(f.t, f.client.CreateGroup(context.Background(), group, 4*mib, disks[1]), lvm.ErrExists)
		failed(f.t, f.client.CreateGroup(context.Background(), group, 4*mib, disks[0]), lvm.ErrExists)
	})
}

func groupTaken(f *fixture) {
	disks, ctx := f.twoPVs(), context.Background()
	require.NoError(f.t, f.client.CreateGroup(ctx, group, 4*mib, disks[0]))
	require.Error(f.t, f.client.CreateGroup(ctx, other, 4*mib, disks[0]))
	require.NoError(f.t, f.client.CreateGroup(ctx, other, 4*mib, disks[1]))
	f.unchanged(group, func() {
		require.Error(f.t, f.client.ExtendGroup(ctx, group, disks[1]))
		require.Error(f.t, f.client.ExtendGroup(ctx, group, disks[0]))
		require.Error(f.t, f.client.InitPV(ctx, group, disks[0], uuidOne, false))
		require.Error(f.t, f.client.InitPV(ctx, group, disks[0], "podlv0-test-aaaa-bbbb-cccc-dddd-eeeee3", false))
	})
	require.Len(f.t, f.group(other).PhysicalVolumes, 1)
}

func extendGroup(f *fixture) {
	disks, ctx := f.twoPVs(), context.Background()
	failed(f.t, f.client.ExtendGroup(ctx, group, disks[1]), lvm.ErrNotFound)
	require.NoError(f.t, f.client.CreateGroup(ctx, group, 4*mib, disks[0]))
	before := f.group(group)
	require.NoError(f.t, f.client.ExtendGroup(ctx, group, disks[1]))
	after := f.group(group)
	require.Equal(f.t, 2*before.Size, after.Size)
	require.Len(f.t, after.PhysicalVolumes, 2)
}

func extendBroken(f *fixture) {
	needs(f.t, "HideDisk", f.m.Features.HideDisk != nil)
	if len(f.m.Disks) < 3 {
		f.t.Skip("a third disk is needed")
	}
	disks, ctx := f.twoPVs(), context.Background()
	require.NoError(f.t, f.client.CreateGroup(ctx, group, 4*mib, disks...))
	require.NoError(f.t, f.client.InitPV(ctx, group, f.m.Disks[2], "podlv0-test-aaaa-bbbb-cccc-dddd-eeeee3", false))
	restore, err := f.m.Features.HideDisk(disks[1])
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, restore()) })
	require.NoError(f.t, f.client.ExtendGroup(ctx, group, f.m.Disks[2]))
	require.Len(f.t, f.group(group).PhysicalVolumes, 3)
	require.Equal(f.t, 1, f.group(group).MissingPVs)
}

func labelAfterwards(f *fixture) {
	disks, ctx := f.twoPVs(), context.Background()
	require.NoError(f.t, f.client.CreateGroup(ctx, group, 4*mib, disks...))
	f.raw("vgreduce", group, disks[1])
	require.Equal(f.t, lvm.Label{UUID: uuidTwo, Written: true}, f.label(disks[1]))
	f.raw("vgremove", "--yes", group)
	require.Equal(f.t, lvm.Label{UUID: uuidOne, Written: true}, f.label(disks[0]))
}

func renewedPV(f *fixture) {
	needs(f.t, "DieCreating", f.m.Features.DieCreating != nil)
	disks, ctx := f.twoPVs(), context.Background()
	require.NoError(f.t, f.m.Features.DieCreating(group, disks[0]))
	_, err := f.client.VolumeGroup(ctx, group)
	require.ErrorIs(f.t, err, lvm.ErrNotFound)
	require.Equal(f.t, lvm.Label{UUID: uuidOne, Used: true, Written: true}, f.label(disks[0]))
	require.Error(f.t, f.client.CreateGroup(ctx, group, 4*mib, disks...))
	require.Error(f.t, f.client.InitPV(ctx, group, disks[0], uuidOne, false))
	require.NoError(f.t, f.client.InitPV(ctx, group, disks[0], uuidOne, true))
	require.Equal(f.t, lvm.Label{UUID: uuidOne}, f.label(disks[0]))
	require.NoError(f.t, f.client.CreateGroup(ctx, group, 4*mib, disks...))
	require.Len(f.t, f.group(group).PhysicalVolumes, 2)
}

func groupsInvalid(f *fixture) {
	disk, ctx := f.bare(1)[0], context.Background()
	f.runner.reset()
	for _, err := range []error{
		f.client.InitPV(ctx, group, "sdb", uuidOne, false),
		f.client.InitPV(ctx, group, disk, "short", false),
		f.client.InitPV(ctx, group, disk, "", false),
		f.client.CreateGroup(ctx, "-x", 4*mib, disk),
		f.client.CreateGroup(ctx, group, 3*mib, disk),
		f.client.CreateGroup(ctx, group, 512, disk),
		f.client.CreateGroup(ctx, group, 4*mib),
		f.client.ExtendGroup(ctx, group, "--yes"),
	} {
		require.ErrorIs(f.t, err, lvm.ErrInvalid)
	}
	require.Empty(f.t, f.runner.verbs())
}
