// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// template is a pod as a controller makes it.
func template(p *corev1.Pod) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: p.Labels, Annotations: p.Annotations}, Spec: p.Spec}
}

// A Deployment is rolled out: the new pods have new volumes, and the old ones' are gone.
func TestDeploymentRollsOut(t *testing.T) {
	c := newCase(t)
	p := c.pod("app", inline("v", "ext4", "256Mi"))
	deployments := the.Client.AppsV1().Deployments(c.namespace)
	d, err := deployments.Create(c.ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](6), Selector: &metav1.LabelSelector{MatchLabels: p.Labels}, Template: template(p)},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	rolledOut := func(generation int64) {
		t.Helper()
		c.until("the Deployment is rolled out", func() error {
			d, err = deployments.Get(c.ctx, "app", metav1.GetOptions{})
			if err == nil && (d.Status.ObservedGeneration < generation || d.Status.UpdatedReplicas != 6 || d.Status.ReadyReplicas != 6 || d.Status.Replicas != 6) {
				err = fmt.Errorf("%+v", d.Status)
			}
			return err
		})
	}
	rolledOut(1)
	d.Spec.Template.Annotations = map[string]string{"version": "2"}
	_, err = deployments.Update(c.ctx, d, metav1.UpdateOptions{})
	require.NoError(t, err)
	rolledOut(2)
	c.until("there are six volumes", func() error {
		n := 0
		for _, node := range the.Nodes() {
			n += len(c.volumesOn(node))
		}
		if n != 6 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
}

// The pods of a StatefulSet come back to the nodes of their claims, also while a node is
// cordoned: then they wait.
func TestStatefulSetKeepsItsNodes(t *testing.T) {
	c := newCase(t)
	p := c.pod("db", claimed("data", false))
	p.Spec.Volumes = nil // the set makes the claims
	p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
		TopologyKey: "kubernetes.io/hostname", LabelSelector: &metav1.LabelSelector{MatchLabels: p.Labels},
	}}}}
	_, err := the.Client.AppsV1().StatefulSets(c.namespace).Create(c.ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: ptr.To[int32](nodes), Selector: &metav1.LabelSelector{MatchLabels: p.Labels}, Template: template(p), PodManagementPolicy: appsv1.ParallelPodManagement,
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: claimSpec("ssd", "128Mi", corev1.PersistentVolumeFilesystem)}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	said, at := map[string]map[string]string{}, map[string]string{}
	for i := range nodes {
		name := fmt.Sprintf("db-%d", i)
		said[name] = c.says(name, time.Time{})
		c.fresh(said[name], 1)
		at[name] = c.nodeOf(name).Name
	}
	c.cordon(at["db-0"], true)
	c.removePod0("db-0")
	c.event("Pod", "db-0", "were unschedulable")
	c.cordon(at["db-0"], false)
	for i := range nodes {
		name := fmt.Sprintf("db-%d", i)
		if i > 0 {
			c.removePod0(name)
		}
		c.until(name+" is back with its data", func() error { return c.running(name, time.Time{}) })
		require.Equal(t, kept(said[name]), c.says(name, time.Time{}))
		require.Equal(t, at[name], c.nodeOf(name).Name)
	}
}

// removePod0 deletes a pod that comes back, and waits until another has its name.
func (c *kase) removePod0(name string) {
	c.Helper()
	pods := the.Client.CoreV1().Pods(c.namespace)
	old, err := pods.Get(c.ctx, name, metav1.GetOptions{})
	require.NoError(c, err)
	require.NoError(c, pods.Delete(c.ctx, name, metav1.DeleteOptions{}))
	c.until("another pod has the name "+name, func() error {
		p, err := pods.Get(c.ctx, name, metav1.GetOptions{})
		if err == nil && p.UID == old.UID {
			err = fmt.Errorf("it is the old one")
		}
		return err
	})
}

// cordon keeps new pods off a node, or lets them.
func (c *kase) cordon(node string, on bool) {
	c.Helper()
	verb := "uncordon"
	if on {
		verb = "cordon"
		c.Cleanup(func() { _, _ = the.Kubectl(c.ctx, nil, "uncordon", node) })
	}
	_, err := the.Kubectl(c.ctx, nil, verb, node)
	require.NoError(c, err)
}

// A node is drained: pods with inline volumes run elsewhere, and nothing of theirs stays.
func TestDrain(t *testing.T) {
	c := newCase(t)
	p := c.pod("app", inline("v", "ext4", "128Mi"))
	_, err := the.Client.AppsV1().Deployments(c.namespace).Create(c.ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "app"},
		Spec:       appsv1.DeploymentSpec{Replicas: ptr.To[int32](6), Selector: &metav1.LabelSelector{MatchLabels: p.Labels}, Template: template(p)},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, the.WaitPods(c.ctx, c.namespace, "app=app", 6))
	c.cordon("node-2", true)
	_, err = the.Kubectl(c.ctx, nil, "drain", "node-2", "--ignore-daemonsets", "--delete-emptydir-data", "--pod-selector=app=app", "--timeout=120s")
	require.NoError(t, err)
	c.until("node-2 has no volume", func() error {
		if v := c.volumesOn(the.Nodes()[1]); len(v) > 0 {
			return fmt.Errorf("it has %q", v)
		}
		return nil
	})
	require.NoError(t, the.WaitPods(c.ctx, c.namespace, "app=app", 6))
	c.cordon("node-2", false)
}
