// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// on holds a pod to a node, as its user does: by the scheduler.
func on(node string, p *corev1.Pod) *corev1.Pod {
	p.Spec.NodeSelector = map[string]string{"kubernetes.io/hostname": node}
	return p
}

// A node is full: the next pod waits and says why, and runs by itself when there is
// space. So it is with inline volumes, generic ephemeral ones and claims.
func TestFullNodeLetsPodsWait(t *testing.T) {
	for name, of := range map[string]func(c *kase, pod string) volume{
		"inline":    func(*kase, string) volume { return inline("v", "ext4", "2Gi") },
		"ephemeral": func(*kase, string) volume { return ephemeral("v", "ssd", "2Gi") },
		"claim": func(c *kase, pod string) volume {
			c.claim(pod, "ssd", "2Gi", corev1.PersistentVolumeFilesystem)
			return claimed(pod, false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCase(t)
			c.start(on("node-1", c.pod("first", of(c, "first"))))
			c.create(on("node-1", c.pod("second", of(c, "second"))))
			words := "Insufficient podlv.dev/ssd"
			if name == "claim" {
				words = "did not have enough free storage"
			}
			c.event("Pod", "second", words)
			c.removePod("first")
			if name == "claim" {
				require.NoError(t, the.Client.CoreV1().PersistentVolumeClaims(c.namespace).Delete(c.ctx, "first", metav1.DeleteOptions{}))
			}
			c.fresh(c.says("second", time.Time{}), 1)
		})
	}
}

// A ResourceQuota counts the bytes of inline volumes, which no pod writes as a request.
func TestQuotaCountsInlineVolumes(t *testing.T) {
	c := newCase(t)
	_, err := the.Client.CoreV1().ResourceQuotas(c.namespace).Create(c.ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "quota"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"requests.podlv.dev/ssd": resource.MustParse("128Mi")}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	c.until("the quota is counted", func() error {
		q, err := the.Client.CoreV1().ResourceQuotas(c.namespace).Get(c.ctx, "quota", metav1.GetOptions{})
		if err == nil && q.Status.Hard == nil {
			err = fmt.Errorf("not yet")
		}
		return err
	})
	c.start(c.pod("first", inline("v", "ext4", "96Mi")))
	_, err = the.Client.CoreV1().Pods(c.namespace).Create(c.ctx, c.pod("second", inline("v", "ext4", "64Mi")), metav1.CreateOptions{})
	require.ErrorContains(t, err, "exceeded quota")
}
