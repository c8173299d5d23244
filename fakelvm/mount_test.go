// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"syscall"
	"testing"

	"github.com/podlv/podlv/fakelvm"
	"github.com/stretchr/testify/require"
)

func TestFormatIsRecognised(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name v --size 400m vg0")
	do(t, h, "lvcreate --yes --name small --size 100m vg0")
	for _, fs := range []string{"ext4", "xfs", "btrfs", "ext4"} {
		require.NoError(t, h.Format("/dev/vg0/v", fs, newUUID))
		kind, uuid, err := h.Signature("/dev/vg0/v")
		require.NoError(t, err)
		require.Equal(t, []string{fs, newUUID}, []string{kind, uuid})
		size, err := h.FilesystemSize("/dev/vg0/v")
		require.NoError(t, err)
		require.EqualValues(t, 400<<20, size)
	}
	require.ErrorContains(t, h.Format("/dev/vg0/small", "xfs", newUUID), "larger than 300MB")
	require.ErrorContains(t, h.Format("/dev/vg0/small", "btrfs", newUUID), "114294784")
	require.ErrorIs(t, h.Format("/dev/vg0/v", "vfat", newUUID), syscall.EINVAL)
	require.ErrorContains(t, h.Format("/dev/vg0/v", "ext4", "nonsense"), "is no UUID")
	require.ErrorIs(t, h.Format("/dev/vg0/none", "ext4", newUUID), syscall.ENOENT)
	require.ErrorIs(t, h.Format("/dev/fake0", "ext4", newUUID), syscall.EBUSY)
	kind, _, err := h.Signature("/dev/fake0")
	require.NoError(t, err)
	require.Equal(t, "LVM2_member", kind)

	require.NoError(t, h.SetUUID("/dev/vg0/v", oldUUID))
	_, uuid, err := h.Signature("/dev/vg0/v")
	require.NoError(t, err)
	require.Equal(t, oldUUID, uuid)
	require.NoError(t, h.Wipe("/dev/vg0/v"))
	kind, _, err = h.Signature("/dev/vg0/v")
	require.NoError(t, err)
	require.Empty(t, kind)
}

func TestMountsAreTheKernels(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name v --size 400m vg0")
	do(t, h, "lvcreate --yes --name w --size 400m vg0")
	require.NoError(t, h.Format("/dev/vg0/v", "xfs", newUUID))
	require.NoError(t, h.MkdirAll("/a/b"))
	require.NoError(t, h.MkdirAll("/c"))
	require.ErrorIs(t, h.Mount("/dev/vg0/v", "/none", "xfs", nil), syscall.ENOENT)
	require.ErrorIs(t, h.Mount("/dev/vg0/none", "/a", "xfs", nil), syscall.ENOENT)
	require.ErrorIs(t, h.Mount("/dev/vg0/v", "/a", "ext4", nil), syscall.EINVAL)
	require.ErrorIs(t, h.Mount("/dev/vg0/w", "/a", "xfs", nil), syscall.EINVAL)

	require.NoError(t, h.Mount("/dev/vg0/v", "/a", "xfs", []string{"nodev", "noatime"}))
	require.ErrorIs(t, h.Mount("/dev/vg0/v", "/a", "xfs", nil), syscall.EBUSY)
	require.NoError(t, h.Mount("/dev/mapper/vg0-v", "/c", "xfs", []string{"ro"}))
	require.Equal(t, []fakelvm.Mount{
		{Device: "/dev/mapper/vg0-v", Major: 254, Minor: 0, Root: "/", Target: "/a", FSType: "xfs", Options: []string{"rw", "nodev", "noatime"}},
		{Device: "/dev/mapper/vg0-v", Major: 254, Minor: 0, Root: "/", Target: "/c", FSType: "xfs", Options: []string{"ro"}},
	}, h.Mounts())
	require.ErrorIs(t, h.Remove("/c"), syscall.EBUSY)
	require.ErrorIs(t, h.Format("/dev/vg0/v", "ext4", newUUID), syscall.EBUSY)
	require.ErrorIs(t, h.Wipe("/dev/vg0/v"), syscall.EBUSY)
	require.NoError(t, h.Unmount("/c"))

	require.NoError(t, h.Format("/dev/vg0/w", "xfs", newUUID))
	require.ErrorIs(t, h.Mount("/dev/vg0/w", "/c", "xfs", nil), syscall.EINVAL, "two xfs of one UUID")
	require.NoError(t, h.Mount("/dev/vg0/w", "/c", "xfs", []string{"nouuid"}))
	require.NoError(t, h.Unmount("/c"))

	require.NoError(t, h.Mount("/a/b", "/c", "", []string{"bind"}))
	require.Equal(t, fakelvm.Mount{Device: "/dev/mapper/vg0-v", Major: 254, Minor: 0, Root: "/b", Target: "/c", FSType: "xfs", Options: []string{"rw"}}, h.Mounts()[1])
	require.NoError(t, h.Unmount("/a"))
	require.ErrorContains(t, h.Wipe("/dev/vg0/v"), "busy", "the bind mount holds it")
	require.NoError(t, h.Mount("", "/c", "", []string{"remount", "bind", "ro"}))
	require.Equal(t, []string{"ro"}, h.Mounts()[0].Options)
	require.NoError(t, h.Unmount("/c"))
	require.ErrorIs(t, h.Unmount("/c"), syscall.EINVAL)
	require.NoError(t, h.Wipe("/dev/vg0/v"))

	require.NoError(t, h.MakeFile("/c/device"))
	require.NoError(t, h.Mount("/dev/vg0/v", "/c/device", "", []string{"bind"}))
	require.Equal(t, "devtmpfs", h.Mounts()[0].FSType)
	do(t, h, "lvremove --yes vg0/v") // a bound device node does not hold the device
}

func TestMountNeedsAFilesystemThatFits(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name v --size 400m vg0")
	require.NoError(t, h.MkdirAll("/a"))
	require.NoError(t, h.Format("/dev/vg0/v", "ext4", newUUID))
	do(t, h, "lvreduce --yes --size 100m vg0/v")
	require.ErrorIs(t, h.Mount("/dev/vg0/v", "/a", "ext4", nil), syscall.EINVAL)
	do(t, h, "lvextend --size 800m vg0/v")
	require.NoError(t, h.Mount("/dev/vg0/v", "/a", "ext4", nil))
	size, used, err := h.Usage("/a/deeper")
	require.NoError(t, err)
	require.EqualValues(t, 400<<20, size)
	require.Less(t, used, size)
	require.NoError(t, h.Grow("/dev/vg0/v"))
	size, _, err = h.Usage("/a")
	require.NoError(t, err)
	require.EqualValues(t, 800<<20, size)
}

func TestFolders(t *testing.T) {
	h := newHost(t)
	require.NoError(t, h.MkdirAll("/var/lib/pods"))
	require.True(t, h.IsDir("/var/lib"))
	require.ErrorIs(t, h.Remove("/var"), syscall.ENOTEMPTY)
	require.NoError(t, h.MakeFile("/var/lib/file"))
	require.NoError(t, h.MakeFile("/var/lib/file"))
	require.Error(t, h.MakeFile("/none/file"))
	require.Error(t, h.MkdirAll("/var/lib/file/x"))
	require.False(t, h.IsDir("/var/lib/file"))
	names, err := h.ReadDir("/var/lib")
	require.NoError(t, err)
	require.Equal(t, []string{"file", "pods"}, names)
	require.NoError(t, h.Remove("/var/lib/file"))
	require.ErrorIs(t, h.Remove("/var/lib/file"), syscall.ENOENT)
	require.False(t, h.Exists("/var/lib/file"))
	require.True(t, h.Exists("/dev/fake0"))
}

// Save and Load keep all that lives on disks and in device-mapper.
func TestSaveAndLoad(t *testing.T) {
	h := newHost(t)
	for _, line := range []string{
		"lvcreate --yes --name a --size 64m --addtag x vg0", "lvcreate --yes --type thin-pool --name pool --size 64m vg0",
		"lvcreate --yes --type thin --name t --virtualsize 1g --thinpool pool vg0", "lvcreate --yes --snapshot --name ts vg0/t",
		"lvcreate --yes --snapshot --name as --size 8m vg0/a", "lvcreate --yes --type raid1 --name r --size 8m vg0",
		"lvcreate --yes --stripes 2 --name s --size 16m vg0", "lvchange --activate n vg0/s",
	} {
		do(t, h, line)
	}
	require.NoError(t, h.Format("/dev/vg0/t", "ext4", newUUID))
	require.NoError(t, put(t, h, "/dev/vg0/a", 4096, secret))
	state, err := h.Save()
	require.NoError(t, err)
	again, err := fakelvm.Load(state)
	require.NoError(t, err)
	require.Equal(t, h.String(), again.String())
	const report = "fullreport --reportformat json --units b"
	require.Equal(t, do(t, h, report), do(t, again, report))
	require.Equal(t, secret, get(t, again, "/dev/vg0/a", 4096, len(secret)))
	require.Equal(t, get(t, h, "/dev/fake0", 0, 1<<20), get(t, again, "/dev/fake0", 0, 1<<20), "label and metadata")
	do(t, again, "lvremove --yes vg0")
	require.Contains(t, again.String(), "vg vg0 4088MiB free of 4088MiB\n")
	_, err = fakelvm.Load([]byte("{"))
	require.Error(t, err)
}
