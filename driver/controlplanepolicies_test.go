// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package driver_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/admission"
)

// applyPolicies creates the admission policies of the nodes' device classes.
func (c *clusterOfAgents) applyPolicies() {
	c.t.Helper()
	classes, err := driver.ParseClasses([]byte(onePool))
	require.NoError(c.t, err)
	objects, err := admission.Objects(admission.Config{
		Classes: classes, StorageClasses: map[string]string{"fast": "ssd"}, AgentNamespace: "podlv-system", AgentAccount: "podlv",
	})
	require.NoError(c.t, err)
	for _, o := range objects {
		plural := strings.ToLower(o.GetObjectKind().GroupVersionKind().Kind) + "s"
		plural = strings.Replace(plural, "policys", "policies", 1)
		require.NoError(c.t, c.api.AdmissionregistrationV1().RESTClient().Post().Resource(plural).Body(o).Do(c.t.Context()).Error())
	}
}

// A user writes a size into a volume, and nothing else: the policies ask for it, the
// agents offer what there is, and the unmodified scheduler fills the nodes, and no more.
func TestControlPlaneFillsNodesWithInlineVolumes(t *testing.T) {
	c := newClusterOfAgents(t, "a", "b")
	c.applyPolicies()
	for node := range c.nodes {
		c.published(node, 10*gib-4*mib, time.Now())
	}
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "none"}},
			Volumes: []corev1.Volume{
				{Name: "inline", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver.Name, VolumeAttributes: map[string]string{"size": "2Gi"}}}},
				{Name: "claim", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
					Spec: corev1.PersistentVolumeClaimSpec{
						StorageClassName: ptr.To("fast"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
						Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
					},
				}}}},
			},
		}}
	}
	c.eventually("have the policy ask", func() error {
		made, err := c.api.CoreV1().Pods("default").Create(t.Context(), pod("probe"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		if q := made.Spec.Containers[0].Resources.Requests["podlv.dev/ssd"]; q.Value() != 3*gib {
			return fmt.Errorf("it asks for %s", q.String())
		}
		return nil
	})
	const fit = 6 // three of 3 GiB on each node
	for i := range fit + 1 {
		_, err := c.api.CoreV1().Pods("default").Create(t.Context(), pod(fmt.Sprintf("p%d", i)), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	nodes, waiting := map[string]int{}, ""
	c.eventually("bind all that fit", func() error {
		list, err := c.api.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		nodes, waiting = map[string]int{}, ""
		for i := range list.Items {
			p := &list.Items[i]
			if p.Spec.NodeName != "" {
				nodes[p.Spec.NodeName]++
				continue
			}
			for _, condition := range p.Status.Conditions {
				if condition.Reason == corev1.PodReasonUnschedulable {
					waiting = condition.Message
				}
			}
		}
		if nodes["a"]+nodes["b"] != fit || !strings.Contains(waiting, "Insufficient podlv.dev/ssd") {
			return errors.New(fmt.Sprint(nodes, waiting))
		}
		return nil
	})
	require.Equal(t, map[string]int{"a": 3, "b": 3}, nodes)
	t.Log(waiting)
}
