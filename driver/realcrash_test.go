// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package driver_test

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// trap makes the next run of a program kill the agent that started it, before or
// after the program does its work.
func (n *realNode) trap(program, when string) {
	n.t.Helper()
	// Reports and the tag's lvchange are not the step that is meant.
	n.trapRun(program, cmp.Or(map[string]string{"lvm": "lvcreate*|lvremove*"}[program], "*"), when)
}

// trapLVM is trap of the lvm commands that are meant, a pattern of sh's case.
func (n *realNode) trapLVM(meant, when string) {
	n.t.Helper()
	n.trapRun("lvm", meant, when)
}

func (n *realNode) trapRun(program, meant, when string) {
	n.t.Helper()
	real, err := exec.LookPath(program)
	require.NoError(n.t, err)
	dir := n.t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\ncase \"$*\" in %s) ;; *) exec %s \"$@\";; esac\n", meant, real)
	if when == "before" {
		script += "kill -9 $PPID\n"
	} else {
		script += real + " \"$@\"\nkill -9 $PPID\n"
	}
	require.NoError(n.t, os.WriteFile(filepath.Join(dir, program), []byte(script), 0o700))
	n.env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
}

// restart starts the agent again after it was killed, without a trap.
func (n *realNode) restart() {
	n.t.Helper()
	n.kill()
	n.env = nil
	n.start()
}

// trapMount kills the agent as soon as the kernel tells that something was mounted
// at the target, or, if it is mounted now, unmounted.
func (n *realNode) trapMount(target string) {
	n.t.Helper()
	table, err := os.Open("/proc/self/mountinfo")
	require.NoError(n.t, err)
	there := func() bool {
		b := make([]byte, 1<<20)
		size, _ := table.ReadAt(b, 0)
		return strings.Contains(string(b[:size]), " "+target+" ")
	}
	before, agent := there(), n.agent.Process
	go func() {
		defer table.Close()
		for there() == before {
			// proc_pid_mountinfo(5): a change of the table is an exceptional condition.
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(table.Fd()), Events: unix.POLLPRI}}, 1000)
			if agent.Signal(syscall.Signal(0)) != nil {
				return
			}
		}
		_ = agent.Signal(syscall.SIGKILL)
	}()
}

// realStep is where an agent is killed. Before it mounts is after mkfs, and before
// lvremove is after it unmounted.
type realStep struct{ call, when, program string }

var realSteps = []realStep{
	{"publish", "before", "lvm"},
	{"publish", "after", "lvm"},
	{"publish", "before", "mkfs.ext4"},
	{"publish", "after", "mkfs.ext4"},
	{"publish", "after", "the mount"},
	{"unpublish", "after", "the unmount"},
	{"unpublish", "before", "lvm"},
	{"unpublish", "after", "lvm"},
}

func TestRealAgentKilledAtEachStep(t *testing.T) {
	n := newRealNode(t)
	n.flags = []string{"--reaper-interval=200ms", "--reaper-min-age=0s"}
	n.start()
	bystander := newVolume("bystander", "32Mi")
	require.NoError(t, n.publish(bystander))
	n.write(bystander, "untouched")
	points := 0
	for _, at := range realSteps {
		for _, then := range []string{"republish", "unpublish", "never again"} {
			points++
			t.Run(strings.Join([]string{at.call, "dies", at.when, at.program, "then", then}, " "), func(t *testing.T) {
				n.t = t
				n.killedAt(at, then, newVolume(fmt.Sprint("p", points), "32Mi"))
				require.Equal(t, "untouched", n.read(bystander))
			})
		}
	}
	n.t = t
	n.restart()
	require.NoError(t, n.unpublish(bystander))
	require.Empty(t, n.volumes())
	t.Logf("went through %d points", points)
}

func (n *realNode) killedAt(at realStep, then string, v volume) {
	n.t.Helper()
	n.restart() // an agent and a connection of this subtest
	written := false
	if at.call == "unpublish" {
		require.NoError(n.t, n.publish(v))
		n.settled(v)
		n.write(v, "kept")
		written = true
	}
	call := map[string]func(volume) error{"publish": n.publish, "unpublish": n.unpublish}[at.call]
	if strings.HasPrefix(at.program, "the ") {
		n.trapMount(n.target(v))
		_ = call(v) // it may have answered just before
		require.Error(n.t, n.agent.Wait(), "the agent was killed")
		n.agent = nil
	} else {
		n.kill()
		n.trap(at.program, at.when)
		n.start()
		require.Error(n.t, call(v), "the agent was killed")
	}
	n.restart()
	switch then {
	case "republish":
		require.NoError(n.t, n.publish(v))
		// The volume may be gone, if lvremove was done; it is whole, or new.
		if _, err := os.Stat(filepath.Join(n.target(v), "data")); written && err == nil {
			require.Equal(n.t, "kept", n.read(v))
		}
		n.write(v, "again")
		n.settled(v)
		require.NoError(n.t, n.unpublish(v))
	case "unpublish":
		require.NoError(n.t, n.unpublish(v))
	case "never again":
		// A reboot took the mount, and kubelet forgot the pod.
		_ = unix.Unmount(n.target(v), 0)
		require.NoError(n.t, os.RemoveAll(filepath.Join(n.dir, "pods", v.uid)))
		require.Eventually(n.t, func() bool { return !strings.Contains(strings.Join(n.volumes(), " "), v.handle()) }, 20*time.Second, 200*time.Millisecond, "the reaper must remove it")
	}
	n.gone(v)
}

// The power fails while volumes are in use; after the boot kubelet publishes
// them again under the same handles.
func TestCrashKeepsSyncedData(t *testing.T) {
	if microvm.Boot() == 1 {
		n := newRealNode(t).start()
		for fs, size := range realSizes {
			v := newVolume("crash-"+fs, size).fs(fs)
			require.NoError(t, n.publish(v))
			n.write(v, "synced "+fs)
		}
		// One whose tag is still there, and one that died half-way.
		n.lvm("lvcreate", "--yes", "-n", newVolume("half", "64Mi").handle(), "-L", "64m", "--addtag", "podlv.dev", "--addtag", "podlv.kind=inline",
			"--addtag", "podlv.state=new", "--addtag", "podlv.fs=ext4", "--addtag", "podlv.pod=default/half/half-uid", "vg0")
		microvm.Crash()
	}
	n := bareRealNode(t)
	t.Cleanup(func() { clean(t, n.disks) })
	n.start()
	for fs, size := range realSizes {
		v := newVolume("crash-"+fs, size).fs(fs)
		require.NoFileExists(t, "/dev/vg0/"+v.handle(), "nothing activates LVs in this machine: as after any boot")
		require.NoError(t, n.publish(v))
		require.Equal(t, "synced "+fs, n.read(v))
		n.settled(v)
		require.NoError(t, n.unpublish(v))
		n.gone(v)
	}
	half := newVolume("half", "64Mi")
	require.NoError(t, n.publish(half))
	require.NoError(t, n.unpublish(half))
	require.Empty(t, n.volumes())
}
