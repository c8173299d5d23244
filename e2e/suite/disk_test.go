// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/cluster"
)

// A node's disk answers every read and write with an error. Whoever uses it is told, the
// node's other pools go on as if nothing was, and when the disk is whole again all that was
// asked of it meanwhile is done, and nothing is left.
func TestDiskReturnsErrors(t *testing.T) {
	needs(t, deviceMapper)
	c := newCase(t)
	n := the.Nodes()[0]
	disk := c.flaky(n)
	before := c.agent(n)
	c.claim("data", "flaky", "64Mi", corev1.PersistentVolumeFilesystem)
	c.claim("raw", "flaky", "64Mi", corev1.PersistentVolumeBlock)
	said := c.start(on(n.Name, c.pod("db", claimed("data", false), claimed("raw", true))))
	c.fresh(said, 2)
	c.start(on(n.Name, c.pod("scratch", inline("v", "ext4", "64Mi", "class", "flaky"))))
	c.claim("other", "ssd", "64Mi", corev1.PersistentVolumeFilesystem)
	other := c.start(on(n.Name, c.pod("other", claimed("other", false))))

	disk.fails(true)
	broken := time.Now()
	out, err := c.exec("db", "head -c 1048576 /dev/urandom >/data/more && sync /data/more")
	require.Error(t, err, "a write that no disk has")
	require.Contains(t, out, "Input/output error")
	_, err = c.exec("db", "dd if=/dev/zero of=/dev/raw bs=4096 count=1 seek=2000 conv=fsync")
	require.Error(t, err, "a write that no disk has")
	c.until("the Node says so", func() error { return c.poolsReady(n, corev1.ConditionFalse, `pool "flaky"`) })
	t.Logf("the Node's condition says so after %s", time.Since(broken).Round(time.Second))
	c.until("a metric says so", func() error { return c.metric(n, `podlv_pool_ready{pool="flaky"}`, "0") })
	c.until("claims are offered nothing of it", func() error {
		if has, err := c.capacity(n.Name, "flaky"); err == nil && has > 0 {
			return fmt.Errorf("%d bytes", has)
		}
		return nil
	})

	// What is asked of the disk now waits, and says why.
	c.claim("later", "flaky", "64Mi", corev1.PersistentVolumeFilesystem)
	c.create(on(n.Name, c.pod("claims", claimed("later", false))))
	c.event("Pod", "claims", "did not have enough free storage")
	require.NoError(t, the.Client.CoreV1().Pods(c.namespace).Delete(c.ctx, "scratch", metav1.DeleteOptions{}))

	// The node's other pools go on.
	c.fresh(c.start(on(n.Name, c.pod("inline", c.kinds("inline")...))), 4)
	c.removePod("other")
	require.Equal(t, kept(other), c.start(on(n.Name, c.pod("other", claimed("other", false)))))

	disk.fails(false)
	c.until("the Node is well again", func() error { return c.poolsReady(n, corev1.ConditionTrue, "") })
	c.until("the pod that was deleted is gone", func() error { return c.gone("scratch") })
	c.fresh(c.says("claims", time.Time{}), 1)
	// ext4 has given up at the first error: it must be mounted anew.
	c.removePod("db")
	again := c.start(on(n.Name, c.pod("db", claimed("data", false), claimed("raw", true))))
	require.Equal(t, kept(said), again, "what was synced before the disk failed")
	require.Equal(t, before, c.agent(n), "the agent was not started again")
}

// poolsReady says why the Node's condition PodlvReady is not this.
func (c *kase) poolsReady(n *cluster.Node, want corev1.ConditionStatus, words string) error {
	node, err := the.Client.CoreV1().Nodes().Get(c.ctx, n.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, cond := range node.Status.Conditions {
		if cond.Type == "PodlvReady" {
			if cond.Status != want || !strings.Contains(cond.Message, words) {
				return fmt.Errorf("PodlvReady is %s: %s", cond.Status, cond.Message)
			}
			return nil
		}
	}
	return fmt.Errorf("it has no condition PodlvReady")
}
