// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/fakelvm"
)

func TestFilesSurviveARebootUnlessTheyAreInMemory(t *testing.T) {
	h := fakelvm.New()
	require.ErrorIs(t, h.WriteFile("/var/lib/a", nil), syscall.ENOENT, "its folder must be there")
	require.NoError(t, h.MkdirAll("/var/lib"))
	require.NoError(t, h.MkdirAll("/run/containers"))
	require.Error(t, h.WriteFile("/var/lib", nil), "it is a folder")
	require.NoError(t, h.WriteFile("/var/lib/a", []byte("one")))
	require.NoError(t, h.WriteFile("/var/lib/a", []byte("two")))
	require.NoError(t, h.WriteFile("/run/containers/b", []byte("b")))
	h.Reboot()
	text, err := h.ReadFile("/var/lib/a")
	require.NoError(t, err)
	require.Equal(t, "two", string(text))
	require.False(t, h.Exists("/run/containers"))
	_, err = h.ReadFile("/run/containers/b")
	require.ErrorIs(t, err, syscall.ENOENT)
	require.NoError(t, h.Remove("/var/lib/a"))
	require.NoError(t, h.MakeFile("/var/lib/a"))
	text, err = h.ReadFile("/var/lib/a")
	require.NoError(t, err)
	require.Empty(t, text, "what was removed is not there again")
}
