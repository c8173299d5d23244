// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script is a program to run in place of lvm.
func script(t *testing.T, body string) Exec {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lvm")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755))
	return Exec{Path: path}
}

func TestExecGivesArgumentsUntouchedAndStdoutAlone(t *testing.T) {
	stdout, err := script(t, `for a; do printf '<%s>' "$a"; done; echo warning >&2`).
		Run(context.Background(), "lvs", `a b`, `$HOME`, `*`, "", `"; rm x`)
	require.NoError(t, err)
	require.Equal(t, `<lvs><a b><$HOME><*><><"; rm x>`, string(stdout))
}

func TestExecSetsTheLocaleAndClosesStdin(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	stdout, err := script(t, `echo "$LC_ALL"; cat; echo end`).Run(context.Background(), "x")
	require.NoError(t, err)
	require.Equal(t, "C\nend\n", string(stdout))
}

func TestExecTellsTheExitStatusAndAllOfStderr(t *testing.T) {
	stdout, err := script(t, `echo partly; echo '  first' >&2; echo '  second' >&2; exit 5`).
		Run(context.Background(), "lvcreate", "--config", "long and always the same", "--name", "a")
	var exit *ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 5, exit.Code)
	require.Equal(t, "  first\n  second\n", exit.Stderr)
	require.Equal(t, "partly\n", string(stdout))
	require.Equal(t, "lvm lvcreate --name a: exit status 5: first; second", err.Error())

	_, err = script(t, `kill -9 $$`).Run(context.Background(), "x")
	require.ErrorAs(t, err, &exit)
	require.Equal(t, -1, exit.Code)
}

func TestExecOfAProgramThatIsNotThere(t *testing.T) {
	_, err := Exec{Path: "/nowhere/lvm"}.Run(context.Background(), "lvs")
	require.ErrorContains(t, err, "run /nowhere/lvm")
	var exit *ExitError
	require.NotErrorAs(t, err, &exit, "it did not run")
}

// A command that changes metadata must not die with its caller.
func TestExecIsNotKilledWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	dir := t.TempDir()
	e := script(t, `echo > "`+dir+`/began"; while [ ! -e "`+dir+`/go" ]; do sleep 0.01; done; echo > "`+dir+`/ended"`)
	result := make(chan error, 1)
	go func() {
		_, err := e.Run(ctx, "lvcreate")
		result <- err
	}()
	exists := func(name string) func() bool {
		return func() bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	}
	require.Eventually(t, exists("began"), time.Minute, time.Millisecond)
	cancel()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o644))
	require.NoError(t, <-result)
	require.True(t, exists("ended")())
	_, err := e.Run(ctx, "lvcreate")
	require.ErrorIs(t, err, context.Canceled, "a context that is over starts nothing")
}

func TestHungErrorNamesTheCommandAndItsAge(t *testing.T) {
	e := &HungError{Args: []string{"lvcreate", "--config", "x", "--name", "a"}, Age: 1500 * time.Millisecond, Cause: context.DeadlineExceeded}
	require.Equal(t, "lvm lvcreate --name a is still running after 1.5s: context deadline exceeded", e.Error())
	require.ErrorIs(t, e, context.DeadlineExceeded)
	e.Waiting = true
	require.Equal(t, "gave up waiting for another command: lvm lvcreate --name a has been running for 1.5s: context deadline exceeded", e.Error())
}
