// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/driver"
)

// orphaned is a volume whose pod, folder and mount are gone.
func orphaned(t *testing.T, n *fakeNode) volume {
	t.Helper()
	v := newVolume("orphan", "64Mi")
	n.published(v)
	require.NoError(t, n.host.Unmount(n.target(v)))
	n.forget(v)
	return v
}

func TestReaperReportsBeforeItRemoves(t *testing.T) {
	n := newFakeNode(t)
	var log bytes.Buffer
	n.log = &log
	n.restart()
	v := orphaned(t, n)
	pass := func() { require.NoError(t, n.agent.Reap(context.Background())) }
	pass()
	require.NotContains(t, log.String(), "orphan:", "too young")
	n.clock.Step(11 * time.Minute)
	pass()
	require.Contains(t, log.String(), "orphan: reported, not removed")
	require.Contains(t, log.String(), "no witness knows pod default/orphan (UID orphan-uid), not open, not mounted, 11m0s old")
	require.Equal(t, []string{v.handle()}, n.volumes())
	pass()
	require.Contains(t, log.String(), "orphan: removed")
	require.Empty(t, n.volumes())
}

func TestReaperAsksEveryWitness(t *testing.T) {
	for name, alive := range map[string]func(n *fakeNode, v volume){
		"the API server has the pod": func(n *fakeNode, v volume) { n.pod(v) },
		"kubelet has the folder":     func(n *fakeNode, v volume) { require.NoError(t, n.mkdir(n.dir+"/pods/"+v.uid)) },
		"the LV is open":             func(n *fakeNode, v volume) { n.open(v) },
		"it is mounted elsewhere": func(n *fakeNode, v volume) {
			require.NoError(t, n.mkdir("/mnt"))
			require.NoError(t, n.host.Mount("/dev/vg0/"+v.handle(), "/mnt", "ext4", nil))
		},
		"it has no pod's tag": func(n *fakeNode, v volume) {
			n.lvm("lvchange", "--deltag", "podlv.pod=default/orphan/orphan-uid", "vg0/"+v.handle())
		},
		"it is of another kind":           func(n *fakeNode, v volume) { n.lvm("lvchange", "--deltag", "podlv.kind=inline", "vg0/"+v.handle()) },
		"it is not ours":                  func(n *fakeNode, v volume) { n.lvm("lvchange", "--deltag", "podlv.dev", "vg0/"+v.handle()) },
		"an administrator gave it a name": func(n *fakeNode, v volume) { n.lvm("lvrename", "vg0", v.handle(), "rescued") },
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			var log bytes.Buffer
			n.log = &log
			n.restart()
			v := orphaned(t, n)
			alive(n, v)
			n.clock.Step(time.Hour)
			for range 5 {
				require.NoError(t, n.agent.Reap(context.Background()))
			}
			require.Len(t, n.volumes(), 1)
			require.NotContains(t, log.String(), "orphan: ", "lvm refusing to remove it is not what saves it")
		})
	}
}

func (n *fakeNode) open(v volume) {
	n.t.Helper()
	d, err := n.host.Open("/dev/vg0/" + v.handle())
	require.NoError(n.t, err)
	n.t.Cleanup(func() {
		if t, ok := n.t.(*testing.T); ok {
			require.NoError(t, d.Close())
		}
	})
}

func TestReaperDoesNothingWithoutAllWitnesses(t *testing.T) {
	n := newFakeNode(t)
	orphaned(t, n)
	n.clock.Step(time.Hour)
	require.NoError(t, n.agent.Reap(context.Background()))
	n.pods.err = errors.New("connection refused")
	require.ErrorContains(t, n.agent.Reap(context.Background()), "the API server: connection refused")
	require.Len(t, n.volumes(), 1)

	n.pods.err = nil
	n.removeAll(n.dir)
	require.ErrorContains(t, n.agent.Reap(context.Background()), "kubelet's folders", "no folder is not a node without pods")
	require.Len(t, n.volumes(), 1)
}

func TestReaperDryRunNeverRemoves(t *testing.T) {
	n := newFakeNode(t)
	n.reaper.DryRun = true
	n.restart()
	orphaned(t, n)
	n.clock.Step(time.Hour)
	for range 5 {
		require.NoError(t, n.agent.Reap(context.Background()))
	}
	require.Len(t, n.volumes(), 1)
}

func TestReaperConfiguration(t *testing.T) {
	require.NoError(t, driver.DefaultReaper().Validate())
	require.NoError(t, driver.ReaperConfig{}.Validate(), "turned off")
	c := driver.DefaultReaper()
	c.Passes, c.MinAge = 1, -time.Second
	require.ErrorContains(t, c.Validate(), "passes 1: must be at least 2")
	require.ErrorContains(t, c.Validate(), "minimum age -1s: must not be negative")
	_, err := driver.New(driver.Config{NodeName: "n", Reaper: driver.DefaultReaper()})
	require.ErrorContains(t, err, "needs kubelet's folders as a witness")
}

// lvremove would take an administrator's snapshot with its origin.
func TestReaperKeepsTheOriginOfAThickSnapshot(t *testing.T) {
	n := newFakeNode(t)
	var log bytes.Buffer
	n.log = &log
	n.restart()
	v := orphaned(t, n)
	n.lvm("lvcreate", "--yes", "--snapshot", "--name", "rescue", "--size", "16m", "vg0/"+v.handle())
	n.clock.Step(time.Hour)
	for range 3 {
		require.NoError(t, n.agent.Reap(context.Background()))
	}
	require.Len(t, n.volumes(), 2)
	require.NotContains(t, log.String(), "orphan: removed")
	require.Contains(t, log.String(), "snapshot=rescue")
	n.lvm("lvremove", "--yes", "vg0/rescue")
	require.NoError(t, n.agent.Reap(context.Background()))
	require.Empty(t, n.volumes())
}
