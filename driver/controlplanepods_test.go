// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package driver_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// A node that says it has room and has none gives the claim back to the scheduler,
// which finds another as soon as there is one.
func TestControlPlaneReschedulesWhatDoesNotFit(t *testing.T) {
	c := newClusterOfAgents(t, "b")
	c.nodes["b"].lvm("lvcreate", "--yes", "--name", "admin", "--size", "9g", "vg0")
	c.published("b", gib-4*mib, time.Now())
	var blind atomic.Bool
	c.prepare = func(n *fakeNode) {
		n.stamp = func(device string) (string, error) {
			if blind.Load() {
				return "as it was", nil
			}
			return n.host.Stamp(device)
		}
	}
	blind.Store(true) // from the start: its first report is all that it knows for half a minute
	c.join("a", nil)
	c.published("a", 10*gib-4*mib, time.Now())
	c.nodes["a"].lvm("lvcreate", "--yes", "--name", "admin", "--size", "9g", "vg0")

	c.run("large", "6Gi")
	c.eventually("hear of the node that is full", func() error {
		events, err := c.api.CoreV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=PersistentVolumeClaim,reason=ProvisioningFailed"})
		if err != nil {
			return err
		}
		for i := range events.Items {
			if strings.Contains(events.Items[i].Message, "ResourceExhausted") && strings.Contains(events.Items[i].Message, "VG vg0") {
				return nil
			}
		}
		return fmt.Errorf("%d events", len(events.Items))
	})
	c.nodes["b"].lvm("lvremove", "--yes", "vg0/admin")
	node, pv := c.node("large")
	require.Equal(t, "b", node)
	require.Equal(t, []string{pv.Name}, c.nodes["b"].volumes())
	require.Equal(t, []string{"admin"}, c.nodes["a"].volumes(), "nothing is left where it did not fit")
	c.end("large", pv)
}

// scratch makes a pod with a generic ephemeral volume, and the request for it that the
// admission policies make.
func (c *clusterOfAgents) scratch(name, size string) {
	c.t.Helper()
	bytes := resource.MustParse(size)
	c.eventually("make the pod", func() error {
		_, err := c.api.CoreV1().Pods("default").Create(c.t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "c", Image: "none", Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{"podlv.dev/ssd": bytes}, Limits: corev1.ResourceList{"podlv.dev/ssd": bytes},
				}}},
				Volumes: []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
					VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{
						AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: ptr.To("fast"),
						Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: bytes}},
					}},
				}}}},
			},
		}, metav1.CreateOptions{})
		return err
	})
}

// Generic ephemeral volumes are made before their pods are bound. Each is counted once:
// a node takes as many as it has room for, and no fewer.
func TestControlPlaneFillsNodesWithGenericEphemeralVolumes(t *testing.T) {
	c := newClusterOfAgents(t, "a", "b")
	for node := range c.nodes {
		c.published(node, 10*gib-4*mib, time.Now())
	}
	const pods = 6 // three of 3 GiB fit on each node
	for i := range pods + 1 {
		c.scratch(fmt.Sprintf("p%d", i), "3Gi")
	}
	bound := func() (nodes map[string]int, names []string) {
		list, err := c.api.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		require.NoError(t, err)
		nodes = map[string]int{}
		for i := range list.Items {
			if n := list.Items[i].Spec.NodeName; n != "" {
				nodes[n]++
				names = append(names, list.Items[i].Name)
			}
		}
		return nodes, names
	}
	c.eventually("bind all that fit", func() error {
		if nodes, names := bound(); len(names) != pods {
			return fmt.Errorf("%v", nodes)
		}
		return nil
	})
	nodes, names := bound()
	require.Equal(t, map[string]int{"a": 3, "b": 3}, nodes)
	for name, n := range c.nodes {
		node, err := c.api.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		q := node.Status.Allocatable["podlv.dev/ssd"]
		require.EqualValues(t, 10*gib-4*mib, q.Value(), "what pods made of their own requests changes nothing for pods")
		require.Len(t, n.volumes(), 3)
		c.published(name, gib-4*mib, time.Now())
	}
	// One goes, and the one that waited comes.
	require.NoError(t, c.api.CoreV1().Pods("default").Delete(t.Context(), names[0], metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}))
	c.eventually("bind the last", func() error {
		if nodes, now := bound(); len(now) != pods {
			return fmt.Errorf("%v", nodes)
		}
		return nil
	})
	nodes, _ = bound()
	require.Equal(t, map[string]int{"a": 3, "b": 3}, nodes)
	c.eventually("have three on each", func() error {
		if a, b := len(c.nodes["a"].volumes()), len(c.nodes["b"].volumes()); a != 3 || b != 3 {
			return fmt.Errorf("%d and %d", a, b)
		}
		return nil
	})
}

// A clone can be made only where its source is. The scheduler prefers another node, is
// told by the agent there, and follows.
func TestControlPlaneFollowsACloneToItsSource(t *testing.T) {
	c := newClusterOfAgents(t, "a", "b")
	for node := range c.nodes {
		c.published(node, 10*gib-4*mib, time.Now())
	}
	c.runOn("source", "64Mi", "a")
	c.node("source")
	claim := pvc("clone", "64Mi", "")
	claim.ObjectMeta, claim.Status = metav1.ObjectMeta{Name: "clone"}, corev1.PersistentVolumeClaimStatus{}
	claim.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "source"}
	_, err := c.api.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), claim, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = c.api.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "clone"},
		Spec: corev1.PodSpec{
			Affinity: &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
				Weight: 100, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
					{Key: driver.TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{"b"}},
				}},
			}}}},
			Containers: []corev1.Container{{Name: "c", Image: "none"}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "clone"},
			}}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	node, pv := c.node("clone")
	require.Equal(t, "a", node)
	require.Contains(t, c.nodes["a"].volumes(), pv.Name)
	require.Len(t, c.nodes["a"].volumes(), 2)
	require.Empty(t, c.nodes["b"].volumes())
}
