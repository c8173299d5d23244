// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package lvmtest_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// TestRealDiskThatFailedIsFoundAgain is what lvm's hints do to a disk that could not be
// read for a while, and what Rescan is for.
func TestRealDiskThatFailedIsFoundAgain(t *testing.T) {
	if microvm.Boot() == 0 {
		t.Skip("not in a machine of its own: lvm.conf is the host's, and lvm would see the disk twice")
	}
	both := strings.Split(*disks, ",")
	disk, err := microvm.Flakey(both[0])
	require.NoError(t, err)
	client, err := lvm.NewClient(lvm.Exec{}, "podlv.dev")
	require.NoError(t, err)
	ctx := t.Context()
	require.NoError(t, client.CreateGroup(ctx, "flaky", 4<<20, disk.Path))
	require.NoError(t, client.CreateGroup(ctx, "sound", 4<<20, both[1])) // hints that have no PV are not used
	t.Cleanup(func() {
		out, err := exec.Command("lvm", "vgremove", "--yes", "flaky", "sound").CombinedOutput()
		require.NoError(t, err, "%s", out)
		out, err = exec.Command("lvm", "pvremove", disk.Path, both[1]).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, disk.Remove())
	})
	found := func() error { _, err := client.VolumeGroup(ctx, "flaky"); return err }
	require.NoError(t, found())

	require.NoError(t, disk.Set(microvm.FailAll))
	require.Error(t, found())
	require.Error(t, found(), "the hints are written anew")
	require.NoError(t, disk.Set(microvm.Healthy))
	require.ErrorIs(t, found(), lvm.ErrNotFound, "lvm does not look: is Rescan needed?")
	require.NoError(t, client.Rescan(ctx))
	require.NoError(t, found())
}
