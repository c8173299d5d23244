// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package lvmtest_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
	"github.com/podlv/podlv/lvm/lvmtest"
)

// TestRealThinPoolExtensionDies kills an lvextend of a thin pool before each of its calls that
// change a device of device-mapper, and before each of its writes: then the pool's devices may
// be suspended, or have a table that was never committed. FinishPool makes them whole, and a
// volume of the pool can be written. A refresh alone fails when the kernel has the pool's new
// table already.
func TestRealThinPoolExtensionDies(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not there, which kills lvm in its middle")
	}
	m := lvmtest.RealMachine(t, strings.Split(*disks, ","))
	ctx := context.Background()
	c, err := lvm.NewClient(m.Runner, "podlv.dev")
	require.NoError(t, err)
	raw := func(args ...string) {
		t.Helper()
		_, err := m.Runner.Run(ctx, args...)
		require.NoError(t, err)
	}
	raw("vgcreate", "--yes", "-ff", "vg0", m.Disks[0], m.Disks[1])
	t.Cleanup(func() { raw("vgremove", "--yes", "-ff", "vg0"); raw("pvremove", "--yes", m.Disks[0], m.Disks[1]) })
	group := func() lvm.VolumeGroup {
		g, err := c.VolumeGroup(ctx, "vg0")
		require.NoError(t, err)
		return g
	}
	spec := lvm.PoolSpec{VG: "vg0", Name: "pool", Size: 64 << 20, Metadata: 8 << 20, Tag: "podlv.pool"}
	scene := func() {
		t.Helper()
		require.NoError(t, c.CreatePool(ctx, spec))
		require.NoError(t, c.Create(ctx, lvm.Spec{VG: "vg0", Name: "a", Size: 32 << 20, Layout: lvm.Thin, Pool: "pool"}))
		raw("lvchange", "--addtag", "podlv.pool.grows=134217728/8388608", "vg0/pool")
	}
	extend := []string{"lvm", "lvextend", "--size", "128m", "vg0/pool", m.Disks[0], m.Disks[1]}
	trace := filepath.Join(t.TempDir(), "trace")
	scene()
	out, err := exec.Command("strace", append([]string{"-f", "-o", trace, "-e", "trace=ioctl,io_submit"}, extend...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	raw("lvremove", "--yes", "vg0/pool")

	unfinished := 0
	all := points(t, trace)
	for i, p := range all {
		t.Run(p.String(), func(t *testing.T) {
			scene()
			inject := fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", p.call, p.number)
			out, err := exec.Command("strace", append([]string{"-f", "-o", "/dev/null", "-e", "trace=" + p.call, "-e", inject}, extend...)...).CombinedOutput()
			require.ErrorContains(t, err, "killed", "%s", out)
			if l, _ := group().LogicalVolume("pool"); l.Size == spec.Size && suspended(t) {
				unfinished++
			}
			if i > 0 && p.what == "load" && all[i-1].what == "load" { // of the device above the pool: the pool's is loaded
				require.Error(t, c.Refresh(ctx, "vg0", "pool"))
				require.True(t, suspended(t))
			}
			require.NoError(t, c.FinishPool(ctx, group(), "pool", "podlv.pool"))
			l, ok := group().LogicalVolume("pool")
			require.True(t, ok)
			require.EqualValues(t, 128<<20, l.Size)
			require.Equal(t, []string{"podlv.pool"}, l.Tags)
			require.False(t, suspended(t))
			table, err := exec.Command("dmsetup", "table", "vg0-pool-tpool").Output()
			require.NoError(t, err)
			require.Equal(t, "262144", strings.Fields(string(table))[1], "sectors")
			write(t, "/dev/vg0/a")
			raw("lvremove", "--yes", "vg0/pool")
		})
	}
	require.Positive(t, unfinished, "no death left the pool suspended before its commit")
}

// suspended says whether any device of device-mapper is.
func suspended(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("dmsetup", "info", "-c", "--noheadings", "-o", "suspended").Output()
	require.NoError(t, err)
	return strings.Contains(string(out), "Suspended")
}

// write writes to a device; one that is suspended would keep it waiting for ever.
func write(t *testing.T, device string) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(device, os.O_WRONLY|os.O_SYNC, 0)
		if err == nil {
			_, err = f.Write(make([]byte, 1<<20))
		}
		if err == nil {
			err = f.Close()
		}
		done <- err
	}()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(30 * time.Second):
		t.Fatalf("a write to %s hangs", device)
	}
}

// point is a system call of a command: its name, and the how many-th of that name it is.
type point struct {
	call, what string
	number     int
}

func (p point) String() string { return fmt.Sprintf("%s %d (%s)", p.call, p.number, p.what) }

// points are those of a trace that change something, from the first on that changes a
// device: what comes before is no more than in any other command.
func points(t *testing.T, trace string) (all []point) {
	t.Helper()
	f, err := os.Open(trace)
	require.NoError(t, err)
	defer f.Close()
	counts := map[string]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		for _, call := range []string{"ioctl", "io_submit"} {
			if !strings.Contains(lines.Text(), call+"(") {
				continue
			}
			counts[call]++
			for mark, what := range map[string]string{"DM_TABLE_LOAD": "load", "DM_DEV_SUSPEND": "suspend or resume", "IOCB_CMD_PWRITE": "write"} {
				if strings.Contains(lines.Text(), mark) && (len(all) > 0 || call == "ioctl") {
					all = append(all, point{call, what, counts[call]})
				}
			}
		}
	}
	require.NoError(t, lines.Err())
	require.Greater(t, len(all), 10)
	return all
}
