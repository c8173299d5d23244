// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"

	"github.com/podlv/podlv/e2e/kind"
	"github.com/podlv/podlv/sim/scenario"
)

// mostPods a node can have: what its /24 has addresses for, and some for the system's.
const mostPods = 240

// clusterConfig is a cluster with a worker for each node of the scenario, in its order.
func clusterConfig(s *scenario.Scenario) (*v1alpha4.Cluster, error) {
	pods, workers := 0, []string{}
	s.Each(func(_ string, g *scenario.NodeGroup) {
		workers = append(workers, "")
		pods = max(pods, g.Pods)
	})
	return kind.ClusterConfig(workers, map[string]any{"maxPods": min(pods, mostPods)})
}
