// SPDX-License-Identifier: Apache-2.0

package mounttest_test

import (
	"context"
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
		return mounttest.Node{Mounter: f, Filesystem: f, Device: "/dev/vg0/a", Other: "/dev/vg0/b", Dir: "/work", MakeFile: h.MakeFile, MakeFolder: h.MkdirAll}
	})
}
