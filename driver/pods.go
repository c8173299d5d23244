// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
)

// Pods tells which pods the node has.
type Pods interface {
	// List gives the pods that are bound to the node, as the API server has them
	// now: never from a cache that may be behind.
	List(ctx context.Context) ([]Pod, error)
}

// Pod is a pod that is bound to the node.
type Pod struct {
	Namespace, Name, UID string
	// Ending: it is being deleted, or has succeeded or failed.
	Ending bool
}

// NewPods lists pods from the API server.
func NewPods(client kubernetes.Interface, node string) Pods {
	return &apiPods{client: client, node: node}
}

type apiPods struct {
	client kubernetes.Interface
	node   string
}

func (a *apiPods) List(ctx context.Context) ([]Pod, error) {
	pods, err := podsOn(ctx, a.client, a.node)
	if err != nil {
		return nil, err
	}
	list := make([]Pod, 0, len(pods.Items))
	for i := range pods.Items {
		p := &pods.Items[i]
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		list = append(list, Pod{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID), Ending: ended || p.DeletionTimestamp != nil})
	}
	return list, nil
}

// podsOn lists the pods that are bound to a node, as the API server has them now.
func podsOn(ctx context.Context, client kubernetes.Interface, node string) (*corev1.PodList, error) {
	selector := fields.OneTermEqualSelector("spec.nodeName", node).String()
	// No resource version: a consistent read (Kubernetes API concepts, "Resource
	// versions").
	pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("list the pods of node %s: %w", node, err)
	}
	return pods, nil
}
