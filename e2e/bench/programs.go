// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// programs runs programs as cheaply as can be: no pipes, no reading goroutines.
type programs struct{ stderr *os.File }

func newPrograms() (programs, error) {
	f, err := os.CreateTemp("", "stderr-")
	return programs{stderr: f}, err
}

// run runs a program to its end.
func (p programs) run(ctx context.Context, c call) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd := exec.Command(c[0], c[1:]...) //nolint:noctx // never killed: an lvm command must end by itself
	cmd.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	cmd.Stderr = p.stderr
	if err := cmd.Run(); err != nil {
		_, _ = p.stderr.Seek(0, io.SeekStart) // what cannot be read is missing in the message, no more
		said, _ := io.ReadAll(p.stderr)
		return fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, said)
	}
	return nil
}
