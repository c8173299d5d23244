// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

// A pod that is placed goes to its node whatever else it says, and what it keeps away
// stays away.
func TestPlacedPods(t *testing.T) {
	s, err := scenario.Parse("x.yaml", []byte(`storage: {pools: [{name: ssd, volumeGroup: vg0}], classes: [{name: ssd, pool: ssd}]}
nodes: [{names: [a, b], volumeGroups: [{name: vg0, size: 1Gi}]}]
workloads:
- name: w
  placed: {x: b}
  objects:
  - {apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{name: c, image: i}], nodeSelector: {k: v}, affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: k, operator: Exists}]}]}}, podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: t, labelSelector: {}}]}}}}
  - {apiVersion: v1, kind: Pod, metadata: {name: "y"}, spec: {containers: [{name: c, image: i}], nodeSelector: {k: v}}}
expectations: [{that: metrics.pods == 2, message: x}]
`), report.Compile)
	require.NoError(t, err)
	objects, pods := objectsOf(s, 0)
	require.Equal(t, 2, pods)
	placed, free := objects[0].(*corev1.Pod), objects[1].(*corev1.Pod)
	require.Empty(t, placed.Spec.NodeSelector)
	term := placed.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	require.Equal(t, []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"b"}}}}}, term)
	require.Len(t, placed.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, 1)
	require.Equal(t, []corev1.Toleration{{Operator: corev1.TolerationOpExists}}, placed.Spec.Tolerations)
	require.Equal(t, map[string]string{"k": "v"}, free.Spec.NodeSelector)
	require.Nil(t, free.Spec.Affinity)
	require.Equal(t, map[string]string{"k": "v"}, s.Workloads[0].Objects[0].(*corev1.Pod).Spec.NodeSelector, "the scenario is as it was")
}
