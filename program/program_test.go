// SPDX-License-Identifier: Apache-2.0

package program

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func sh(script string, env ...string) (stdout, stderr string, err error) {
	out, complaints, err := Run("sh", []string{"-c", script}, env...)
	return string(out), string(complaints), err
}

func TestEachStreamIsKept(t *testing.T) {
	stdout, stderr, err := sh("echo one; echo two >&2; echo three; readlink /proc/self/fd/0")
	require.NoError(t, err)
	require.Equal(t, "one\nthree\n/dev/null\n", stdout)
	require.Equal(t, "two\n", stderr)
}

func TestAFailureKeepsWhatWasSaid(t *testing.T) {
	stdout, stderr, err := sh("echo half; echo why >&2; exit 5")
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 5, exit.ExitCode())
	require.Equal(t, "half\n", stdout)
	require.Equal(t, "why\n", stderr)
	_, _, err = Run("/nowhere/program", nil)
	require.ErrorContains(t, err, "/nowhere/program")
}

func TestLongOutputIsWhole(t *testing.T) {
	stdout, _, err := sh("yes 0123456789 | head -n 200000")
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("0123456789\n", 200000), stdout)
}

func TestEnvironment(t *testing.T) {
	t.Setenv("LC_ALL", "de_DE.UTF-8")
	stdout, _, err := sh("echo $LC_ALL $MORE", "MORE=more")
	require.NoError(t, err)
	require.Equal(t, "C more\n", stdout)
}

func TestAChildThatStaysIsNotWaitedFor(t *testing.T) {
	start := time.Now()
	stdout, _, err := sh("echo done; sleep 30 & exit 0")
	require.NoError(t, err)
	require.Equal(t, "done\n", stdout)
	require.Less(t, time.Since(start), 20*time.Second)
}
