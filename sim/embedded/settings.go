// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/podlv/podlv/sim/kube"
	"github.com/podlv/podlv/sim/scenario"
)

// schedulerConfig is the scheduler's configuration. A percentage of 0 is its default.
const schedulerConfig = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {qps: 5000, burst: 5000}
percentageOfNodesToScore: %d
profiles:
- schedulerName: default-scheduler
`

// capacityScoring, in it, lets it prefer nodes by their capacity for claims
// (StorageCapacityScoring, KEP-4049): %d points for one of which nothing is used, %d for
// one of which everything is.
const capacityScoring = `  pluginConfig:
  - name: VolumeBinding
    args:
      shape: [{utilization: 0, score: %d}, {utilization: 100, score: %d}]
`

// controlPlane is what the scenario's settings make of the control plane. dir is its
// folder.
func (c *Cluster) controlPlane(dir string) (kube.Config, error) {
	set := c.config.Scenario.Settings
	config := kube.Config{Program: c.config.Program, Dir: dir, NodeMonitorGracePeriod: time.Duration(set.NodeGracePeriod)}
	scheduler := fmt.Appendf(nil, schedulerConfig, set.ScoredNodes)
	switch set.CapacityScoring {
	case scenario.MostFree:
		scheduler = fmt.Appendf(scheduler, capacityScoring, 10, 0)
	case scenario.LeastFree:
		scheduler = fmt.Appendf(scheduler, capacityScoring, 0, 10)
	default:
		if set.ScoredNodes == 0 {
			return config, nil
		}
	}
	config.FeatureGates = map[string]bool{"StorageCapacityScoring": set.CapacityScoring != scenario.NoScoring}
	config.SchedulerConfig = filepath.Join(c.config.Dir, "kube-scheduler.yaml") // beside it: it must be empty
	return config, os.WriteFile(config.SchedulerConfig, scheduler, 0o600)
}
