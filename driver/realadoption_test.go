// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package driver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// An administrator's LV, with files on it, becomes a claim's volume while the agent runs:
// by the program, as its user does it.
func TestRealAdoption(t *testing.T) {
	n := newRealClaimNode(t)
	mnt := filepath.Join(filepath.Dir(n.config), "mnt")
	require.NoError(t, os.Mkdir(mnt, 0o755))
	shell := func(command string) {
		t.Helper()
		out, err := exec.Command("sh", "-ec", command).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(fs, func(t *testing.T) {
			name := "old-" + fs
			n.lvm("lvcreate", "--yes", "--name", name, "--size", "320m", "vg0")
			shell("mkfs." + fs + " -q /dev/vg0/" + name + " && mount /dev/vg0/" + name + " " + mnt + " && echo 'from before' >" + mnt + "/file")
			adopt := func() (string, error) {
				out, err := exec.Command(*realBinary, "adopt", "vg0/"+name, "--node-name=node1", "--claim=default/"+name, "--storage-class=s", "--config="+n.config).CombinedOutput()
				return string(out), err
			}
			said, err := adopt()
			require.Error(t, err)
			require.Contains(t, said, "is in use")
			shell("umount " + mnt)
			said, err = adopt()
			require.NoError(t, err, "%s", said)
			require.Contains(t, said, "volumeHandle: vg0/"+name)

			c := n.claim(name, 320*mib).as(fs)
			c.id, c.context = "vg0/"+name, map[string]string{}
			require.NoError(t, n.stage(c))
			require.NoError(t, n.give(c, "a"))
			text, err := os.ReadFile(filepath.Join(c.target("a"), "file"))
			require.NoError(t, err)
			require.Equal(t, "from before\n", string(text))
			_, err = n.expand(c, 640*mib)
			require.NoError(t, err)
			require.NoError(t, n.take(c, "a"))
			require.NoError(t, n.unstage(c))
			require.NoError(t, n.delete(c))
		})
	}
}
