// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package driver_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/podlv/podlv/driver"
)

// blank makes a disk read as zeros where podlv looks, whatever was on it.
func blank(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	size, err := f.Seek(0, 2)
	require.NoError(t, err)
	for _, at := range []int64{0, size - 2<<20} {
		_, err = f.WriteAt(make([]byte, 2<<20), at)
		require.NoError(t, err)
	}
	require.NoError(t, f.Sync())
}

// partitionTable writes a GPT without partitions, at both ends (UEFI 2.10, 5.3).
func partitionTable(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	end, err := f.Seek(0, 2)
	require.NoError(t, err)
	const sector, entries = 512, 128 * 128
	last, le := uint64(end/sector)-1, binary.LittleEndian
	protective := make([]byte, sector)
	protective[446+4], protective[510], protective[511] = 0xee, 0x55, 0xaa
	le.PutUint32(protective[446+8:], 1)
	le.PutUint32(protective[446+12:], uint32(last))
	_, err = f.WriteAt(protective, 0)
	require.NoError(t, err)
	for _, place := range []struct{ own, other, list uint64 }{{1, last, 2}, {last, 1, last - entries/sector}} {
		h := make([]byte, sector)
		copy(h, "EFI PART\x00\x00\x01\x00\x5c")
		for at, lba := range map[int]uint64{24: place.own, 32: place.other, 40: 34, 48: last - 33, 72: place.list} {
			le.PutUint64(h[at:], lba)
		}
		copy(h[56:], "podlv's test.GPT")
		le.PutUint32(h[80:], 128)
		le.PutUint32(h[84:], 128)
		le.PutUint32(h[88:], crc32.ChecksumIEEE(make([]byte, entries)))
		le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
		_, err = f.WriteAt(h, int64(place.own)*sector)
		require.NoError(t, err)
	}
	require.NoError(t, f.Sync())
}

func sh(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	require.NoError(t, err, "%s: %s", command, out)
	return strings.TrimSpace(string(out))
}

// TestRealDevicesAreRefused puts on a real disk what may be on one. Only a blank one is
// taken.
func TestRealDevicesAreRefused(t *testing.T) {
	n := bareRealNode(t)
	clean(t, n.disks)
	disk, other, linux := n.disks[0], n.disks[1], driver.NewLinux()
	link := filepath.Join(t.TempDir(), "by-id")
	require.NoError(t, os.Symlink(disk, link))
	for name, row := range map[string]struct {
		before, after string // shell; $D is the disk, $O another
		path          string // disk when empty
		pattern       bool   // it is named by one
		table         bool   // a partition table is written before
		words         string // empty: it is taken
	}{
		"blank":                            {},
		"blank, by a link":                 {path: link},
		"blank, by a pattern":              {pattern: true},
		"ext4":                             {before: "mkfs.ext4 -q $D", words: "has a signature: ext4 at 0x438"},
		"xfs":                              {before: "mkfs.xfs -q $D", words: "has a signature: xfs at 0x0"},
		"btrfs":                            {before: "mkfs.btrfs -q $D", words: "has a signature: btrfs at 0x10040"},
		"swap":                             {before: "mkswap -q $D", words: "has a signature: swap"},
		"a partition table":                {table: true, words: "has a signature: gpt at"},
		"only the table's copy at the end": {table: true, before: "dd if=/dev/zero of=$D bs=1M count=1 status=none conv=fsync", words: "has a signature: gpt at"},
		"a filesystem that was wiped":      {before: "mkfs.ext4 -q $D; wipefs -qa $D", words: "is not blank"},
		"random bytes":                     {before: "dd if=/dev/urandom of=$D bs=4k count=1 seek=20 status=none conv=fsync", words: "is not blank"},
		"a PV of somebody":                 {before: "lvm pvcreate -q $D", after: "lvm pvremove -q -ff -y $D", words: "that podlv did not make"},
		"a PV in a VG":                     {before: "lvm vgcreate -q theirs $D", after: "lvm vgremove -q -y theirs; lvm pvremove -q $D", words: "that podlv did not make"},
		"a PV of ours": {
			before: "lvm pvcreate -q --norestorefile --uuid podlv0-aaaa-bbbb-cccc-dddd-eeee-ffffff $D", after: "lvm pvremove -q -y $D",
		},
		"a PV of ours that was taken out of its VG": {
			before: "lvm pvcreate -q --norestorefile --uuid podlv0-aaaa-bbbb-cccc-dddd-eeee-ffffff $D; lvm vgcreate -q x $D; lvm vgremove -q x", after: "lvm pvremove -q -y $D",
			words: "that was taken out of its VG",
		},
		"what a pvcreate leaves that dies before the label": {before: "lvm pvcreate -q $D; dd if=/dev/zero of=$D bs=4k count=1 status=none conv=fsync"},
		"what a pvremove leaves of a VG":                    {before: "lvm vgcreate -q x $D; lvm vgremove -q x; lvm pvremove -q $D", words: "is not blank"},
		"mounted":                                           {before: "mkfs.ext4 -q $D; mkdir -p /run/m; mount $D /run/m", after: "umount /run/m", words: "is in use"},
		"part of a device-mapper device": {
			before: "dmsetup create --noudevsync held --table \"0 2048 linear $D 0\"", after: "dmsetup remove --retry --noudevsync held", words: "is part of dm-",
		},
		"an LV": {
			before: "lvm vgcreate -q theirs $O; lvm lvcreate -q -y --config 'activation{udev_sync=0 udev_rules=0}' -L 8m -n lv theirs", after: "lvm vgremove -q -ff -y --config 'activation{udev_sync=0 udev_rules=0}' theirs; lvm pvremove -q $O",
			path: "/dev/theirs/lv", words: "is a logical volume of LVM",
		},
		"one that returns errors": {
			before: "dmsetup create --noudevsync bad --table \"0 8192 error\"; dmsetup mknodes bad", after: "dmsetup remove --retry --noudevsync bad; rm -f /dev/mapper/bad",
			path: "/dev/mapper/bad", words: "cannot be",
		},
		"read-only":                {before: "blockdev --setro $D", after: "blockdev --setrw $D", words: "is read-only"},
		"a loop device, named":     {before: "truncate -s 64M /run/file; losetup /dev/loop7 /run/file", after: "losetup -d /dev/loop7; rm /run/file", path: "/dev/loop7"},
		"a loop device, matched":   {before: "truncate -s 64M /run/file; losetup /dev/loop7 /run/file", after: "losetup -d /dev/loop7; rm /run/file", path: "/dev/loop7", pattern: true, words: "is a loop device"},
		"a loop device of no file": {path: "/dev/loop6", words: "has a size of 0"},
		"a file":                   {path: "/etc/passwd", words: "is no block device"},
		"nothing":                  {path: "/dev/no-such-device", words: "no such volume"},
	} {
		t.Run(name, func(t *testing.T) {
			blank(t, disk)
			if row.table {
				partitionTable(t, disk)
			}
			expand := strings.NewReplacer("$D", disk, "$O", other)
			if row.before != "" {
				sh(t, "set -e; "+expand.Replace(row.before))
			}
			path := row.path
			if path == "" {
				path = disk
			}
			uuid, err := driver.Takeable(linux, path, !row.pattern)
			if row.after != "" {
				sh(t, expand.Replace(row.after))
			}
			if row.words == "" {
				require.NoError(t, err)
				require.Equal(t, strings.Contains(name, "PV of ours"), uuid != "")
				return
			}
			require.ErrorContains(t, err, row.words)
		})
	}
	blank(t, disk)
}

const realSetUp = `
pools:
- name: ssd
  volumeGroup: vg0
  thinPool: pool0
  thinPoolSize: 50%
  devices: [{path: "DISKS", count: 2}]
classes: [{name: ssd, pool: ssd, default: true}]
`

// newSetUpNode is a node with four blank disks of which the agent is to take two.
func newSetUpNode(t *testing.T) *realNode {
	t.Helper()
	n := bareRealNode(t)
	clean(t, n.disks)
	for _, d := range n.disks {
		blank(t, d)
	}
	t.Cleanup(func() { clean(t, n.disks) })
	last := func(i int) string { return n.disks[i][len(n.disks[i])-1:] }
	pattern := fmt.Sprintf("%s[%s%s]", n.disks[0][:len(n.disks[0])-1], last(0), last(1))
	require.NoError(t, os.WriteFile(n.config, []byte(strings.Replace(realSetUp, "DISKS", pattern, 1)), 0o600))
	return n
}

// setUp waits until the pool is there, whole.
func (n *realNode) setUp() {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		out, _ := exec.Command("lvm", "lvs", "--noheadings", "--separator", " ", "-o", "lv_layout,lv_active", "vg0/pool0").Output()
		return strings.TrimSpace(string(out)) == "thin,pool active"
	}, time.Minute, 200*time.Millisecond, "the log: %s", n.log)
	require.Equal(n.t, "2", n.lvm("vgs", "--noheadings", "-o", "pv_count", "vg0"))
	lvs := slices.DeleteFunc(strings.Fields(n.lvm("lvs", "-a", "--noheadings", "-o", "lv_name", "vg0")), func(name string) bool { return strings.HasPrefix(name, "csi-") })
	require.Len(n.t, lvs, 3, "the pool, its data and its metadata")
	require.Equal(n.t, "2", fmt.Sprint(strings.Count(n.lvm("pvs", "--noheadings", "-o", "pv_uuid"), "podlv0-")))
}

func TestRealSetUp(t *testing.T) {
	n := newSetUpNode(t)
	n.start()
	n.setUp()
	v := newVolume("web", "64Mi")
	require.NoError(t, n.publish(v))
	require.NoError(t, unix.Unmount(n.target(v), 0))

	// Deactivated by hand, with autoactivation off, as after a boot without it.
	n.kill()
	n.lvm("vgchange", "--config", "activation{udev_sync=0 udev_rules=0}", "--setautoactivation", "n", "vg0")
	n.lvm("vgchange", "--config", "activation{udev_sync=0 udev_rules=0}", "-an", "vg0")
	n.start()
	n.setUp()
	require.NoError(t, n.publish(v))
	require.NoError(t, n.unpublish(v))
	for _, d := range n.disks[2:] {
		require.Empty(t, sh(t, "wipefs -n "+d), "nobody named it")
	}
}

// diesAt starts an agent that is killed before or after an lvm command, and waits for its
// death.
func (n *realNode) diesAt(command, when string) {
	n.t.Helper()
	n.trapLVM(command, when)
	n.launch()
	done := make(chan error, 1)
	go func(agent *exec.Cmd) { done <- agent.Wait() }(n.agent)
	select {
	case <-done:
	case <-time.After(time.Minute):
		n.t.Fatalf("the agent came to no %s: %s", command, n.log)
	}
	n.agent, n.env = nil, nil
}

// TestRealSetUpGoesOnAfterADeath kills the agent before and after each command that
// changes something. TestSetUpAtEveryCrashPoint has the deaths inside of commands.
func TestRealSetUpGoesOnAfterADeath(t *testing.T) {
	for _, command := range []string{"pvcreate", "vgcreate", "lvcreate"} {
		for _, when := range []string{"before", "after"} {
			t.Run(command+" "+when, func(t *testing.T) {
				n := newSetUpNode(t)
				n.diesAt(command+"*", when)
				n.start()
				n.setUp()
			})
		}
	}
}
