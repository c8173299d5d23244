// SPDX-License-Identifier: Apache-2.0

package mounttest

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/driver"
)

// Node is what Run tests, and how it prepares it.
type Node struct {
	Mounter    driver.Mounter
	Devices    driver.Devices
	Filesystem driver.Filesystem
	// Device is an empty device of 512 MiB that a filesystem can be made on.
	Device string
	// Other is another one.
	Other string
	// Dir is an empty folder to work in.
	Dir string
	// MakeFile makes an empty file, MakeFolder a folder.
	MakeFile   func(path string) error
	MakeFolder func(path string) error
	// Write writes to a device, Read reads from it.
	Write func(device string, data []byte, offset int64) error
	Read  func(device string, data []byte, offset int64) error
	// Extend makes Device larger by 64 MiB.
	Extend func() error
}

// The UUIDs of the filesystems that the suite makes.
const (
	uuidA = "6f3b0e5c-8f0f-5d3e-9d2a-0a1b2c3d4e5f"
	uuidB = "0a1b2c3d-4e5f-5a6b-8c7d-9e8f7a6b5c4d"
)

// Run holds a node to the contract; newNode gives each test a fresh one.
func Run(t *testing.T, newNode func(t *testing.T) Node) {
	t.Run("the target folder", func(t *testing.T) { targets(t, newNode(t)) })
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) { filesystem(t, newNode(t), fs) })
	}
	t.Run("devices", func(t *testing.T) { devices(t, newNode(t)) })
	t.Run("the mount table", func(t *testing.T) { mounts(t, newNode(t)) })
	t.Run("bound folders", func(t *testing.T) { boundFolder(t, newNode(t)) })
	t.Run("bound devices", func(t *testing.T) { boundDevice(t, newNode(t)) })
	t.Run("copying", func(t *testing.T) { copying(t, newNode(t)) })
	t.Run("zeroing", func(t *testing.T) { zeroing(t, newNode(t)) })
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run("growing "+fs, func(t *testing.T) { growing(t, newNode(t), fs) })
		t.Run("adopting "+fs, func(t *testing.T) { adopting(t, newNode(t), fs) })
	}
}

func targets(t *testing.T, n Node) {
	target := n.Dir + "/target"
	require.NoError(t, n.Mounter.MakeTarget(target))
	require.NoError(t, n.Mounter.MakeTarget(target), "an empty folder is as good as a new one")
	require.ErrorIs(t, n.Mounter.MakeTarget(n.Dir+"/missing/target"), driver.ErrTarget, "the parent is the caller's to make")
	require.NoError(t, n.MakeFile(n.Dir+"/file"))
	require.ErrorIs(t, n.Mounter.MakeTarget(n.Dir+"/file"), driver.ErrTarget)
	require.NoError(t, n.MakeFolder(n.Dir+"/full/inside"))
	require.ErrorIs(t, n.Mounter.MakeTarget(n.Dir+"/full"), driver.ErrTarget)
	require.Error(t, n.Mounter.RemoveTarget(n.Dir+"/full"), "what is in a folder is never removed")
	require.NoError(t, n.Mounter.RemoveTarget(target))
	require.NoError(t, n.Mounter.RemoveTarget(target), "removed already")

	require.NoError(t, n.Mounter.MakeTargetFile(target))
	require.NoError(t, n.Mounter.MakeTargetFile(target), "an empty file is as good as a new one")
	require.ErrorIs(t, n.Mounter.MakeTargetFile(n.Dir+"/missing/target"), driver.ErrTarget, "the parent is the caller's to make")
	require.ErrorIs(t, n.Mounter.MakeTargetFile(n.Dir+"/full"), driver.ErrTarget)
	require.NoError(t, n.Mounter.RemoveTarget(target))
	require.NoError(t, n.Mounter.RemoveTarget(target), "removed already")
}

func filesystem(t *testing.T, n Node, fs string) {
	found, err := n.Filesystem.Detect(n.Device, fs)
	require.NoError(t, err)
	require.Zero(t, found, "an empty device")
	require.NoError(t, n.Filesystem.Make(n.Device, driver.Format{Type: fs, UUID: uuidA}))
	found, err = n.Filesystem.Detect(n.Device, fs)
	require.NoError(t, err)
	require.Equal(t, driver.Signature{Type: fs, UUID: uuidA}, found)

	target := n.Dir + "/" + fs
	require.NoError(t, n.Mounter.MakeTarget(target))
	require.NoError(t, n.Mounter.Mount(n.Device, target, fs, []string{"noatime"}))
	m := mountAt(t, n, target)
	require.Equal(t, fs, m.Type)
	require.False(t, m.ReadOnly)
	d, ok, err := n.Devices.Device(n.Device)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, d.Number, m.Number, "a mount has its block device's number, for every filesystem")
	u, err := n.Filesystem.Usage(target)
	require.NoError(t, err)
	require.InEpsilon(t, d.Size, u.TotalBytes, 0.2)
	require.Positive(t, u.FreeBytes)
	require.LessOrEqual(t, u.UsedBytes+u.FreeBytes, u.TotalBytes)

	require.Error(t, n.Filesystem.Make(n.Device, driver.Format{Type: fs, UUID: uuidB}), "a mounted filesystem is not made anew")
	require.Error(t, n.Mounter.RemoveTarget(target), "a mount point is not removed")
	require.NoError(t, n.Mounter.Unmount(target))
	require.NoError(t, n.Mounter.Unmount(target), "nothing is mounted there any more")

	require.NoError(t, n.Mounter.Mount(n.Device, target, fs, []string{"ro"}))
	require.True(t, mountAt(t, n, target).ReadOnly)
	require.NoError(t, n.Mounter.Unmount(target))

	for _, other := range []string{"ext4", "xfs", "btrfs"} {
		require.NoError(t, n.Filesystem.Make(n.Device, driver.Format{Type: other, UUID: uuidB}), "over whatever is there")
		found, err = n.Filesystem.Detect(n.Device, fs)
		require.NoError(t, err)
		require.Equal(t, driver.Signature{Type: other, UUID: uuidB}, found, "nothing of %s is left, though it is expected", fs)
		require.NoError(t, n.Filesystem.Make(n.Device, driver.Format{Type: fs, UUID: uuidA}))
	}
	require.NoError(t, n.Filesystem.Wipe(n.Device))
	found, err = n.Filesystem.Detect(n.Device, fs)
	require.NoError(t, err)
	require.Zero(t, found)
	require.Error(t, n.Mounter.Mount(n.Device, target, fs, nil), "there is no filesystem any more")
}

func devices(t *testing.T, n Node) {
	_, ok, err := n.Devices.Device("/dev/no-such-vg/no-such-lv")
	require.NoError(t, err)
	require.False(t, ok)
	d, ok, err := n.Devices.Device(n.Device)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 512<<20, d.Size)
	o, _, err := n.Devices.Device(n.Other)
	require.NoError(t, err)
	require.NotEqual(t, d.Number, o.Number)
	_, err = n.Filesystem.Detect("/dev/no-such-vg/no-such-lv", "ext4")
	require.Error(t, err, "a device that is not there is not an empty device")
	require.Error(t, n.Filesystem.Make("/dev/no-such-vg/no-such-lv", driver.Format{Type: "ext4", UUID: uuidA}))
	require.Error(t, n.Filesystem.Make(n.Device, driver.Format{Type: "ext5", UUID: uuidA}))
}

func mounts(t *testing.T, n Node) {
	target := n.Dir + "/twice"
	require.NoError(t, n.Mounter.MakeTarget(target))
	require.Error(t, n.Mounter.Mount(n.Device, n.Dir+"/nowhere", "ext4", nil))
	require.NoError(t, n.Filesystem.Make(n.Device, driver.Format{Type: "ext4", UUID: uuidA}))
	require.NoError(t, n.Filesystem.Make(n.Other, driver.Format{Type: "xfs", UUID: uuidB}))
	require.NoError(t, n.Mounter.Mount(n.Device, target, "ext4", nil))
	require.NoError(t, n.Mounter.Mount(n.Other, target, "xfs", nil), "mounts stack")
	require.Equal(t, "xfs", mountAt(t, n, target).Type, "the last one is the visible one")
	require.NoError(t, n.Mounter.Unmount(target))
	require.Equal(t, "ext4", mountAt(t, n, target).Type)
	require.NoError(t, n.Mounter.Unmount(target))
	_, err := n.Filesystem.Usage(n.Dir + "/nowhere")
	require.Error(t, err)
}

func boundFolder(t *testing.T, n Node) {
	staging, target := n.Dir+"/staging", n.Dir+"/target"
	require.NoError(t, n.Filesystem.Make(n.Device, driver.Format{Type: "ext4", UUID: uuidA}))
	require.NoError(t, n.Mounter.MakeTarget(staging))
	require.NoError(t, n.Mounter.MakeTarget(target))
	require.NoError(t, n.Mounter.Mount(n.Device, staging, "ext4", nil))
	require.NoError(t, n.Mounter.Mount(staging, target, "", []string{"bind", "ro"}))
	m := mountAt(t, n, target)
	require.Equal(t, mountAt(t, n, staging).Source, m.Source, "a bound folder has its filesystem's device")
	require.Equal(t, mountAt(t, n, staging).Number, m.Number)
	require.Equal(t, "ext4", m.Type)
	require.True(t, m.ReadOnly, "the bind is")
	require.False(t, m.Block)
	require.False(t, mountAt(t, n, staging).ReadOnly, "what was bound is not")
	require.NoError(t, n.Mounter.Unmount(target))
	require.NoError(t, n.Mounter.Unmount(staging))
}

func boundDevice(t *testing.T, n Node) {
	target := n.Dir + "/device"
	require.Error(t, n.Mounter.Mount(n.Device, target, "", []string{"bind"}), "the target is the caller's to make")
	require.NoError(t, n.Mounter.MakeTargetFile(target))
	require.NoError(t, n.Mounter.Mount(n.Device, target, "", []string{"bind"}))
	d, _, err := n.Devices.Device(n.Device)
	require.NoError(t, err)
	m := mountAt(t, n, target)
	require.True(t, m.Block)
	require.Equal(t, d.Number, m.Number)
	require.Error(t, n.Mounter.RemoveTarget(target), "a mount point is not removed")
	require.NoError(t, n.Mounter.Unmount(target))
	require.NoError(t, n.Mounter.RemoveTarget(target))
}

func zeroing(t *testing.T, n Node) {
	const mib = 1 << 20
	pattern := bytes.Repeat([]byte("secret! "), mib/8)
	for at := int64(0); at < 8; at++ {
		require.NoError(t, n.Write(n.Device, pattern, at*mib))
	}
	require.NoError(t, n.Devices.Zero(t.Context(), n.Device, 2*mib, 3*mib))
	for at := int64(0); at < 8; at++ {
		want := pattern
		if at >= 2 && at < 5 {
			want = make([]byte, mib)
		}
		got := make([]byte, mib)
		require.NoError(t, n.Read(n.Device, got, at*mib))
		require.True(t, bytes.Equal(want, got), "MiB %d", at)
	}
	d, _, err := n.Devices.Device(n.Device)
	require.NoError(t, err)
	require.NoError(t, n.Devices.Zero(t.Context(), n.Device, d.Size, 0), "nothing")
	require.Error(t, n.Devices.Zero(t.Context(), n.Device, d.Size-mib, 2*mib), "beyond the end")
	require.Error(t, n.Devices.Zero(t.Context(), "/dev/no-such-vg/no-such-lv", 0, mib))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, n.Devices.Zero(over, n.Device, 0, mib), context.Canceled)
}

func growing(t *testing.T, n Node, fs string) {
	target := n.Dir + "/grows"
	require.NoError(t, n.Filesystem.Make(n.Device, driver.Format{Type: fs, UUID: uuidA}))
	if fs != "ext4" { // resize2fs takes an unmounted one, too
		require.Error(t, n.Filesystem.Grow(n.Device, target, fs), "it is not mounted")
	}
	require.NoError(t, n.Mounter.MakeTarget(target))
	require.NoError(t, n.Mounter.Mount(n.Device, target, fs, nil))
	before, err := n.Filesystem.Usage(target)
	require.NoError(t, err)
	require.NoError(t, n.Filesystem.Grow(n.Device, target, fs), "it has all of the device")
	require.NoError(t, n.Extend())
	same, err := n.Filesystem.Usage(target)
	require.NoError(t, err)
	require.Equal(t, before.TotalBytes, same.TotalBytes)
	require.NoError(t, n.Filesystem.Grow(n.Device, target, fs))
	after, err := n.Filesystem.Usage(target)
	require.NoError(t, err)
	require.InDelta(t, before.TotalBytes+64<<20, after.TotalBytes, 8<<20)
	require.NoError(t, n.Filesystem.Grow(n.Device, target, fs), "once more")
	require.NoError(t, n.Mounter.Unmount(target))
}

func copying(t *testing.T, n Node) {
	const mib = 1 << 20
	for _, device := range []string{n.Device, n.Other} {
		require.NoError(t, n.Devices.Zero(t.Context(), device, 0, 512*mib))
	}
	pattern := bytes.Repeat([]byte("precious"), mib/8)
	for _, at := range []int64{0, 3, 5, 511} {
		require.NoError(t, n.Write(n.Other, pattern, at*mib))
	}
	require.NoError(t, n.Write(n.Device, pattern, 2*mib))
	require.NoError(t, n.Devices.Copy(t.Context(), n.Other, n.Device, 5*mib, false))
	got := make([]byte, mib)
	for at, want := range map[int64]bool{0: true, 1: false, 2: false, 3: true, 4: false, 5: false, 511: false} {
		require.NoError(t, n.Read(n.Device, got, at*mib))
		require.Equal(t, want, bytes.Equal(pattern, got), "MiB %d", at)
		require.Equal(t, !want, bytes.Equal(make([]byte, mib), got), "MiB %d", at)
	}
	require.NoError(t, n.Devices.Copy(t.Context(), n.Other, n.Device, 512*mib, true))
	for _, at := range []int64{0, 3, 5, 511} {
		require.NoError(t, n.Read(n.Device, got, at*mib))
		require.True(t, bytes.Equal(pattern, got), "MiB %d", at)
	}
	require.Error(t, n.Devices.Copy(t.Context(), n.Other, n.Device, 513*mib, false), "beyond the end")
	require.Error(t, n.Devices.Copy(t.Context(), "/dev/no-such-vg/no-such-lv", n.Device, mib, false))
	require.Error(t, n.Devices.Copy(t.Context(), n.Other, "/dev/no-such-vg/no-such-lv", mib, false))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, n.Devices.Copy(over, n.Other, n.Device, mib, false), context.Canceled)

	require.NoError(t, n.Filesystem.Make(n.Device, driver.Format{Type: "ext4", UUID: uuidA}))
	target := n.Dir + "/target"
	require.NoError(t, n.Mounter.MakeTarget(target))
	require.NoError(t, n.Mounter.Mount(n.Device, target, "ext4", nil))
	require.Error(t, n.Devices.Copy(t.Context(), n.Other, n.Device, mib, false), "over a mounted filesystem")
	require.NoError(t, n.Mounter.Unmount(target))
}

// adopting is of a copy whose original is mounted again.
func adopting(t *testing.T, n Node, fs string) {
	original, target := n.Dir+"/original", n.Dir+"/copy"
	for _, dir := range []string{original, target} {
		require.NoError(t, n.Mounter.MakeTarget(dir))
	}
	require.NoError(t, n.Filesystem.Make(n.Other, driver.Format{Type: fs, UUID: uuidA}))
	require.NoError(t, n.Mounter.Mount(n.Other, original, fs, nil))
	require.NoError(t, n.MakeFile(original+"/file"))
	require.NoError(t, n.Filesystem.Flush(original))
	require.Error(t, n.Filesystem.Flush(n.Dir+"/nowhere"))
	before, err := n.Filesystem.Usage(original)
	require.NoError(t, err)
	require.NoError(t, n.Mounter.Unmount(original))
	require.NoError(t, n.Devices.Copy(t.Context(), n.Other, n.Device, 512<<20, false))
	require.NoError(t, n.Extend())
	require.NoError(t, n.Mounter.Mount(n.Other, original, fs, nil))

	own := driver.Format{Type: fs, UUID: uuidB}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, n.Filesystem.Adopt(over, n.Device, own), context.Canceled)
	found, err := n.Filesystem.Detect(n.Device, fs)
	require.NoError(t, err)
	require.Equal(t, driver.Signature{Type: fs, UUID: uuidA}, found)
	require.NoError(t, n.Filesystem.Adopt(t.Context(), n.Device, own))
	found, err = n.Filesystem.Detect(n.Device, fs)
	require.NoError(t, err)
	require.Equal(t, driver.Signature{Type: fs, UUID: uuidB}, found)
	require.NoError(t, n.Mounter.Mount(n.Device, target, fs, nil), "with the original mounted")
	after, err := n.Filesystem.Usage(target)
	require.NoError(t, err)
	require.InDelta(t, before.TotalBytes+64<<20, after.TotalBytes, 8<<20, "it has all of the device")
	require.Error(t, n.Filesystem.Adopt(t.Context(), n.Device, driver.Format{Type: fs, UUID: uuidA}), "what is mounted is somebody's")
	require.NoError(t, n.Mounter.Unmount(target))
	require.NoError(t, n.Mounter.Unmount(original))

	other := map[string]string{"ext4": "xfs", "xfs": "btrfs", "btrfs": "ext4"}[fs]
	require.Error(t, n.Filesystem.Adopt(t.Context(), n.Device, driver.Format{Type: other, UUID: uuidB}), "it is another filesystem")
	require.NoError(t, n.Filesystem.Wipe(n.Device))
	require.Error(t, n.Filesystem.Adopt(t.Context(), n.Device, own), "there is none: it is not made anew")
	require.Error(t, n.Filesystem.Adopt(t.Context(), n.Device, driver.Format{Type: "ext5", UUID: uuidB}))
}

// mountAt is the visible mount at target.
func mountAt(t *testing.T, n Node, target string) driver.Mount {
	t.Helper()
	table, err := n.Mounter.Mounts()
	require.NoError(t, err)
	var found *driver.Mount
	for i, m := range table {
		if m.Target == target {
			found = &table[i]
		}
	}
	require.NotNil(t, found, "nothing is mounted at %s", target)
	return *found
}
