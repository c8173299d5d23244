// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// pin keeps this process, and what it starts from now on, on one CPU: the last it
// may use. A User-Mode Linux machine is many processes of which one runs at a
// time and wakes the next; on two CPUs of a busy host they are up to twice as
// slow as on one, and far less steady.
func pin() error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("ask for the CPUs: %w", err)
	}
	last := -1
	for i, found := 0, 0; found < allowed.Count(); i++ {
		if allowed.IsSet(i) {
			last = i
			found++
		}
	}
	one.Set(last)
	// Affinity is a thread's. A thread that comes while we look is started by one
	// of those that we see, and every pass leaves fewer that are not pinned.
	for range 3 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if err := unix.SchedSetaffinity(id, &one); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("stay on CPU %d: %w", last, err)
			}
		}
	}
	return nil
}
