// SPDX-License-Identifier: Apache-2.0

// Package program runs other programs to their end and keeps what they print.
//
// They print into files in memory, not into pipes. A child of theirs that stays,
// dmeventd for one, holds a pipe open, and who reads it waits for that child; and
// a reader is woken again and again, while here nobody is before the end.
package program

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Run runs a program to its end, which nobody can bring about earlier, with more
// variables in its environment. LC_ALL is C: messages are for people and bug
// reports, in one language. It returns what was printed, also when the error is
// the *exec.ExitError of a program that failed.
func Run(path string, args []string, env ...string) (stdout, stderr []byte, err error) {
	cmd := exec.Command(path, args...) //nolint:noctx // nothing that writes to a disk is ever killed
	cmd.Env = append(append(os.Environ(), "LC_ALL=C"), env...)
	// A process group of its own: a Ctrl-C for the agent is not one for the program.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := memory("stdout")
	if err != nil {
		return nil, nil, err
	}
	defer out.Close()
	complaints, err := memory("stderr")
	if err != nil {
		return nil, nil, err
	}
	defer complaints.Close()
	cmd.Stdout, cmd.Stderr = out, complaints
	ran := cmd.Run()
	if stdout, err = content(out); err == nil {
		stderr, err = content(complaints)
	}
	return stdout, stderr, errors.Join(ran, err)
}

// memory is an empty file without a name.
func memory(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("a file in memory: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func content(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return nil, err
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}
