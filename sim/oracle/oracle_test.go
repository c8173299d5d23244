// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
)

const gib = 1 << 30

// judged is an oracle of one node, "n", with 10 GiB in vg0 and a thin pool of 1 GiB in
// vg1.
func judged(t *testing.T) (*Oracle, *fakelvm.Host) {
	t.Helper()
	classes, err := driver.ParseClasses([]byte(`
pools: [{name: ssd, volumeGroup: vg0, reserve: 1Gi}, {name: thin, volumeGroup: vg1, thinPool: pool}]
classes: [{name: ssd, pool: ssd, default: true}, {name: thin, pool: thin, overprovision: 2}]
`))
	require.NoError(t, err)
	h := fakelvm.New(fakelvm.Disk{Path: "/dev/a", Size: 10*gib + 4<<20}, fakelvm.Disk{Path: "/dev/b", Size: 2 * gib})
	require.NoError(t, h.CreateVG("vg0", "/dev/a"))
	require.NoError(t, h.CreateVG("vg1", "/dev/b"))
	command(t, h, "lvcreate", "--type", "thin-pool", "--size", "1g", "--name", "pool", "vg1")
	return New(classes, map[string]*fakelvm.Host{"n": h}), h
}

func command(t *testing.T, h *fakelvm.Host, args ...string) {
	t.Helper()
	_, err := h.Run(t.Context(), args...)
	require.NoError(t, err)
}

// inline is a pod with an inline volume of the default class.
func inline(name, size string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid")},
		Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			CSI: &corev1.CSIVolumeSource{Driver: driver.Name, VolumeAttributes: map[string]string{"size": size}},
		}}}},
	}
}

func ephemeral(name, size string) *corev1.Pod {
	p := inline(name, size)
	p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To("ssd"),
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
	}}}
	return p
}

// made is the LV of a pod's inline volume.
func made(t *testing.T, h *fakelvm.Host, pod *corev1.Pod, size string) {
	t.Helper()
	command(t, h, "lvcreate", "--yes", "--name", "csi-"+pod.Name, "--size", size, "--addtag", tagOwner, "--addtag", fmt.Sprintf("%s=default/%s/%s", tagPod, pod.Name, pod.UID), "vg0")
}

func TestAPodIsJudgedByTheRoomThatIsLeft(t *testing.T) {
	o, h := judged(t) // 9 GiB are for pods
	a := inline("a", "4Gi")
	require.Empty(t, o.Bound("n", a))
	require.Empty(t, o.Bound("n", a), "it is counted once")
	require.Contains(t, o.Bound("n", inline("b", "6Gi")), "takes 6Gi of pool ssd, which has room for 5Gi", "what is not made yet counts")
	o.Ended("n", "b-uid")
	made(t, h, a, "4g")
	require.Empty(t, o.Bound("n", inline("c", "5Gi")), "what is made counts once")
	o.Ended("n", "c-uid")
	command(t, h, "lvcreate", "--yes", "--name", "admin", "--size", "2g", "vg0")
	require.NotEmpty(t, o.Bound("n", inline("d", "4Gi")), "what others made counts")
	o.Ended("n", "d-uid")
	require.Empty(t, o.Bound("n", inline("e", "3Gi")))
	o.Ended("n", "e-uid")
	o.Ended("n", "a-uid")
	require.Empty(t, o.Bound("n", inline("f", "7Gi")), "a pod that has ended leaves its room, though its LV is not gone yet")
	require.Contains(t, o.Bound("x", a), "x, which is no node")
}

// A generic ephemeral volume is made before its pod is bound.
func TestAnEphemeralVolumeIsItsPodsOwn(t *testing.T) {
	o, h := judged(t)
	command(t, h, "lvcreate", "--yes", "--name", "pvc-1", "--size", "6g", "--addtag", tagOwner, "--addtag", tagClaim+"=default/a-v", "vg0")
	require.NotEmpty(t, o.Bound("n", inline("b", "4Gi")), "it lies there")
	o.Ended("n", "b-uid")
	require.Empty(t, o.Bound("n", ephemeral("a", "6Gi")), "and is what its pod is charged")
	require.Empty(t, o.Bound("n", inline("c", "3Gi")))
	require.NotEmpty(t, o.Bound("n", inline("d", "1Gi")))
}

// A generic ephemeral volume that has grown takes more than its pod is charged, which the
// scheduler still counts.
func TestAnEphemeralVolumeThatHasGrownTakesMore(t *testing.T) {
	o, h := judged(t)
	require.Empty(t, o.Bound("n", ephemeral("a", "1Gi")))
	command(t, h, "lvcreate", "--yes", "--name", "pvc-1", "--size", "1g", "--addtag", tagOwner, "--addtag", tagClaim+"=default/a-v", "vg0")
	n, c := published(9*gib, 2*gib, 8*gib, 2*gib)
	require.Empty(t, o.Published(n, c))
	command(t, h, "lvextend", "--size", "3g", "vg0/pvc-1")
	require.Len(t, o.Published(n, c), 2)
	n, c = published(7*gib, 2*gib, 6*gib, 2*gib)
	require.Empty(t, o.Published(n, c))
	require.NotEmpty(t, o.Bound("n", inline("b", "7Gi")))
}

func TestOrphansAreLVsOfOurs(t *testing.T) {
	o, h := judged(t)
	command(t, h, "lvcreate", "--yes", "--name", "admin", "--size", "1g", "vg0")
	require.Empty(t, o.Orphans())
	made(t, h, inline("a", "1Gi"), "1g")
	require.Equal(t, []string{"n: vg0/csi-a (default/a/a-uid)"}, o.Orphans())
}

func TestUtilisationIsWhatTheDisksHave(t *testing.T) {
	o, h := judged(t)
	o.Look()
	before := o.Utilisation()
	made(t, h, inline("a", "5Gi"), "5g")
	require.InDelta(t, before, o.Utilisation(), 1e-9, "nobody has looked")
	o.Look()
	require.InDelta(t, before+5./12, o.Utilisation(), 0.001)
	command(t, h, "lvremove", "--yes", "vg0/csi-a")
	o.Look()
	require.InDelta(t, before, o.Utilisation(), 1e-9)
	require.InDelta(t, before+5./12, o.Peak(), 0.001)
}

func TestAThinPoolThatPromisesTooMuchIsAProblem(t *testing.T) {
	o, h := judged(t)
	command(t, h, "lvcreate", "--type", "thin", "--virtualsize", "2g", "--thinpool", "pool", "--name", "t", "vg1")
	o.Look()
	require.Empty(t, o.Problems(), "twice its size is what its class may")
	command(t, h, "lvcreate", "--type", "thin", "--virtualsize", "4m", "--thinpool", "pool", "--name", "u", "vg1")
	o.Look()
	o.Look()
	require.Len(t, o.Problems(), 1, "it is said once")
	require.Contains(t, o.Problems()[0], "node n: thin pool vg1/pool of 1Gi has promised")
}

// The fake cannot do this, so that what the oracle would see is made up.
func TestExtentsThatAreGivenAwayTwiceAreSeen(t *testing.T) {
	require.Empty(t, overlaps("/dev/a", 10, []span{{5, 9, "vg0/b"}, {0, 4, "vg0/a"}}))
	require.Equal(t, []string{"extents 4 to 4 of /dev/a belong to vg0/a and to vg0/b"}, overlaps("/dev/a", 10, []span{{4, 9, "vg0/b"}, {0, 4, "vg0/a"}}))
	require.Equal(t, []string{"extents 2 to 3 of /dev/a belong to vg0/a and to vg0/b", "extents 8 to 8 of /dev/a belong to vg0/a and to vg0/c"},
		overlaps("/dev/a", 10, []span{{0, 9, "vg0/a"}, {2, 3, "vg0/b"}, {8, 8, "vg0/c"}}))
	require.Equal(t, []string{"vg0/a has extents to 10 of /dev/a, which has 10"}, overlaps("/dev/a", 10, []span{{0, 10, "vg0/a"}}))
}

// Every kind of LV lies on what LVM says it takes.
func TestTheDisksAreReadExtentByExtent(t *testing.T) {
	h := fakelvm.New(fakelvm.Disk{Path: "/dev/a", Size: 10 * gib}, fakelvm.Disk{Path: "/dev/b", Size: 10 * gib})
	require.NoError(t, h.CreateVG("vg0", "/dev/a", "/dev/b"))
	command(t, h, "lvcreate", "--yes", "--name", "linear", "--size", "1g", "vg0")
	command(t, h, "lvcreate", "--yes", "--type", "striped", "--stripes", "2", "--name", "striped", "--size", "1g", "vg0")
	command(t, h, "lvcreate", "--yes", "--type", "raid1", "--mirrors", "1", "--name", "mirror", "--size", "1g", "vg0")
	command(t, h, "lvcreate", "--type", "thin-pool", "--size", "1g", "--name", "pool", "vg0")
	command(t, h, "lvcreate", "--type", "thin", "--virtualsize", "5g", "--thinpool", "pool", "--name", "thin", "vg0")
	groups, wrong, err := read(h)
	require.NoError(t, err)
	require.Empty(t, wrong)
	g := groups["vg0"]
	lies := map[string]int64{}
	for name, l := range g.lvs {
		lies[name] = l.lies
	}
	const extent = 4 << 20
	require.Equal(t, map[string]int64{"linear": gib, "striped": gib, "mirror": 2*gib + 2*extent, "pool": gib + extent, "thin": 0}, lies)
	free, _, code := h.Setup("vgs", "--noheadings", "--units", "b", "--nosuffix", "-o", "vg_free")
	require.Zero(t, code)
	require.Equal(t, fmt.Sprintf("%d", g.total-g.taken), free[2:len(free)-1])
}

// published is a node that says these numbers.
func published(allocatable, thin, ssdCapacity, thinCapacity int64) (*corev1.Node, []*storagev1.CSIStorageCapacity) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
		"podlv.dev/ssd": *resource.NewQuantity(allocatable, resource.BinarySI), "podlv.dev/thin": *resource.NewQuantity(thin, resource.BinarySI),
	}}}
	of := func(class string, size int64) *storagev1.CSIStorageCapacity {
		q := resource.NewQuantity(size, resource.BinarySI)
		return &storagev1.CSIStorageCapacity{
			NodeTopology:     &metav1.LabelSelector{MatchLabels: map[string]string{driver.TopologyKey: "n"}},
			StorageClassName: class, Capacity: q, MaximumVolumeSize: q,
		}
	}
	return n, []*storagev1.CSIStorageCapacity{of("ssd", ssdCapacity), of("thin", thinCapacity)}
}

func TestWhatIsPublishedIsComparedWithTheDisks(t *testing.T) {
	o, h := judged(t)
	a := inline("a", "4Gi")
	require.Empty(t, o.Bound("n", a))
	made(t, h, a, "4g")
	require.Empty(t, o.Bound("n", inline("b", "1Gi"))) // not made yet
	command(t, h, "lvcreate", "--yes", "--name", "admin", "--size", "2g", "vg0")
	const ssd, thin, claims = 7 * gib, 2 * gib, 2 * gib // 10 less 1 reserved, 2 the admin's; less 5 the pods'
	n, c := published(ssd, thin, claims, thin)
	require.Empty(t, o.Published(n, c))
	ended := inline("ended", "1Gi")
	require.Empty(t, o.Bound("n", ended))
	made(t, h, ended, "1g")
	o.Ended("n", ended.UID)
	require.NotEmpty(t, o.Published(n, c), "what an ended pod leaves is not to be had until it is gone")
	command(t, h, "lvremove", "--yes", "vg0/csi-ended")
	require.Empty(t, o.Published(n, c))
	for name, row := range map[string]struct {
		allocatable, thin, ssdCapacity, thinCapacity int64
		says                                         string
	}{
		"too much for pods":        {ssd + 4<<20, thin, claims, thin, "the disks have 7516192768 for pods"},
		"too little for pods":      {ssd - 4<<20, thin, claims, thin, "is only 7511998464"},
		"less than what pods have": {4 * gib, thin, claims, thin, "less than the 5368709120 that pods there have"},
		"too much for claims":      {ssd, thin, claims + 4<<20, thin, "the disks have 2147483648 for claims"},
		"too little for claims":    {ssd, thin, claims - 4<<20, thin, "has capacity 2143289344 only"},
		"too much of a thin pool":  {ssd, thin + 4<<20, claims, thin, "podlv.dev/thin is 2151677952"},
	} {
		t.Run(name, func(t *testing.T) {
			n, c := published(row.allocatable, row.thin, row.ssdCapacity, row.thinCapacity)
			wrong := o.Published(n, c)
			require.NotEmpty(t, wrong)
			require.Contains(t, fmt.Sprint(wrong), row.says)
		})
	}
	n, c = published(ssd, thin, claims, thin)
	require.Len(t, o.Published(n, c[:1]), 1, "an object is missing")
	delete(n.Status.Allocatable, "podlv.dev/ssd")
	require.Len(t, o.Published(n, c), 1, "a resource is missing")
	n, c = published(ssd, thin, claims, thin)
	c[0].MaximumVolumeSize = resource.NewQuantity(1, resource.BinarySI)
	require.Contains(t, fmt.Sprint(o.Published(n, c)), "must be the same")
}

func TestAnOracleWithoutMachinesIsBlind(t *testing.T) {
	classes, err := driver.ParseClasses([]byte("pools: [{name: ssd, volumeGroup: vg0}]\nclasses: [{name: ssd, pool: ssd, default: true}]"))
	require.NoError(t, err)
	o := New(classes, map[string]*fakelvm.Host{})
	require.Empty(t, o.Bound("n", inline("a", "100Ti")))
	n, c := published(gib, gib, gib, gib)
	require.Empty(t, o.Published(n, c))
	require.Empty(t, o.Orphans())
	require.Zero(t, o.Utilisation())
}

func TestHowLongTooMuchIsPublished(t *testing.T) {
	o, h := judged(t)
	o.Look()
	o.Allocatable("n", "ssd", 9*gib)
	o.Capacity("n", "ssd", 9*gib)
	require.Empty(t, o.Stale())
	require.Empty(t, o.Bound("n", inline("a", "4Gi")))
	require.Len(t, o.Stale(), 1, "claims cannot have what the pod is charged; its extended resource is as it was")
	o.Capacity("n", "ssd", 5*gib)
	once := o.Stale()
	require.Len(t, once, 1)
	require.Equal(t, once, o.Stale(), "it is over")
	command(t, h, "lvcreate", "--yes", "--name", "foreign", "--size", "6g", "vg0")
	o.Look()
	require.Len(t, o.Stale(), 3)
	o.Allocatable("n", "ssd", 4*gib)
	o.Capacity("n", "ssd", -1)
	o.Allocatable("nowhere", "ssd", gib)
	over := o.Stale()
	require.Len(t, over, 3)
	require.Equal(t, over, o.Stale())
}

// An LV of a pod that has ended is about to go: whoever comes next may wait for it.
func TestWhatEndedPodsLeaveIsNotTooMuch(t *testing.T) {
	o, h := judged(t)
	a := inline("a", "4Gi")
	require.Empty(t, o.Bound("n", a))
	made(t, h, a, "4g")
	o.Look()
	o.Allocatable("n", "ssd", 9*gib)
	o.Ended("n", a.UID)
	require.Empty(t, o.Stale())
}

type watcher map[string][]Use

func (w watcher) Used(node string, uses []Use) { w[node] = uses }

func TestTheWatcherIsToldWhatLiesOnTheDisks(t *testing.T) {
	o, h := judged(t)
	w := watcher{}
	o.Watcher = w
	a, b := inline("a", "1Gi"), ephemeral("b", "2Gi")
	made(t, h, a, "1g")
	for claim, size := range map[string]string{"b-v": "2g", "c": "3g"} {
		command(t, h, "lvcreate", "--yes", "--name", claim, "--size", size, "--addtag", tagOwner, "--addtag", tagClaim+"=default/"+claim, "vg0")
	}
	command(t, h, "lvcreate", "--yes", "--name", "foreign", "--size", "512m", "vg0")
	command(t, h, "lvcreate", "--yes", "--name", "t", "--virtualsize", "512m", "--thinpool", "pool", "--addtag", tagOwner, "--addtag", tagClaim+"=default/t", "vg1")
	o.Look()
	require.Equal(t, Use{Pool: "ssd", Total: 10 * gib, Inline: gib, Claims: 5 * gib, Foreign: gib / 2}, w["n"][0])
	require.Equal(t, Use{Pool: "thin", Total: 2 * gib, Claims: gib / 2}, w["n"][1])
	o.Bound("n", b)
	require.Equal(t, Use{Pool: "ssd", Total: 10 * gib, Inline: gib, Ephemeral: 2 * gib, Claims: 3 * gib, Foreign: gib / 2}, w["n"][0])
}

func TestWhatANodeHasForVolumes(t *testing.T) {
	o, h := judged(t)
	command(t, h, "lvcreate", "--yes", "--name", "foreign", "--size", "2g", "vg0")
	o.Look()
	require.Equal(t, []Room{{Size: 7 * gib, Free: 7 * gib}}, o.Rooms()["ssd"])
	o.Bound("n", inline("a", "4Gi"))
	require.Equal(t, []Room{{Size: 7 * gib, Free: 3 * gib}}, o.Rooms()["ssd"], "what is not made yet is not free")
	require.Equal(t, []Room{{Size: 2 * gib, Free: 2 * gib}}, o.Rooms()["thin"])
	require.Equal(t, map[string]int64{"ssd": 4 * gib}, o.Charge(inline("a", "4Gi")))
}
