// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"context"
	"strings"
	"testing"

	"github.com/podlv/podlv/fakelvm"
	"github.com/stretchr/testify/require"
)

const gib = 1 << 30

// newHost is a machine with one VG on two disks of 2 GiB.
func newHost(t testing.TB) *fakelvm.Host {
	t.Helper()
	h := fakelvm.New(fakelvm.Disk{Path: "/dev/fake0", Size: 2 * gib}, fakelvm.Disk{Path: "/dev/fake1", Size: 2 * gib})
	require.NoError(t, h.CreateVG("vg0", "/dev/fake0", "/dev/fake1"))
	return h
}

// do runs a command line, split at spaces, that must succeed.
func do(t testing.TB, h *fakelvm.Host, line string) string {
	t.Helper()
	out, err := h.Run(context.Background(), strings.Fields(line)...)
	require.NoError(t, err)
	return string(out)
}

func TestLifeOfAVolume(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --wipesignatures y --zero y --name a --size 104857600b --addtag podlv.dev vg0")
	require.NoError(t, h.Format("/dev/vg0/a", "ext4", "11111111-2222-3333-4444-555555555555"))
	require.NoError(t, h.MkdirAll("/mnt/a"))
	require.NoError(t, h.Mount("/dev/vg0/a", "/mnt/a", "ext4", []string{"noatime"}))
	require.Equal(t, `disk /dev/fake0 2GiB pv of vg0, 25 of 511 extents used
disk /dev/fake1 2GiB pv of vg0, 0 of 511 extents used
vg vg0 3988MiB free of 4088MiB
  a linear 100MiB active tags=podlv.dev /dev/fake0:0-24 ext4 11111111-2222-3333-4444-555555555555
mount /dev/mapper/vg0-a on /mnt/a type ext4 (rw,noatime)
`, h.String())
	_, err := h.Run(context.Background(), "lvremove", "--yes", "vg0/a")
	require.ErrorContains(t, err, "contains a filesystem in use")
	require.NoError(t, h.Unmount("/mnt/a"))
	do(t, h, "lvremove --yes vg0 --select lv_name=a")
	require.NotContains(t, h.String(), "linear")
}
