// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/podlv/podlv/program"
)

// Exec is the Runner of a real machine: it runs the lvm program.
type Exec struct {
	// Path of the lvm program; "lvm", looked up on the PATH, when empty.
	Path string
}

// Run implements Runner. ctx is looked at before the start only.
func (e Exec) Run(ctx context.Context, args ...string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	path := e.Path
	if path == "" {
		path = "lvm"
	}
	// LVM_SUPPRESS_FD_WARNINGS: lvm complains of every descriptor it inherits.
	stdout, stderr, err := program.Run(path, args, "LVM_SUPPRESS_FD_WARNINGS=1")
	var exit *exec.ExitError
	switch {
	case err == nil:
		return stdout, nil
	case errors.As(err, &exit):
		return stdout, &ExitError{Args: args, Code: exit.ExitCode(), Stderr: string(stderr)}
	default:
		return nil, fmt.Errorf("run %s: %w", path, err)
	}
}
