// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
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
	// fails says that the call ends with an error, and takes back what it made.
	fails bool
	// class of the volume, of crashClasses; "linear" when empty.
	class string
	// classes in the place of crashClasses.
	classes string
}

// crashClasses are one for each way to make an LV.
const crashClasses = `
pools:
- {name: ssd, volumeGroup: vg0}
- {name: thin, volumeGroup: vg0, thinPool: tp}
classes:
- {name: linear, pool: ssd, default: true}
- {name: raid1, pool: ssd, layout: raid1, copies: 2}
- {name: thin, pool: thin}
`

// reserveClasses has a reserve, for which each publish looks at the VG first.
const reserveClasses = `
pools: [{name: ssd, volumeGroup: vg0, reserve: 1Gi}]
classes: [{name: linear, pool: ssd, default: true}]
`

// publishAndSettle is a publish to its very end.
func publishAndSettle(n *fakeNode, v volume) error {
	err := n.publish(v)
	n.agent.Settle(context.Background())
	return err
}

var crashCalls = []crashCall{
	{
		name:   "publish",
		before: func(*fakeNode, volume) {},
		call:   publishAndSettle,
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
		call:   publishAndSettle,
	},
	{name: "publish on raid1", class: "raid1", before: func(*fakeNode, volume) {}, call: publishAndSettle},
	{name: "publish beside a reserve", classes: reserveClasses, before: func(*fakeNode, volume) {}, call: publishAndSettle},
	{name: "publish on thin", class: "thin", before: func(*fakeNode, volume) {}, call: publishAndSettle},
	{
		name:   "undo of a publish whose mkfs fails",
		before: func(n *fakeNode, _ volume) { n.host.FailNextStep("format", errors.New(onFire)) },
		call:   func(n *fakeNode, v volume) error { return n.publish(v) },
		fails:  true,
	},
	{
		name:   "undo of a publish whose mount fails, on thin",
		class:  "thin",
		before: func(n *fakeNode, _ volume) { n.host.FailNextStep("mount", errors.New(onFire)) },
		call:   func(n *fakeNode, v volume) error { return n.publish(v) },
		fails:  true,
	},
	{
		name:   "unpublish on raid1",
		class:  "raid1",
		before: func(n *fakeNode, v volume) { n.published(v) },
		call:   func(n *fakeNode, v volume) error { return n.unpublish(v) },
	},
	{
		name:   "unpublish on thin",
		class:  "thin",
		before: func(n *fakeNode, v volume) { n.published(v) },
		call:   func(n *fakeNode, v volume) error { return n.unpublish(v) },
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
		n.publishAgain(v)
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
		n.publishAgain(v)
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

// publishAgain is kubelet's retry. A step that was to fail and was not reached fails
// now, once.
func (n *fakeNode) publishAgain(v volume) {
	n.t.Helper()
	err := n.publish(v)
	if err != nil && strings.Contains(err.Error(), onFire) {
		err = n.publish(v)
	}
	require.NoError(n.t, err)
}

// onFire is the error of calls that are to fail.
const onFire = "the disk is on fire"

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
	t.Parallel()
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
					points++
					if !drawn(points) {
						continue
					}
					name := fmt.Sprintf("%s/dies %s step %d/%s", c.name, when, step, then)
					ok := t.Run(name, func(t *testing.T) { c.dies(t, step, crash, then) })
					if !ok {
						t.FailNow()
					}
				}
			}
		}
		t.Logf("%s: %d steps, %d points", c.name, steps, points)
		total += points
	}
	t.Logf("went through %s", pointCount(total))
}

// drawn says whether the n-th point of an enumeration is gone through: each, but with
// the race detector one in eight. make test runs both ways.
func drawn(n int) bool { return !racing || n%8 == 0 }

func pointCount(n int) string {
	if racing {
		return fmt.Sprintf("one in eight of %d points", n)
	}
	return fmt.Sprintf("%d points", n)
}

// scene is a node with a bystander and an administrator's LV, ready for the call.
func (c crashCall) scene(t *testing.T) (n *fakeNode, v, bystander volume) {
	n = newFakeNodeOn(t, 2, cmp.Or(c.classes, crashClasses))
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--name", "tp", "--size", "1g", "vg0")
	bystander, v = newVolume("bystander", "64Mi"), newVolume("victim", "64Mi")
	if c.class != "" {
		v = v.with("class", c.class)
	}
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
	if err := c.call(n, v); c.fails {
		require.ErrorContains(t, err, onFire)
	} else {
		require.NoError(t, err)
	}
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
	require.Equal(t, []string{"admin", bystander.handle(), "tp"}, n.volumes())
	require.NotContains(t, n.tags(bystander), "podlv.state=new")
}
