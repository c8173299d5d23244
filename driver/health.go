// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/lvm"
)

// ReadyCondition is the Node's condition that says whether all pools of the node are as
// the device classes have them.
const ReadyCondition corev1.NodeConditionType = "PodlvReady"

// health is that condition's content.
type health struct {
	ready           bool
	reason, message string
}

// messageMost is how long the condition's message may be: people read it in a terminal.
const messageMost = 2000

// healthOf is what troubles come to. The reason is that of the first.
func healthOf(troubles []trouble) health {
	if len(troubles) == 0 {
		return health{ready: true, reason: "PoolsReady", message: "all pools of this node are ready"}
	}
	var lines []string
	length, left := 0, 0
	for _, t := range troubles {
		line := t.String()
		if length += len(line); length > messageMost && len(lines) > 0 {
			left++
			continue
		}
		lines = append(lines, line[:min(len(line), messageMost)])
	}
	if left > 0 {
		lines = append(lines, fmt.Sprintf("and %d more, which the agent's log has", left))
	}
	return health{reason: troubles[0].condition(), message: strings.Join(lines, "; ")}
}

// condition is the reason as the condition has it.
func (t trouble) condition() string { return strings.TrimPrefix(t.reason, "Podlv") }

// String is the trouble for a person.
func (t trouble) String() string {
	var s strings.Builder
	if t.pool != "" {
		fmt.Fprintf(&s, "pool %q: ", t.pool)
	}
	if t.path != "" {
		fmt.Fprintf(&s, "%s: ", t.path)
	}
	return s.String() + strings.Join(strings.Fields(t.words), " ")
}

// troubles are what Check finds, by pool.
func (c *Classes) troubles(groups []lvm.VolumeGroup) (all []trouble) {
	for _, pool := range c.pools {
		one := &Classes{pools: []Pool{pool}, classes: c.classes}
		if err := one.Check(groups); err != nil {
			all = append(all, trouble{pool: pool.Name, reason: reasonVG, words: strings.TrimPrefix(err.Error(), fmt.Sprintf("pool %q: ", pool.Name))})
		}
	}
	return all
}

// tell makes the Node's condition what is wanted, in one patch, or none when it is so.
func (r *nodeResources) tell(ctx context.Context, h health, now metav1.Time) error {
	status := corev1.ConditionFalse
	if h.ready {
		status = corev1.ConditionTrue
	}
	want := corev1.NodeCondition{Type: ReadyCondition, Status: status, Reason: h.reason, Message: h.message, LastHeartbeatTime: now, LastTransitionTime: now}
	if had := r.condition; had != nil {
		if had.Status == want.Status && had.Reason == want.Reason && had.Message == want.Message {
			return nil
		}
		if had.Status == want.Status {
			want.LastTransitionTime = had.LastTransitionTime
		}
	}
	// Conditions merge by their type: the others are kubelet's.
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{want}}})
	if err != nil {
		return err
	}
	if _, err := r.client.CoreV1().Nodes().PatchStatus(ctx, r.node, patch); err != nil {
		return fmt.Errorf("condition of node %s: %w", r.node, err)
	}
	r.condition = &want
	return nil
}

// conditionOf is a Node's condition of ours, nil when it has none.
func conditionOf(node *corev1.Node) *corev1.NodeCondition {
	i := slices.IndexFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == ReadyCondition })
	if i < 0 {
		return nil
	}
	return &node.Status.Conditions[i]
}
