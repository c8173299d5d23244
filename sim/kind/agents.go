// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// clearStorage removes what kind installs for claims: its StorageClass could have the name
// of one of the scenario's, and is the default.
func clearStorage(ctx context.Context, client kubernetes.Interface) error {
	err := client.StorageV1().StorageClasses().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("remove the StorageClasses of kind: %w", err)
	}
	err = client.CoreV1().Namespaces().Delete(ctx, "local-path-storage", metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the provisioner of kind: %w", err)
	}
	return nil
}

// makeAgents makes the objects of podlv.yaml.
func (k *cluster) makeAgents(ctx context.Context) error {
	address, err := k.apiServer(ctx)
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

// apiServer is the address of the API server, as the nodes see it.
func (k *cluster) apiServer(ctx context.Context) (string, error) {
	node, err := k.access.Client.CoreV1().Nodes().Get(ctx, k.name+"-control-plane", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address, nil
		}
	}
	return "", errors.New("the node of the control plane has no address")
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
