// SPDX-License-Identifier: Apache-2.0

package mounttest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/driver/mounttest"
	"github.com/podlv/podlv/fakelvm"
)

func TestFakeKeepsTheContract(t *testing.T) {
	mounttest.Run(t, func(t *testing.T) mounttest.Node {
		h := fakelvm.New(fakelvm.Disk{Path: "/dev/fake0", Size: 2 << 30})
		require.NoError(t, h.CreateVG("vg0", "/dev/fake0"))
		for _, name := range []string{"a", "b"} {
			_, err := h.Run(context.Background(), "lvcreate", "--yes", "--name", name, "--size", "512m", "vg0")
			require.NoError(t, err)
		}
		require.NoError(t, h.MkdirAll("/work"))
		f := mounttest.Fake{Host: h}
		on := func(device string, do func(*fakelvm.Device) error) error {
			d, err := h.Open(device)
			if err != nil {
				return err
			}
			return errors.Join(do(d), d.Close())
		}
		return mounttest.Node{
			Mounter: f, Devices: f, Filesystem: f, Device: "/dev/vg0/a", Other: "/dev/vg0/b", Dir: "/work", MakeFile: h.MakeFile, MakeFolder: h.MkdirAll,
			Write: func(device string, data []byte, offset int64) error {
				return on(device, func(d *fakelvm.Device) error { _, err := d.WriteAt(data, offset); return err })
			},
			Read: func(device string, data []byte, offset int64) error {
				return on(device, func(d *fakelvm.Device) error { _, err := d.ReadAt(data, offset); return err })
			},
			Extend: func() error {
				_, err := h.Run(context.Background(), "lvextend", "--size", "+64m", "vg0/a")
				return err
			},
		}
	})
}
