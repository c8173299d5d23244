// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package lvmtest_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

var udevd = flag.String("lvm.udevd", "/lib/systemd/systemd-udevd", "the udev daemon, which is udevadm by another name")

// startUdev starts a udev daemon for the time of a test, where the machine has none that
// runs: a microVM has not, a host has.
func startUdev(t *testing.T) {
	t.Helper()
	running := func() bool { _, err := os.Stat("/run/udev/control"); return err == nil }
	if running() {
		return // the machine's own, whose files are not ours to remove
	}
	daemon := &exec.Cmd{Path: *udevd, Args: []string{"systemd-udevd"}}
	require.NoError(t, daemon.Start())
	t.Cleanup(func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
		_ = os.RemoveAll("/run/udev") // else lvm believes that it is there
	})
	require.Eventually(t, running, 10*time.Second, 50*time.Millisecond)
}

// TestRealBesideUdev is what a node is: the machine's own lvm works with the machine's
// udev; the client's runs in a container, which has the machine's /dev and locks and
// neither its /run/udev nor its semaphores. Neither may take the other's links away.
func TestRealBesideUdev(t *testing.T) {
	if _, err := os.Stat(*udevd); err != nil {
		t.Skipf("no udev here (apt-get install udev): %v", err)
	}
	require.NotEmpty(t, *disks, "no -lvm.disks: run this through make test-lvm")
	t.Setenv("DM_DISABLE_UDEV", "") // so that it is put back
	require.NoError(t, os.Unsetenv("DM_DISABLE_UDEV"))
	startUdev(t)
	settled := func() {
		t.Helper()
		out, err := (&exec.Cmd{Path: *udevd, Args: []string{"udevadm", "settle", "--timeout=60"}}).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	host := func(args ...string) {
		t.Helper()
		out, err := exec.Command("lvm", append(args, "--config", "activation{udev_sync=1 udev_rules=1} backup{backup=0 archive=0}")...).CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
		settled()
	}
	script := filepath.Join(t.TempDir(), "lvm")
	require.NoError(t, os.WriteFile(script, []byte(`#!/bin/sh
exec unshare --mount --ipc sh -c 'mount -t tmpfs none /run/udev && exec lvm "$@"' lvm "$@"
`), 0o755))
	client, err := lvm.NewClient(lvm.Exec{Path: script}, "podlv.test")
	require.NoError(t, err)
	links := func(name string) (there []string) {
		for _, path := range []string{"/dev/udevvg/" + name, "/dev/mapper/udevvg-" + name} {
			if _, err := os.Lstat(path); err == nil {
				there = append(there, path)
			}
		}
		return there
	}
	are := func(name string, number int, when string) {
		t.Helper()
		require.Len(t, links(name), number, when)
		settled()
		require.Len(t, links(name), number, when+", and udev is done")
	}
	ctx := t.Context()
	disk, _, _ := strings.Cut(*disks, ",")

	host("vgcreate", "--yes", "udevvg", disk)
	t.Cleanup(func() {
		_ = exec.Command("vgremove", "--force", "--yes", "udevvg").Run()
		_ = exec.Command("pvremove", "--yes", disk).Run()
	})
	host("lvcreate", "--yes", "--size", "8m", "--name", "booted", "--addtag", "podlv.test", "udevvg")
	are("booted", 2, "activated by the host, as at boot")
	require.NoError(t, client.Extend(ctx, "udevvg", "booted", 16<<20))
	are("booted", 2, "the client has extended what the host has activated")

	require.NoError(t, client.Create(ctx, lvm.Spec{VG: "udevvg", Name: "made", Size: 8 << 20}))
	are("made", 2, "made by the client")
	require.NoError(t, client.Extend(ctx, "udevvg", "made", 16<<20))
	are("made", 2, "made and extended by the client")
	host("lvextend", "--size", "24m", "udevvg/made")
	are("made", 2, "made by the client, extended by the host")
	require.NoError(t, client.Remove(ctx, "udevvg", "made"))
	are("made", 0, "removed by the client")

	require.NoError(t, client.Create(ctx, lvm.Spec{VG: "udevvg", Name: "again", Size: 8 << 20}))
	host("lvremove", "--yes", "udevvg/again")
	are("again", 0, "made by the client, removed by the host")
	require.NoError(t, client.Remove(ctx, "udevvg", "booted"))
	are("booted", 0, "made by the host, removed by the client")
}
