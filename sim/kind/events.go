// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/kind/pkg/cluster/nodes"

	"github.com/podlv/podlv/e2e/kind"
	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/scenario"
)

// checkScenario refuses what cannot be had of containers that share a kernel.
func checkScenario(s *scenario.Scenario) error {
	var wrong error
	for i, e := range s.Events {
		switch {
		case e.PowerOff != nil, e.Reboot != nil, e.SlowLVM != nil, e.HangLVM != nil, e.WatchDelay != nil:
			wrong = errors.Join(wrong, fmt.Errorf("events[%d] (%s at %s): cannot happen to a node of --target kind; use --target embedded", i, e.What(), time.Duration(e.At)))
		}
	}
	for i, g := range s.Nodes {
		if len(g.Names) > 0 || len(g.Resources) > 0 || len(g.Taints) > 0 || g.Unschedulable {
			wrong = errors.Join(wrong, fmt.Errorf("nodes[%d]: names, resources, taints and unschedulable cannot be had with --target kind; use --target embedded", i))
		}
	}
	for i, w := range s.Workloads {
		if len(w.Placed) > 0 {
			wrong = errors.Join(wrong, fmt.Errorf("workloads[%d].placed: pods cannot be placed with --target kind; use --target embedded", i))
		}
	}
	if s.Settings.Embedded() {
		wrong = errors.Join(wrong, errors.New("settings: with --target kind only inlineAccounting can be set; use --target embedded"))
	}
	return wrong
}

// killAgent ends the agent in the middle of what it does. kubelet starts it again.
const killAgent = `for c in /proc/[0-9]*/comm; do
  [ "$(cat "$c" 2>/dev/null)" = podlv ] || continue
  p=${c#/proc/}; kill -9 "${p%/comm}"
done`

// Happen implements sim.Cluster.
func (k *cluster) Happen(ctx context.Context, e *scenario.Event, node string, number int) (mend func() error, err error) {
	n, err := k.node(node)
	if err != nil {
		return nil, err
	}
	do := func(script string) error { return kind.Run(ctx, n, "an event", script) }
	switch {
	case e.RestartKubelet != nil:
		return func() error { return kind.Run(k.ctx, n, "start kubelet", "systemctl start kubelet") }, do("systemctl stop kubelet")
	case e.KillAgent != nil:
		return nil, do(killAgent)
	case e.DiskFailure != nil:
		disk := k.disk(n, e.DiskFailure)
		return func() error { return kind.Run(k.ctx, n, "return a disk", "fakelvm fakelvm return "+disk) }, do("fakelvm fakelvm take " + disk)
	case e.LVCreate != nil:
		lv := e.LVCreate
		if err := do(fmt.Sprintf("fakelvm lvcreate --yes --name foreign%d --size %db %s", number, lv.Size, lv.VolumeGroup)); err != nil {
			return nil, &sim.RefusedError{Err: err}
		}
	}
	return nil, nil
}

// node is a node by its name.
func (k *cluster) node(name string) (nodes.Node, error) {
	list, err := k.engine.Nodes(k.name)
	if err != nil {
		return nil, err
	}
	for _, n := range list {
		if n.String() == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the cluster has no node %s", name)
}

// disk is the path of a node's disk: they are numbered through all VGs (setup).
func (k *cluster) disk(n nodes.Node, f *scenario.DiskFailure) (path string) {
	k.scenario.Each(func(name string, g *scenario.NodeGroup) {
		if k.names[name] != n.String() {
			return
		}
		before := 0
		for _, v := range g.VolumeGroups {
			if v.Name == f.VolumeGroup {
				path = diskPath(n.String(), before+f.Disk)
			}
			before += max(len(v.Disks), 1)
		}
	})
	return path
}

// diskPath is a disk of a node.
func diskPath(node string, number int) string {
	return fmt.Sprintf("%s/disk%d", fakeDir(node), number)
}

// fakeDir is the folder of a node's fake LVM.
func fakeDir(node string) string { return stateDir + "/" + node }
