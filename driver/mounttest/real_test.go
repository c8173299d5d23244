// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package mounttest_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/mounttest"
)

var disks = flag.String("lvm.disks", "", "empty disks for the tests, comma-separated; what is on them is lost")

func run(t *testing.T, program string, args ...string) {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// volumeGroup makes VG vg0.
func volumeGroup(t *testing.T) {
	t.Helper()
	require.NotEmpty(t, *disks, "run through `make test-lvm`: -lvm.disks is not set")
	disk, _, _ := strings.Cut(*disks, ",")
	run(t, "lvm", "vgcreate", "--yes", "vg0", disk)
	t.Cleanup(func() { run(t, "lvm", "vgremove", "--force", "--force", "--yes", "vg0") })
}

// volumes makes LVs of vg0 and gives a folder to mount them in.
func volumes(t *testing.T, names ...string) (dir string) {
	t.Helper()
	for _, name := range names {
		run(t, "lvm", "lvcreate", "--yes", "--name", name, "--size", "512m", "vg0")
	}
	dir = t.TempDir()
	t.Cleanup(func() {
		unmountBelow(t, dir)
		for _, name := range names {
			run(t, "lvm", "lvremove", "--yes", "vg0/"+name)
		}
	})
	return dir
}

// lastMount is the end of the kernel's own mount table.
func lastMount(t *testing.T) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(table)), "\n")
	return lines[len(lines)-1]
}

func TestRealMountOptionsTakeEffect(t *testing.T) {
	volumeGroup(t)
	dir := volumes(t, "a")
	linux := driver.NewLinux()
	for fs, uuid := range map[string]string{
		"ext4": "e4a3883b-d420-5ff6-9c84-2591ee34e1d1", "xfs": "e4a3883b-d420-5ff6-9c84-2591ee34e1d2", "btrfs": "e4a3883b-d420-5ff6-9c84-2591ee34e1d3",
	} {
		require.NoError(t, linux.Make("/dev/vg0/a", driver.Format{Type: fs, UUID: uuid}))
		for option, shown := range map[string]string{
			"ro": "ro", "noexec": "noexec", "nosuid": "nosuid", "nodev": "nodev", "noatime": "noatime", "nodiratime": "nodiratime",
			"relatime": "relatime", "strictatime": "!relatime", "lazytime": "lazytime", "nolazytime": "!lazytime",
			"sync": "sync", "dirsync": "dirsync", "discard": "discard", "nodiscard": "!discard",
		} {
			require.NoError(t, linux.Mount("/dev/vg0/a", dir, fs, []string{option}), "%s with %s", fs, option)
			line := lastMount(t)
			require.Contains(t, line, dir)
			words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ',' })
			if not, ok := strings.CutPrefix(shown, "!"); ok {
				require.NotContains(t, words, not, "%s with %s", fs, option)
			} else {
				require.Contains(t, words, shown, "%s with %s", fs, option)
			}
			require.NoError(t, linux.Unmount(dir))
		}
		require.NoError(t, linux.Mount("/dev/vg0/a", dir, fs, []string{"noatime", "discard", "nodev"}))
		require.NoError(t, linux.Unmount(dir))
		require.ErrorContains(t, linux.Mount("/dev/vg0/a", dir, fs, []string{"no-such-option"}), "invalid argument")
	}
}

// btrfs prints the name that it was told last; after a scan by udev that is the
// kernel's.
func TestRealMountOfTheKernelsNameIsKnownByLVMs(t *testing.T) {
	volumeGroup(t)
	dir := volumes(t, "a")
	linux := driver.NewLinux()
	require.NoError(t, linux.Make("/dev/vg0/a", driver.Format{Type: "btrfs", UUID: "e4a3883b-d420-5ff6-9c84-2591ee34e1d2"}))
	device, ok, err := linux.Device("/dev/vg0/a")
	require.NoError(t, err)
	require.True(t, ok)
	kernels := fmt.Sprintf("/dev/dm-%d", device.Number.Minor)
	if _, err := os.Stat(kernels); errors.Is(err, os.ErrNotExist) { // there is no udev
		require.NoError(t, unix.Mknod(kernels, unix.S_IFBLK|0o600, int(unix.Mkdev(device.Number.Major, device.Number.Minor))))
		defer os.Remove(kernels)
	}
	require.NoError(t, linux.Mount(kernels, dir, "btrfs", nil))
	require.Contains(t, lastMount(t), kernels)
	table, err := linux.Mounts()
	require.NoError(t, err)
	last := table[len(table)-1]
	require.Equal(t, "/dev/mapper/vg0-a", last.Source)
	require.Equal(t, device.Number, last.Number)
}

func TestRealFileWithContentIsNotRemoved(t *testing.T) {
	file := t.TempDir() + "/file"
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	require.ErrorIs(t, driver.NewLinux().RemoveTarget(file), driver.ErrTarget)
	require.ErrorIs(t, driver.NewLinux().MakeTargetFile(file), driver.ErrTarget)
	require.FileExists(t, file)
}

func TestRealSharedTellsWhetherTheNodeSeesMounts(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	defer func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) }()
	require.NoError(t, os.MkdirAll(dir+"/kubelet/pods", 0o755))
	for flags, want := range map[uintptr]bool{unix.MS_SHARED: true, unix.MS_PRIVATE: false, unix.MS_SLAVE: false} {
		require.NoError(t, unix.Mount("", dir, "", flags, ""))
		shared, err := driver.Shared(dir + "/kubelet/pods")
		require.NoError(t, err)
		require.Equal(t, want, shared, "flags %#x", flags)
	}
	// What is mounted below counts, not what it is in.
	require.NoError(t, unix.Mount("", dir, "", unix.MS_SHARED, ""))
	require.NoError(t, unix.Mount("tmpfs", dir+"/kubelet", "tmpfs", 0, ""))
	require.NoError(t, unix.Mount("", dir+"/kubelet", "", unix.MS_PRIVATE, ""))
	require.NoError(t, os.Mkdir(dir+"/kubelet/pods", 0o755))
	shared, err := driver.Shared(dir + "/kubelet/pods")
	require.NoError(t, err)
	require.False(t, shared)
	_, err = driver.Shared(dir + "/nowhere")
	require.Error(t, err)
}

func TestRealKeepsTheContract(t *testing.T) {
	volumeGroup(t)
	mounttest.Run(t, func(t *testing.T) mounttest.Node {
		dir := volumes(t, "a", "b")
		linux := driver.NewLinux()
		return mounttest.Node{
			Mounter: linux, Devices: linux, Filesystem: linux, Device: "/dev/vg0/a", Other: "/dev/vg0/b", Dir: dir,
			MakeFile:   func(p string) error { return os.WriteFile(p, nil, 0o600) },
			MakeFolder: func(p string) error { return os.MkdirAll(p, 0o700) },
			Write: func(device string, data []byte, offset int64) error {
				f, err := os.OpenFile(device, os.O_RDWR, 0)
				if err != nil {
					return err
				}
				defer f.Close()
				if _, err := f.WriteAt(data, offset); err != nil {
					return err
				}
				return f.Sync()
			},
			Read: func(device string, data []byte, offset int64) error {
				f, err := os.Open(device)
				if err != nil {
					return err
				}
				defer f.Close()
				_, err = f.ReadAt(data, offset)
				return err
			},
			Extend: func() error { run(t, "lvm", "lvextend", "--size", "+64m", "vg0/a"); return nil },
		}
	})
}

func unmountBelow(t *testing.T, dir string) {
	table, err := driver.NewLinux().Mounts()
	require.NoError(t, err)
	for i := len(table) - 1; i >= 0; i-- {
		if strings.HasPrefix(table[i].Target, dir) {
			require.NoError(t, unix.Unmount(table[i].Target, 0))
		}
	}
}
