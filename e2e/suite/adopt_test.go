// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/e2e/lab"
)

// LVs that an administrator has made become the volumes of claims, as docs/migrating.md
// says, with all that is on them.
func TestAdoptedVolumes(t *testing.T) {
	c := newCase(t)
	n := the.Nodes()[1]
	// What a pod looks for there (sound).
	c.run(n, `set -e
lvcreate -q -y -W y -L 64m -n old-fs ssd && lvcreate -q -y -W y -L 64m -n old-raw ssd
mkfs.ext4 -q /dev/ssd/old-fs && mkdir -p /run/old && mount /dev/ssd/old-fs /run/old
head -c 4194304 /dev/urandom >/run/old/data && sha256sum </run/old/data >/run/old/sum
dd if=/run/old/data of=/dev/ssd/old-raw bs=1M conv=fsync
printf 'sum%s' $(cut -c1-16 /run/old/sum) | dd of=/dev/ssd/old-raw bs=1M seek=4 conv=fsync`)
	has := "kept " + c.run(n, "cut -c1-16 /run/old/sum")

	_, err := c.adopt(n, "ssd/old-fs", "fs")
	require.ErrorContains(t, err, "is in use: end the pods that use it, and unmount it")
	c.run(n, "umount /run/old")
	_, err = c.adopt(n, "ssd/old-fs", "fs", "--class", "thin")
	require.ErrorContains(t, err, "class")
	require.Empty(t, c.volumesOn(n), "what is refused is not podlv's")

	for claim, args := range map[string][]string{"fs": nil, "raw": {"--block"}} {
		manifests, err := c.adopt(n, "ssd/old-"+claim, claim, args...)
		require.NoError(t, err)
		_, err = the.Kubectl(c.ctx, strings.NewReader(manifests), "create", "-f", "-")
		require.NoError(t, err)
	}
	volumes := []volume{claimed("fs", false), claimed("raw", true)}
	want := map[string]string{"fs": has, "raw": has}
	require.Equal(t, want, c.start(c.pod("first", volumes...)))
	require.Equal(t, n, c.nodeOf("first"))
	c.removePod("first")
	require.Equal(t, want, c.start(c.pod("second", volumes...)))

	// From here on they go with their claims: the case's end sees that they do.
	for _, claim := range []string{"fs", "raw"} {
		_, err := the.Client.CoreV1().PersistentVolumes().Patch(c.ctx, c.namespace+"."+claim, types.StrategicMergePatchType,
			[]byte(`{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`), metav1.PatchOptions{})
		require.NoError(t, err)
	}
}

// adopt runs podlv adopt for a claim of StorageClass ssd in the agent's container, and gives
// what it prints.
func (c *kase) adopt(n *cluster.Node, lv, claim string, args ...string) (string, error) {
	c.Helper()
	return the.Kubectl(c.ctx, nil, append([]string{
		"exec", "--namespace", lab.Namespace, c.agent(n).pod, "--", "podlv", "adopt", lv,
		"--node-name", n.Name, "--claim", c.namespace + "/" + claim, "--storage-class", "ssd",
	}, args...)...)
}
