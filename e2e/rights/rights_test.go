// SPDX-License-Identifier: Apache-2.0

package rights

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const log = `{"verb":"get","user":{"username":"system:serviceaccount:s:a"},"objectRef":{"resource":"nodes","name":"n"},"annotations":{"authorization.k8s.io/decision":"allow"}}
{"verb":"patch","user":{"username":"system:serviceaccount:s:a"},"objectRef":{"resource":"nodes","subresource":"status"},"annotations":{"authorization.k8s.io/decision":"allow"}}
{"verb":"get","user":{"username":"system:serviceaccount:s:a"},"objectRef":{"resource":"secrets"},"annotations":{"authorization.k8s.io/decision":"forbid"}}
{"verb":"list","user":{"username":"system:serviceaccount:s:b"},"objectRef":{"resource":"leases","apiGroup":"coordination.k8s.io"},"annotations":{}}
{"verb":"get","user":{"username":"system:serviceaccount:other:a"},"objectRef":{"resource":"pods"}}
{"verb":"get","user":{"username":"system:serviceaccount:s:a"},"requestURI":"/apis"}
{"verb":"create","user":{"username":"system:serviceaccount:s:a"},"objectRef":{"resource":"selfsubjectrulesreviews","apiGroup":"authorization.k8s.io"}}
`

func TestWhatIsSeenIsComparedWithWhatIsGranted(t *testing.T) {
	account := func(name string) []rbacv1.Subject {
		return []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "s", Name: name}}
	}
	meta := func(name, namespace string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: namespace}
	}
	client := fake.NewClientset(
		&rbacv1.ClusterRole{ObjectMeta: meta("a", ""), Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"nodes", "nodes/status"}, Verbs: []string{"get", "patch"}},
		}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta("a", ""), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "a"}, Subjects: account("a")},
		&rbacv1.Role{ObjectMeta: meta("b", "s"), Rules: []rbacv1.PolicyRule{{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"list"}}}},
		&rbacv1.RoleBinding{ObjectMeta: meta("b", "s"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "b"}, Subjects: account("b")},
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta("others", ""), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "none"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "x"}}},
	)
	granted, err := Granted(t.Context(), client, "s")
	require.NoError(t, err)
	require.Len(t, granted, 5)
	used, refused, err := Seen(strings.NewReader(log), "s")
	require.NoError(t, err)
	require.Equal(t, map[Right]int{{"a", "get", "nodes"}: 1, {"a", "patch", "nodes/status"}: 1, {"b", "list", "leases.coordination.k8s.io"}: 1}, used)
	require.Equal(t, map[Right]int{{"a", "get", "secrets"}: 1}, refused)

	c := Compare(granted, used, refused, map[Right]string{{"a", "patch", "nodes"}: "for a test", {"a", "get", "pods"}: "for nothing"})
	require.Equal(t, Comparison{
		Used: 3, Explained: 1, Refused: []Right{{"a", "get", "secrets"}}, Unused: []Right{{"a", "get", "nodes/status"}}, Mistaken: []string{"a: get pods: is not granted"},
	}, c)
	require.EqualError(t, c.Err(), "RBAC and what was seen differ: refused [a: get secrets]; granted, but not used, and without a reason [a: get nodes/status]; reasons that are wrong [a: get pods: is not granted]")
	require.NoError(t, Comparison{Used: 1, Explained: 1}.Err())

	_, _, err = Seen(strings.NewReader("no JSON\n"), "s")
	require.ErrorContains(t, err, "audit log")
}
