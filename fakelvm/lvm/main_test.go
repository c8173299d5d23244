// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// build builds the program; it starts in milliseconds, unlike a test binary with
// the race detector.
func build(t *testing.T) string {
	program := filepath.Join(t.TempDir(), "lvm")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// sandbox is a folder with a machine's state and the program under lvm's names.
type sandbox struct {
	t   *testing.T
	dir string
	env []string
}

func newSandbox(t *testing.T, env ...string) *sandbox {
	s := &sandbox{t: t, dir: t.TempDir()}
	self := build(t)
	for _, name := range []string{"lvm", "lvcreate", "lvs"} {
		require.NoError(t, os.Symlink(self, filepath.Join(s.dir, name)))
	}
	s.env = append(os.Environ(), "FAKELVM_DIR="+filepath.Join(s.dir, "state"), "FAKELVM_DISKS=/dev/fake0=100g,/dev/fake1=100g")
	s.env = append(s.env, env...)
	return s
}

func (s *sandbox) command(line string) *exec.Cmd {
	words := strings.Fields(line)
	c := exec.Command(filepath.Join(s.dir, words[0]), words[1:]...)
	c.Env = s.env
	return c
}

// run runs a command line and returns what it printed and its exit status.
func (s *sandbox) run(line string) (stdout, stderr string, code int) {
	s.t.Helper()
	var out, errs bytes.Buffer
	c := s.command(line)
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(s.t, err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// do runs a command line that must succeed.
func (s *sandbox) do(line string) string {
	s.t.Helper()
	out, stderr, code := s.run(line)
	require.Zero(s.t, code, "%s: %s", line, stderr)
	return out
}

func TestCommandsShareAMachine(t *testing.T) {
	s := newSandbox(t)
	s.do("lvm vgcreate vg0 /dev/fake0 /dev/fake1")
	require.Equal(t, "  Logical volume \"a\" created.\n", s.do("lvcreate --yes --name a --size 1g --addtag podlv.dev vg0"))
	s.do("lvm lvcreate --yes --type thin-pool --name pool --size 10g vg0")
	s.do("lvm lvcreate --yes --type thin --name t --virtualsize 100g --thinpool pool vg0")
	s.do("lvm lvcreate --yes --snapshot --name ts vg0/t")
	s.do("lvm lvcreate --yes --snapshot --name as --size 100m vg0/a")
	s.do("lvm lvcreate --yes --type raid1 --name r --size 1g vg0")
	s.do("lvm lvcreate --yes --type striped --stripes 2 --name st --size 1g vg0")
	require.Equal(t, `disk /dev/fake0 100GiB pv of vg0, 3229 of 25599 extents used
disk /dev/fake1 100GiB pv of vg0, 388 of 25599 extents used
vg vg0 190324MiB free of 204792MiB
  a linear 1GiB active tags=podlv.dev /dev/fake0:0-255
  as snapshot 100MiB active of a /dev/fake0:2819-2843
  [lvol0_pmspare] part 12MiB /dev/fake0:256-258
  pool thin-pool 10GiB active 0 of 163840 chunks used
  [pool_tdata] part 10GiB active /dev/fake0:259-2818
  [pool_tmeta] part 12MiB active /dev/fake1:0-2
  r raid1 1GiB active
  [r_rimage_0] part 1GiB active /dev/fake0:2845-3100
  [r_rimage_1] part 1GiB active /dev/fake1:4-259
  [r_rmeta_0] part 4MiB active /dev/fake0:2844-2844
  [r_rmeta_1] part 4MiB active /dev/fake1:3-3
  st striped 1GiB active /dev/fake0:3101-3228|/dev/fake1:260-387
  t thin 100GiB active in pool 0 chunks
  ts thin-snapshot 100GiB skip of t in pool 0 chunks
`, s.do("lvm fakelvm show"))
	_, stderr, code := s.run("lvm lvremove --yes vg0/nope")
	require.Equal(t, 5, code)
	require.Equal(t, "  Failed to find logical volume \"vg0/nope\"\n", stderr)
	_, _, code = s.run("lvm frobnicate")
	require.Equal(t, 2, code)
	s.do("lvm lvremove --yes vg0")
	require.Empty(t, s.do("lvs"))
	s.do("lvm fakelvm take /dev/fake1")
	require.Contains(t, s.do("lvm vgs --noheadings -o vg_attr"), "wz-pn-")
	s.do("lvm fakelvm return /dev/fake1")
	require.NotContains(t, s.do("lvm vgs --noheadings -o vg_attr"), "p")
}

func TestStandardInputIsAShell(t *testing.T) {
	s := newSandbox(t)
	c := s.command("lvm")
	c.Stdin = strings.NewReader("vgcreate vg0 /dev/fake0\nlvcreate -n a -L 4m --addtag 'x' vg0\nlvs --noheadings -o name,tags -S 'lv_name = a'\nexit\n")
	out, err := c.Output()
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(out), "  a x\n"), "%s", out)
}

func TestConcurrentProcessesLoseNothing(t *testing.T) {
	s := newSandbox(t)
	s.do("lvm vgcreate vg0 /dev/fake0")
	var wait sync.WaitGroup
	codes := make([]int, 12)
	for i := range codes {
		wait.Go(func() { _, _, codes[i] = s.run(fmt.Sprintf("lvm lvcreate --yes --name v%d --size 1g vg0", i)) })
	}
	wait.Wait()
	for i, code := range codes {
		require.Zero(t, code, i)
	}
	require.Len(t, strings.Fields(s.do("lvm lvs --noheadings -o name")), len(codes))
	require.Equal(t, "13\n", strings.TrimLeft(s.do("lvm vgs --noheadings -o vg_seqno"), " "))
}

// A process that is killed at any time leaves the machine as it was or as it would
// have been.
func TestKilledProcessesLeaveAWholeState(t *testing.T) {
	s := newSandbox(t)
	s.do("lvm vgcreate vg0 /dev/fake0")
	for i := range 10 {
		c := s.command(fmt.Sprintf("lvm lvcreate --yes --name v%d --size 4m vg0", i))
		require.NoError(t, c.Start())
		time.Sleep(time.Duration(i) * 500 * time.Microsecond)
		require.NoError(t, c.Process.Signal(syscall.SIGKILL))
		_ = c.Wait() // killed, or done already
		n := len(strings.Fields(s.do("lvm lvs --noheadings -o name")))
		require.Equal(t, fmt.Sprintf("%d\n", n+1), strings.TrimLeft(s.do("lvm vgs --noheadings -o vg_seqno"), " "))
	}
}

func TestEnvironmentIsChecked(t *testing.T) {
	s := newSandbox(t)
	for _, c := range []struct{ env, want string }{
		{"FAKELVM_DISKS=/dev/fake0", `"/dev/fake0" is not PATH=SIZE`},
		{"FAKELVM_DISKS=/dev/fake0=1x", `size "1x"`},
		{"FAKELVM_DISKS=fake0=1g", "want an absolute path"},
		{"FAKELVM_BACKING=brd", `FAKELVM_BACKING is "brd"`},
		{"FAKELVM_DIR=", "FAKELVM_DIR is not set"},
	} {
		s.env = append(s.env, "FAKELVM_DISKS=", "FAKELVM_BACKING=", c.env)
		_, stderr, code := s.run("lvm vgs")
		require.Equal(t, exitInit, code, c.env)
		require.Contains(t, stderr, c.want)
	}
}

// TestLoopDevices formats and mounts LVs whose disks do not exist.
func TestLoopDevices(t *testing.T) {
	needsLoopDevices(t)
	s := newSandbox(t, "FAKELVM_BACKING=loop")
	dev := filepath.Join(s.dir, "dev")
	s.env = append(s.env, "FAKELVM_DEV="+dev)
	s.do("lvm vgcreate vg0 /dev/fake0")
	t.Cleanup(func() { s.run("lvm vgremove --yes vg0") })
	s.do("lvm lvcreate --yes --name a-b --size 64m vg0")
	device, err := filepath.EvalSymlinks(filepath.Join(dev, "vg0", "a-b"))
	require.NoError(t, err)
	same, err := filepath.EvalSymlinks(filepath.Join(dev, "mapper", "vg0-a--b"))
	require.NoError(t, err)
	require.Equal(t, device, same)

	require.NoError(t, os.WriteFile(device, []byte("data"), 0o600))
	f, err := os.Open(device)
	require.NoError(t, err)
	_, stderr, code := s.run("lvm lvremove --yes vg0/a-b")
	require.Equal(t, 5, code)
	require.Contains(t, stderr, "vg0/a-b in use")
	require.NoError(t, f.Close())

	if out, err := exec.Command("mkfs.ext4", "-q", device).CombinedOutput(); err != nil {
		t.Skipf("no mkfs.ext4 here: %v: %s", err, out)
	}
	target := filepath.Join(s.dir, "mnt")
	require.NoError(t, os.Mkdir(target, 0o755))
	if err := syscall.Mount(device, target, "ext4", 0, ""); err != nil {
		t.Skipf("this kernel does not mount: %v", err)
	}
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			require.NoError(t, syscall.Unmount(target, 0))
		}
	}
	defer unmount()
	require.NoError(t, os.WriteFile(filepath.Join(target, "file"), []byte("kept"), 0o600))
	_, stderr, code = s.run("lvm lvremove --yes vg0/a-b")
	require.Equal(t, 5, code)
	require.Contains(t, stderr, "contains a filesystem in use")
	s.do("lvm lvextend --size 128m vg0/a-b")
	unmount()
	size, err := exec.Command("blockdev", "--getsize64", device).Output()
	require.NoError(t, err)
	require.Equal(t, "134217728\n", string(size))

	s.do("lvm lvchange --activate n vg0/a-b")
	require.NoFileExists(t, filepath.Join(dev, "vg0", "a-b"))
	s.do("lvm lvchange --activate y vg0/a-b")
	device, err = filepath.EvalSymlinks(filepath.Join(dev, "vg0", "a-b"))
	require.NoError(t, err)
	require.NoError(t, syscall.Mount(device, target, "ext4", 0, ""))
	mounted = true
	kept, err := os.ReadFile(filepath.Join(target, "file"))
	require.NoError(t, err)
	require.Equal(t, "kept", string(kept))
	unmount()

	s.do("lvm lvremove --yes vg0")
	files, err := filepath.Glob(filepath.Join(s.dir, "state", "lv", "*.img"))
	require.NoError(t, err)
	require.Empty(t, files)
	require.NoDirExists(t, filepath.Join(dev, "vg0"))
}
