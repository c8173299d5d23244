// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
)

// needsLoopDevices skips a test where there are none.
func needsLoopDevices(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("loop devices take root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skipf("no loop devices here: %v", err)
	}
}

// podlv's agent asks the disks themselves whether something was committed.
func TestADiskInTheFolderChangesWithEveryCommit(t *testing.T) {
	s := newSandbox(t)
	disk := filepath.Join(s.dir, "state", "disk0")
	s.env = append(s.env, "FAKELVM_DISKS=/dev/fake0=1g,"+disk+"=1g")
	s.do("lvm pvs")
	_, err := lvm.Stamp(disk)
	require.ErrorIs(t, err, lvm.ErrNoLabel)
	seen := map[string]bool{}
	for _, commit := range []string{"lvm vgcreate vg0 " + disk, "lvm lvcreate --yes --name a --size 4m vg0", "lvm lvchange --addtag x vg0/a", "lvm lvremove --yes vg0/a"} {
		s.do(commit)
		stamp, err := lvm.Stamp(disk)
		require.NoError(t, err, commit)
		require.False(t, seen[stamp], "the same after %s", commit)
		seen[stamp] = true
	}
	before, err := lvm.Stamp(disk)
	require.NoError(t, err)
	s.do("lvm lvs")
	after, err := lvm.Stamp(disk)
	require.NoError(t, err)
	require.Equal(t, before, after, "a report commits nothing")
	s.do("lvm fakelvm take " + disk)
	_, err = lvm.Stamp(disk)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestWatchPrintsEachState(t *testing.T) {
	s := newSandbox(t)
	c := s.command("lvm fakelvm watch")
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	defer func() { _ = c.Wait() }()
	defer func() { _ = c.Process.Kill() }()
	lines := bufio.NewReader(out)
	next := func() string {
		line, err := lines.ReadBytes('\n')
		require.NoError(t, err)
		h, err := fakelvm.Load(json.RawMessage(line))
		require.NoError(t, err)
		return h.String()
	}
	s.do("lvm vgcreate vg0 /dev/fake0")
	require.Contains(t, next(), "vg vg0")
	s.do("lvm lvcreate --yes --name a --size 4m vg0")
	require.Contains(t, next(), "a linear 4MiB")
}

// loopDevicesOf is how many loop devices have a file of that folder behind them, or one
// of that name.
func loopDevicesOf(t *testing.T, parts ...string) (n int) {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	require.NoError(t, err)
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, p := range parts {
			if strings.Contains(string(raw), p) {
				n++
				break
			}
		}
	}
	return n
}

// In a container the folder is a mount of its own, and the kernel calls a file behind a
// loop device by what it was called there.
func TestADeviceOfAnotherContainerIsFound(t *testing.T) {
	needsLoopDevices(t)
	s := newSandbox(t, "FAKELVM_BACKING=loop")
	s.env = append(s.env, "FAKELVM_DEV="+filepath.Join(s.dir, "dev"))
	s.do("lvm vgcreate vg0 /dev/fake0")
	t.Cleanup(func() { s.run("lvm vgremove --yes vg0") })
	inside := exec.Command("unshare", "--mount", "sh", "-c", "mount --bind state state && ./lvm lvcreate --yes --name a --size 4m vg0")
	inside.Dir, inside.Env = s.dir, s.env
	if out, err := inside.CombinedOutput(); err != nil {
		t.Skipf("no mount namespaces here: %v: %s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(s.dir, "state", "lv", "*.img"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	image := filepath.Base(files[0])
	require.Equal(t, 1, loopDevicesOf(t, image))
	s.do("lvm lvs")
	require.Equal(t, 1, loopDevicesOf(t, image), "it was attached again")
	s.do("lvm lvremove --yes vg0/a")
	require.Zero(t, loopDevicesOf(t, image))
}

func TestDestroyLeavesNothingBehind(t *testing.T) {
	needsLoopDevices(t)
	s := newSandbox(t, "FAKELVM_BACKING=loop")
	dev := filepath.Join(s.dir, "dev")
	s.env = append(s.env, "FAKELVM_DEV="+dev)
	s.do("lvm vgcreate vg0 /dev/fake0")
	s.do("lvm lvcreate --yes --name idle --size 4m vg0")
	s.do("lvm lvcreate --yes --name used --size 16m vg0")
	state := filepath.Join(s.dir, "state")
	require.Equal(t, 2, loopDevicesOf(t, state))
	target := filepath.Join(s.dir, "mnt")
	require.NoError(t, os.Mkdir(target, 0o755))
	if out, err := exec.Command("mkfs.ext4", "-q", filepath.Join(dev, "vg0", "used")).CombinedOutput(); err != nil {
		t.Skipf("no mkfs.ext4 here: %v: %s", err, out)
	}
	mounted := syscall.Mount(filepath.Join(dev, "vg0", "used"), target, "ext4", 0, "") == nil
	s.do("lvm fakelvm destroy")
	if mounted {
		require.Equal(t, 1, loopDevicesOf(t, state), "it is in use")
		require.NoError(t, syscall.Unmount(target, 0))
	}
	require.Eventually(t, func() bool { return loopDevicesOf(t, state) == 0 }, 5*time.Second, 10*time.Millisecond)
	require.NoDirExists(t, filepath.Join(dev, "vg0"))
	require.Empty(t, s.do("lvs"))
	s.do("lvm fakelvm destroy") // again
}
