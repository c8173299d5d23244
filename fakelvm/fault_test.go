// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
	"github.com/stretchr/testify/require"
)

const (
	oldUUID = "00000000-0000-0000-0000-00000000000a"
	newUUID = "00000000-0000-0000-0000-00000000000b"
)

// publish is a life of a volume in seven steps, which ends at the first error.
func publish(h *fakelvm.Host) error {
	for _, step := range []func() error{
		func() error {
			_, err := h.Run(context.Background(), "lvcreate", "--yes", "--wipesignatures", "y", "--zero", "y", "--name", "v", "--size", "64m", "vg0")
			return err
		},
		func() error { return h.Format("/dev/vg0/v", "ext4", newUUID) },
		func() error { return h.MkdirAll("/pod/v") },
		func() error { return h.Mount("/dev/vg0/v", "/pod/v", "ext4", nil) },
		func() error { return h.Unmount("/pod/v") },
		func() error { return h.Remove("/pod/v") },
		func() error { _, err := h.Run(context.Background(), "lvremove", "--yes", "vg0/v"); return err },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// usedHost is a machine whose next LV gets extents with somebody's filesystem.
func usedHost(t testing.TB) *fakelvm.Host {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name old --size 64m vg0")
	require.NoError(t, h.Format("/dev/vg0/old", "ext4", oldUUID))
	do(t, h, "lvremove --yes vg0/old")
	h.ResetSteps()
	return h
}

// volume is the line of String about an LV, or nothing.
func volume(h *fakelvm.Host, name string) string {
	for _, line := range strings.Split(h.String(), "\n") {
		if strings.HasPrefix(line, "  "+name+" ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// TestEveryCrashPoint dies after, before and in the middle of each step, and looks
// at what the machine is then.
func TestEveryCrashPoint(t *testing.T) {
	h := usedHost(t)
	require.NoError(t, publish(h))
	require.Equal(t, 7, h.Steps())
	require.Equal(t, "2: mkfs.ext4 -U "+newUUID+" /dev/vg0/v", h.Log()[1])
	blank := h.String()

	const made = "v linear 64MiB active /dev/fake0:0-15"
	formatted := made + " ext4 " + newUUID
	// The LV and whether it is mounted after the step was not begun, or ended.
	whole := []struct {
		lv      string
		mounted bool
	}{{"", false}, {made, false}, {formatted, false}, {formatted, false}, {formatted, true}, {formatted, false}, {formatted, false}, {"", false}}
	// What differs before the commit and right after it.
	before := map[int]string{7: "v linear 64MiB /dev/fake0:0-15 ext4 " + newUUID}
	after := map[int]string{1: "v linear 64MiB /dev/fake0:0-15 ext4 " + oldUUID, 2: made}

	for n := 1; n <= 7; n++ {
		for _, kind := range []string{"after", "before commit", "after commit"} {
			t.Run(fmt.Sprintf("%s, step %d", kind, n), func(t *testing.T) {
				h := usedHost(t)
				want := whole[n]
				switch kind {
				case "after":
					h.CrashAfter(n)
				case "before commit":
					h.CrashDuring(n, fakelvm.BeforeCommit)
					want = whole[n-1]
					if lv, ok := before[n]; ok {
						want.lv = lv
					}
				case "after commit":
					h.CrashDuring(n, fakelvm.AfterCommit)
					if lv, ok := after[n]; ok {
						want.lv = lv
					}
				}
				require.ErrorIs(t, publish(h), fakelvm.ErrCrashed)
				require.True(t, h.Crashed())
				require.Equal(t, n, h.Steps())
				_, err := h.Run(context.Background(), "vgs")
				require.ErrorIs(t, err, fakelvm.ErrCrashed)
				require.ErrorIs(t, h.Unmount("/pod/v"), fakelvm.ErrCrashed)
				h.Restart()
				require.Equal(t, want.lv, volume(h, "v"))
				require.Equal(t, want.mounted, len(h.Mounts()) == 1)

				h.Reboot()
				require.Empty(t, h.Mounts())
				if want.lv != "" {
					require.Contains(t, volume(h, "v"), " active ")
					do(t, h, "lvremove --yes vg0/v")
				}
				require.Equal(t, blank, h.String())
			})
		}
	}
}

func TestCrashDuringExtendLeavesTheOldDevice(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --name v --size 64m vg0")
	h.ResetSteps()
	h.CrashDuring(1, fakelvm.AfterCommit)
	_, err := h.Run(context.Background(), "lvextend", "--size", "128m", "vg0/v")
	require.ErrorIs(t, err, fakelvm.ErrCrashed)
	h.Restart()
	require.Equal(t, "v linear 128MiB active device=64MiB /dev/fake0:0-31", volume(h, "v"))
	size, err := h.DeviceSize("/dev/vg0/v")
	require.NoError(t, err)
	require.EqualValues(t, 64<<20, size)
	do(t, h, "lvchange --refresh vg0/v")
	require.Equal(t, "v linear 128MiB active /dev/fake0:0-31", volume(h, "v"))
}

// A removal that dies behind its commit has removed all of the volume.
func TestCrashDuringRemoveOfThinAndSnapshot(t *testing.T) {
	h := newHost(t)
	do(t, h, "lvcreate --yes --type thin-pool --name pool --size 16m vg0")
	do(t, h, "lvcreate --yes --type thin --name t --virtualsize 1g --thinpool pool vg0")
	do(t, h, "lvcreate --yes --name o --size 16m vg0")
	do(t, h, "lvcreate --yes --snapshot --name s --size 4m vg0/o")
	require.NoError(t, put(t, h, "/dev/vg0/t", 0, secret))
	for _, name := range []string{"t", "s"} {
		h.ResetSteps()
		h.CrashDuring(1, fakelvm.BeforeCommit)
		_, err := h.Run(context.Background(), "lvremove", "--yes", "vg0/"+name)
		require.ErrorIs(t, err, fakelvm.ErrCrashed)
		h.Restart()
		require.NotEmpty(t, volume(h, name))
		h.ResetSteps()
		h.CrashDuring(1, fakelvm.AfterCommit)
		_, err = h.Run(context.Background(), "lvremove", "--yes", "vg0/"+name)
		require.ErrorIs(t, err, fakelvm.ErrCrashed)
		h.Restart()
		require.Empty(t, volume(h, name))
	}
	require.Equal(t, "pool thin-pool 16MiB active 0 of 256 chunks used", volume(h, "pool"))
	require.NoError(t, put(t, h, "/dev/vg0/o", 0, secret))
	state, err := h.Save()
	require.NoError(t, err)
	again, err := fakelvm.Load(state)
	require.NoError(t, err)
	require.Equal(t, h.String(), again.String())
}

func TestFailNextChangesNothing(t *testing.T) {
	h := newHost(t)
	before := h.String()
	h.FailNext("lvcreate", lvm.ExitError{Code: 5, Stderr: "  disk on fire\n"})
	args := strings.Fields("lvcreate --yes --name v --size 64m vg0")
	_, err := h.Run(context.Background(), args...)
	var exit *lvm.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, lvm.ExitError{Args: args, Code: 5, Stderr: "  disk on fire\n"}, *exit)
	require.Equal(t, before, h.String())
	do(t, h, "lvcreate --yes --name v --size 64m vg0")

	h.FailNextStep("format", errors.New("no mkfs"))
	require.EqualError(t, h.Format("/dev/vg0/v", "ext4", newUUID), "no mkfs")
	require.NoError(t, h.Format("/dev/vg0/v", "ext4", newUUID))

	h.FailNextStep("format", errors.New("no mkfs"))
	h.CrashDuring(h.Steps()+1, fakelvm.BeforeCommit)
	require.ErrorIs(t, h.Format("/dev/vg0/v", "ext4", newUUID), fakelvm.ErrCrashed, "a step that fails dies when it is over")
	require.True(t, h.Crashed())
}

func TestHangEndsTheWaitAndNotTheCommand(t *testing.T) {
	h := newHost(t)
	release := h.Hang("lvcreate")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err := h.Run(ctx, "lvcreate", "--yes", "--name", "v", "--size", "64m", "vg0")
	var hung *lvm.HungError
	require.ErrorAs(t, err, &hung)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Empty(t, volume(h, "v"))
	do(t, h, "vgs") // others are not held up
	release()
	release()
	require.Eventually(t, func() bool { return volume(h, "v") != "" }, time.Second, time.Millisecond)

	release = h.Hang("lvremove")
	ctx, cancel = context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = h.Run(ctx, "lvremove", "--yes", "vg0/v")
	require.ErrorAs(t, err, &hung)
	h.Reboot() // ends the hanging process
	release()
	time.Sleep(5 * time.Millisecond)
	require.NotEmpty(t, volume(h, "v"))
}

func TestDelay(t *testing.T) {
	h := newHost(t)
	h.Delay("vgs", 30*time.Millisecond)
	started := time.Now()
	do(t, h, "vgs")
	require.GreaterOrEqual(t, time.Since(started), 30*time.Millisecond)
	h.Delay("vgs", 0)
	started = time.Now()
	do(t, h, "vgs")
	require.Less(t, time.Since(started), 30*time.Millisecond)
}

func TestRebootActivatesOrNot(t *testing.T) {
	for _, auto := range []bool{true, false} {
		h := newHost(t)
		h.SetAutoActivate(auto)
		do(t, h, "lvcreate --yes --name v --size 64m vg0")
		do(t, h, "lvcreate --yes --name skipped --size 64m --setactivationskip y vg0")
		d, err := h.Open("/dev/vg0/v")
		require.NoError(t, err)
		h.Reboot()
		_, err = d.ReadAt(make([]byte, 1), 0)
		require.Error(t, err)
		require.NoError(t, d.Close())
		require.Equal(t, auto, h.DeviceExists("/dev/vg0/v"))
		require.False(t, h.DeviceExists("/dev/vg0/skipped"))
		do(t, h, "lvchange --activate y vg0/v")
		do(t, h, "lvremove --yes vg0/v") // nothing holds it any more
	}
}

func TestConcurrentUse(t *testing.T) {
	h := newHost(t)
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			name := fmt.Sprintf("v%d", i)
			for range 20 {
				if _, err := h.Run(context.Background(), "lvcreate", "--yes", "--name", name, "--size", "8m", "vg0"); err != nil {
					t.Error(err)
				}
				if err := h.Format("/dev/vg0/"+name, "ext4", newUUID); err != nil {
					t.Error(err)
				}
				_ = h.String()
				if _, err := h.Run(context.Background(), "lvremove", "--yes", "vg0/"+name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	require.Equal(t, 8*20*3, h.Steps())
	require.Equal(t, "disk /dev/fake0 2GiB pv of vg0, 0 of 511 extents used", strings.Split(h.String(), "\n")[0])
}
