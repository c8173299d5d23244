// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

// old is what a former owner left everywhere on an LV.
func old(n int) []byte { return bytes.Repeat([]byte("old secret bytes"), n/16) }

// dirty makes an LV full of old bytes, puts more of them in, and removes it
// again. The next LV of that size in the VG gets its extents.
func (f *fixture) dirty(size int64, more map[int64][]byte) {
	f.t.Helper()
	f.create(lvm.Spec{Name: "former", Size: size})
	f.write(group, "former", 0, old(int(size)))
	for offset, b := range more {
		f.write(group, "former", offset, b)
	}
	require.NoError(f.t, f.client.Remove(context.Background(), group, "former"))
}

var wipeContracts = []contract{
	{"the first 4 KiB of a new LV are zero, the rest is as it was", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.vg(group)
		f.dirty(8*mib, nil)
		f.create(lvm.Spec{Name: "a", Size: 8 * mib})
		require.Equal(f.t, make([]byte, 4096), f.read(group, "a", 0, 4096))
		require.Equal(f.t, old(8 << 20)[4096:], f.read(group, "a", 4096, 8<<20-4096), "nothing else was zeroed: the former owner's bytes show")
	}},
	{"signatures of old filesystems are gone", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.vg(group)
		for _, c := range []struct {
			name   string
			offset int64
			bytes  []byte
			magic  int64 // where the 8 bytes lie that make it one
		}{
			{"ext4", 1024, ext4Superblock(), 1024 + 0x38},
			{"xfs", 0, []byte("XFSB\x00\x00\x10\x00"), 0},
			{"btrfs", 0x10000, btrfsSuperblock(), 0x10040},
			{"swap", 4096 - 10, []byte("SWAPSPACE2"), 4096 - 10},
		} {
			f.dirty(8*mib, map[int64][]byte{c.offset: c.bytes})
			f.create(lvm.Spec{Name: "a", Size: 8 * mib})
			want := c.bytes[c.magic-c.offset:][:2]
			require.NotEqual(f.t, want, f.read(group, "a", c.magic, 2), "%s", c.name)
			require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
		}
	}},
	{"old bytes of a signature's surroundings are kept", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		f.vg(group)
		f.dirty(8*mib, map[int64][]byte{0x10000: btrfsSuperblock()})
		f.create(lvm.Spec{Name: "a", Size: 8 * mib})
		require.Equal(f.t, old(512), f.read(group, "a", 0x10000-512, 512))
		require.Equal(f.t, btrfsSuperblock()[0x40+8:], f.read(group, "a", 0x10000+0x40+8, 4096-0x40-8), "only the magic is overwritten")
	}},
	{"a striped LV is wiped too", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		needs(f.t, "Striped", f.m.Features.Striped)
		g := f.vg(group)
		f.dirty(g.ExtentSize*2, nil) // on the first disk
		f.create(lvm.Spec{Name: "a", Size: 8 * mib, Layout: lvm.Striped, Legs: 2})
		require.Equal(f.t, make([]byte, 4096), f.read(group, "a", 0, 4096))
		require.Equal(f.t, old(4096), f.read(group, "a", 4096, 4096))
	}},
	{"a raid1 LV is wiped too", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		needs(f.t, "RAID1", f.m.Features.RAID1)
		f.vg(group)
		f.dirty(16*mib, nil)
		f.create(lvm.Spec{Name: "a", Size: 8 * mib, Layout: lvm.RAID1, Legs: 2})
		require.Equal(f.t, make([]byte, 4096), f.read(group, "a", 0, 4096))
	}},
	{"a thin volume reads as zeroes where nothing was written", func(f *fixture) {
		needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
		needs(f.t, "Thin", f.m.Features.Thin)
		f.vg(group)
		f.dirty(64*mib, nil)
		f.pool("16m")
		f.create(lvm.Spec{Name: "a", Size: 8 * mib, Layout: lvm.Thin, Pool: "pool"})
		require.Equal(f.t, make([]byte, 8<<20), f.read(group, "a", 0, 8<<20))
		f.write(group, "a", 70000, []byte("new"))
		require.Equal(f.t, make([]byte, 1000), f.read(group, "a", 70003, 1000), "the rest of a chunk is zeroed when its first byte is written")
	}},
}

// ext4Superblock is enough of one to be recognised: the magic, a revision, a
// journal and extents (the kernel's fs/ext4/ext4.h).
func ext4Superblock() []byte {
	b := make([]byte, 1024)
	le := binary.LittleEndian
	le.PutUint32(b[0x00:], 1024)   // inodes
	le.PutUint32(b[0x04:], 2048)   // blocks
	le.PutUint32(b[0x18:], 2)      // 4 KiB blocks
	le.PutUint16(b[0x38:], 0xef53) // magic
	le.PutUint32(b[0x4c:], 1)      // revision
	le.PutUint32(b[0x5c:], 0x4)    // has_journal
	le.PutUint32(b[0x60:], 0x40)   // extents
	copy(b[0x68:], "0123456789abcdef")
	return b
}

// btrfsSuperblock is a UUID and a magic; blkid asks for no more.
func btrfsSuperblock() []byte {
	b := make([]byte, 4096)
	copy(b[0x20:], "0123456789abcdef")
	binary.LittleEndian.PutUint64(b[0x30:], 0x10000) // its own address
	copy(b[0x40:], "_BHRfS_M")
	binary.LittleEndian.PutUint32(b[0x90:], 4096) // sector size
	copy(b[0x200:], "surroundings")
	return b
}
