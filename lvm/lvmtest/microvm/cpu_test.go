// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestCPUsAreCountedFromTheLast(t *testing.T) {
	var allowed unix.CPUSet
	for _, i := range []int{1, 2, 70} {
		allowed.Set(i)
	}
	for n, want := range []int{70, 2, 1, 70, 2} {
		one := nth(allowed, n)
		require.Equal(t, 1, one.Count())
		require.True(t, one.IsSet(want), "%d: want CPU %d", n, want)
	}
}

func TestCommandStaysOnOneCPUAndWeDoNot(t *testing.T) {
	var before, after unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &before))
	var out bytes.Buffer
	cmd := exec.Command("nproc")
	cmd.Stdout = &out
	require.NoError(t, startOnCPU(cmd, 1))
	require.NoError(t, cmd.Wait())
	require.Equal(t, "1\n", out.String())
	require.NoError(t, unix.SchedGetaffinity(0, &after))
	require.Equal(t, before, after)
	require.Error(t, startOnCPU(exec.Command("/nowhere"), 0))
}
