// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/e2e/cluster"
)

// volumesOn are podlv's LVs on a node, VG/LV.
func (c *kase) volumesOn(n *cluster.Node) []string {
	c.Helper()
	return strings.Fields(c.run(n, "lvs --noheadings --select lv_tags=podlv.dev -o lv_full_name"))
}

// kinds are an inline volume, a generic ephemeral one, a claim's and a raw one.
func (c *kase) kinds(pod string) []volume {
	c.Helper()
	c.claim(pod+"-fs", "ssd", "64Mi", corev1.PersistentVolumeFilesystem)
	c.claim(pod+"-raw", "ssd", "64Mi", corev1.PersistentVolumeBlock)
	return []volume{inline("inline", "ext4", "64Mi"), ephemeral("ephemeral", "ssd", "64Mi"), claimed(pod+"-fs", false), claimed(pod+"-raw", true)}
}

// kubelet is killed and started again: nothing of a pod is touched, and pods that came
// and went meanwhile are, then.
func TestKubeletRestart(t *testing.T) {
	c := newCase(t)
	n := the.Nodes()[0]
	c.start(on(n.Name, c.pod("stays", c.kinds("stays")...)))
	c.start(on(n.Name, c.pod("goes", inline("v", "ext4", "64Mi"))))
	require.NoError(t, n.StopKubelet(c.ctx))
	require.NoError(t, the.Client.CoreV1().Pods(c.namespace).Delete(c.ctx, "goes", metav1.DeleteOptions{}))
	c.create(on(n.Name, c.pod("comes", inline("v", "ext4", "64Mi"))))
	before := time.Now()
	require.NoError(t, n.StartKubelet(c.ctx))
	require.NoError(t, n.WaitReady(c.ctx, before))
	c.fresh(c.says("comes", time.Time{}), 1)
	p, err := the.Client.CoreV1().Pods(c.namespace).Get(c.ctx, "stays", metav1.GetOptions{})
	require.NoError(t, err)
	require.Zero(t, p.Status.ContainerStatuses[0].RestartCount)
	c.until("the volume of the pod that went is gone", func() error {
		if v := c.volumesOn(n); len(v) != 5 {
			return fmt.Errorf("there are %q", v)
		}
		return nil
	})
}

// The power of a node is cut. Its pods come back with all their data; of one that was
// deleted meanwhile, by force, nothing stays.
func TestPowerCut(t *testing.T) {
	c := newCase(t)
	n := the.Nodes()[1]
	stays := c.start(on(n.Name, c.pod("stays", c.kinds("stays")...)))
	c.start(on(n.Name, c.pod("forced", inline("v", "ext4", "64Mi"))))
	n.Kill()
	cut := time.Now()
	require.NoError(t, the.Client.CoreV1().Pods(c.namespace).Delete(c.ctx, "forced", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
	require.NoError(t, n.Boot())
	require.NoError(t, n.WaitReady(c.ctx, cut))
	require.Equal(t, kept(stays), c.says("stays", cut))
}

// The agent is killed at random while pods come and go. None is lost, none is stuck, and
// what pods wrote is there.
func TestAgentIsKilledDuringChurn(t *testing.T) {
	c := newCase(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	stays := c.start(c.pod("stays", c.kinds("stays")...))
	ctx, stop := context.WithCancel(c.ctx)
	stopped := make(chan int, 1)
	go func() {
		kills := 0
		defer func() { stopped <- kills }()
		for {
			select {
			case <-ctx.Done():
				return
			// An agent is away for some five seconds, and kubelet waits longer and longer between
			// its tries, up to two minutes: with one kill each six seconds, some never met it.
			case <-time.After(time.Duration(random.IntN(12000)) * time.Millisecond):
			}
			n := the.Nodes()[random.IntN(nodes)]
			// Its container is started again.
			if _, err := n.Run(ctx, "sh", "-c", agents("kill -9 ${p#/proc/}")); err == nil {
				kills++
			}
		}
	}()
	defer stop() // also when the test fails: the next ones need their agents
	const pods, atOnce = 18, 6
	for i := 0; i < pods; i += atOnce {
		for j := i; j < i+atOnce; j++ {
			c.create(c.pod(fmt.Sprintf("p%d", j), inline("inline", "ext4", "64Mi"), ephemeral("ephemeral", "ssd", "64Mi")))
		}
		for j := i; j < i+atOnce; j++ {
			c.fresh(c.says(fmt.Sprintf("p%d", j), time.Time{}), 2)
		}
		for j := i; j < i+atOnce; j++ {
			require.NoError(t, the.Client.CoreV1().Pods(c.namespace).Delete(c.ctx, fmt.Sprintf("p%d", j), metav1.DeleteOptions{}))
		}
	}
	stop()
	t.Logf("the agents were killed %d times", <-stopped)
	c.removePod("stays")
	again := c.start(c.pod("stays", claimed("stays-fs", false), claimed("stays-raw", true)))
	for v, s := range again {
		require.Equal(t, kept(stays)[v], s, v)
	}
}

// A pod that is deleted by force while it runs leaves nothing, though the API server
// forgets it at once; and so does a namespace that goes with all that is in it.
func TestForcedDeletion(t *testing.T) {
	c := newCase(t)
	c.start(c.pod("forced", c.kinds("forced")...))
	require.NoError(t, the.Client.CoreV1().Pods(c.namespace).Delete(c.ctx, "forced", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}))
	c.start(c.pod("whole", c.kinds("whole")...))
	// The case's end removes the namespace while that pod runs.
}

// A Node object is deleted and comes back when kubelet registers it anew: the scheduler
// is told again what it has, and the pods that are there keep their data.
func TestNodeObjectComesBack(t *testing.T) {
	c := newCase(t)
	n := the.Nodes()[2]
	c.claim("data", "ssd", "64Mi", corev1.PersistentVolumeFilesystem)
	said := c.start(on(n.Name, c.pod("db", claimed("data", false))))
	c.removePod("db")
	require.NoError(t, n.StopKubelet(c.ctx))
	require.NoError(t, the.Client.CoreV1().Nodes().Delete(c.ctx, n.Name, metav1.DeleteOptions{}))
	before := time.Now()
	require.NoError(t, n.StartKubelet(c.ctx))
	require.NoError(t, n.WaitReady(c.ctx, before))
	require.NoError(t, the.WaitDriver(c.ctx, n.Name, "podlv.dev"))
	require.Equal(t, kept(said), c.start(c.pod("db2", claimed("data", false))))
}
