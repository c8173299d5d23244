// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/podlv/podlv/e2e/cluster"
)

// makeSmall is the command that makes the thin pool of pool small, whose class promises four
// times what it has.
const makeSmall = "lvcreate --quiet --yes --type thin-pool --size 128m --poolmetadatasize 4m --name small thin"

// A pod fills a thin pool that promises more than it has. Before, the scheduler gives no
// more than is promised; then writes fail, the pool says that it is full and takes nothing
// new, and what others have there can be read. With more space all goes on.
func TestThinPoolFillsUp(t *testing.T) {
	c := newCase(t)
	n := the.Nodes()[1]
	c.finally(func() { // a thin pool cannot be made smaller
		c.until("no volume is in it", func() error {
			if v := c.run(n, "lvs --noheadings -o lv_name --select pool_lv=small"); v != "" {
				return fmt.Errorf("there is %s", v)
			}
			return nil
		})
		c.run(n, "lvremove -q -y thin/small && "+makeSmall)
	})
	c.claim("db", "small", "64Mi", corev1.PersistentVolumeFilesystem)
	db := c.start(on(n.Name, c.pod("db", claimed("db", false))))
	c.claim("filler", "small", "384Mi", corev1.PersistentVolumeFilesystem)
	c.start(on(n.Name, c.pod("filler", claimed("filler", false))))

	// Of 512 MiB that may be promised, 64 are left.
	c.claim("much", "small", "128Mi", corev1.PersistentVolumeFilesystem)
	c.create(on(n.Name, c.pod("much", claimed("much", false))))
	c.event("Pod", "much", "did not have enough free storage")

	began := time.Now()
	out, err := c.exec("filler", "dd if=/dev/zero of=/filler/zeros bs=1M count=200 conv=fsync")
	require.Error(t, err, "200 MiB in a pool of 128")
	require.Contains(t, out, "Input/output error")
	t.Logf("the write fails after %s", time.Since(began).Round(time.Second))
	c.until("a metric says so", func() error { return c.metric(n, `podlv_thin_pool_data_ratio{pool="small"}`, "1") })
	c.until("claims are offered nothing of it", func() error { return c.offers(n, "small", 0) })
	c.until("the Node says so", func() error { return c.poolsReady(n, corev1.ConditionFalse, "thin pool thin/small is full") })
	c.create(on(n.Name, c.pod("inline", inline("v", "ext4", "8Mi", "class", "small"))))
	c.event("Pod", "inline", "Insufficient podlv.dev/small")
	out, err = c.exec("db", `[ "$(cat /db/data | sha256sum)" = "$(cat /db/sum)" ] && echo whole`)
	require.NoError(t, err)
	require.Equal(t, "whole", out, "what another pod has there")

	c.run(n, "lvextend -q --size +96m thin/small")
	c.fresh(c.says("inline", time.Time{}), 1)
	c.fresh(c.says("much", time.Time{}), 1)
	c.until("the Node is well again", func() error { return c.poolsReady(n, corev1.ConditionTrue, "") })
	_, err = c.exec("db", "head -c 1048576 /dev/urandom >/db/more && sync /db/more")
	require.NoError(t, err, "writes work again")
	c.removePod("db")
	require.Equal(t, kept(db), c.start(on(n.Name, c.pod("db", claimed("db", false)))))
	c.removePod("filler")
	said := c.start(on(n.Name, c.pod("filler", claimed("filler", false))))
	require.Len(t, said, 1)
}

// offers is nil when a node offers claims of a StorageClass so many bytes.
func (c *kase) offers(n *cluster.Node, class string, want int64) error {
	has, err := c.capacity(n.Name, class)
	if err == nil && has != want {
		err = fmt.Errorf("it offers %d bytes", has)
	}
	return err
}
