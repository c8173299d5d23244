// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// nodeResources are the extended resources of the pools on the Node's status: what
// the requests of all its pods may come to. One goroutine at a time.
type nodeResources struct {
	node   string
	client kubernetes.Interface

	have      map[string]int64 // pool → bytes; nil: not read yet
	condition *corev1.NodeCondition
}

// read takes up what is on the Node.
func (r *nodeResources) read(ctx context.Context) error {
	node, err := r.client.CoreV1().Nodes().Get(ctx, r.node, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("node %s: %w", r.node, err)
	}
	r.have, r.condition = resourcesOf(node), conditionOf(node)
	return nil
}

// resourcesOf are a Node's resources of ours. One that is not the same in capacity and
// allocatable counts as another size than any.
func resourcesOf(node *corev1.Node) map[string]int64 {
	have := map[string]int64{}
	for _, list := range []corev1.ResourceList{node.Status.Capacity, node.Status.Allocatable} {
		for name, q := range list {
			pool, ours := strings.CutPrefix(string(name), ResourcePrefix)
			if !ours {
				continue
			}
			have[pool] = q.Value()
			if c, a := node.Status.Capacity[name], node.Status.Allocatable[name]; c.Cmp(a) != 0 {
				have[pool] = -1
			}
		}
	}
	return have
}

// write makes the resources what is wanted, by pool, in bytes, and takes off those
// that are not: in one patch, or none when nothing has changed. Both capacity and
// allocatable are set: the scheduler reads the one, and kubelet sets it to the other
// at its next sync.
func (r *nodeResources) write(ctx context.Context, wanted map[string]int64) error {
	values := map[string]any{}
	for pool, size := range wanted {
		if had, there := r.have[pool]; !there || had != size {
			values[ResourcePrefix+pool] = strconv.FormatInt(size, 10)
		}
	}
	for pool := range r.have {
		if _, ok := wanted[pool]; !ok {
			values[ResourcePrefix+pool] = nil
		}
	}
	if len(values) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"capacity": values, "allocatable": values}})
	if err != nil {
		return err
	}
	r.have = nil // until the answer it is not known
	if _, err := r.client.CoreV1().Nodes().PatchStatus(ctx, r.node, patch); err != nil {
		return fmt.Errorf("resources of node %s: %w", r.node, err)
	}
	r.have = maps.Clone(wanted)
	return nil
}
