// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package driver_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

// newRealClaimNode is a node with a thick and a thin class on VG vg0.
func newRealClaimNode(t *testing.T) *realNode {
	t.Helper()
	n := newRealNode(t)
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", "1g", "vg0")
	require.NoError(t, os.WriteFile(n.config, []byte(sanityClasses), 0o600))
	return n.start()
}

func (n *realNode) claim(name string, size int64) *claim {
	c := newClaim(name, size)
	c.dir = n.dir
	return c
}

// hidden writes a pattern to all free extents of vg0, where only a careless LV
// shows it.
func (n *realNode) hidden() {
	n.t.Helper()
	n.lvm("lvcreate", "--yes", "--name", "former", "--extents", "100%FREE", "vg0")
	f, err := os.OpenFile("/dev/vg0/former", os.O_WRONLY, 0)
	require.NoError(n.t, err)
	size, err := f.Seek(0, io.SeekEnd)
	require.NoError(n.t, err)
	pattern := bytes.Repeat([]byte("secret! "), mib/8)
	for at := int64(0); at < min(size, 512*mib); at += mib {
		_, err := f.WriteAt(pattern, at)
		require.NoError(n.t, err)
	}
	require.NoError(n.t, f.Sync())
	require.NoError(n.t, f.Close())
	n.lvm("lvremove", "--yes", "vg0/former")
}

// clean checks that a device holds zeros from an offset to its end.
func (n *realNode) clean(device string, from int64) {
	n.t.Helper()
	f, err := os.Open(device)
	require.NoError(n.t, err)
	defer f.Close()
	_, err = f.Seek(from, io.SeekStart)
	require.NoError(n.t, err)
	zeros, buf := make([]byte, mib), make([]byte, mib)
	for at := from; ; at += mib {
		if _, err := io.ReadFull(f, buf); err == io.EOF {
			return
		} else {
			require.NoError(n.t, err)
		}
		require.True(n.t, bytes.Equal(zeros, buf), "old bytes at MiB %d", at/mib)
	}
}

// watch reads what appears behind the end of a device, over and over, as a curious pod
// would, until it is stopped: it must never have been anything but zeros.
func (n *realNode) watch(device string, end int64) (stop func()) {
	n.t.Helper()
	f, err := os.OpenFile(device, os.O_RDONLY|unix.O_DIRECT, 0)
	require.NoError(n.t, err)
	buf, err := unix.Mmap(-1, 0, mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	require.NoError(n.t, err)
	done, looks, seen := make(chan struct{}), 0, 0
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			grown := false
			for at := end; ; at += mib {
				if m, err := f.ReadAt(buf, at); m == 0 || err != nil && err != io.EOF {
					break
				}
				grown = true
				if bytes.Contains(buf, []byte("secret!")) {
					seen++
				}
			}
			if looks++; grown {
				select {
				case <-done:
					return
				default:
				}
			}
		}
	}()
	return func() {
		close(done)
		<-stopped
		require.NoError(n.t, f.Close())
		require.NoError(n.t, unix.Munmap(buf))
		n.t.Logf("looked %d times at the end of %s while it grew", looks, device)
		require.Zero(n.t, seen, "old bytes were to be seen")
	}
}

func (n *realNode) size(device string) int64 {
	n.t.Helper()
	f, err := os.Open(device)
	require.NoError(n.t, err)
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	require.NoError(n.t, err)
	return size
}

// TestRealSanity is csi-sanity on real LVM.
func TestRealSanity(t *testing.T) {
	n := newRealClaimNode(t)
	dir := filepath.Join(n.dir, "sanity")
	runSanity(t, n.socket, sanityFiles{
		dir: dir, mkdir: func(p string) error { return os.MkdirAll(p, 0o750) }, remove: os.Remove,
		kind: func(p string) (sanity.PathKind, error) {
			info, err := os.Stat(p)
			switch {
			case os.IsNotExist(err):
				return sanity.PathIsNotFound, nil
			case err != nil:
				return sanity.PathIsNotFound, err
			case info.IsDir():
				return sanity.PathIsDir, nil
			default:
				return sanity.PathIsFile, nil
			}
		},
	}, 64*mib)
	require.Equal(t, []string{"pool"}, n.volumes(), "volumes are left")
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(table), dir, "a mount is left")
}

// A claim's life: made, staged, given to two pods, grown under one that writes,
// killed over, taken, deleted; for every filesystem, thick and thin.
func TestRealClaimLivesAndGoes(t *testing.T) {
	n := newRealClaimNode(t)
	for fs, size := range map[string]int64{"ext4": 64 * mib, "xfs": 300 * mib, "btrfs": 128 * mib} {
		for _, class := range []string{"ssd", "thin"} {
			c := n.claim(fs+"-"+class, size).ofClass(class).as(fs)
			require.NoError(t, n.create(c))
			require.NoError(t, n.create(c), "once more")
			require.NoError(t, n.stage(c))
			require.NoError(t, n.give(c, "a"))
			require.NoError(t, os.WriteFile(c.target("a")+"/data", []byte("kept"), 0o600))
			before := n.free(c.target("a"))

			larger, err := n.expand(c, 2*size)
			require.NoError(t, err)
			require.Equal(t, 2*size, larger)
			require.Equal(t, 2*size, n.size(c.device()))
			require.Greater(t, n.free(c.target("a")), before+size/2, "the filesystem grew, mounted")
			larger, err = n.expand(c, 2*size)
			require.NoError(t, err, "once more")
			require.Equal(t, 2*size, larger)

			n.kill()
			n.start()
			require.NoError(t, n.stage(c), "kubelet calls again")
			require.NoError(t, n.give(c, "a"))
			require.NoError(t, n.take(c, "a"))
			require.NoError(t, n.unstage(c))
			require.NoError(t, n.stage(c))
			require.NoError(t, n.give(c, "a"))
			data, err := os.ReadFile(c.target("a") + "/data")
			require.NoError(t, err)
			require.Equal(t, "kept", string(data))
			requireCode(t, n.delete(c), codes.FailedPrecondition, "in use")

			require.NoError(t, n.take(c, "a"))
			require.NoError(t, n.unstage(c))
			require.NoError(t, n.delete(c))
			require.NoError(t, n.delete(c), "once more")
			require.Equal(t, []string{"pool"}, n.volumes())
		}
	}
}

// free is what a filesystem has free, in bytes.
func (n *realNode) free(target string) int64 {
	n.t.Helper()
	var s unix.Statfs_t
	require.NoError(n.t, unix.Statfs(target, &s))
	return int64(s.Bavail) * s.Bsize
}

// Nobody's bytes are on a raw volume: not when it is made, not where it grew.
func TestRealRawBlockShowsNobodysBytes(t *testing.T) {
	n := newRealClaimNode(t)
	n.hidden()
	for _, class := range []string{"ssd", "thin"} {
		c := n.claim("raw-"+class, 64*mib).ofClass(class).raw()
		require.NoError(t, n.create(c))
		require.NoError(t, n.stage(c))
		require.NoError(t, n.give(c, "a"))
		require.NoError(t, n.give(c, "a"), "once more")
		require.Equal(t, int64(64*mib), n.size(c.target("a")))
		n.clean(c.target("a"), 0)
		f, err := os.OpenFile(c.target("a"), os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("mine"), 64*mib-4)
		require.NoError(t, err)

		stop := n.watch(c.target("a"), 64*mib)
		larger, err := n.expand(c, 128*mib)
		require.NoError(t, err)
		require.Equal(t, int64(128*mib), larger)
		require.Equal(t, int64(128*mib), n.size(c.target("a")), "the pod's device grew")
		stop()
		n.clean(c.target("a"), 64*mib)
		require.NoError(t, f.Close())
		back := make([]byte, 4)
		f, err = os.Open(c.target("a"))
		require.NoError(t, err)
		_, err = f.ReadAt(back, 64*mib-4)
		require.NoError(t, err)
		require.Equal(t, "mine", string(back))
		require.NoError(t, f.Close())

		require.NoError(t, n.take(c, "a"))
		require.NoFileExists(t, c.target("a"))
		require.NoError(t, n.unstage(c))
		require.NoError(t, n.delete(c))
	}
}

func TestRealClaimRefusals(t *testing.T) {
	n := newRealClaimNode(t)
	requireCode(t, n.create(n.claim("huge", 1<<40)), codes.ResourceExhausted, "vg0")
	requireCode(t, n.create(n.claim("xfs", 16*mib).as("xfs")), codes.OutOfRange, "xfs")
	c := n.claim("grow", 64*mib)
	require.NoError(t, n.create(c))
	requireCode(t, n.give(c, "a"), codes.FailedPrecondition)
	require.NoError(t, n.stage(c))
	require.NoError(t, n.give(c, "a"))
	_, err := n.expand(c, 1<<40)
	requireCode(t, err, codes.OutOfRange, "vg0")
	require.Equal(t, int64(64*mib), n.size(c.device()), "nothing of it was done")

	// The superblock is gone: it may be somebody's data, and is not formatted. (Of a
	// volume that still is new, it would be: a death may have left it so.)
	n.settledLV(c.id)
	require.NoError(t, n.take(c, "a"))
	require.NoError(t, n.unstage(c))
	out, err := exec.Command("dd", "if=/dev/zero", "of="+c.device(), "bs=64k", "count=1", "conv=fsync").CombinedOutput()
	require.NoError(t, err, "%s", out)
	requireCode(t, n.stage(c), codes.FailedPrecondition, "is gone", "not formatted")
	require.NoError(t, n.delete(c))

	// What is not a persistent volume of ours is nobody's to delete.
	n.lvm("lvcreate", "--yes", "--name", "admin", "--size", "32m", "vg0")
	require.NoError(t, n.delete(&claim{id: "vg0/admin"}))
	require.Contains(t, n.volumes(), "admin")
	require.NotContains(t, strings.Join(n.volumes(), " "), "pvc-")
}
