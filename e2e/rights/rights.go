// SPDX-License-Identifier: Apache-2.0

// Package rights compares what RBAC lets ServiceAccounts do with what they were seen to
// do. There are only Rights, those that are granted (Granted) and those that an API
// server's audit log shows (Seen), and the Comparison of the two.
package rights

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Right is one verb on one resource, of a ServiceAccount.
type Right struct {
	Account  string // its name
	Verb     string
	Resource string // "nodes/status", "leases.coordination.k8s.io"
}

func (r Right) String() string { return r.Account + ": " + r.Verb + " " + r.Resource }

// resource is a resource's name with its group.
func resource(group, name, subresource string) string {
	if group != "" {
		name += "." + group
	}
	if subresource != "" {
		name += "/" + subresource
	}
	return name
}

// Granted are the rights that roles of any kind give to the ServiceAccounts of a
// namespace. A role that names objects counts as one that does not.
func Granted(ctx context.Context, client kubernetes.Interface, namespace string) (map[Right]bool, error) {
	granted := map[Right]bool{}
	add := func(subjects []rbacv1.Subject, rules []rbacv1.PolicyRule) {
		for _, s := range subjects {
			if s.Kind != rbacv1.ServiceAccountKind || s.Namespace != namespace {
				continue
			}
			for _, rule := range rules {
				for _, group := range rule.APIGroups {
					for _, name := range rule.Resources {
						name, subresource, _ := strings.Cut(name, "/")
						for _, verb := range rule.Verbs {
							granted[Right{s.Name, verb, resource(group, name, subresource)}] = true
						}
					}
				}
			}
		}
	}
	everywhere, err := client.RbacV1().ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, b := range everywhere.Items {
		if !slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool { return s.Namespace == namespace }) {
			continue
		}
		role, err := client.RbacV1().ClusterRoles().Get(ctx, b.RoleRef.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		add(b.Subjects, role.Rules)
	}
	here, err := client.RbacV1().RoleBindings(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, b := range here.Items {
		role, err := client.RbacV1().Roles(namespace).Get(ctx, b.RoleRef.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		add(b.Subjects, role.Rules)
	}
	return granted, nil
}

// event is what is read of an Event of audit.k8s.io/v1.
type event struct {
	Verb string
	User struct{ Username string }
	// ObjectRef is nil of what is no resource.
	ObjectRef   *struct{ Resource, Subresource, APIGroup string }
	Annotations map[string]string
}

// Seen are the rights that the ServiceAccounts of a namespace have used, and those that
// they were refused, with the number of requests. log is an audit log, an Event of
// audit.k8s.io/v1 in JSON a line. What everybody may do (discovery, reviews of one's own rights) is
// left out.
func Seen(log io.Reader, namespace string) (used, refused map[Right]int, err error) {
	used, refused = map[Right]int{}, map[Right]int{}
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, nil, fmt.Errorf("audit log: %w", err)
		}
		account, ours := strings.CutPrefix(e.User.Username, "system:serviceaccount:"+namespace+":")
		if !ours || e.ObjectRef == nil || e.ObjectRef.Resource == "" || e.ObjectRef.APIGroup == "authorization.k8s.io" {
			continue
		}
		r := Right{account, e.Verb, resource(e.ObjectRef.APIGroup, e.ObjectRef.Resource, e.ObjectRef.Subresource)}
		if e.Annotations["authorization.k8s.io/decision"] == "forbid" {
			refused[r]++
		} else {
			used[r]++
		}
	}
	return used, refused, lines.Err()
}

// Comparison is what is granted against what was seen.
type Comparison struct {
	Used      int      // rights that are granted and were used
	Refused   []Right  // asked for, and not granted
	Unused    []Right  // granted, never used, and nobody says what for
	Explained int      // granted, not used, and it is said what for
	Mistaken  []string // explanations of what is not granted
}

// Compare compares. reasons say what a right is for that was not seen in use. A list of what
// is watched needs none.
func Compare(granted map[Right]bool, used, refused map[Right]int, reasons map[Right]string) Comparison {
	var c Comparison
	for r := range granted {
		switch {
		case used[r] > 0:
			c.Used++
		case reasons[r] != "", r.Verb == "list" && used[Right{r.Account, "watch", r.Resource}] > 0:
			c.Explained++ // a list is what a watch begins with where the API server cannot stream
		default:
			c.Unused = append(c.Unused, r)
		}
	}
	c.Refused = slices.Collect(maps.Keys(refused))
	for r := range reasons {
		if !granted[r] {
			c.Mistaken = append(c.Mistaken, r.String()+": is not granted")
		}
	}
	for _, list := range [][]Right{c.Refused, c.Unused} {
		slices.SortFunc(list, func(a, b Right) int { return cmp.Compare(a.String(), b.String()) })
	}
	slices.Sort(c.Mistaken)
	return c
}

// Err names all that is wrong; nil when nothing is.
func (c Comparison) Err() error {
	if len(c.Refused)+len(c.Unused)+len(c.Mistaken) == 0 {
		return nil
	}
	return fmt.Errorf("RBAC and what was seen differ: refused %v; granted, but not used, and without a reason %v; reasons that are wrong %v", c.Refused, c.Unused, c.Mistaken)
}
