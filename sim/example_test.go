// SPDX-License-Identifier: Apache-2.0

package sim_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/kube"
)

// Do ten pods of 3 GiB fit on two nodes of 16 GiB?
func ExampleRun() {
	s, err := sim.Parse("fits.yaml", []byte(`
description: Ten pods on two nodes.
storage:
  pools: [{name: ssd, volumeGroup: vg0}]
  classes: [{name: ssd, pool: ssd, default: true}]
nodes: [{count: 2, volumeGroups: [{name: vg0, size: 16Gi}]}]
workloads: [{name: builds, pods: 10, volumes: [{kind: inline, size: 3Gi}]}]
expectations: [{that: metrics.podsRunning == 10, message: every build runs}]
`))
	if err != nil {
		log.Fatal(err)
	}
	program, err := kube.Find("")
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sim-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	r, err := sim.Run(context.Background(), sim.Config{Scenario: s, ControlPlane: program, Dir: dir})
	if err != nil {
		log.Print(err)
		return
	}
	fmt.Println(r.Passed(), r.Metrics.PodsRunning)
}
