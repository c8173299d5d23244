// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOnlyClustersOfOursAreRemoved(t *testing.T) {
	dir := t.TempDir()
	const docker = `#!/bin/sh
case "$1" in -v) echo "Docker version 28";; ps) echo kind; echo podlv-sim-abc;; esac
`
	require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte(docker), 0o755))
	t.Setenv("PATH", dir)
	clusters, _, err := Config{}.Leftovers()
	require.NoError(t, err)
	require.Equal(t, []string{"podlv-sim-abc"}, clusters)
	require.ErrorContains(t, Config{}.Remove("kind"), `cluster "kind" was not made by podlv-sim`)
	require.ErrorContains(t, Config{}.Remove("podlv-sim-x"), `there is no cluster "podlv-sim-x"; there are: podlv-sim-abc`)
}
