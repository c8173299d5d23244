// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package admission_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// nodeOf is a node that is Ready.
func nodeOf(name string) *corev1.Node {
	has := corev1.ResourceList{"cpu": resource.MustParse("8"), "memory": resource.MustParse("16Gi"), "pods": resource.MustParse("110")}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{driver.TopologyKey: name}},
		Status: corev1.NodeStatus{
			Capacity: has, Allocatable: has,
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

// agent is a client with the token that the agent's pod on a node would have.
func (c *cluster) agent(node string) kubernetes.Interface {
	c.Helper()
	pod := podOf("podlv-" + node)
	pod.Spec.ServiceAccountName, pod.Spec.NodeName = "podlv", node
	made, err := c.api.CoreV1().Pods("podlv-system").Create(c.Context(), pod, metav1.CreateOptions{})
	require.NoError(c, err)
	return c.withToken(&authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: made.Name, UID: made.UID})
}

func (c *cluster) withToken(bound *authenticationv1.BoundObjectReference) kubernetes.Interface {
	c.Helper()
	token, err := c.api.CoreV1().ServiceAccounts("podlv-system").CreateToken(c.Context(), "podlv", &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound},
	}, metav1.CreateOptions{})
	require.NoError(c, err)
	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken, config.QPS = token.Status.Token, -1
	client, err := kubernetes.NewForConfig(config)
	require.NoError(c, err)
	return client
}

func agentsAreFenced(t *testing.T, c *cluster) {
	_, err := c.api.CoreV1().ServiceAccounts("podlv-system").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "podlv"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	// More than the agent is given, so that what refuses is the policy.
	_, err = c.api.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "podlv"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "podlv-system", Name: "podlv"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	nodes := map[string]*corev1.Node{}
	for _, name := range []string{"one", "two"} {
		nodes[name], err = c.api.CoreV1().Nodes().Create(t.Context(), nodeOf(name), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	one, two, nowhere := c.agent("one"), c.agent("two"), c.withToken(nil)

	patch := func(client kubernetes.Interface, node, patch string, sub ...string) error {
		_, err := client.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, sub...)
		return err
	}
	const published = `{"status":{"capacity":{"podlv.dev/ssd":"10Gi"},"allocatable":{"podlv.dev/ssd":"9Gi"}}}`
	// refuses says whether it is the policy that refuses, as far as it is known yet.
	refuses := func(err error, words string) error {
		if err == nil {
			return fmt.Errorf("there is none")
		}
		if !strings.Contains(err.Error(), words) {
			return err
		}
		return nil
	}
	c.eventually("the fence", func() error { return refuses(patch(two, "one", published, "status"), "may not change node") })
	require.NoError(t, patch(one, "one", published, "status"))
	require.NoError(t, patch(two, "two", published, "status"))
	require.NoError(t, patch(one, "one", `{"status":{"capacity":{"podlv.dev/ssd":null},"allocatable":{"podlv.dev/ssd":"0"}}}`, "status"))

	// Its own condition, as the agent patches it: conditions merge by their type.
	condition := func(kind, status string) error {
		text := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q,"reason":"Test","message":"a test"}]}}`, kind, status)
		_, err := one.CoreV1().Nodes().Patch(t.Context(), "one", types.StrategicMergePatchType, []byte(text), metav1.PatchOptions{}, "status")
		return err
	}
	require.NoError(t, condition("PodlvReady", "False"))
	require.NoError(t, condition("PodlvReady", "True"))

	err = patch(two, "one", published, "status")
	require.ErrorContains(t, err, `the agent of node "two" may not change node "one"`)
	t.Log(err)
	require.ErrorContains(t, patch(nowhere, "one", published, "status"), `the agent of node "" may not change node "one"`)

	const only = "may change nothing of its node but podlv.dev/* in status.capacity and status.allocatable"
	for what, row := range map[string]struct{ patch, sub string }{
		"other resources":      {`{"status":{"capacity":{"cpu":"64"}}}`, "status"},
		"new other resources":  {`{"status":{"allocatable":{"example.org/gpu":"64"}}}`, "status"},
		"no other resources":   {`{"status":{"allocatable":{"memory":null}}}`, "status"},
		"lookalikes":           {`{"status":{"allocatable":{"podlv.device/ssd":"1"}}}`, "status"},
		"conditions":           {`{"status":{"conditions":[]}}`, "status"},
		"addresses":            {`{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.2"}]}}`, "status"},
		"labels in the status": {`{"metadata":{"labels":{"a":"b"}}}`, "status"},
		"annotations":          {`{"metadata":{"annotations":{"a":"b"}}}`, "status"},
		"labels":               {`{"metadata":{"labels":{"a":"b"}}}`, ""},
		"taints":               {`{"spec":{"taints":[{"key":"a","effect":"NoSchedule"}]}}`, ""},
		"unschedulable":        {`{"spec":{"unschedulable":true}}`, ""},
	} {
		sub := []string{}
		if row.sub != "" {
			sub = append(sub, row.sub)
		}
		require.ErrorContains(t, patch(one, "one", row.patch, sub...), only, what)
	}
	require.ErrorContains(t, condition("Ready", "False"), only)
	require.ErrorContains(t, condition("DiskPressure", "True"), only)
	// Others are not the policy's business.
	require.NoError(t, patch(c.api, "one", `{"metadata":{"labels":{"a":"b"}}}`))

	capacity := func(name, node, owner string) *storagev1.CSIStorageCapacity {
		q := resource.MustParse("1Gi")
		return &storagev1.CSIStorageCapacity{
			ObjectMeta: metav1.ObjectMeta{Name: name, OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "v1", Kind: "Node", Name: owner, UID: nodes[owner].UID,
			}}},
			StorageClassName: "local", Capacity: &q, MaximumVolumeSize: &q,
			NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{driver.TopologyKey: node}},
		}
	}
	of := func(client kubernetes.Interface) func(*storagev1.CSIStorageCapacity) error {
		return func(o *storagev1.CSIStorageCapacity) error {
			_, err := client.StorageV1().CSIStorageCapacities("podlv-system").Create(t.Context(), o, metav1.CreateOptions{})
			return err
		}
	}
	const own = "may publish the capacity of that node only, in an object that its Node owns"
	c.eventually("the fence of capacity", func() error {
		_, err := one.StorageV1().CSIStorageCapacities("podlv-system").Create(t.Context(), capacity("x", "two", "two"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return refuses(err, own)
	})
	require.NoError(t, of(one)(capacity("one", "one", "one")))
	require.NoError(t, of(two)(capacity("two", "two", "two")))
	require.ErrorContains(t, of(one)(capacity("x", "two", "two")), own)
	require.ErrorContains(t, of(one)(capacity("x", "two", "one")), own)
	require.ErrorContains(t, of(one)(capacity("x", "one", "two")), own)
	wide := capacity("x", "one", "one")
	wide.NodeTopology = &metav1.LabelSelector{}
	require.ErrorContains(t, of(one)(wide), own)
	wide.NodeTopology = nil
	require.ErrorContains(t, of(one)(wide), own)

	objects := one.StorageV1().CSIStorageCapacities("podlv-system")
	resize := []byte(`{"capacity":"2Gi","maximumVolumeSize":"2Gi"}`)
	_, err = objects.Patch(t.Context(), "one", types.MergePatchType, resize, metav1.PatchOptions{})
	require.NoError(t, err)
	_, err = objects.Patch(t.Context(), "two", types.MergePatchType, resize, metav1.PatchOptions{})
	require.ErrorContains(t, err, own)
	err = objects.Delete(t.Context(), "two", metav1.DeleteOptions{})
	require.ErrorContains(t, err, `the agent of node "one" may change or delete that node's capacity only`)
	require.NoError(t, objects.Delete(t.Context(), "one", metav1.DeleteOptions{}))
	for _, name := range []string{"podlv-one", "podlv-two"} {
		require.NoError(t, c.api.CoreV1().Pods("podlv-system").Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}))
	}
}
