// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/podlv/podlv/fakelvm"
)

func (n *fakeNode) capacity(class string) *csi.GetCapacityResponse {
	n.t.Helper()
	r, err := n.control.GetCapacity(context.Background(), &csi.GetCapacityRequest{Parameters: map[string]string{"podlv.dev/class": class}})
	require.NoError(n.t, err)
	return r
}

const capacityClasses = `
pools:
- {name: thick, volumeGroup: vg1, reserve: %dMi}
- {name: thin, volumeGroup: vg1, thinPool: pool, reserve: 8Mi}
classes:
- {name: linear, pool: thick, default: true}
- {name: striped2, pool: thick, layout: striped, stripes: 2}
- {name: striped3, pool: thick, layout: striped, stripes: 3, unit: 8Mi}
- {name: raid2, pool: thick, layout: raid1, copies: 2}
- {name: raid3, pool: thick, layout: raid1, copies: 3}
- {name: thin, pool: thin, overprovision: 1.5}
`

// What GetCapacity promises can be made, whatever the VG went through before; of
// linear and thin classes, a volume that is a unit larger cannot.
func TestCapacityIsKept(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			for _, class := range []struct {
				name  string
				step  int64
				exact bool
			}{{"linear", 4 * mib, true}, {"striped2", 8 * mib, false}, {"striped3", 24 * mib, false}, {"raid2", 4 * mib, false}, {"raid3", 4 * mib, false}, {"thin", 4 * mib, true}} {
				n := worn(t, rand.New(rand.NewPCG(seed, 1)))
				size := n.capacity(class.name).GetMaximumVolumeSize().GetValue()
				before := n.host.String()
				if class.exact {
					requireCode(t, n.create(newClaim("more", size+class.step).ofClass(class.name)), codes.ResourceExhausted)
					require.Equal(t, before, n.host.String(), "%s: the failure left something", class.name)
				}
				if size > 0 {
					require.NoError(t, n.create(newClaim("most", size).ofClass(class.name)), "%s of %d MiB\n%s", class.name, size/mib, before)
					if class.exact {
						require.Zero(t, n.capacity(class.name).GetMaximumVolumeSize().GetValue(), "%s: nothing more fits", class.name)
					}
				}
			}
		})
	}
}

// worn is a node whose VG of one to five disks has seen LVs of all kinds come and go.
func worn(t *testing.T, r *rand.Rand) *fakeNode {
	n := newFakeNode(t)
	var disks []string
	for i := range 1 + r.IntN(5) {
		d := fakelvm.Disk{Path: fmt.Sprintf("/dev/worn%d", i), Size: int64(64+r.IntN(64)*4) * mib}
		require.NoError(t, n.host.AddDisk(d))
		disks = append(disks, d.Path)
	}
	require.NoError(t, n.host.CreateVG("vg1", disks...))
	try := func(args ...string) { n.host.Setup(args...) } // what does not fit is not made
	try("lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", "16m", "vg1")
	var made []string
	for i := range r.IntN(12) {
		name, size := fmt.Sprint("old", i), fmt.Sprint(4+r.IntN(16)*4, "m")
		switch r.IntN(4) {
		case 0:
			try("lvcreate", "--yes", "--type", "striped", "--stripes", "2", "--name", name, "--size", size, "vg1")
		case 1:
			try("lvcreate", "--yes", "--type", "raid1", "--mirrors", "1", "--name", name, "--size", size, "vg1")
		case 2:
			try("lvcreate", "--yes", "--thinpool", "vg1/pool", "--virtualsize", "4m", "--name", name)
		default:
			try("lvcreate", "--yes", "--name", name, "--size", size, "vg1", disks[r.IntN(len(disks))])
		}
		made = append(made, name)
	}
	for _, name := range made {
		if r.IntN(2) == 0 {
			try("lvremove", "--yes", "vg1/"+name)
		}
	}
	if r.IntN(4) == 0 {
		try("pvchange", "-xn", disks[r.IntN(len(disks))])
	}
	n.classes = classes(t, fmt.Sprintf(capacityClasses, 4*(1+r.IntN(8))))
	n.restart()
	return n
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
	require.Positive(t, ask(&csi.GetCapacityRequest{AccessibleTopology: &csi.Topology{Segments: map[string]string{"topology.podlv.dev/node": "node1"}}}).GetAvailableCapacity())
	require.Zero(t, ask(&csi.GetCapacityRequest{AccessibleTopology: &csi.Topology{Segments: map[string]string{"topology.podlv.dev/node": "node2"}}}).GetAvailableCapacity())
	require.NoError(t, n.host.TakeDisk("/dev/fake2"))
	require.Zero(t, n.capacity("striped").GetAvailableCapacity(), "LVM changes no VG that misses a disk")
	_, err := n.control.GetCapacity(t.Context(), &csi.GetCapacityRequest{Parameters: map[string]string{"podlv.dev/class": "hdd"}})
	requireCode(t, err, codes.InvalidArgument, `"hdd"`)
}
