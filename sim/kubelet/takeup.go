// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// takeUp says of a Node that is there, because kubelet ran before, that it is Ready, and
// renews its Lease. Its labels and its extended resources stay as they are.
func (k *Kubelet) takeUp(ctx context.Context) error {
	now := metav1.NewTime(k.Clock.Now())
	status, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{ready(now)}}})
	if err != nil {
		return err
	}
	if _, err := k.Client.CoreV1().Nodes().Patch(ctx, k.node, types.StrategicMergePatchType, status, metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("node %s is to be ready again: %w", k.node, err)
	}
	lease, err := json.Marshal(map[string]any{"spec": map[string]any{"renewTime": metav1.NewMicroTime(now.Time)}})
	if err != nil {
		return err
	}
	if _, err := k.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Patch(ctx, k.node, types.MergePatchType, lease, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("lease of node %s: %w", k.node, err)
	}
	return nil
}

// ready is the condition of a node that works.
func ready(now metav1.Time) corev1.NodeCondition {
	return corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}
}
