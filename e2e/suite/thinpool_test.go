// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/cluster"
)

// makeSmall is the command that makes the thin pool of pool small, whose class promises four
// times what it has.
const makeSmall = "lvcreate --quiet --yes --type thin-pool --size 128m --poolmetadatasize 4m --name small thin"

// A pod fills a thin pool that promises more than it has. Before, the scheduler gives no
// more than is promised; then writes fail, the pool says that it is full and takes nothing
// new, and what others have there can be read. With more space all goes on.
func TestThinPoolFillsUp(t *testing.T) {
	needs(t, thinUse)
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
	c.deploy(on(n.Name, c.pod("inline", inline("v", "ext4", "8Mi", "class", "small"))))
	c.until("its pod waits", func() error { return c.oneOf("inline", "", "Insufficient podlv.dev/small") })
	out, err = c.exec("db", `[ "$(cat /db/data | sha256sum)" = "$(cat /db/sum)" ] && echo whole`)
	require.NoError(t, err)
	require.Equal(t, "whole", out, "what another pod has there")

	c.run(n, "lvextend -q --size +96m thin/small")
	c.until("a pod of the Deployment runs", func() error { return c.oneOf("inline", corev1.PodRunning, "") })
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

// deploy makes a Deployment of one pod, which is made anew when kubelet refuses it: it may
// hear of a pod before it hears of what its node has now, and a pod that it refuses is lost.
func (c *kase) deploy(p *corev1.Pod) {
	c.Helper()
	_, err := the.Client.AppsV1().Deployments(c.namespace).Create(c.ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: p.Name},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: p.Labels}, Template: template(p)},
	}, metav1.CreateOptions{})
	require.NoError(c, err)
}

// oneOf is nil when a pod of a Deployment is in this phase, or the scheduler says these
// words of it.
func (c *kase) oneOf(deployment string, phase corev1.PodPhase, words string) error {
	pods, err := the.Client.CoreV1().Pods(c.namespace).List(c.ctx, metav1.ListOptions{LabelSelector: "app=" + deployment})
	if err != nil {
		return err
	}
	var said []string
	for _, p := range pods.Items {
		if p.Status.Phase == phase {
			return nil
		}
		for _, cond := range p.Status.Conditions {
			if words != "" && strings.Contains(cond.Message, words) {
				return nil
			}
			said = append(said, fmt.Sprintf("%s %s: %s", p.Name, p.Status.Phase, cond.Message))
		}
	}
	return fmt.Errorf("%q", said)
}

// offers is nil when a node offers claims of a StorageClass so many bytes.
func (c *kase) offers(n *cluster.Node, class string, want int64) error {
	has, err := c.capacity(n.Name, class)
	if err == nil && has != want {
		err = fmt.Errorf("it offers %d bytes", has)
	}
	return err
}
