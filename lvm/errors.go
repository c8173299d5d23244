// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"errors"
	"fmt"
	"time"
)

// What a failed verb meant. Errors of Client wrap one of these where the state
// that was read after the failure explains it, and the *ExitError beside it.
var (
	// ErrInvalid: the request could never succeed (a name, tag or size that LVM
	// does not allow); no command was run.
	ErrInvalid = errors.New("invalid")
	// ErrNotFound: the VG, the thin pool or the LV is not there.
	ErrNotFound = errors.New("not found")
	// ErrExists: an LV of that name is there already.
	ErrExists = errors.New("already exists")
	// ErrNoSpace: the VG or the thin pool has not enough free space, or none that
	// the layout can use.
	ErrNoSpace = errors.New("no space")
	// ErrInUse: the LV's device is open (mounted, or held by a program).
	ErrInUse = errors.New("in use")
	// ErrMetadataFull: the VG's metadata area cannot hold another LV, however
	// much space is free. A 1 MiB area holds about 800 tagged LVs.
	ErrMetadataFull = errors.New("metadata area full")
	// ErrUnavailable: the VG cannot be changed now: a PV is missing.
	ErrUnavailable = errors.New("unavailable")
)

// HungError is a command that was not over when its caller's context was: it
// still runs, or waits for one that does. It wraps the context's error.
type HungError struct {
	Args    []string      // the command that runs
	Age     time.Duration // for how long it has been running
	Waiting bool          // the caller's own command had not started: it waited for Args
	Cause   error         // context.Canceled or context.DeadlineExceeded
	// Ended is closed when the caller's own command has ended; nil when it never began.
	Ended <-chan struct{}
}

// Error names the command and its age.
func (e *HungError) Error() string {
	if e.Waiting {
		return fmt.Sprintf("gave up waiting for another command: lvm %s has been running for %s: %v", commandLine(e.Args), e.Age.Round(time.Millisecond), e.Cause)
	}
	return fmt.Sprintf("lvm %s is still running after %s: %v", commandLine(e.Args), e.Age.Round(time.Millisecond), e.Cause)
}

// Unwrap gives the context's error.
func (e *HungError) Unwrap() error { return e.Cause }

// ExplainedError is a command that failed, with what the state that was read
// afterwards says was the matter. It wraps both.
type ExplainedError struct {
	Reason error // wraps one of the sentinels
	Failed error // the *ExitError
}

// Error gives the reason first: it is what a person needs.
func (e *ExplainedError) Error() string { return e.Reason.Error() + ": " + e.Failed.Error() }

// Unwrap gives both.
func (e *ExplainedError) Unwrap() []error { return []error{e.Reason, e.Failed} }
