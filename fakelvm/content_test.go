// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
	"github.com/stretchr/testify/require"
)

const mib = 1 << 20

// put writes to a device, get reads from one.
func put(t testing.TB, h *fakelvm.Host, device string, off int64, data []byte) error {
	t.Helper()
	d, err := h.Open(device)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	_, err = d.WriteAt(data, off)
	return err
}

func get(t testing.TB, h *fakelvm.Host, device string, off int64, n int) []byte {
	t.Helper()
	d, err := h.Open(device)
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	buf := make([]byte, n)
	_, err = d.ReadAt(buf, off)
	require.NoError(t, err)
	return buf
}

var secret = bytes.Repeat([]byte("secret! "), 1024)

func TestOldBytesComeBack(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name old --size 64m vg0")
	require.NoError(t, put(t, h, "/dev/vg0/old", 0, secret))
	require.NoError(t, put(t, h, "/dev/vg0/old", 50*mib, secret))
	require.Equal(t, secret, get(t, h, "/dev/vg0/old", 50*mib, len(secret)))
	do(t, h, "lvremove --yes vg0/old")

	do(t, h, "lvcreate --yes --name new --size 32m vg0")
	require.Equal(t, make([]byte, 4096), get(t, h, "/dev/vg0/new", 0, 4096), "lvcreate zeroes 4 KiB")
	require.Equal(t, secret[4096:], get(t, h, "/dev/vg0/new", 4096, len(secret)-4096), "and no more")
	do(t, h, "lvextend --size 64m vg0/new")
	require.Equal(t, secret, get(t, h, "/dev/vg0/new", 50*mib, len(secret)), "lvextend shows what was there")

	d, err := h.Open("/dev/vg0/new")
	require.NoError(t, err)
	require.NoError(t, d.Zero(0, 64*mib))
	require.NoError(t, d.Close())
	require.Equal(t, make([]byte, len(secret)), get(t, h, "/dev/vg0/new", 50*mib, len(secret)))
	do(t, h, "lvcreate --yes --wipesignatures n --zero n --name raw --size 32m vg0")
	require.Contains(t, volume(h, "raw"), "/dev/fake0:16-23")
}

func TestDevicesAreStrict(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name a-b --size 8m vg0")
	for _, path := range []string{"/dev/vg0/a-b", "/dev/mapper/vg0-a--b"} {
		size, err := h.DeviceSize(path)
		require.NoError(t, err)
		require.EqualValues(t, 8*mib, size)
	}
	require.False(t, h.DeviceExists("/dev/vg0/a"))
	require.ErrorIs(t, put(t, h, "/dev/vg0/a-b", 8*mib-4, []byte("12345")), syscall.ENOSPC)
	d, err := h.Open("/dev/vg0/a-b")
	require.NoError(t, err)
	n, err := d.ReadAt(make([]byte, 10), 8*mib-4)
	require.Equal(t, 4, n)
	require.ErrorIs(t, err, io.EOF)
	_, err = h.Run(context.Background(), "lvchange", "--activate", "n", "vg0/a-b")
	require.ErrorContains(t, err, "in use")
	require.NoError(t, d.Close())
	require.NoError(t, d.Close())
	do(t, h, "lvchange --activate n vg0/a-b")
	_, err = h.Open("/dev/vg0/a-b")
	require.ErrorIs(t, err, syscall.ENOENT)
}

func TestStripedAndMirroredContent(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name s --stripes 2 --size 16m vg0")
	do(t, h, "lvcreate --yes --name r --type raid1 --size 16m vg0")
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, device := range []string{"/dev/vg0/s", "/dev/vg0/r"} {
		require.NoError(t, put(t, h, device, 12345, data))
		require.Equal(t, data, get(t, h, device, 12345, len(data)))
	}
	for _, disk := range []string{"/dev/fake0", "/dev/fake1"} { // half of the stripes lie on each
		require.Contains(t, string(get(t, h, disk, mib, 16*mib)), "0123456789abcdef")
	}
	require.NoError(t, h.TakeDisk("/dev/fake0"))
	require.Equal(t, data, get(t, h, "/dev/vg0/r", 12345, len(data)), "one leg is enough")
	d, err := h.Open("/dev/vg0/s")
	require.NoError(t, err)
	_, err = d.ReadAt(make([]byte, mib), 0)
	require.ErrorIs(t, err, syscall.EIO)
	require.NoError(t, d.Close())
	require.NoError(t, h.ReturnDisk("/dev/fake0"))
	require.Equal(t, data, get(t, h, "/dev/vg0/s", 12345, len(data)))
}

func TestThinVolumesShareAndZero(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name old --size 100m vg0")
	require.NoError(t, put(t, h, "/dev/vg0/old", 0, bytes.Repeat([]byte{7}, 100*mib)))
	do(t, h, "lvremove --yes vg0/old")
	do(t, h, "lvcreate --yes --type thin-pool --name pool --size 4m vg0")
	do(t, h, "lvcreate --yes --type thin --name a --virtualsize 1g --thinpool pool vg0")
	require.NoError(t, put(t, h, "/dev/vg0/a", 100, []byte("x")))
	got := get(t, h, "/dev/vg0/a", 0, 128<<10)
	require.Equal(t, byte('x'), got[100])
	require.Equal(t, 1, 128<<10-bytes.Count(got, []byte{0}), "a pool zeroes its chunks")

	do(t, h, "lvcreate --yes --snapshot --setactivationskip n --name b vg0/a")
	require.NoError(t, put(t, h, "/dev/vg0/b", 100, []byte("y")))
	require.Equal(t, "x", string(get(t, h, "/dev/vg0/a", 100, 1)))
	require.Equal(t, "y", string(get(t, h, "/dev/vg0/b", 100, 1)))
	require.Equal(t, "pool thin-pool 4MiB active 2 of 64 chunks used", volume(h, "pool"))
	require.Equal(t, "a thin 1GiB active in pool 1 chunks", volume(h, "a"))

	// 62 chunks are left; the 63rd fails, as lvm's default after its wait.
	require.NoError(t, put(t, h, "/dev/vg0/a", mib, make([]byte, 62<<16)))
	require.ErrorIs(t, put(t, h, "/dev/vg0/a", 512*mib, []byte("z")), syscall.EIO)
	do(t, h, "lvchange --errorwhenfull y vg0/pool")
	require.ErrorIs(t, put(t, h, "/dev/vg0/a", 512*mib, []byte("z")), syscall.ENOSPC)
	_, err := h.Run(context.Background(), "lvcreate", "--yes", "--type", "thin", "--name", "c", "--virtualsize", "1m", "--thinpool", "pool", "vg0")
	require.ErrorContains(t, err, "reached threshold")
	require.NoError(t, put(t, h, "/dev/vg0/a", 100, []byte("again")), "its own chunk can be written")

	require.NoError(t, h.Format("/dev/vg0/a", "ext4", newUUID), "mkfs gives the chunks back first")
	require.Equal(t, "a thin 1GiB active in pool 1 chunks ext4 "+newUUID, volume(h, "a"))
	require.Equal(t, "y", string(get(t, h, "/dev/vg0/b", 100, 1)))
	do(t, h, "lvremove --yes vg0/a vg0/b")
	require.Equal(t, "pool thin-pool 4MiB active 0 of 64 chunks used", volume(h, "pool"))
}

func TestThickSnapshotFillsUp(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name o --size 64m vg0")
	require.NoError(t, put(t, h, "/dev/vg0/o", 0, secret))
	do(t, h, "lvcreate --yes --snapshot --name s --size 4m vg0/o")
	require.NoError(t, put(t, h, "/dev/vg0/o", 0, make([]byte, len(secret))))
	require.NoError(t, put(t, h, "/dev/vg0/s", 8192, []byte("mine")))
	require.Equal(t, secret[:8192], get(t, h, "/dev/vg0/s", 0, 8192))
	require.Equal(t, "mine", string(get(t, h, "/dev/vg0/s", 8192, 4)))
	require.Equal(t, make([]byte, 4), get(t, h, "/dev/vg0/o", 8192, 4))
	require.NoError(t, put(t, h, "/dev/vg0/o", 16*mib, bytes.Repeat([]byte{1}, 5*mib)), "the origin goes on")
	require.Equal(t, "s snapshot 4MiB active of o invalid /dev/fake0:16-16", volume(h, "s"))
	d, err := h.Open("/dev/vg0/s")
	require.NoError(t, err)
	_, err = d.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, syscall.EIO)
	require.NoError(t, d.Close())
	do(t, h, "lvremove --yes vg0/o")
}

// header is what the agent watches: 512 bytes that change with every commit and
// with nothing else. It also is what LVM's own programs would read.
func TestMetadataHeaderAndText(t *testing.T) {
	h := newHost(t)
	header := func() []byte { return get(t, h, "/dev/fake0", 4096, 512) }
	before := header()
	do(t, h, "vgs")
	do(t, h, "lvs vg0")
	require.Equal(t, before, header())
	seen := map[string]bool{string(before): true}
	for _, line := range []string{
		"lvcreate --yes --name a --size 64m --addtag podlv.dev vg0", "lvchange --addtag x vg0/a", "lvextend --size 128m vg0/a", "lvremove --yes vg0/a",
	} {
		do(t, h, line)
		now := header()
		require.False(t, seen[string(now)], line)
		seen[string(now)] = true
		require.Equal(t, now, get(t, h, "/dev/fake1", 4096, 512))
	}
	do(t, h, "lvcreate --yes --name b --size 64m --addtag podlv.dev vg0")
	now := header()
	require.Equal(t, " LVM2 x[5A%r0N*>", string(now[4:20]))
	offset, size := binary.LittleEndian.Uint64(now[40:]), binary.LittleEndian.Uint64(now[48:])
	text := get(t, h, "/dev/fake0", 4096+int64(offset), int(size))
	require.Equal(t, binary.LittleEndian.Uint32(now[56:]), lvmChecksum(text))
	require.Equal(t, binary.LittleEndian.Uint32(now), lvmChecksum(now[4:]))
	require.Contains(t, string(text), "\nb {\nid = \"")
	require.Contains(t, string(text), "tags = [\"podlv.dev\"]")
	require.Contains(t, string(get(t, h, "/dev/fake0", 512, 512)), "LABELONE")
}

func lvmChecksum(data []byte) uint32 {
	return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, data)
}

func TestMetadataAreaFills(t *testing.T) {
	h := fakelvm.New(fakelvm.Disk{Path: "/dev/fake0", Size: 100 * gib})
	require.NoError(t, h.CreateVG("vg0", "/dev/fake0"))
	n, exit := 0, (*lvm.ExitError)(nil)
	for ; n < 2000; n++ {
		_, err := h.Run(context.Background(), strings.Fields(fmt.Sprintf(
			"lvcreate --yes --name csi-%064x --size 4m --addtag podlv.dev --addtag podlv.kind=inline --addtag podlv.id=csi-%064x --addtag podlv.pod=default/web-%d/11111111-2222-3333-4444-555555555555 --addtag podlv.fs=ext4 vg0", n, n, n))...)
		if err != nil {
			require.ErrorAs(t, err, &exit)
			break
		}
	}
	require.Equal(t, 5, exit.Code)
	require.Regexp(t, `^  VG vg0 \d+ metadata on /dev/fake0 \(\d+ bytes\) exceeds maximum metadata size \(521472 bytes\)\n  Failed to write VG vg0\.\n$`, exit.Stderr)
	require.Greater(t, n, 700)
	require.Less(t, n, 1000)
	require.Empty(t, volume(h, fmt.Sprintf("csi-%064x", n)), "what could not be committed is not there")
	do(t, h, fmt.Sprintf("lvremove --yes vg0/csi-%064x", 0))
	do(t, h, "lvcreate --yes --name again --size 4m vg0")
}

func TestDisksThatAreTaken(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name a --size 64m vg0 /dev/fake1")
	require.NoError(t, put(t, h, "/dev/vg0/a", 0, secret))
	require.NoError(t, h.TakeDisk("/dev/fake1"))
	require.Error(t, h.TakeDisk("/dev/none"))
	require.ErrorIs(t, put(t, h, "/dev/vg0/a", 0, secret), syscall.EIO)
	_, err := h.Run(context.Background(), "lvcreate", "--yes", "--name", "b", "--size", "4m", "vg0")
	require.ErrorContains(t, err, "Cannot change VG vg0 while PVs are missing")
	require.Contains(t, h.String(), "disk /dev/fake1 2GiB pv of vg0, 16 of 511 extents used absent\nvg vg0 4024MiB free of 4088MiB partial\n")
	require.NoError(t, h.ReturnDisk("/dev/fake1"))
	require.Equal(t, secret, get(t, h, "/dev/vg0/a", 0, len(secret)))
	do(t, h, "lvcreate --yes --name b --size 4m vg0")
}
