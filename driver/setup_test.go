// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/mounttest"
	"github.com/podlv/podlv/fakelvm"
)

// newBareNode is a node whose disks, of 10 GiB each, have nothing on them.
func newBareNode(t *testing.T, text string, disks ...fakelvm.Disk) *fakeNode {
	t.Helper()
	n := newFakeNode(t)
	n.host = fakelvm.New(disks...)
	n.host.SetClock(n.clock.Now)
	require.NoError(t, n.host.MkdirAll(fakeKubeletDir+"/pods"))
	n.mkdir = n.host.MkdirAll
	n.classes = classes(t, text)
	n.restart()
	return n
}

func (n *fakeNode) addDisk(path string) string {
	n.t.Helper()
	require.NoError(n.t, n.host.AddDisk(disk(path, 10*gib)))
	return path
}

// said is the events since it was asked last.
func (n *fakeNode) said() (all []string) {
	for {
		select {
		case e := <-n.events.Events:
			all = append(all, e)
		default:
			return all
		}
	}
}

// changes are the lvm commands since ResetSteps that can change something.
func (n *fakeNode) changes() (all []string) {
	for _, line := range n.host.Log() {
		if _, command, _ := strings.Cut(line, ": "); !strings.HasPrefix(command, "fullreport") && !strings.HasPrefix(command, "pvscan") {
			all = append(all, strings.Fields(command)[0])
		}
	}
	return all
}

const ofDevices = `
pools:
- name: ssd
  volumeGroup: vg0
  devices:
  - path: /dev/disk/by-id/one
  - {path: "/dev/disk/by-id/wwn-*", count: 2, media: ssd, minSize: 5Gi}
classes: [{name: ssd, pool: ssd, default: true}]
`

func bareDisks() []fakelvm.Disk {
	return []fakelvm.Disk{
		{Path: "/dev/sda", Size: 10 * gib, Links: []string{"/dev/disk/by-id/one", "/dev/disk/by-id/wwn-hdd"}, Rotational: true},
		{Path: "/dev/sdb", Size: 10 * gib, Links: []string{"/dev/disk/by-id/wwn-b", "/dev/disk/by-id/wwn-b-again"}},
		{Path: "/dev/sdc", Size: 10 * gib, Links: []string{"/dev/disk/by-id/wwn-c"}},
		{Path: "/dev/sdd", Size: 1 * gib, Links: []string{"/dev/disk/by-id/wwn-small"}},
		{Path: "/dev/sde", Size: 10 * gib},
	}
}

func TestVGIsMadeOfTheDevicesThatArePicked(t *testing.T) {
	n := newBareNode(t, ofDevices, bareDisks()...)
	ctx := context.Background()
	require.ErrorContains(t, n.agent.Ready(ctx), `there is no VG "vg0"`)
	n.agent.SetUp(ctx)
	require.NoError(t, n.agent.Ready(ctx))
	require.Equal(t, "/dev/sda vg0\n  /dev/sdb vg0\n  /dev/sdc vg0", strings.TrimSpace(n.lvm("pvs", "--noheadings", "-o", "pv_name,vg_name", "--separator", " ")))
	require.Equal(t, []string{`Normal PodlvVolumeGroupMade pool "ssd": VG "vg0" was made of /dev/sda, /dev/sdb, /dev/sdc`}, n.said())
	require.NoError(t, n.publish(newVolume("web", "64Mi")))

	n.host.ResetSteps()
	n.clock.Step(gib)
	n.agent.SetUp(ctx)
	require.Empty(t, n.changes(), "nothing is left to do")
	require.Empty(t, n.said())
}

// tampered is a machine of which more is said than the fake has.
type tampered struct {
	mounttest.Fake
	disk func(d *driver.Disk)
	sign []string
	fail error
}

func (x tampered) Disk(path string) (driver.Disk, bool, error) {
	d, ok, err := x.Fake.Disk(path)
	if ok && d.Device == "/dev/sdb" && x.disk != nil {
		x.disk(&d)
	}
	return d, ok, err
}

func (x tampered) Signatures(device string) ([]string, error) {
	if device == "/dev/sdb" && (x.sign != nil || x.fail != nil) {
		return x.sign, x.fail
	}
	return x.Fake.Signatures(device)
}

// broken is content of which nothing can be read.
type broken struct{ driver.DiskContent }

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }

type unreadable struct{ mounttest.Fake }

func (x unreadable) Claim(device string) (driver.DiskContent, error) {
	c, err := x.Fake.Claim(device)
	return broken{c}, err
}

// What is on a device, is said of it, or cannot be found out keeps it from being taken,
// and nothing else is harmed. The other pool is served all the while.
func TestDevicesThatAreRefused(t *testing.T) {
	write := func(h *fakelvm.Host, at int64, text string) {
		d, err := h.Open("/dev/sdb")
		require.NoError(t, err)
		_, err = d.WriteAt([]byte(text), at)
		require.NoError(t, errors.Join(err, d.Close()))
	}
	raw := func(h *fakelvm.Host, args ...string) {
		_, stderr, code := h.Setup(args...)
		require.Zero(t, code, stderr)
	}
	described := func(edit func(d *driver.Disk)) func(h *fakelvm.Host) driver.Disks {
		return func(h *fakelvm.Host) driver.Disks { return tampered{Fake: mounttest.Fake{Host: h}, disk: edit} }
	}
	const plain, pattern = "{path: /dev/sdb}", `{path: "/dev/sd[b]", count: 1}`
	for name, row := range map[string]struct {
		rule   string // plain when empty
		before func(h *fakelvm.Host)
		disks  func(h *fakelvm.Host) driver.Disks
		reason string
		words  string
	}{
		"not there":    {rule: "{path: /dev/sdx}", reason: "Missing", words: "/dev/sdx: is not there"},
		"none matches": {rule: `{path: "/dev/nvme*", count: 2}`, reason: "Count", words: "matches 0 devices, not 2, so that none is taken: none"},
		"more match":   {rule: `{path: "/dev/sd[bc]", count: 1}`, reason: "Count", words: "matches 2 devices, not 1, so that none is taken: /dev/sdb (/dev/sdb), /dev/sdc (/dev/sdc)"},
		"wrong medium": {rule: "{path: /dev/sdb, media: hdd}", reason: "Media", words: "is not rotational, not of media hdd"},
		"rotational": {
			rule: "{path: /dev/sdb, media: ssd}", disks: described(func(d *driver.Disk) { d.Rotational = true }),
			reason: "Media", words: "is rotational, not of media ssd",
		},
		"too small": {rule: "{path: /dev/sdb, minSize: 1Ti}", reason: "Media", words: "has 10Gi, less than minSize, 1Ti"},
		"a filesystem": {before: func(h *fakelvm.Host) {
			require.NoError(t, h.Format("/dev/sdb", "ext4", "11111111-2222-5333-8444-555555555555"))
		}, reason: "Signature", words: "/dev/sdb: has a signature: ext4 at 0x438"},
		"an unknown byte":    {before: func(h *fakelvm.Host) { write(h, 700000, "x") }, reason: "Content", words: "is not blank: bytes that are not zero at 700000"},
		"a byte at the end":  {before: func(h *fakelvm.Host) { write(h, 10*gib-1, "x") }, reason: "Content", words: fmt.Sprint(10*gib - 1)},
		"a PV":               {before: func(h *fakelvm.Host) { raw(h, "pvcreate", "/dev/sdb") }, reason: "Signature", words: "is a physical volume of LVM already"},
		"a PV of another VG": {before: func(h *fakelvm.Host) { raw(h, "vgcreate", "theirs", "/dev/sdb") }, reason: "Signature", words: `is a physical volume of VG "theirs"`},
		"a PV of ours that was taken out": {before: func(h *fakelvm.Host) {
			raw(h, "pvcreate", "--norestorefile", "--uuid", "podlv0-aaaa-bbbb-cccc-dddd-eeee-ffffff", "/dev/sdb")
			raw(h, "vgcreate", "gone", "/dev/sdb")
			raw(h, "vgremove", "gone")
		}, reason: "Signature", words: "was taken out of its VG"},
		"mounted": {before: func(h *fakelvm.Host) {
			require.NoError(t, h.Format("/dev/sdb", "xfs", "11111111-2222-5333-8444-555555555555"))
			require.NoError(t, h.MkdirAll("/mnt"))
			require.NoError(t, h.Mount("/dev/sdb", "/mnt", "xfs", nil))
		}, reason: "InUse", words: "is in use: mounted"},
		"open":            {before: func(h *fakelvm.Host) { _, err := h.Open("/dev/sdb"); require.NoError(t, err) }, reason: "InUse", words: "is in use"},
		"an LV":           {rule: "{path: /dev/vg9/admin}", reason: "Kind", words: "is a logical volume of LVM"},
		"read-only":       {disks: described(func(d *driver.Disk) { d.ReadOnly = true }), reason: "InUse", words: "is read-only"},
		"size 0":          {disks: described(func(d *driver.Disk) { d.Size = 0 }), reason: "InUse", words: "has a size of 0"},
		"partitions":      {disks: described(func(d *driver.Disk) { d.Partitions = []string{"sdb1", "sdb2"} }), reason: "InUse", words: "has partitions: sdb1, sdb2"},
		"holders":         {disks: described(func(d *driver.Disk) { d.Holders = []string{"md0"} }), reason: "InUse", words: "is part of md0"},
		"two paths":       {disks: described(func(d *driver.Disk) { d.Twins = []string{"sdq"} }), reason: "InUse", words: "is the same disk as sdq, by its WWID"},
		"a loop device":   {rule: pattern, disks: described(func(d *driver.Disk) { d.Kind = "loop device" }), reason: "Kind", words: "is a loop device: it is taken only when it is named by its own path"},
		"a removable one": {rule: pattern, disks: described(func(d *driver.Disk) { d.Removable = true }), reason: "Kind", words: "has a removable medium"},
		"a partition":     {rule: pattern, disks: described(func(d *driver.Disk) { d.Kind = "partition" }), reason: "Kind", words: "is a partition"},
		"unknown to blkid": {disks: func(h *fakelvm.Host) driver.Disks {
			return tampered{Fake: mounttest.Fake{Host: h}, sign: []string{"unheard-of at 0x0"}}
		}, reason: "Signature", words: "unheard-of"},
		"no answer": {disks: func(h *fakelvm.Host) driver.Disks {
			return tampered{Fake: mounttest.Fake{Host: h}, fail: errors.New("blkid: exit status 13")}
		}, reason: "Error", words: "cannot be searched for signatures: blkid: exit status 13"},
		"an I/O error": {disks: func(h *fakelvm.Host) driver.Disks { return unreadable{mounttest.Fake{Host: h}} }, reason: "Error", words: "cannot be read: cannot be read: input/output error"},
	} {
		t.Run(name, func(t *testing.T) {
			rule := row.rule
			if rule == "" {
				rule = plain
			}
			n := newBareNode(t, `
pools:
- {name: ssd, volumeGroup: vg0, devices: [`+rule+`]}
- {name: other, volumeGroup: vg9}
classes: [{name: ssd, pool: ssd}, {name: other, pool: other, default: true}]
`, disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib), disk("/dev/sdc", 10*gib))
			raw(n.host, "vgcreate", "vg9", "/dev/sda")
			raw(n.host, "lvcreate", "--yes", "--name", "admin", "--size", "32m", "vg9")
			n.inCluster()
			if row.before != nil {
				row.before(n.host)
			}
			if row.disks != nil {
				n.disks = row.disks(n.host)
			}
			n.restart()
			ctx, before := context.Background(), n.host.String()
			n.host.ResetSteps()
			n.agent.SetUp(ctx)
			n.agent.SetUp(ctx)
			require.Empty(t, n.changes())
			require.Equal(t, before, n.host.String())
			said := n.said()
			require.Contains(t, said[0], "Warning PodlvDevice"+row.reason+" pool \"ssd\": ")
			require.Contains(t, said[0], row.words)
			require.Condition(t, func() bool { return len(said) <= 2 }, "each thing is said once: %v", said)

			require.NoError(t, n.agent.TellHealth(ctx))
			node, err := n.cluster.Client.CoreV1().Nodes().Get(ctx, "node1", metav1.GetOptions{})
			require.NoError(t, err)
			require.Len(t, node.Status.Conditions, 1)
			c := node.Status.Conditions[0]
			require.Equal(t, driver.ReadyCondition, c.Type)
			require.Equal(t, corev1.ConditionFalse, c.Status)
			require.Equal(t, "Device"+row.reason, c.Reason)
			require.Contains(t, c.Message, row.words)
			require.NoError(t, testutil.GatherAndCompare(n.agent.Metrics(), strings.NewReader(`
# HELP podlv_devices_refused Devices, or patterns of devices, that a pool names and that are not taken, by reason (Missing, Count, Kind, Media, InUse, Signature, Content, Twice, Error).
# TYPE podlv_devices_refused gauge
podlv_devices_refused{pool="ssd",reason="`+row.reason+`"} 1
# HELP podlv_pool_ready 1 when a pool of this node is as the device classes have it, else 0.
# TYPE podlv_pool_ready gauge
podlv_pool_ready{pool="other"} 1
podlv_pool_ready{pool="ssd"} 0
`), "podlv_devices_refused", "podlv_pool_ready"))
			require.NoError(t, n.publish(newVolume("web", "64Mi")), "the other pool is served")
		})
	}
}

func TestDeviceOfTwoVGsIsTakenByNone(t *testing.T) {
	n := newBareNode(t, `
pools:
- {name: a, volumeGroup: vg0, devices: [{path: /dev/disk/by-id/b}]}
- {name: b, volumeGroup: vg1, devices: [{path: "/dev/sd*", count: 2}]}
classes: [{name: a, pool: a}]
`, fakelvm.Disk{Path: "/dev/sda", Size: gib}, fakelvm.Disk{Path: "/dev/sdb", Size: gib, Links: []string{"/dev/disk/by-id/b"}})
	n.agent.SetUp(context.Background())
	require.Empty(t, n.lvm("pvs", "--noheadings"))
	said := strings.Join(n.said(), "\n")
	require.Contains(t, said, `PodlvDeviceTwice pool "a": /dev/disk/by-id/b: /dev/sdb: is named for VG "vg1", too, by pool "b"`)
	require.Contains(t, said, `PodlvDeviceTwice pool "b": /dev/sd*: /dev/sdb: is named for VG "vg0", too, by pool "a"`)
}

// A VG is made when all its devices are there: one that is late may have it. It grows by
// each that comes.
func TestVGWaitsForItsDevicesAndGrows(t *testing.T) {
	const text = `
pools: [{name: ssd, volumeGroup: vg0, devices: [{path: /dev/sda}, {path: /dev/sdb}]}]
classes: [{name: ssd, pool: ssd, default: true, unit: 1Mi}]
`
	n := newBareNode(t, text, disk("/dev/sda", 10*gib))
	ctx := context.Background()
	n.agent.SetUp(ctx)
	require.Empty(t, n.lvm("pvs", "--noheadings"))
	require.Len(t, n.said(), 2)
	n.addDisk("/dev/sdb")
	n.agent.SetUp(ctx)
	require.Equal(t, "2 1.00m", n.lvm("vgs", "--noheadings", "-o", "pv_count,vg_extent_size", "--separator", " "), "the extent divides the unit")
	n.said()

	n.classes = classes(t, strings.Replace(text, "{path: /dev/sdb}", `{path: /dev/sdb}, {path: /dev/sdc}, {path: /dev/sdd}`, 1))
	n.addDisk("/dev/sdd")
	n.restart()
	n.agent.SetUp(ctx)
	require.Equal(t, "3", n.lvm("vgs", "--noheadings", "-o", "pv_count"), "sdd came, sdc did not")
	require.Len(t, n.said(), 2)

	n.addDisk("/dev/sdc")
	require.NoError(t, n.host.TakeDisk("/dev/sda"))
	n.clock.Step(gib)
	n.agent.SetUp(ctx)
	require.Equal(t, "3", n.lvm("vgs", "--noheadings", "-o", "pv_count"))
	require.Contains(t, strings.Join(n.said(), "\n"), `VG "vg0" is not extended while it misses 1 of its disks`)
	require.NoError(t, n.host.ReturnDisk("/dev/sda"))
	n.clock.Step(gib)
	n.agent.SetUp(ctx)
	require.Equal(t, "4", n.lvm("vgs", "--noheadings", "-o", "pv_count"))
}

const thinOfDevices = `
pools:
- name: thin
  volumeGroup: vg0
  thinPool: pool0
  thinPoolSize: 80%
  devices: [{path: /dev/sda}, {path: /dev/sdb}]
classes: [{name: thin, pool: thin, default: true}]
`

func TestThinPoolIsMade(t *testing.T) {
	n := newBareNode(t, thinOfDevices, disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib))
	ctx := context.Background()
	n.agent.SetUp(ctx)
	require.Equal(t, "pool0:15.96g [pool0_tdata]:15.96g [pool0_tmeta]:16.00m", n.sizes())
	require.NoError(t, n.publish(newVolume("web", "64Mi")))
	require.Len(t, n.said(), 2)

	n.host.SetAutoActivate(false)
	n.powerCycle()
	require.Equal(t, "", n.lvm("lvs", "--noheadings", "-o", "lv_active", "vg0/pool0"))
	n.agent.SetUp(ctx)
	require.Equal(t, "active", n.lvm("lvs", "--noheadings", "-o", "lv_active", "vg0/pool0"))
	require.NoError(t, n.publish(newVolume("web", "64Mi")), "kubelet's own retry activates the volume")
}

// A thin pool that is full and has promised more fails the writes of all its volumes: its
// node says so until it is extended. One that has all that it has promised is well.
func TestThinPoolThatRunsDry(t *testing.T) {
	n := newFakeNode(t)
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", "16m", "vg0")
	n.classes = classes(t, `
pools: [{name: thin, volumeGroup: vg0, thinPool: pool}]
classes: [{name: thin, pool: thin, overprovision: 3, default: true}]
`)
	n.restart()
	ctx := context.Background()
	ready := func(want string) {
		t.Helper()
		n.clock.Step(time.Minute) // how full a pool is, is as old as the report
		n.agent.SetUp(ctx)
		require.NoError(t, testutil.GatherAndCompare(n.agent.Metrics(), strings.NewReader(`
# HELP podlv_pool_ready 1 when a pool of this node is as the device classes have it, else 0.
# TYPE podlv_pool_ready gauge
podlv_pool_ready{pool="thin"} `+want+"\n"), "podlv_pool_ready"))
	}
	full := newClaim("full", 16*mib)
	require.NoError(t, n.create(full))
	d, err := n.host.Open(full.device())
	require.NoError(t, err)
	_, err = d.WriteAt(bytes.Repeat([]byte{1}, 16*mib), 0)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	ready("1")
	require.Empty(t, n.said(), "nothing more can be written to it than it has")

	n.lvm("lvcreate", "--yes", "--type", "thin", "--virtualsize", "4m", "--thinpool", "pool", "--name", "more", "vg0")
	ready("0")
	ready("0")
	require.Equal(t, []string{`Warning PodlvThinPool pool "thin": thin pool vg0/pool is full, and has promised more: writes to its volumes fail; extend it (lvextend)`}, n.said(), "once")
	n.lvm("lvextend", "--size", "+4m", "vg0/pool")
	ready("1")
}

// LVM does not find by itself what is on a disk that could not be read for a while: while a
// pool's VG is not there, or misses a disk, it is told to look.
func TestLVMIsToldToLookForMissingVGs(t *testing.T) {
	n := newFakeNode(t)
	looks := func() bool {
		n.clock.Step(time.Minute)
		n.host.ResetSteps()
		n.agent.SetUp(context.Background())
		return strings.Contains(strings.Join(n.host.Log(), "\n"), ": pvscan --config")
	}
	require.False(t, looks())
	require.NoError(t, n.host.TakeDisk("/dev/fake0"))
	require.True(t, looks())
	require.NoError(t, n.host.ReturnDisk("/dev/fake0"))
	require.False(t, looks())
}

// powerCycle is a reboot after which nobody has published anything yet.
func (n *fakeNode) powerCycle() {
	n.host.Reboot()
	n.restart()
	n.clock.Step(gib)
}

func (n *fakeNode) sizes() string {
	n.t.Helper()
	return strings.Join(strings.Fields(n.lvm("lvs", "-a", "--noheadings", "-o", "lv_name,lv_size", "--separator", ":", "--sort", "lv_name")), " ")
}

func TestThinPoolThatIsThereIsLeftAsItIs(t *testing.T) {
	n := newBareNode(t, thinOfDevices, disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib))
	n.lvm("vgcreate", "vg0", "/dev/sda")
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--size", "1g", "--name", "pool0", "vg0")
	n.agent.SetUp(context.Background())
	require.Equal(t, "2", n.lvm("vgs", "--noheadings", "-o", "pv_count"), "the VG grows")
	require.Equal(t, "1.00g", n.lvm("lvs", "--noheadings", "-o", "lv_size", "vg0/pool0"), "the pool does not")
}

func TestThinPoolThatDoesNotFit(t *testing.T) {
	for name, row := range map[string]struct{ before, words string }{
		"no room":              {"lvcreate --yes --name admin --size 15g vg0", `80% of VG "vg0" are 16376Mi, and 5112Mi are free: let thinPoolSize be less`},
		"another of its name":  {"lvcreate --yes --name pool0 --size 1g vg0", `VG "vg0" has no thin pool "pool0"`},
		"another with our tag": {"lvcreate --yes --type striped --stripes 2 --addtag podlv.pool --name pool0 --size 1g vg0", "already exists"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newBareNode(t, thinOfDevices, disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib))
			n.lvm("vgcreate", "vg0", "/dev/sda", "/dev/sdb")
			n.lvm(strings.Fields(row.before)...)
			before := n.sizes()
			n.agent.SetUp(context.Background())
			require.Contains(t, strings.Join(n.said(), "\n"), row.words)
			require.Equal(t, before, n.sizes())
		})
	}
}

// TestSetUpAtEveryCrashPoint lets the agent die at every point of making a VG, growing
// another and making a thin pool in both, with LVM's own deaths between its commits. The
// next agent makes of it what would have been.
func TestSetUpAtEveryCrashPoint(t *testing.T) {
	const text = `
pools:
- {name: a, volumeGroup: vg0, thinPool: pool0, thinPoolSize: 80%, devices: [{path: /dev/sda}, {path: /dev/sdb}]}
- {name: b, volumeGroup: vg1, thinPool: pool1, thinPoolSize: 50%, devices: [{path: /dev/sdc}, {path: /dev/sdd}]}
classes: [{name: a, pool: a, default: true}, {name: b, pool: b}]
`
	scene := func(t *testing.T) *fakeNode {
		n := newBareNode(t, text, disk("/dev/sda", gib), disk("/dev/sdb", gib), disk("/dev/sdc", gib), disk("/dev/sdd", gib))
		n.lvm("vgcreate", "vg1", "/dev/sdc")
		n.lvm("lvcreate", "--yes", "--name", "admin", "--size", "32m", "vg1")
		n.restart()
		n.host.ResetSteps()
		return n
	}
	atEverySetUpCrash(t, scene, func(n *fakeNode) { require.Contains(n.t, n.host.String(), "pool1") })
}

// atEverySetUpCrash lets the agent die at every point of a pass in that scene, with LVM's own
// deaths between its commits. The next agent makes of it what would have been; check says that
// this is what it should be.
func atEverySetUpCrash(t *testing.T, scene func(t *testing.T) *fakeNode, check func(n *fakeNode)) {
	t.Helper()
	n, ctx := scene(t), context.Background()
	n.agent.SetUp(ctx)
	steps := n.host.Steps()
	require.NoError(t, n.agent.Ready(ctx))
	check(n)
	whole := n.host.String()
	points := 0
	for step := 1; step <= steps; step++ {
		for when, crash := range map[string]func(*fakelvm.Host){
			"before its commit":   func(h *fakelvm.Host) { h.CrashDuring(step, fakelvm.BeforeCommit) },
			"after its commit":    func(h *fakelvm.Host) { h.CrashDuring(step, fakelvm.AfterCommit) },
			"between its commits": func(h *fakelvm.Host) { h.CrashDuring(step, fakelvm.BetweenCommits) },
			"after it":            func(h *fakelvm.Host) { h.CrashAfter(step) },
		} {
			for _, boot := range []bool{false, true} {
				points++
				if !drawn(points) {
					continue
				}
				t.Run(fmt.Sprintf("dies at step %d, %s, boot %t", step, when, boot), func(t *testing.T) {
					n := scene(t)
					crash(n.host)
					n.agent.SetUp(ctx)
					require.True(t, n.host.Crashed(), "%v", n.host.Log())
					if boot {
						n.host.Reboot()
					}
					n.restart()
					n.agent.SetUp(ctx)
					require.NoError(t, n.agent.Ready(ctx), "%v\n%s", n.host.Log(), n.host)
					if boot {
						n.lvm("vgchange", "-ay")
					}
					check(n)
					require.Equal(t, whole, n.host.String())
				})
			}
		}
	}
	t.Logf("went through %s of %d steps", pointCount(points), steps)
}
