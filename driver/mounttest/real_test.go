// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package mounttest_test

import (
	"flag"
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

func TestRealKeepsTheContract(t *testing.T) {
	require.NotEmpty(t, *disks, "run through `make test-lvm`: -lvm.disks is not set")
	disk, _, _ := strings.Cut(*disks, ",")
	lvm := func(args ...string) {
		out, err := exec.Command("lvm", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	lvm("vgcreate", "--yes", "vg0", disk)
	t.Cleanup(func() { lvm("vgremove", "--force", "--force", "--yes", "vg0") })
	mounttest.Run(t, func(t *testing.T) mounttest.Node {
		for _, name := range []string{"a", "b"} {
			lvm("lvcreate", "--yes", "--name", name, "--size", "512m", "vg0")
		}
		dir := t.TempDir()
		t.Cleanup(func() {
			unmountBelow(t, dir)
			lvm("lvremove", "--yes", "vg0/a", "vg0/b")
		})
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
			Extend: func() error { lvm("lvextend", "--size", "+64m", "vg0/a"); return nil },
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
