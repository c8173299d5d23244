// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/fakelvm"
)

// crashCall is a call, or a task, in the middle of which the agent dies.
type crashCall struct {
	name string
	// before brings the node to where the call is made; the volume may have data.
	before func(n *fakeNode, v volume)
	// call is made; the process dies in it.
	call func(n *fakeNode, v volume) error
	// keeps says that the volume has data that the call must keep.
	keeps bool
}

var crashCalls = []crashCall{
	{
		name:   "publish",
		before: func(*fakeNode, volume) {},
		call: func(n *fakeNode, v volume) error {
			err := n.publish(v)
			n.agent.Settle(context.Background())
			return err
		},
	},
	{
		name: "publish after a reboot",
		before: func(n *fakeNode, v volume) {
			n.published(v)
			n.host.Reboot()
			n.restart()
		},
		call:  func(n *fakeNode, v volume) error { return n.publish(v) },
		keeps: true,
	},
	{
		name:   "publish over what another publish left",
		before: func(n *fakeNode, v volume) { n.leftHalfMade(v) },
		call: func(n *fakeNode, v volume) error {
			err := n.publish(v)
			n.agent.Settle(context.Background())
			return err
		},
	},
	{
		name:   "unpublish",
		before: func(n *fakeNode, v volume) { n.published(v) },
		call:   func(n *fakeNode, v volume) error { return n.unpublish(v) },
	},
	{
		name: "the reaper",
		before: func(n *fakeNode, v volume) {
			n.published(v)
			n.host.Reboot()
			n.restart()
			n.forget(v)
			n.clock.Step(n.reaper.MinAge)
		},
		call: func(n *fakeNode, _ volume) error {
			var err error
			for range n.reaper.Passes {
				err = n.agent.Reap(context.Background())
			}
			return err
		},
	},
}

// published is a volume that a pod uses, with data, its tag dropped.
func (n *fakeNode) published(v volume) {
	n.t.Helper()
	require.NoError(n.t, n.publish(v))
	n.agent.Settle(context.Background())
	require.NotContains(n.t, n.tags(v), "podlv.state=new")
	n.write(v, "data of "+v.pod)
}

// leftHalfMade is an LV that an agent died over, with somebody's old filesystem.
func (n *fakeNode) leftHalfMade(v volume) {
	n.t.Helper()
	n.lvm("lvcreate", "--yes", "--name", v.handle(), "--size", "64m", "--addtag", "podlv.dev", "--addtag", "podlv.kind=inline",
		"--addtag", "podlv.state=new", "--addtag", "podlv.fs=ext4", "--addtag", "podlv.pod=default/"+v.pod+"/"+v.uid, "vg0")
	require.NoError(n.t, n.host.Format("/dev/vg0/"+v.handle(), "ext4", "11111111-2222-5333-8444-555555555555"))
}

// crashAfter is what kubelet does once the agent is there again.
var crashAfter = map[string]func(n *fakeNode, v volume){
	"republish": func(n *fakeNode, v volume) {
		n.pod(v)
		require.NoError(n.t, n.publish(v))
		n.mounted(v)
		n.agent.Settle(context.Background())
		require.NotContains(n.t, n.tags(v), "podlv.state=new")
		require.NoError(n.t, n.publish(v), "once more")
		require.NoError(n.t, n.unpublish(v))
		n.pods.remove(v.uid)
	},
	"unpublish": func(n *fakeNode, v volume) {
		require.NoError(n.t, n.unpublish(v))
		require.NoError(n.t, n.unpublish(v), "once more")
		n.pods.remove(v.uid)
	},
	// kubelet keeps the folder of a pod as long as something is mounted in it, so
	// that it forgets a volume that is mounted only over a reboot.
	"never again": func(n *fakeNode, v volume) {
		n.reboot()
		n.forget(v)
		n.reap()
	},
	"reboot and republish": func(n *fakeNode, v volume) {
		n.reboot()
		n.pod(v)
		require.NoError(n.t, n.publish(v))
		n.mounted(v)
		require.NoError(n.t, n.unpublish(v))
		n.pods.remove(v.uid)
	},
	"reboot and unpublish": func(n *fakeNode, v volume) {
		n.reboot()
		require.NoError(n.t, n.unpublish(v))
		n.pods.remove(v.uid)
	},
}

func (n *fakeNode) reboot() {
	n.t.Helper()
	n.host.Reboot()
	n.restart()
	for _, l := range n.volumes() { // the bystander is published again, like any pod's volume
		n.lvm("lvchange", "-ay", "vg0/"+l)
	}
}

// TestEveryCrashPoint lets the agent die at every point of every call: before a step
// has done anything, between its commit and its end, and after it. Then it starts
// again, and kubelet plays every one of its rules.
func TestEveryCrashPoint(t *testing.T) {
	total := 0
	for _, c := range crashCalls {
		steps := c.steps(t)
		require.Positive(t, steps)
		points := 0
		for step := 1; step <= steps; step++ {
			for when, crash := range map[string]func(*fakelvm.Host, int){
				"before the commit of": func(h *fakelvm.Host, at int) { h.CrashDuring(at, fakelvm.BeforeCommit) },
				"after the commit of":  func(h *fakelvm.Host, at int) { h.CrashDuring(at, fakelvm.AfterCommit) },
				"after":                func(h *fakelvm.Host, at int) { h.CrashAfter(at) },
			} {
				for then := range crashAfter {
					name := fmt.Sprintf("%s/dies %s step %d/%s", c.name, when, step, then)
					ok := t.Run(name, func(t *testing.T) { c.dies(t, step, crash, then) })
					if !ok {
						t.FailNow()
					}
					points++
				}
			}
		}
		t.Logf("%s: %d steps, %d points", c.name, steps, points)
		total += points
	}
	t.Logf("went through %d points", total)
}

// scene is a node with a bystander and an administrator's LV, ready for the call.
func (c crashCall) scene(t *testing.T) (n *fakeNode, v, bystander volume) {
	n = newFakeNode(t)
	bystander, v = newVolume("bystander", "64Mi"), newVolume("victim", "64Mi")
	n.lvm("lvcreate", "--yes", "--name", "admin", "--size", "32m", "vg0")
	n.pod(bystander)
	n.published(bystander)
	n.pod(v)
	c.before(n, v)
	require.NoError(t, n.host.MkdirAll(n.target(v)[:len(n.target(v))-len("/mount")]))
	if c.name == "the reaper" {
		n.forget(v)
	}
	return n, v, bystander
}

func (c crashCall) steps(t *testing.T) int {
	n, v, _ := c.scene(t)
	before := n.host.Steps()
	require.NoError(t, c.call(n, v))
	return n.host.Steps() - before
}

func (c crashCall) dies(t *testing.T, step int, crash func(*fakelvm.Host, int), then string) {
	n, v, bystander := c.scene(t)
	if c.keeps {
		n.kept = n.uuid(v)
		require.NotEmpty(t, n.kept)
	}
	crash(n.host, n.host.Steps()+step)
	_ = c.call(n, v) // fails, or not: a step that changes nothing may be the last
	require.True(t, n.host.Crashed(), "the call has fewer steps than it had: %v", n.host.Log())

	n.restart()
	crashAfter[then](n, v)
	n.gone(v)
	require.Equal(t, "data of bystander", n.read(bystander))
	require.Equal(t, []string{"admin", bystander.handle()}, n.volumes())
	require.NotContains(t, n.tags(bystander), "podlv.state=new")
}
