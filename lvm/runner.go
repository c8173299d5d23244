// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"context"
	"fmt"
	"strings"
)

// Runner runs one lvm command and is the only seam between podlv and LVM: Exec
// runs the real program, fakelvm.Host plays one. Everything above it, arguments
// and parsing included, is the same code on both.
//
// args is the command line without the program's name: "lvcreate", "--yes", ….
// stdout is what the command printed there, also when it failed. A command that
// ended with a non-zero exit status is an *ExitError; any other error means
// that it is not known whether the command ran.
//
// Cancelling ctx stops the wait, never the command: lvm that is killed between
// its metadata commit and the activation leaves half a change behind. A Run that
// gave up returns a *HungError.
type Runner interface {
	Run(ctx context.Context, args ...string) (stdout []byte, err error)
}

// ExitError is an lvm command that ended with a non-zero exit status.
// lvm2's are in lib/commands/errors.h: 2 no such command, 3 bad command line,
// 4 initialisation failed, 5 everything else. They are too coarse to act on, so
// Client re-reads the state to learn what a failure meant.
type ExitError struct {
	Args   []string // without the program's name
	Code   int      // exit status; -1 when a signal ended the command
	Stderr string   // all of it, warnings included
}

// Error is one line: the command, its exit status and what it complained of.
func (e *ExitError) Error() string {
	return fmt.Sprintf("lvm %s: exit status %d: %s", commandLine(e.Args), e.Code, oneLine(e.Stderr))
}

// oneLine folds lvm's indented, many-line complaints into one.
func oneLine(s string) string {
	var lines []string
	for _, l := range strings.Split(s, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	return strings.Join(lines, "; ")
}

// commandLine is args for a person to read: without the value of --config, which
// is long and always the same, and of a report its name alone, for the same reason.
func commandLine(args []string) string {
	if len(args) > 0 && args[0] == "fullreport" {
		return args[0]
	}
	var words []string
	for i := 0; i < len(args); i++ {
		if args[i] == "--config" {
			i++
			continue
		}
		words = append(words, args[i])
	}
	return strings.Join(words, " ")
}
