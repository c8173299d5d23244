// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/fakelvm"
)

// claimCrash is a call on a persistent volume in the middle of which the agent dies.
type claimCrash struct {
	name string
	// before brings the node to where the call is made.
	before func(n *fakeNode, c *claim)
	call   func(n *fakeNode, c *claim) error
	// data: the volume has data, which the call must keep.
	data bool
}

func made(n *fakeNode, c *claim) { require.NoError(n.t, n.create(c)) }

func staged(n *fakeNode, c *claim) {
	made(n, c)
	require.NoError(n.t, n.stage(c))
}

func used(n *fakeNode, c *claim) { n.inUse(c) }

var claimCrashes = []claimCrash{
	{name: "create", before: func(*fakeNode, *claim) {}, call: (*fakeNode).create},
	{name: "stage", before: made, call: func(n *fakeNode, c *claim) error {
		err := n.stage(c)
		n.agent.Settle(context.Background())
		return err
	}},
	{name: "stage by another process", before: func(n *fakeNode, c *claim) {
		made(n, c)
		n.restart()
	}, call: (*fakeNode).stage},
	{name: "stage after a reboot", before: func(n *fakeNode, c *claim) {
		used(n, c)
		n.host.Reboot()
		n.restart()
	}, call: (*fakeNode).stage, data: true},
	{name: "publish", before: staged, call: func(n *fakeNode, c *claim) error { return n.give(c, "a") }},
	{name: "expand", before: used, call: func(n *fakeNode, c *claim) error {
		_, err := n.expand(c, 24*mib)
		return err
	}, data: true},
	{name: "unpublish", before: used, call: func(n *fakeNode, c *claim) error { return n.take(c, "a") }, data: true},
	{name: "unstage", before: func(n *fakeNode, c *claim) {
		used(n, c)
		require.NoError(n.t, n.take(c, "a"))
	}, call: (*fakeNode).unstage, data: true},
	{name: "delete", before: func(n *fakeNode, c *claim) {
		used(n, c)
		require.NoError(n.t, n.take(c, "a"))
		require.NoError(n.t, n.unstage(c))
	}, call: (*fakeNode).delete},
}

// claimAfter is what Kubernetes does once the agent is there again.
var claimAfter = map[string]func(n *fakeNode, c *claim, data bool){
	"goes on": func(n *fakeNode, c *claim, data bool) { n.usedAgain(c, data) },
	"reboots and goes on": func(n *fakeNode, c *claim, data bool) {
		n.host.Reboot()
		n.restart()
		n.usedAgain(c, data)
	},
	"gives up": func(n *fakeNode, c *claim, _ bool) { n.givenUp(c) },
	"reboots and gives up": func(n *fakeNode, c *claim, _ bool) {
		n.host.Reboot()
		n.restart()
		n.givenUp(c)
	},
}

// usedAgain goes through a volume's whole life, from wherever it is.
func (n *fakeNode) usedAgain(c *claim, data bool) {
	n.t.Helper()
	uuid := n.lvm("lvs", "--noheadings", "-o", "lv_uuid", "-S", "lv_name="+c.name, "vg0")
	if !data {
		require.NoError(n.t, n.create(c), "the provisioner calls again")
		if uuid != "" {
			require.Equal(n.t, uuid, n.lvm("lvs", "--noheadings", "-o", "lv_uuid", c.id), "it is the same LV")
		}
	}
	require.NoError(n.t, n.stage(c))
	if c.block {
		n.clean(c, 0, c.size)
	}
	require.NoError(n.t, n.give(c, "a"))
	if data {
		require.Equal(n.t, "data of "+c.name, n.at(c, dataAt))
	}
	size, err := n.expand(c, 24*mib)
	require.NoError(n.t, err)
	require.EqualValues(n.t, 24*mib, size)
	if c.block {
		n.clean(c, 0, size)
	} else {
		fs, err := n.host.FilesystemSize(c.device())
		require.NoError(n.t, err)
		require.Equal(n.t, size, fs)
	}
	n.agent.Settle(context.Background())
	require.NotContains(n.t, n.lvTags(c), "podlv.state")
	n.free(c)
}

// givenUp is a claim that its user deletes, with its pod if it has one.
func (n *fakeNode) givenUp(c *claim) {
	n.t.Helper()
	c.id = "vg0/" + c.name
	n.free(c)
}

// TestClaimCrashPoints lets the agent die at every point of every call on a
// persistent volume, and then Kubernetes goes on, or gives up, with or without a
// reboot.
func TestClaimCrashPoints(t *testing.T) {
	t.Parallel()
	kinds := map[string]func() *claim{
		"thick": func() *claim { return newClaim("victim", 16*mib) },
		"thin":  func() *claim { return newClaim("victim", 16*mib).ofClass("thin") },
		"raw":   func() *claim { return newClaim("victim", 16*mib).raw() },
	}
	// Growth is where layouts differ.
	for _, layout := range []string{"striped", "raid1"} {
		kinds["raw "+layout] = func() *claim { return newClaim("victim", 16*mib).raw().ofClass(layout) }
	}
	total := 0
	for kind, newVictim := range kinds {
		for _, call := range claimCrashes {
			steps := call.steps(t, newVictim())
			for step := 1; step <= steps; step++ {
				for when, crash := range crashPoints {
					for then := range claimAfter {
						if total++; !drawn(total) {
							continue
						}
						ok := t.Run(fmt.Sprintf("%s/%s/dies %s step %d/%s", kind, call.name, when, step, then), func(t *testing.T) {
							call.dies(t, newVictim(), step, crash, then)
						})
						if !ok {
							t.FailNow()
						}
					}
				}
			}
		}
	}
	t.Logf("went through %s", pointCount(total))
}

// crashPoints are the three moments of a step at which a process can die.
var crashPoints = map[string]func(*fakelvm.Host, int){
	"before the commit of": func(h *fakelvm.Host, at int) { h.CrashDuring(at, fakelvm.BeforeCommit) },
	"after the commit of":  func(h *fakelvm.Host, at int) { h.CrashDuring(at, fakelvm.AfterCommit) },
	"after":                func(h *fakelvm.Host, at int) { h.CrashAfter(at) },
}

// scene is a node whose free space holds somebody's bytes, with a bystander.
func (k claimCrash) scene(t *testing.T, c *claim) (*fakeNode, *claim) {
	n := newSmallNode(t)
	bystander := newClaim("bystander", 16*mib)
	n.inUse(bystander)
	n.dirty(48 * mib)
	k.before(n, c)
	require.NoError(t, n.host.MkdirAll(c.staging()))
	require.NoError(t, n.host.MkdirAll(c.target("a")[:len(c.target("a"))-len("/mount")]))
	return n, bystander
}

// newSmallNode is a node with a VG on two disks, and a class of each layout.
func newSmallNode(t testing.TB) *fakeNode {
	n := newFakeNode(t)
	require.NoError(t, n.host.AddDisk(disk("/dev/fake1", gib)))
	n.lvm("vgextend", "vg0", "/dev/fake1")
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", "256m", "vg0")
	n.classes = classes(t, sanityClasses+`- {name: striped, pool: ssd, layout: striped, stripes: 2}
- {name: raid1, pool: ssd, layout: raid1, copies: 2}
`)
	n.restart()
	return n
}

func (k claimCrash) steps(t *testing.T, c *claim) int {
	n, _ := k.scene(t, c)
	before := n.host.Steps()
	require.NoError(t, k.call(n, c))
	steps := n.host.Steps() - before
	return steps
}

func (k claimCrash) dies(t *testing.T, c *claim, step int, crash func(*fakelvm.Host, int), then string) {
	n, bystander := k.scene(t, c)
	crash(n.host, n.host.Steps()+step)
	_ = k.call(n, c) // fails, or not: a step that changes nothing may be the last
	require.True(t, n.host.Crashed(), "the call has fewer steps than it had: %v", n.host.Log())
	n.restart()
	if c.block && k.data {
		n.visiblyClean(c) // to the pod that uses it
	}
	claimAfter[then](n, c, k.data)
	require.ElementsMatch(t, []string{"pool", bystander.name}, n.volumes())
	if !n.host.DeviceExists(bystander.device()) {
		n.lvm("lvchange", "-ay", bystander.id)
	}
	require.Equal(t, "data of "+bystander.name, n.at(bystander, dataAt))
}

// kubelet need not call again for a volume that it has mounted: whoever starts after an
// agent that died before it had dropped the tag does it.
func TestMountedVolumeIsNotNewAfterADeath(t *testing.T) {
	n := newSmallNode(t)
	c := newClaim("victim", 16*mib)
	require.NoError(t, n.create(c))
	require.NoError(t, n.stage(c))
	require.NoError(t, n.give(c, "a"))
	n.host.CrashDuring(n.host.Steps()+1, fakelvm.BeforeCommit)
	n.agent.Settle(context.Background())
	require.True(t, n.host.Crashed())
	n.restart()
	n.agent.Settle(context.Background())
	require.NotContains(t, n.lvTags(c), "podlv.state")
}
