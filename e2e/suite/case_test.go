// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/e2e/cluster"
)

// patience is how long anything may take. User-Mode Linux is slow, and the machine shared.
const patience = 3 * time.Minute

// kase is a test's place in the cluster.
type kase struct {
	testing.TB
	ctx       context.Context
	namespace string
	undo      []func() // what the case's end does when the volumes are gone, the last first
}

var (
	testPrefix = regexp.MustCompile(`^(Test|Benchmark)`)
	notInNames = regexp.MustCompile(`[^a-z0-9]+`)
)

// newCase makes a namespace for a test, and holds the cluster to what it was before when
// the test ends.
func newCase(t testing.TB) *kase {
	t.Helper()
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(testPrefix.ReplaceAllString(t.Name(), "")), "-"), "-")
	c := &kase{TB: t, ctx: context.Background(), namespace: name}
	_, err := the.Client.CoreV1().Namespaces().Create(c.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			the.KeepEvidence(name)
		}
		c.remove()
		for _, undo := range slices.Backward(c.undo) {
			undo()
		}
		for _, n := range the.Nodes() {
			c.until("node "+n.Name+" is as it was", func() error { return c.clean(n) })
		}
		if t.Failed() {
			the.KeepEvidence(name + "-after")
		}
	})
	return c
}

// finally has the case's end undo something when the namespace and its volumes are gone.
func (c *kase) finally(undo func()) { c.undo = append(c.undo, undo) }

// remove removes the namespace and waits until it and its volumes are gone.
func (c *kase) remove() {
	c.Helper()
	err := the.Client.CoreV1().Namespaces().Delete(c.ctx, c.namespace, metav1.DeleteOptions{})
	if !apierrors.IsNotFound(err) {
		require.NoError(c, err)
	}
	c.until("the namespace and its volumes are gone", func() error {
		if _, err := the.Client.CoreV1().Namespaces().Get(c.ctx, c.namespace, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there (%v)", err)
		}
		volumes, err := the.Client.CoreV1().PersistentVolumes().List(c.ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, v := range volumes.Items {
			if v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Namespace == c.namespace {
				return fmt.Errorf("volume %s is %s", v.Name, v.Status.Phase)
			}
		}
		return nil
	})
}

// until waits until ok has no error.
func (c *kase) until(what string, ok func() error) {
	c.Helper()
	c.within(patience, what, ok)
}

// within is until for what may take longer.
func (c *kase) within(limit time.Duration, what string, ok func() error) {
	c.Helper()
	var last error
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if last = ok(); last == nil {
			return
		}
	}
	require.NoError(c, last, "waited %s until %s", limit, what)
}

// run runs a shell command on a node.
func (c *kase) run(n *cluster.Node, command string) string {
	c.Helper()
	out, err := n.Run(c.ctx, "sh", "-c", command)
	require.NoError(c, err)
	return strings.TrimSpace(out)
}

// left is a shell command that prints what podlv and kubelet have left on a node. After a
// power cut kubelet may keep an empty vol_data.json for ever.
const left = `
lvs --noheadings --select 'lv_tags=podlv.dev' -o vg_name,lv_name,lv_tags | sed 's/^/LV:/'
grep -E ' /var/lib/kubelet/(pods/[^ ]*kubernetes.io~csi|plugins/kubernetes.io/csi)' /proc/self/mounts | grep -v volume-subpaths | sed 's/^/mount: /'
find /var/lib/kubelet/plugins/kubernetes.io/csi -mindepth 2 -maxdepth 3 2>/dev/null | grep -v -e /volumeDevices/publish$ -e /volumeDevices/staging$ | sed 's/^/folder: /'
for d in /var/lib/kubelet/pods/*/volumes/kubernetes.io~csi/*/mount /var/lib/kubelet/pods/*/volumeDevices/kubernetes.io~csi/*; do [ -e "$d" ] && echo "folder: $d"; done
true`

// clean says what is on a node that was not there before, or what is told of it that it
// has not.
func (c *kase) clean(n *cluster.Node) error {
	out, err := n.Run(c.ctx, "sh", "-c", left)
	if err != nil {
		return err
	}
	if out = strings.TrimSpace(out); out != "" {
		return fmt.Errorf("left on %s: %s", n.Name, out)
	}
	for class, want := range map[string]int64{"ssd": 3 * gib, "thin": 1500 << 20} {
		has, err := c.capacity(n.Name, class)
		if err != nil {
			return err
		}
		if has != want {
			return fmt.Errorf("StorageClass %s has %d on %s, want %d", class, has, n.Name, want)
		}
		node, err := the.Client.CoreV1().Nodes().Get(c.ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if q := node.Status.Allocatable[corev1.ResourceName("podlv.dev/"+class)]; q.Value() != want {
			return fmt.Errorf("%s offers %d of pool %s to pods, want %d", n.Name, q.Value(), class, want)
		}
	}
	return nil
}

// capacity is what is published for claims of a StorageClass on a node, in bytes.
func (c *kase) capacity(node, class string) (int64, error) {
	all, err := the.Client.StorageV1().CSIStorageCapacities("").List(c.ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	for _, o := range all.Items {
		if o.StorageClassName == class && o.NodeTopology != nil && o.NodeTopology.MatchLabels["topology.podlv.dev/node"] == node {
			return o.Capacity.Value(), nil
		}
	}
	return 0, fmt.Errorf("nothing is published for %s on %s", class, node)
}

// event waits for an event on an object with these words in its message.
func (c *kase) event(kind, name, words string) {
	c.Helper()
	c.until(fmt.Sprintf("an event on %s %s says %q", kind, name, words), func() error {
		events, err := the.Client.CoreV1().Events(c.namespace).List(c.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name + ",involvedObject.kind=" + kind})
		if err != nil {
			return err
		}
		var said []string
		for _, e := range events.Items {
			if strings.Contains(e.Message, words) {
				return nil
			}
			said = append(said, e.Reason+": "+e.Message)
		}
		return fmt.Errorf("they say %q", said)
	})
}

// nodeOf is the node that a pod is on.
func (c *kase) nodeOf(pod string) *cluster.Node {
	c.Helper()
	p, err := the.Client.CoreV1().Pods(c.namespace).Get(c.ctx, pod, metav1.GetOptions{})
	require.NoError(c, err)
	for _, n := range the.Nodes() {
		if n.Name == p.Spec.NodeName {
			return n
		}
	}
	require.FailNow(c, "no node", "%s is on %q", pod, p.Spec.NodeName)
	return nil
}

// removePod deletes a pod and waits until it is gone.
func (c *kase) removePod(name string) {
	c.Helper()
	c.deletePod(name)
	c.until("pod "+name+" is gone", func() error { return c.gone(name) })
}

// deletePod deletes a pod and does not wait for its end.
func (c *kase) deletePod(name string) {
	c.Helper()
	require.NoError(c, the.Client.CoreV1().Pods(c.namespace).Delete(c.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](1)}))
}
