// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package driver_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/lvm"
)

var (
	realCapacityStates  = flag.Int("capacity.real", 50, "of how many VGs the capacity is tried on real LVM")
	realCapacityVolumes = flag.Int("capacity.volumes", 10, "how many volumes such a VG has seen at most")
)

// What GetCapacity says can be made on real LVM, and a granule more cannot. What the
// driver alone keeps to (reserve, thin pools' promises) is TestCapacityIsExact's.
func TestRealCapacityIsExact(t *testing.T) {
	require.NotEmpty(t, *realDisks, "run through `make test-lvm`: -lvm.disks is not set")
	seed := *capacitySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	t.Logf("seed %d; the same again: -capacity.seed=%d", seed, seed)
	disks := strings.Split(*realDisks, ",")
	extents := int(realDiskSize(t, disks[0]) / (4 * mib))
	clean(t, disks)
	t.Cleanup(func() { clean(t, disks) })
	client, err := lvm.NewClient(lvm.Exec{}, "podlv.dev")
	require.NoError(t, err)
	told := map[string]int{}
	for state := range *realCapacityStates {
		r := rand.New(rand.NewPCG(seed, uint64(state)))
		w := wear(r, slices.Clone(disks), extents, *realCapacityVolumes)
		var setup [][]string
		for _, c := range w.commands {
			switch {
			case slices.Contains(c, "--virtualsize"):
				continue // takes no room, but long
			case slices.Contains(c, "thin-pool"):
				c = append(c, "--activate", "n")
			}
			setup = append(setup, c)
		}
		said := shell(t, setup)
		g, err := client.VolumeGroup(t.Context(), "vg1")
		require.NoError(t, err, said)
		about := fmt.Sprintf("seed %d, state %d, extents of %d MiB\n%s\n%+v", seed, state, g.ExtentSize/mib, w.text(0), g.PhysicalVolumes)
		tried := &recorder{}
		var largest []lvm.Spec
		classes, err := driver.ParseClasses([]byte(w.text(0)))
		require.NoError(t, err)
		for _, c := range w.classes {
			class, err := classes.Named(c.name)
			require.NoError(t, err)
			if class.Layout == lvm.Thin {
				continue
			}
			size := driver.Largest(g, class)
			spec := lvm.Spec{VG: "vg1", Layout: class.Layout, Legs: class.Legs, Size: size + c.granule, Name: "more-" + c.name}
			tried.create(t, spec)
			if spec.Size, spec.Name = size, "most-"+c.name; size > 0 {
				tried.create(t, spec)
				largest = append(largest, spec)
			}
			told[c.kind(size)]++
		}
		made := shell(t, tried.commands)
		for _, c := range w.classes {
			require.NotContains(t, made, `"more-`+c.name+`" created`, "%s\n%s", about, made)
		}
		for _, spec := range largest {
			require.Contains(t, made, fmt.Sprintf("%q created", spec.Name), "%d MiB\n%s\n%s", spec.Size/mib, about, made)
		}
		if state%10 == 0 && len(largest) > 0 { // and without --test
			spec := largest[r.IntN(len(largest))]
			more := spec
			more.Size += 8 * mib * int64(max(1, spec.Legs)) // a granule or a few
			require.ErrorIs(t, client.Create(t.Context(), more), lvm.ErrNoSpace, about)
			require.NoError(t, client.Create(t.Context(), spec), about)
			require.NoError(t, client.Remove(t.Context(), "vg1", spec.Name), about)
		}
		for _, d := range disks { // nothing is active; vgremove would commit for each LV
			wipe(t, d)
		}
		require.NoError(t, os.RemoveAll("/dev/vg1"))
	}
	t.Logf("%d states: %v", *realCapacityStates, told)
}

// recorder is a Runner that runs nothing and keeps the commands, as trials, and without
// their --config, which lvm does not take in its shell.
type recorder struct{ commands [][]string }

func (c *recorder) Run(_ context.Context, args ...string) ([]byte, error) {
	if i := slices.Index(args, "--config"); i >= 0 {
		args = slices.Delete(slices.Clone(args), i, i+2)
	}
	c.commands = append(c.commands, append([]string{args[0], "--test"}, args[1:]...))
	return nil, nil
}

// create adds the command that the client makes an LV with.
func (c *recorder) create(t *testing.T, spec lvm.Spec) {
	t.Helper()
	client, err := lvm.NewClient(c, "podlv.dev")
	require.NoError(t, err)
	require.NoError(t, client.Create(t.Context(), spec))
}

// shell has one lvm do all of the commands, of which some may fail: starting lvm takes
// longer than what most of them do.
func shell(t *testing.T, commands [][]string) string {
	t.Helper()
	var in strings.Builder
	for _, c := range commands {
		for _, word := range c {
			in.WriteString("'" + word + "' ")
		}
		in.WriteString("\n")
	}
	lvm := exec.CommandContext(t.Context(), "lvm")
	lvm.Stdin = strings.NewReader(in.String())
	out, err := lvm.CombinedOutput()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit, "%s", out)
	}
	return string(out)
}

// wipe makes a PV an empty disk.
func wipe(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_WRONLY|syscall.O_DIRECT, 0)
	require.NoError(t, err)
	defer f.Close()
	zeroes, err := unix.Mmap(-1, 0, mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(zeroes)) }()
	_, err = f.WriteAt(zeroes, 0)
	require.NoError(t, err)
}

func realDiskSize(t *testing.T, disk string) int64 {
	t.Helper()
	out, err := exec.Command("blockdev", "--getsize64", disk).Output()
	require.NoError(t, err)
	var size int64
	_, err = fmt.Sscan(string(out), &size)
	require.NoError(t, err)
	return size
}
