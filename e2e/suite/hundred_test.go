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
)

// forAHundred is how long a hundred pods may take: 13 minutes on a quiet machine, whose two
// processors emulate three, when all write and read.
const forAHundred = 25 * time.Minute

// A hundred pods come at once, each with a volume of its own. All run, each has what it
// wrote and nobody else's, and when they go at once nothing stays.
func TestHundredPods(t *testing.T) {
	c := newCase(t)
	const pods = 100
	for _, n := range the.Nodes() { // else those that are first get all pods
		c.until(n.Name+" offers what it has", func() error { return c.clean(n) })
	}
	began := time.Now()
	for i := range pods {
		p := c.pod(fmt.Sprintf("p%d", i), inline("v", "ext4", "16Mi"))
		p.Labels["all"] = "yes"
		c.create(p)
	}
	all := metav1.ListOptions{LabelSelector: "all=yes"}
	c.within(forAHundred, "all pods run", func() error {
		list, err := the.Client.CoreV1().Pods(c.namespace).List(c.ctx, all)
		if err != nil {
			return err
		}
		running := 0
		for _, p := range list.Items {
			if p.Status.Phase == corev1.PodRunning {
				running++
			}
		}
		if running != pods {
			return fmt.Errorf("%d of %d run", running, len(list.Items))
		}
		return nil
	})
	t.Logf("%d pods run after %s", pods, time.Since(began).Round(time.Second))

	wrote := map[string]bool{}
	for i := range pods {
		said := c.says(fmt.Sprintf("p%d", i), time.Time{})
		c.fresh(said, 1)
		wrote[strings.Fields(said["v"])[1]] = true
	}
	require.Len(t, wrote, pods, "no two pods have the same data")
	volumes := 0
	for _, n := range the.Nodes() {
		volumes += len(c.volumesOn(n))
		for _, line := range strings.Split(c.run(n, sums), "\n") {
			f := strings.Fields(line)
			require.True(t, len(f) == 2 && f[0] == "whole" && wrote[f[1]], "%s: %s", n.Name, line)
			delete(wrote, f[1])
		}
	}
	require.Equal(t, pods, volumes)
	require.Empty(t, wrote, "data that no volume has")

	began = time.Now()
	c.removeAllPods()
	t.Logf("%d pods are gone after %s", pods, time.Since(began).Round(time.Second))
}

// removeAllPods deletes the case's pods, however many, and waits until nothing of them is
// left.
func (c *kase) removeAllPods() {
	c.Helper()
	pods := the.Client.CoreV1().Pods(c.namespace)
	require.NoError(c, pods.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	c.within(forAHundred, "all pods are gone", func() error {
		list, err := pods.List(c.ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("there are %d", len(list.Items))
		}
		return err
	})
	for _, n := range the.Nodes() {
		c.within(forAHundred, "nothing of them is left on "+n.Name, func() error { return c.clean(n) })
	}
}

// sums says of each mounted volume of a node whether it has what its pod left there (sound).
const sums = `
for d in /var/lib/kubelet/pods/*/volumes/kubernetes.io~csi/v/mount; do
  [ "$(head -c 4194304 $d/data | sha256sum)" = "$(cat $d/sum)" ] && echo "whole $(cut -c1-16 $d/sum)" || echo "broken $d"
done`
