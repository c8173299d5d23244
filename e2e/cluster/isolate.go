// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// grace is how long an isolated process may take to end after it was asked to.
const grace = 15 * time.Second

// Isolate runs this executable again, with other arguments, as the first process
// of process, mount and network namespaces of its own, and returns its exit
// status. When that process ends, in whatever way, the kernel ends all that it
// started and takes their network away; it ends with this one at the latest. The
// end of ctx sends it SIGTERM, then, when it takes too long, SIGKILL. Needs root.
func Isolate(ctx context.Context, args []string, stdout, stderr io.Writer) (exitCode int, err error) {
	return again(ctx, unix.CLONE_NEWPID|unix.CLONE_NEWNS|unix.CLONE_NEWNET, grace, args, stdout, stderr)
}

// Again is Isolate without namespaces: what a container engine runs for the process is none
// of its children, and it has the time to delete it.
func Again(ctx context.Context, args []string, stdout, stderr io.Writer) (exitCode int, err error) {
	return again(ctx, 0, kindTime, args, stdout, stderr)
}

func again(ctx context.Context, namespaces uintptr, grace time.Duration, args []string, stdout, stderr io.Writer) (exitCode int, err error) {
	// Pdeathsig fires when the thread that forked ends, so it must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: namespaces,
		Pdeathsig:  syscall.SIGKILL,
		Setpgid:    true, // Ctrl-C comes through us, once
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = grace
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// settle makes the namespaces that Isolate gave usable: this process's own /proc,
// and the loopback device. It is harmless to call it twice.
func settle(ctx context.Context) error {
	if os.Getpid() != 1 {
		return errors.New("not the first process of namespaces of its own: run under cluster.Isolate")
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return ip(ctx, "link set lo up")
}
