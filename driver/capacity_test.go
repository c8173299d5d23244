// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
)

var (
	capacitySeed   = flag.Uint64("capacity.seed", 0, "seed of the tests that capacity is exact; 0: another each time")
	capacityStates = flag.Int("capacity.states", 2000, "without the race detector, of how many VGs the capacity is tried on the fake")
)

func (n *fakeNode) capacity(class string) *csi.GetCapacityResponse {
	n.t.Helper()
	r, err := n.control.GetCapacity(context.Background(), &csi.GetCapacityRequest{Parameters: map[string]string{"podlv.dev/class": class}})
	require.NoError(n.t, err)
	return r
}

// What GetCapacity says can be made, and a granule more cannot, whatever the VG went
// through before.
func TestCapacityIsExact(t *testing.T) {
	t.Parallel()
	seed := *capacitySeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) % 1_000_000
	}
	t.Logf("seed %d; the same again: -args -capacity.seed=%d", seed, seed)
	n := newFakeNode(t)
	var disks []string
	for i := range 6 {
		d := fakelvm.Disk{Path: fmt.Sprintf("/dev/worn%d", i), Size: 256 * mib}
		require.NoError(t, n.host.AddDisk(d))
		disks = append(disks, d.Path)
	}
	states := *capacityStates
	if racing {
		states /= 20
	}
	told := map[string]int{}
	for state := range states {
		r := rand.New(rand.NewPCG(seed, uint64(state)))
		w := wear(r, slices.Clone(disks), 64, 20)
		for _, c := range w.commands {
			n.host.Setup(c...) // what does not fit is not made
		}
		text := w.text(int64(r.IntN(2)*r.IntN(20)) * 4 * mib)
		n.classes = classes(t, text)
		n.restart()
		before := n.host.String()
		for _, c := range w.classes {
			size := n.capacity(c.name).GetMaximumVolumeSize().GetValue()
			told[c.kind(size)]++
			what := fmt.Sprintf("seed %d, state %d, %s of %d MiB\n%s", seed, state, c.name, size/mib, text)
			require.Equal(t, codes.ResourceExhausted, status.Code(n.create(newClaim("more", size+c.granule).ofClass(c.name))), what)
			require.Equal(t, before, n.host.String(), "%s: the failure left something", what)
			if size > 0 {
				require.NoError(t, n.create(newClaim("most", size).ofClass(c.name)), "%s\n%s", what, before)
				n.lvm("lvremove", "--yes", "vg1/pvc-most")
				before = n.host.String()
			}
		}
		n.lvm("vgremove", "--yes", "-ff", "vg1")
	}
	t.Logf("%d states: %v", states, told)
}

// A pool that is full takes no volume, though LVM itself would still make one until a
// write has failed.
func TestCapacityOfAFullThinPool(t *testing.T) {
	n := newFakeNode(t)
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", "16m", "vg0")
	n.classes = classes(t, `
pools: [{name: thin, volumeGroup: vg0, thinPool: pool}]
classes: [{name: thin, pool: thin, overprovision: 3, default: true}]
`)
	n.restart()
	full := newClaim("full", 16*mib)
	require.NoError(t, n.create(full))
	require.EqualValues(t, 32*mib, n.capacity("thin").GetMaximumVolumeSize().GetValue())
	d, err := n.host.Open(full.device())
	require.NoError(t, err)
	_, err = d.WriteAt(bytes.Repeat([]byte{1}, 16*mib), 0)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	n.clock.Step(time.Minute) // how full a pool is, is as old as the report
	require.Zero(t, n.capacity("thin").GetMaximumVolumeSize().GetValue())
	requireCode(t, n.create(newClaim("more", 4*mib)), codes.ResourceExhausted, "is full")
	require.NoError(t, n.delete(full))
	require.EqualValues(t, 48*mib, n.capacity("thin").GetMaximumVolumeSize().GetValue())
}

func TestCapacityMinimumAndElsewhere(t *testing.T) {
	n := newWideNode(t)
	ask := func(r *csi.GetCapacityRequest) *csi.GetCapacityResponse {
		a, err := n.control.GetCapacity(t.Context(), r)
		require.NoError(t, err)
		return a
	}
	require.EqualValues(t, 4*mib, ask(&csi.GetCapacityRequest{}).GetMinimumVolumeSize().GetValue())
	require.EqualValues(t, 300*mib, ask(&csi.GetCapacityRequest{Parameters: map[string]string{"csi.storage.k8s.io/fstype": "xfs"}}).GetMinimumVolumeSize().GetValue())
	require.EqualValues(t, 300*mib, ask(&csi.GetCapacityRequest{VolumeCapabilities: []*csi.VolumeCapability{newClaim("a", 1).as("xfs").capability()}}).GetMinimumVolumeSize().GetValue())
	require.Positive(t, ask(&csi.GetCapacityRequest{AccessibleTopology: &csi.Topology{Segments: map[string]string{"topology.podlv.dev/node": "node1"}}}).GetAvailableCapacity())
	require.Zero(t, ask(&csi.GetCapacityRequest{AccessibleTopology: &csi.Topology{Segments: map[string]string{"topology.podlv.dev/node": "node2"}}}).GetAvailableCapacity())
	require.NoError(t, n.host.TakeDisk("/dev/fake2"))
	require.Zero(t, n.capacity("striped").GetAvailableCapacity(), "LVM changes no VG that misses a disk")
	_, err := n.control.GetCapacity(t.Context(), &csi.GetCapacityRequest{Parameters: map[string]string{"podlv.dev/class": "hdd"}})
	requireCode(t, err, codes.InvalidArgument, `"hdd"`)
}

// A thin pool that was made with --zero n shows old bytes of other volumes.
func TestThinPoolThatDoesNotZeroIsRefused(t *testing.T) {
	n := newWideNode(t)
	n.lvm("lvchange", "--zero", "n", "vg0/pool")
	c := newClaim("a", 64*mib).ofClass("thin")
	requireCode(t, n.create(c), codes.FailedPrecondition, "--zero n", "lvchange --zero y", "wipe: none")
	r, err := n.control.GetCapacity(t.Context(), &csi.GetCapacityRequest{Parameters: map[string]string{"podlv.dev/class": "thin"}})
	require.NoError(t, err)
	require.Zero(t, r.GetAvailableCapacity())
	client, err := lvm.NewClient(n.host, driver.Owner)
	require.NoError(t, err)
	groups, err := client.VolumeGroups(t.Context())
	require.NoError(t, err)
	require.ErrorContains(t, n.classes.Get().Check(groups), "--zero n")

	n.lvm("lvchange", "--zero", "y", "vg0/pool")
	require.NoError(t, n.create(c))
	n.lvm("lvchange", "--zero", "n", "vg0/pool")
	n.classes = classes(t, strings.Replace(allLayouts, "overprovision: 2", "overprovision: 2, wipe: none", 1))
	n.restart()
	require.NoError(t, n.create(newClaim("b", 64*mib).ofClass("thin")), "its administrator accepts that")
}
