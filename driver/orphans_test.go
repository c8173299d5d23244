// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/fakelvm"
)

// A VG that comes late, such as a disk that is plugged in, is swept when it is there; and
// what could not be removed is tried again with each pass.
func TestSweepIsRepeated(t *testing.T) {
	n := newFakeNode(t)
	require.NoError(t, n.host.AddDisk(fakelvm.Disk{Path: "/dev/fake1", Size: gib}))
	n.classes = classes(t, `
pools: [{name: ssd, volumeGroup: vg0}, {name: late, volumeGroup: vg1}]
classes: [{name: ssd, pool: ssd, default: true}, {name: late, pool: late}]
`)
	n.restart()
	require.NoError(t, n.host.CreateVG("vg1", "/dev/fake1"))
	left := func(vg, name string, tags ...string) {
		args := []string{"lvcreate", "--yes", "--name", name, "--size", "16m", "--addtag", "podlv.dev"}
		for _, tag := range tags {
			args = append(args, "--addtag", tag)
		}
		n.lvm(append(args, vg)...)
	}
	left("vg1", "pvc-copy", "podlv.kind=volume", "podlv.state=copying")
	left("vg1", "snap-half", "podlv.kind=snapshot", "podlv.state=copying")
	left("vg0", "temporary-1", "podlv.kind=temporary", "podlv.source=vg0/pvc-grows")
	left("vg1", "pvc-whole", "podlv.kind=volume", "podlv.fs=ext4")
	left("vg1", "temporary-2")
	d, err := n.host.Open("/dev/vg0/temporary-1")
	require.NoError(t, err)
	var log bytes.Buffer
	n.log = &log
	n.hasty = true
	n.restart()
	require.NoError(t, n.agent.Reap(context.Background()))
	names := func() []string {
		return strings.Fields(n.lvm("lvs", "--noheadings", "-o", "lv_name", "-O", "lv_name", "vg0", "vg1"))
	}
	require.ElementsMatch(t, []string{"pvc-whole", "temporary-1", "temporary-2"}, names())
	require.Contains(t, log.String(), "cannot be removed yet")
	require.NoError(t, testutil.GatherAndCompare(n.agent.Metrics(), strings.NewReader(`
# HELP podlv_orphans LVs that nobody asks for any more, as the reaper saw them in its last pass, by volume group and kind (inline, volume, snapshot, temporary).
# TYPE podlv_orphans gauge
podlv_orphans{kind="inline",vg="vg0"} 0
podlv_orphans{kind="inline",vg="vg1"} 0
podlv_orphans{kind="temporary",vg="vg0"} 1
podlv_orphans{kind="temporary",vg="vg1"} 0
# HELP podlv_orphans_removed_total LVs that nobody asked for any more and that the agent tried to remove, by volume group, kind (inline, volume, snapshot, temporary) and result (ok, failed).
# TYPE podlv_orphans_removed_total counter
podlv_orphans_removed_total{kind="snapshot",result="ok",vg="vg1"} 1
podlv_orphans_removed_total{kind="temporary",result="failed",vg="vg0"} 1
podlv_orphans_removed_total{kind="volume",result="ok",vg="vg1"} 1
`), "podlv_orphans", "podlv_orphans_removed_total"))
	require.NoError(t, d.Close())
	n.pods.err = errors.New("connection refused")
	require.Error(t, n.agent.Reap(context.Background()))
	require.ElementsMatch(t, []string{"pvc-whole", "temporary-2"}, names(), "the sweep needs no API server")
}

// A growth whose zeroing failed leaves its spare only until the next pass.
func TestSpareOfAFailedGrowthIsSwept(t *testing.T) {
	n := newFakeNode(t)
	c := newClaim("grows", 16*mib).raw()
	n.inUse(c)
	n.host.FailNextStep("zero", errors.New("I/O error"))
	_, err := n.expand(c, 24*mib)
	require.ErrorContains(t, err, "I/O error")
	require.Len(t, n.volumes(), 2)
	require.NoError(t, n.agent.Reap(context.Background()))
	require.Equal(t, []string{c.name}, n.volumes())
	size, err := n.expand(c, 24*mib)
	require.NoError(t, err)
	require.EqualValues(t, 24*mib, size)
}
