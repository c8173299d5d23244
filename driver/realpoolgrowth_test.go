// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package driver_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nameThree gives the pool of newSetUpNode a third disk.
func (n *realNode) nameThree() {
	n.t.Helper()
	text, err := os.ReadFile(n.config)
	require.NoError(n.t, err)
	last := n.disks[1][len(n.disks[1])-1:]
	third := n.disks[2][len(n.disks[2])-1:]
	more := strings.NewReplacer(last+"]", last+third+"]", "count: 2", "count: 3").Replace(string(text))
	require.NoError(n.t, os.WriteFile(n.config, []byte(more), 0o600))
}

// numbers are fields of lvm's of which each is a number.
func (n *realNode) numbers(command, fields, of string) (all []int64) {
	n.t.Helper()
	for _, word := range strings.Fields(n.lvm(command, "--noheadings", "--units", "b", "--nosuffix", "-o", fields, of)) {
		number, err := strconv.ParseInt(word, 10, 64)
		require.NoError(n.t, err)
		all = append(all, number)
	}
	return all
}

// hasShare waits until the thin pool has its share of a VG of so many disks, and looks that
// nothing else was made, and that the kernel has it so, too: of a pool with a volume, which
// it has as a device below another.
func (n *realNode) hasShare(disks int) {
	n.t.Helper()
	var vg, pool []int64
	require.Eventually(n.t, func() bool {
		vg, pool = n.numbers("vgs", "vg_size,vg_extent_size,pv_count", "vg0"), n.numbers("lvs", "lv_size,lv_metadata_size", "vg0/pool0")
		share := vg[0] / 100 * 50 / vg[1] * vg[1]
		return vg[2] == int64(disks) && pool[0]+2*pool[1] == share && n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/pool0") == "podlv.pool"
	}, 2*time.Minute, 300*time.Millisecond, "VG %v, pool %v; the log: %s", &vg, &pool, n.log)
	inner := 0
	for _, name := range strings.Fields(n.lvm("lvs", "-a", "--noheadings", "-o", "lv_name", "vg0")) {
		if !strings.HasPrefix(name, "csi-") {
			inner++
		}
	}
	require.Equal(n.t, 3, inner, "the pool, its data and its metadata")
	require.Empty(n.t, n.lvm("lvs", "--noheadings", "-o", "lv_suspended", "vg0/pool0"))
	for device, size := range map[string]int64{"vg0-pool0-tpool": pool[0], "vg0-pool0_tdata": pool[0], "vg0-pool0_tmeta": pool[1]} {
		sectors := int64(0)
		table, err := exec.Command("dmsetup", "table", device).Output()
		require.NoError(n.t, err)
		for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n") {
			length, err := strconv.ParseInt(strings.Fields(line)[1], 10, 64)
			require.NoError(n.t, err)
			sectors += length
		}
		require.Equal(n.t, size, sectors*512, device)
	}
}

// TestRealThinPoolGrows gives a VG a disk, by the file and by hand, while a volume of its
// thin pool is written.
func TestRealThinPoolGrows(t *testing.T) {
	n := newSetUpNode(t)
	n.start()
	n.setUp()
	v := newVolume("web", "300Mi")
	require.NoError(t, n.publish(v))
	n.settled(v)
	n.hasShare(2)
	target := n.target(v)
	stop, done := make(chan struct{}), make(chan error, 1)
	text := bytes.Repeat([]byte("written while the pool grows\n"), 1<<15)
	files := 0
	go func() {
		defer close(done)
		for ; ; files++ {
			f, err := os.Create(filepath.Join(target, fmt.Sprint("file", files%50)))
			if err == nil {
				_, err = f.Write(text)
			}
			if err == nil {
				err = f.Sync()
			}
			if err == nil {
				err = f.Close()
			}
			if err != nil {
				done <- err
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	n.nameThree()
	n.hasShare(3)
	n.lvm("vgextend", "vg0", n.disks[3])
	n.hasShare(4)
	close(stop)
	require.NoError(t, <-done)
	for i := range min(files, 50) {
		b, err := os.ReadFile(filepath.Join(target, fmt.Sprint("file", i)))
		require.NoError(t, err)
		require.True(t, bytes.Equal(text, b), "file%d", i)
	}
	require.Contains(t, n.log.String(), `msg="the thin pool has grown" vg=vg0 pool=pool0`)
	t.Logf("%d files were written meanwhile", files)

	before := n.numbers("vgs", "vg_seqno", "vg0")
	n.restart()
	require.NoError(t, n.publish(v))
	time.Sleep(10 * time.Second) // its first pass was long ago
	require.Equal(t, before, n.numbers("vgs", "vg_seqno", "vg0"), "nothing is left to do: %s", n.log)
	require.NoError(t, n.unpublish(v))
}

// TestRealThinPoolGrowthGoesOnAfterADeath kills the agent between the commands that a growth is
// made of. What is when lvextend itself is killed: TestRealThinPoolExtensionDies.
func TestRealThinPoolGrowthGoesOnAfterADeath(t *testing.T) {
	for name, command := range map[string]string{"vgextend": "vgextend*", "the tag": "lvchange*--addtag*podlv.pool.grows*", "lvextend": "lvextend*"} {
		t.Run("after "+name, func(t *testing.T) {
			n := newSetUpNode(t)
			n.start()
			n.setUp()
			v := newVolume("web", "64Mi")
			require.NoError(t, n.publish(v))
			n.write(v, "mine")
			n.settled(v)
			n.kill()
			n.nameThree()
			n.diesAt(command, "after")
			n.start()
			n.hasShare(3)
			require.NoError(t, n.publish(v))
			require.Equal(t, "mine", n.read(v))
			n.write(v, "again")
			require.NoError(t, n.unpublish(v))
		})
	}
}
