// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/sim/embedded"
	"github.com/podlv/podlv/sim/oracle"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

// Embedded is the target that needs nothing but the program of the control plane
// (kube.Find looks for it): fake nodes in this process. dir is a folder for state, which
// must exist, be empty and have a short path; it is not removed.
func Embedded(program, dir string) Target {
	return func(ctx context.Context, p Parts) (Cluster, error) {
		if err := checkMemory(p.Scenario); err != nil {
			return nil, err
		}
		hosts, err := embedded.Hosts(p.Scenario)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		c, err := embedded.Start(ctx, embedded.Config{
			Program: program, Dir: dir, Scenario: p.Scenario, Observer: p.Observer, Log: p.Log, Progress: p.Progress,
		}, hosts)
		if err != nil {
			return nil, err
		}
		access := Access{
			TargetName: "embedded", Client: c.Client, Kubeconfig: c.Kubeconfig, Informers: c.Router.Factory(),
			Namespace: metav1.NamespaceDefault, AgentNamespace: embedded.Namespace,
			Nodes: len(c.Nodes), Machines: map[string]oracle.Machine{}, PID: c.PID(),
			MendAll: func(ctx context.Context) error {
				for _, n := range c.Nodes {
					if err := n.PowerOn(ctx); err != nil {
						return fmt.Errorf("start node %s again: %w", n.Name, err)
					}
				}
				return nil
			},
			Off: func(node string) bool { return c.Node(node).Off() },
			Phases: []report.Phase{
				report.Took("control plane", c.ControlPlaneTime),
				report.Took("nodes", time.Since(start)-c.ControlPlaneTime),
			},
		}
		for name, h := range hosts {
			access.Machines[name] = h
		}
		return &embeddedCluster{Cluster: c, access: access}, nil
	}
}

// embeddedCluster is an embedded.Cluster as a run sees it.
type embeddedCluster struct {
	*embedded.Cluster
	access Access
}

// Access implements Cluster.
func (c *embeddedCluster) Access() Access { return c.access }

// Happen implements Cluster.
func (c *embeddedCluster) Happen(ctx context.Context, e *scenario.Event, node string, number int) (mend func() error, err error) {
	n := c.Node(node)
	switch {
	case e.PowerOff != nil:
		n.PowerOff()
	case e.Reboot != nil:
		n.PowerOff()
		mend = func() error { return n.PowerOn(ctx) }
	case e.RestartKubelet != nil:
		n.StopKubelet()
		mend = func() error { return n.StartKubelet(ctx) }
	case e.KillAgent != nil:
		n.KillAgent()
		mend = n.StartAgent
	case e.DiskFailure != nil:
		d := e.DiskFailure
		return func() error { return n.ReturnDisk(d.VolumeGroup, d.Disk) }, n.TakeDisk(d.VolumeGroup, d.Disk)
	case e.SlowLVM != nil:
		n.Slow(time.Duration(e.SlowLVM.Delay))
		mend = func() error { n.Slow(0); return nil }
	case e.HangLVM != nil:
		release := n.Hang()
		mend = func() error { release(); return nil }
	case e.WatchDelay != nil:
		n.Lag(time.Duration(e.WatchDelay.Delay))
		mend = func() error { n.Lag(0); return nil }
	case e.LVCreate != nil:
		lv := e.LVCreate
		_, err = n.Host.Run(ctx, "lvcreate", "--yes", "--name", fmt.Sprintf("foreign%d", number), "--size", fmt.Sprintf("%db", lv.Size), lv.VolumeGroup)
		if err != nil {
			err = &RefusedError{err}
		}
	}
	return mend, err
}

// FailedCreates implements Cluster.
func (c *embeddedCluster) FailedCreates() map[string]int {
	codes := map[string]int{}
	for _, n := range c.Nodes {
		for code, failed := range failedRPCs(n, "/csi.v1.Controller/CreateVolume") {
			codes[code] += failed
		}
	}
	return codes
}

// failedRPCs is how many calls of a method an agent did not answer with OK, by code, but
// for those that it said are going on.
func failedRPCs(n *embedded.Node, method string) map[string]int {
	failed := map[string]int{}
	for _, agent := range n.Metrics() {
		families, _ := agent.Gather() // an error is of collectors that fail for disks only
		for _, f := range families {
			if f.GetName() != "podlv_rpc_duration_seconds" {
				continue
			}
			for _, m := range f.GetMetric() {
				has := map[string]string{}
				for _, l := range m.GetLabel() {
					has[l.GetName()] = l.GetValue()
				}
				if has["method"] == method && has["code"] != "OK" && has["code"] != "Aborted" {
					failed[has["code"]] += int(m.GetHistogram().GetSampleCount()) //nolint:gosec // far fewer
				}
			}
		}
	}
	return failed
}
