// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// taints checks those of a group, and its other resources.
func (c *checker) taints(path string, g *NodeGroup) {
	for i, t := range g.Taints {
		at := fmt.Sprintf("%s.taints[%d]", path, i)
		for _, wrong := range validation.IsQualifiedName(t.Key) {
			c.add(at+".key", "%q: %s", t.Key, wrong)
		}
		for _, wrong := range validation.IsValidLabelValue(t.Value) {
			c.add(at+".value", "%q: %s", t.Value, wrong)
		}
		switch corev1.TaintEffect(t.Effect) {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			c.add(at+".effect", "%q: must be NoSchedule, PreferNoSchedule or NoExecute", t.Effect)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.Resources)) {
		switch name {
		case "cpu", "memory", "pods":
			c.add(path+".resources", "%s: has a key of its own beside resources", name)
			continue
		}
		for _, wrong := range validation.IsQualifiedName(name) {
			c.add(path+".resources", "%q: %s", name, wrong)
		}
	}
}

// placed checks which pods of a workload are where.
func (c *checker) placed(path string, w *Workload, s *Scenario) {
	pods, nodes := map[string]bool{}, map[string]bool{}
	for _, o := range w.Objects {
		if p, ok := o.(*corev1.Pod); ok {
			pods[p.Name] = true
		}
	}
	s.Each(func(name string, _ *NodeGroup) { nodes[name] = true })
	for _, pod := range slices.Sorted(maps.Keys(w.Placed)) {
		if !pods[pod] {
			c.add(path+".placed", "%q: there is no Pod of that name among the workload's objects", pod)
		}
		if node := w.Placed[pod]; !nodes[node] {
			c.add(path+".placed", "%s: %q: there is no such node", pod, node)
		}
	}
}
