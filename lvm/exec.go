// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
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
	cmd := exec.Command(path, args...) //nolint:noctx // see Runner: never killed
	// LC_ALL=C: messages are for people and bug reports, in one language.
	// LVM_SUPPRESS_FD_WARNINGS: lvm complains of every descriptor it inherits.
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	// A process group of its own: a Ctrl-C for the agent is not one for lvm.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return stdout.Bytes(), nil
	case errors.As(err, &exit):
		return stdout.Bytes(), &ExitError{Args: args, Code: exit.ExitCode(), Stderr: stderr.String()}
	default:
		return nil, fmt.Errorf("run %s: %w", path, err)
	}
}
