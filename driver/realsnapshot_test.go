// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package driver_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// copySizes are small volumes of each filesystem.
var copySizes = map[string]int64{"ext4": 64 * mib, "xfs": 300 * mib, "btrfs": 128 * mib}

// inUse is a claim that pod a uses, with files: one that is synced, one that is only
// written, one that is open and removed.
func (n *realNode) inUse(c *claim) (release func()) {
	n.t.Helper()
	require.NoError(n.t, n.create(c))
	require.NoError(n.t, n.stage(c))
	require.NoError(n.t, n.give(c, "a"))
	dir := c.target("a")
	f, err := os.Create(dir + "/synced")
	require.NoError(n.t, err)
	_, err = f.WriteString("synced")
	require.NoError(n.t, err)
	require.NoError(n.t, f.Sync())
	require.NoError(n.t, f.Close())
	require.NoError(n.t, os.WriteFile(dir+"/written", bytes.Repeat([]byte("written!"), mib/8), 0o600))
	gone, err := os.Create(dir + "/gone")
	require.NoError(n.t, err)
	require.NoError(n.t, os.Remove(gone.Name()))
	return func() { _ = gone.Close() }
}

// served stages a copy and checks what is in it.
func (n *realNode) served(c *claim) {
	n.t.Helper()
	require.NotContains(n.t, n.lvm("lvs", "--noheadings", "-o", "lv_tags", c.id), "podlv.state")
	require.NoError(n.t, n.stage(c))
	require.NoError(n.t, n.give(c, "a"))
	for name, want := range map[string]string{"synced": "synced", "written": strings.Repeat("written!", mib/8)} {
		data, err := os.ReadFile(c.target("a") + "/" + name)
		require.NoError(n.t, err)
		require.True(n.t, string(data) == want, "%s of %s differs", name, c.name)
	}
}

// discard takes a claim from its pod and deletes it.
func (n *realNode) discard(c *claim) {
	n.t.Helper()
	require.NoError(n.t, n.take(c, "a"))
	require.NoError(n.t, n.unstage(c))
	require.NoError(n.t, n.delete(c))
}

// check is the filesystem's own check of a volume that nobody uses.
func (n *realNode) check(c *claim) {
	n.t.Helper()
	require.NoError(n.t, n.take(c, "a"))
	require.NoError(n.t, n.unstage(c))
	args := map[string][]string{"ext4": {"e2fsck", "-f", "-n"}, "xfs": {"xfs_repair", "-n"}, "btrfs": {"btrfs", "check"}}[c.fsType]
	out, err := exec.Command(args[0], append(args[1:], c.device())...).CombinedOutput()
	require.NoError(n.t, err, "%s", out)
	require.NoError(n.t, n.stage(c))
	require.NoError(n.t, n.give(c, "a"))
}

// A snapshot of a filesystem in use, a restore and a clone of it, larger than it is;
// all three mounted at once, each with its own files.
func TestRealSnapshotsAndCopies(t *testing.T) {
	for fs, size := range copySizes {
		for _, class := range []string{"ssd", "thin"} {
			t.Run(fs+" "+class, func(t *testing.T) {
				n := newRealClaimNode(t)
				source := n.claim("source", size).ofClass(class).as(fs)
				release := n.inUse(source)
				s := newShot("one", source).sized("32Mi")
				require.NoError(t, n.snap(s))
				require.True(t, s.ready)
				require.Equal(t, size, s.size)
				require.WithinDuration(t, time.Now(), s.taken, time.Minute)
				require.NoError(t, n.snap(s), "once more")
				// An fsync after the snapshot, and one whose log is in the clone.
				require.NoError(t, os.WriteFile(source.target("a")+"/later", []byte("later"), 0o600))
				out, err := exec.Command("sync", source.target("a")+"/later").CombinedOutput()
				require.NoError(t, err, "%s", out)

				restored := n.claim("restored", 2*size).ofClass(class).from(s)
				restored.fsType = fs
				clone := n.claim("clone", size).ofClass(class).copyOf(source).as(fs)
				for _, c := range []*claim{restored, clone} {
					require.NoError(t, n.create(c))
					require.NoError(t, n.create(c), "once more")
					n.served(c)
				}
				require.NoFileExists(t, restored.target("a")+"/later")
				require.FileExists(t, clone.target("a")+"/later")
				require.Greater(t, n.free(restored.target("a")), n.free(source.target("a"))+size/2, "the larger one grew")
				for _, c := range []*claim{restored, clone} {
					require.NoFileExists(t, c.target("a")+"/gone")
					require.NoError(t, os.WriteFile(c.target("a")+"/synced", []byte("mine"), 0o600))
				}
				second := n.claim("second", size).ofClass(class).copyOf(clone).as(fs)
				require.NoError(t, n.create(second), "a clone of a clone, with its own data")
				require.NoError(t, n.stage(second))
				require.NoError(t, n.give(second, "a"))
				data, err := os.ReadFile(second.target("a") + "/synced")
				require.NoError(t, err)
				require.Equal(t, "mine", string(data))
				data, err = os.ReadFile(source.target("a") + "/synced")
				require.NoError(t, err)
				require.Equal(t, "synced", string(data))
				larger, err := n.expand(clone, 2*size)
				require.NoError(t, err)
				require.Equal(t, 2*size, larger)
				for _, c := range []*claim{restored, clone, second} {
					n.check(c)
				}
				for _, c := range []*claim{restored, clone, second} {
					n.discard(c)
				}
				require.NoError(t, n.unsnap(s))
				release()
				n.discard(source)
				require.Equal(t, []string{"pool"}, n.volumes())
			})
		}
	}
}

// What LVM takes for a thick restore of a thin snapshot, and the other way round.
func TestRealCopiesAcrossLayouts(t *testing.T) {
	n := newRealClaimNode(t)
	n.hidden()
	for _, way := range [][2]string{{"ssd", "thin"}, {"thin", "ssd"}} {
		source := n.claim("source", 64*mib).ofClass(way[0]).as("ext4")
		release := n.inUse(source)
		s := newShot("one", source)
		require.NoError(t, n.snap(s))
		restored, clone := n.claim("restored", 64*mib).ofClass(way[1]).from(s), n.claim("clone", 64*mib).ofClass(way[1]).copyOf(source)
		for _, c := range []*claim{restored, clone} {
			require.NoError(t, n.create(c))
			n.served(c)
			n.discard(c)
		}
		release()
		if way[0] == "thin" { // its volume may go first
			n.discard(source)
			require.NoError(t, n.create(restored))
			n.served(restored)
			n.discard(restored)
			require.NoError(t, n.unsnap(s))
		} else {
			require.NoError(t, n.take(source, "a"))
			require.NoError(t, n.unstage(source))
			requireCode(t, n.delete(source), codes.FailedPrecondition, "thick snapshots")
			require.NoError(t, n.unsnap(s))
			require.NoError(t, n.delete(source))
		}
		require.Equal(t, []string{"pool"}, n.volumes())
	}
}

// Striped and raid1 volumes are copied as linear ones are.
func TestRealCopiesOfOtherLayouts(t *testing.T) {
	n := newRealNode(t)
	n.lvm("vgextend", "vg0", n.disks[1])
	require.NoError(t, os.WriteFile(n.config, []byte(`
pools: [{name: ssd, volumeGroup: vg0}]
classes:
- {name: striped, pool: ssd, layout: striped, stripes: 2}
- {name: raid1, pool: ssd, layout: raid1, copies: 2}
`), 0o600))
	n.start()
	for _, class := range []string{"striped", "raid1"} {
		source := n.claim("source", 64*mib).ofClass(class).as("ext4")
		release := n.inUse(source)
		s := newShot("one", source)
		require.NoError(t, n.snap(s))
		restored, clone := n.claim("restored", 64*mib).ofClass(class).from(s), n.claim("clone", 128*mib).ofClass(class).copyOf(source)
		for _, c := range []*claim{restored, clone} {
			require.NoError(t, n.create(c))
			n.served(c)
			n.discard(c)
		}
		require.NoError(t, n.unsnap(s))
		release()
		n.discard(source)
		require.Empty(t, n.volumes())
	}
}

// Raw bytes: all of the source's, and behind them nobody's.
func TestRealCopiesOfRawBlock(t *testing.T) {
	n := newRealClaimNode(t)
	n.hidden()
	for _, way := range [][2]string{{"ssd", "ssd"}, {"thin", "thin"}, {"thin", "ssd"}, {"ssd", "thin"}} {
		source := n.claim("source", 64*mib).ofClass(way[0]).raw()
		require.NoError(t, n.create(source))
		require.NoError(t, n.stage(source))
		require.NoError(t, n.give(source, "a"))
		require.NoError(t, exec.Command("dd", "if=/dev/urandom", "of="+source.target("a"), "bs=1M", "count=64", "conv=fsync").Run())
		want := digest(t, source.target("a"))
		s := newShot("one", source).sized("100%")
		require.NoError(t, n.snap(s))
		clone := n.claim("clone", 64*mib).ofClass(way[1]).copyOf(source).raw()
		require.NoError(t, n.create(clone))
		require.Equal(t, want, digest(t, clone.device()))
		require.NoError(t, exec.Command("dd", "if=/dev/urandom", "of="+source.target("a"), "bs=1M", "count=32", "conv=fsync,notrunc").Run())
		restored := n.claim("restored", 128*mib).ofClass(way[1]).from(s).raw()
		require.NoError(t, n.create(restored))
		n.clean(restored.device(), 64*mib)
		same := n.claim("same", 64*mib).ofClass(way[1]).from(s).raw()
		require.NoError(t, n.create(same))
		require.Equal(t, want, digest(t, same.device()))
		for _, c := range []*claim{clone, restored, same} {
			require.NoError(t, n.delete(c))
		}
		require.NoError(t, n.unsnap(s))
		n.discard(source)
		require.Equal(t, []string{"pool"}, n.volumes())
	}
}

// A thick snapshot grows before it is full; where there is no space for that it
// overflows, and says so.
func TestRealThickSnapshotGrowsOrBreaks(t *testing.T) {
	n := newRealClaimNode(t)
	source := n.claim("source", 256*mib).as("ext4")
	release := n.inUse(source)
	write := func(name string, size int) {
		out, err := exec.Command("dd", "if=/dev/urandom", "of="+source.target("a")+"/"+name, "bs=1M", fmt.Sprintf("count=%d", size), "conv=fsync").CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	s := newShot("one", source).sized("64Mi")
	require.NoError(t, n.snap(s))
	lv := func(field string) string {
		return n.lvm("lvs", "--noheadings", "--units", "m", "--nosuffix", "-o", field, s.id)
	}
	for i := range 10 { // 80 MiB, more than it had at first; ext4 writes more on its own
		write(fmt.Sprintf("more%d", i), 8)
		time.Sleep(6 * time.Second) // one look
	}
	require.NotEqual(t, "64.00", lv("lv_size"), "it grew")
	require.Empty(t, lv("lv_snapshot_invalid"))
	restored := n.claim("restored", 256*mib).from(s)
	require.NoError(t, n.create(restored))
	n.served(restored)
	require.NoFileExists(t, restored.target("a")+"/more0")
	n.discard(restored)
	require.NoError(t, n.unsnap(s))

	s = newShot("two", source).sized("8Mi")
	require.NoError(t, n.snap(s))
	n.lvm("lvcreate", "--yes", "--name", "filler", "--extents", "100%FREE", "vg0")
	write("flood", 64)
	require.Equal(t, "snapshot invalid", n.lvm("lvs", "--noheadings", "-o", "lv_snapshot_invalid", s.id))
	n.lvm("lvremove", "--yes", "vg0/filler")
	requireCode(t, n.create(n.claim("broken", 256*mib).from(s)), codes.FailedPrecondition, "broken", "podlv.dev/snapshot-size")
	require.False(t, n.shots(s.id, "")[0].GetReadyToUse())
	require.NoError(t, n.snap(s))
	require.False(t, s.ready)
	require.Eventually(t, func() bool { return strings.Contains(n.log.String(), "overflowed") }, time.Minute, time.Second)
	require.NoError(t, os.WriteFile(source.target("a")+"/alive", nil, 0o600), "its volume is unharmed")
	require.NoError(t, n.unsnap(s))
	release()
	n.discard(source)
	require.Equal(t, []string{"pool"}, n.volumes())
}

// createAgain is what a provisioner does: the agent that has just started may be
// removing what the one before it left.
func (n *realNode) createAgain(c *claim) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		err := n.create(c)
		if status.Code(err) == codes.Aborted {
			return false
		}
		require.NoError(n.t, err)
		return true
	}, time.Minute, time.Second)
}

// The agent is killed in the middle of a copy. Another one begins again.
func TestRealAgentKilledOverACopy(t *testing.T) {
	for fs, size := range copySizes {
		for name, tool := range map[string]string{"ext4": "tune2fs", "xfs": "xfs_growfs", "btrfs": "btrfs"} {
			if name != fs {
				continue
			}
			for _, class := range []string{"ssd", "thin"} {
				t.Run(fs+" "+class, func(t *testing.T) {
					n := newRealClaimNode(t)
					source := n.claim("source", size).ofClass(class).as(fs)
					release := n.inUse(source)
					n.kill()
					n.trap(tool, "before")
					n.start()
					c := n.claim("copy", 2*size).ofClass(class).copyOf(source).as(fs)
					require.Error(t, n.create(c), "the agent dies over it")
					n.restart()
					c.id = "vg0/" + c.name
					require.Error(t, n.stage(c), "it is not made")
					n.createAgain(c)
					n.served(c)
					n.check(c)
					n.discard(c)
					release()
					n.discard(source)
					require.Equal(t, []string{"pool"}, n.volumes())
				})
			}
		}
	}
	t.Run("copying", func(t *testing.T) {
		n := newRealClaimNode(t)
		source := n.claim("source", 512*mib).raw()
		require.NoError(t, n.create(source))
		require.NoError(t, n.stage(source))
		require.NoError(t, n.give(source, "a"))
		require.NoError(t, exec.Command("dd", "if=/dev/urandom", "of="+source.target("a"), "bs=1M", "count=512", "conv=fsync").Run())
		c := n.claim("copy", 512*mib).copyOf(source).raw()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := n.control.CreateVolume(ctx, n.createRequest(c))
		requireCode(t, err, codes.DeadlineExceeded)
		n.kill()
		n.start()
		n.createAgain(c)
		require.Equal(t, digest(t, source.target("a")), digest(t, c.device()))
		require.NoError(t, n.delete(c))
		n.discard(source)
		require.Equal(t, []string{"pool"}, n.volumes())
		require.Empty(t, filepathGlob(t, "/dev/vg0/temporary-*"))
	})
}

func filepathGlob(t *testing.T, pattern string) []string {
	found, err := filepath.Glob(pattern)
	require.NoError(t, err)
	return found
}
