// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"context"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/e2e/kind"
)

// makeAgents makes the objects of podlv.yaml.
func (k *cluster) makeAgents(ctx context.Context) error {
	address, err := kind.Address(ctx, k.access.Client, kind.ControlPlaneName(k.name))
	if err != nil {
		return err
	}
	all, err := objects(k.scenario.Storage.Text, address)
	if err != nil {
		return err
	}
	client, options := k.access.Client, metav1.CreateOptions{}
	for _, o := range all {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			_, err = client.CoreV1().ConfigMaps(o.Namespace).Create(ctx, o, options)
		case *corev1.ServiceAccount:
			_, err = client.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, options)
		case *rbacv1.ClusterRole:
			_, err = client.RbacV1().ClusterRoles().Create(ctx, o, options)
		case *rbacv1.ClusterRoleBinding:
			_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, o, options)
		case *rbacv1.Role:
			_, err = client.RbacV1().Roles(o.Namespace).Create(ctx, o, options)
		case *rbacv1.RoleBinding:
			_, err = client.RbacV1().RoleBindings(o.Namespace).Create(ctx, o, options)
		case *appsv1.DaemonSet:
			_, err = client.AppsV1().DaemonSets(o.Namespace).Create(ctx, o, options)
		}
		if err != nil {
			return fmt.Errorf("install the agents: %w", err)
		}
	}
	return nil
}

// agentsSay is the end of what agents say that do not work, for an error.
func (k *cluster) agentsSay() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pods, err := k.access.Client.CoreV1().Pods(agentNamespace).List(ctx, metav1.ListOptions{LabelSelector: agentSelector})
	if err != nil {
		return ""
	}
	for _, p := range pods.Items {
		for _, c := range p.Status.ContainerStatuses {
			if c.Ready {
				continue
			}
			said := ""
			if w := c.State.Waiting; w != nil {
				said = w.Reason + " " + w.Message
			}
			log, err := k.access.Client.CoreV1().Pods(agentNamespace).GetLogs(p.Name, &corev1.PodLogOptions{TailLines: ptr.To(int64(5))}).DoRaw(ctx)
			if err == nil {
				said += " " + string(log)
			}
			return fmt.Sprintf("; the agent of node %s is not ready: %s", p.Spec.NodeName, strings.TrimSpace(said))
		}
	}
	return ""
}
