// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"fmt"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// startOnCPU starts a command that stays, with all its children, on one of the
// CPUs that this process may use: the n-th from the last, modulo their number.
//
// A User-Mode Linux machine is many processes of which one runs at a time and
// wakes the next. On one CPU that is a switch between them; on several, each step
// wakes a CPU that sleeps, and the machine is half as fast and far less steady.
func startOnCPU(cmd *exec.Cmd, n int) error {
	failed := make(chan error)
	go func() {
		// A child inherits the CPUs of the thread that starts it. Never unlocked, the
		// thread ends with this goroutine.
		runtime.LockOSThread()
		var allowed unix.CPUSet
		if err := unix.SchedGetaffinity(0, &allowed); err != nil {
			failed <- fmt.Errorf("ask for the CPUs: %w", err)
			return
		}
		one := nth(allowed, n)
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			failed <- fmt.Errorf("stay on one CPU: %w", err)
			return
		}
		failed <- cmd.Start()
	}()
	return <-failed
}

// nth is the set of one CPU of a set, counted from the last, modulo their number.
func nth(allowed unix.CPUSet, n int) unix.CPUSet {
	var one unix.CPUSet
	left := allowed.Count() - n%allowed.Count()
	for i := 0; ; i++ {
		if allowed.IsSet(i) {
			left--
		}
		if left == 0 {
			one.Set(i)
			return one
		}
	}
}
