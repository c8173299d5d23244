// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/cache"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/lvm"
)

// group is a VG as the agent's client reports it.
func (n *fakeNode) group(name string) lvm.VolumeGroup {
	n.t.Helper()
	client, err := lvm.NewClient(n.host, driver.Owner)
	require.NoError(n.t, err)
	g, err := client.VolumeGroup(context.Background(), name)
	require.NoError(n.t, err)
	return g
}

// pool0 is the thin pool's data and metadata in MiB.
func (n *fakeNode) pool0() string {
	n.t.Helper()
	l, ok := n.group("vg0").LogicalVolume("pool0")
	require.True(n.t, ok)
	return fmt.Sprintf("%d+%d", l.Size/mib, l.MetadataSize/mib)
}

// become gives the node other device classes, and another agent with it.
func (n *fakeNode) become(text string) {
	n.t.Helper()
	n.classes = classes(n.t, text)
	n.restart()
}

const thinOfThree = `
pools:
- name: thin
  volumeGroup: vg0
  thinPool: pool0
  thinPoolSize: 80%
  devices: [{path: /dev/sda}, {path: /dev/sdb}, {path: /dev/sdc}]
classes: [{name: thin, pool: thin, default: true}]
`

// A thin pool grows to its share of a VG that has grown, under its volumes, and then stays.
func TestThinPoolGrowsWithItsVG(t *testing.T) {
	for name, extend := range map[string]func(n *fakeNode){
		"by a device": func(n *fakeNode) {
			n.become(thinOfThree)
			n.addDisk("/dev/sdc")
		},
		"by hand": func(n *fakeNode) {
			n.lvm("vgextend", "vg0", n.addDisk("/dev/by-hand"))
		},
		"while it is inactive": func(n *fakeNode) {
			n.host.SetAutoActivate(false)
			n.powerCycle()
			n.lvm("vgextend", "vg0", n.addDisk("/dev/by-hand"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newBareNode(t, thinOfDevices, disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib))
			log := n.logged()
			n.restart()
			ctx := context.Background()
			n.agent.SetUp(ctx)
			require.Equal(t, "16344+16", n.pool0())
			v := newVolume("web", "64Mi")
			require.NoError(t, n.publish(v))
			n.write(v, "mine")
			before := n.capacity("thin").GetAvailableCapacity()
			n.said()

			extend(n)
			n.agent.SetUp(ctx)
			require.Equal(t, "24516+24", n.pool0())
			require.Equal(t, "podlv.pool", n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/pool0"))
			said := n.said()
			require.Equal(t, `Normal PodlvThinPoolGrown pool "thin": thin pool vg0/pool0 has grown from 16344Mi to 24516Mi, with 24Mi of metadata`, said[len(said)-1])
			require.Contains(t, log.String(), `msg="the thin pool has grown" vg=vg0 pool=pool0`)
			require.EqualValues(t, before+(24516-16344)*mib, n.capacity("thin").GetAvailableCapacity(), "at once")
			require.NoError(t, n.publish(v))
			require.Equal(t, "mine", n.read(v))

			n.host.ResetSteps()
			for range 3 {
				n.clock.Step(time.Minute)
				n.agent.SetUp(ctx)
			}
			n.restart()
			n.agent.SetUp(ctx)
			require.Empty(t, n.changes(), "nothing is left to do")
			require.Empty(t, n.said())
		})
	}
}

func TestThinPoolGrowsToALargerShare(t *testing.T) {
	n := newBareNode(t, thinOfDevices, disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib))
	ctx := context.Background()
	n.agent.SetUp(ctx)
	for _, row := range []struct{ from, to, becomes string }{
		{"80%", "90%", "18384+20"},
		{"80%", "40%", "18384+20"}, // nothing gets smaller
		{"80%", "90%\n  thinPoolMetadataSize: 1Gi", "18384+20"},
		{"80%", "95%\n  thinPoolMetadataSize: 256Mi", "18936+256"},
		{"80%", "100%\n  thinPoolMetadataSize: 2Mi", "19956+256"},
	} {
		n.become(strings.Replace(thinOfDevices, row.from, row.to, 1))
		n.agent.SetUp(ctx)
		require.Equal(t, row.becomes, n.pool0(), row.to)
		n.host.ResetSteps()
		n.clock.Step(time.Minute)
		n.agent.SetUp(ctx)
		require.Empty(t, n.changes(), row.to)
	}
}

// While a VG is not as its devices say, a share of it is not known, and LVM changes no VG
// that misses a disk.
func TestThinPoolOfAVGThatIsNotWholeStays(t *testing.T) {
	n := newBareNode(t, thinOfDevices, disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib))
	ctx := context.Background()
	n.agent.SetUp(ctx)
	const before = "16344+16"
	n.lvm("vgextend", "vg0", n.addDisk("/dev/by-hand"))
	n.become(thinOfThree)
	n.agent.SetUp(ctx)
	require.Equal(t, before, n.pool0(), "sdc is to come")
	n.become(thinOfDevices)
	require.NoError(t, n.host.TakeDisk("/dev/by-hand"))
	n.agent.SetUp(ctx)
	require.Equal(t, before, n.pool0(), "a disk is missing")
	require.NoError(t, n.host.ReturnDisk("/dev/by-hand"))
	n.clock.Step(time.Minute)
	n.agent.SetUp(ctx)
	require.Equal(t, "24516+24", n.pool0())
}

// What others hold of its share, a thin pool gets when they give it back: a tenth of what it
// has at a time or all of it, not each extent. That it lacks some is said once.
func TestThinPoolWhoseShareIsNotFree(t *testing.T) {
	n := newBareNode(t, thinOfDevices, disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib))
	ctx := context.Background()
	n.agent.SetUp(ctx)
	n.said()
	n.lvm("vgextend", "vg0", n.addDisk("/dev/by-hand")) // 4096 + 2560 MiB are free, and 8176 + 8 are wanted
	n.lvm("lvcreate", "--yes", "--name", "admin", "--size", "12940m", "vg0")
	pass := func(becomes string, said ...string) {
		t.Helper()
		for range 2 {
			n.clock.Step(time.Minute)
			n.agent.SetUp(ctx)
		}
		require.Equal(t, becomes, n.pool0())
		require.Equal(t, append([]string(nil), said...), n.said())
	}
	lacks := func(has string) string {
		return fmt.Sprintf(`Warning PodlvThinPool pool "thin": no space: 80%% of VG "vg0" are 24564Mi, of which thin pool pool0 has %s; too little is free for the rest: let thinPoolSize be less, or free some`, has)
	}
	admin := func(size string) { n.lvm("lvreduce", "--yes", "--size", size, "vg0/admin") }
	pass("16344+16", lacks("16376Mi")) // 1,408 MiB are free, 20 of them to repair the metadata into
	admin("12696m")                    // 1,652
	pass("16344+16")
	admin("12684m") // 1,664: it can grow by 1,640, a tenth of what it has
	pass("17984+20", `Normal PodlvThinPoolGrown pool "thin": thin pool vg0/pool0 has grown from 16344Mi to 17984Mi, with 20Mi of metadata`, lacks("18024Mi"))
	admin("11000m") // 1,704
	pass("17984+20")
	admin("4000m")
	pass("24516+24", `Normal PodlvThinPoolGrown pool "thin": thin pool vg0/pool0 has grown from 17984Mi to 24516Mi, with 24Mi of metadata`)
}

// A pool of the VG's own extents keeps its reserve, and what pods are owed that are bound.
func TestThinPoolGrowsBesideAnotherPool(t *testing.T) {
	const text = `
pools:
- {name: ssd, volumeGroup: vg0, reserve: 1Gi, devices: [{path: /dev/sda}]}
- {name: thin, volumeGroup: vg0, thinPool: pool0, thinPoolSize: 50%}
classes: [{name: ssd, pool: ssd, default: true}, {name: thin, pool: thin}]
`
	n := newBareNode(t, text, disk("/dev/sda", 10*gib))
	ctx := context.Background()
	n.agent.SetUp(ctx)
	const before = "5100+8"
	require.Equal(t, before, n.pool0())
	a := n.inCluster()
	waiting := newVolume("waiting", "8Gi")
	addPod(t, a.Clientset, boundPod(waiting, "8Gi"))
	n.said()
	n.lvm("vgextend", "vg0", n.addDisk("/dev/by-hand")) // 15 GiB are free, and 5 are wanted beside 1 and 8

	n.agent.SetUp(ctx)
	require.Equal(t, before, n.pool0(), "which pods there are is not known yet")
	a.informers.Start(ctx.Done())
	require.True(t, cache.WaitForCacheSync(ctx.Done(), n.cluster.Pods.Informer().HasSynced, n.cluster.Claims.Informer().HasSynced, n.cluster.Classes.Informer().HasSynced))
	n.agent.SetUp(ctx)
	const after = "10208+12"
	require.Equal(t, after, n.pool0())
	require.Len(t, n.said(), 1)
	require.NotEmpty(t, nodePatches(a.Clientset), "the scheduler was told before")
	require.EqualValues(t, (20472-10208-12-1024)*mib, allocatable(t, a.Clientset), "what the thin pool has, and a GiB, is not pods'")

	n.lvm("vgextend", "vg0", n.addDisk("/dev/by-hand-too")) // 20 GiB are free, of which 11 are not
	addPod(t, a.Clientset, boundPod(newVolume("too", "8Gi"), "8Gi"))
	require.Eventually(t, func() bool { return len(n.cluster.Pods.Informer().GetStore().List()) == 2 }, 10*time.Second, time.Millisecond)
	n.agent.SetUp(ctx)
	require.Equal(t, "13268+16", n.pool0())
	said := n.said()
	require.Contains(t, said[0], "has grown from 10208Mi to ")
	require.Contains(t, said[1], "too little is free for the rest")
	require.NoError(t, n.publish(waiting), "what it was owed is there")
}

// What an agent had begun that died is finished, also when the share is another since.
func TestThinPoolWhoseGrowthWasBegun(t *testing.T) {
	n := newBareNode(t, thinOfDevices, disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib))
	ctx := context.Background()
	n.agent.SetUp(ctx)
	n.said()
	n.lvm("lvchange", "--addtag", "podlv.pool.grows=17179869184/20971520", "vg0/pool0")
	n.become(strings.Replace(thinOfThree, "80%", "10%", 1)) // and sdc is not there
	n.agent.SetUp(ctx)
	require.Equal(t, "16384+20", n.pool0())
	require.Equal(t, "podlv.pool", n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/pool0"))
	require.Equal(t, `Normal PodlvThinPoolGrown pool "thin": the growth of thin pool vg0/pool0, which was begun before, is over`, n.said()[0])

	n.lvm("lvchange", "--addtag", "podlv.pool.grows=many", "--deltag", "podlv.pool", "vg0/pool0")
	n.host.ResetSteps()
	n.agent.SetUp(ctx)
	require.Empty(t, n.changes(), "it is not podlv's")
}

// An lvextend that fails leaves nothing begun, and is not tried again each time; one that was
// killed is finished.
func TestThinPoolWhoseGrowthFails(t *testing.T) {
	n := newBareNode(t, thinOfDevices, disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib))
	ctx := context.Background()
	n.agent.SetUp(ctx)
	n.said()
	n.lvm("vgextend", "vg0", n.addDisk("/dev/by-hand"))
	pass := func(after time.Duration, changes ...string) []string {
		t.Helper()
		n.clock.Step(after)
		n.host.ResetSteps()
		n.agent.SetUp(ctx)
		require.Equal(t, append([]string(nil), changes...), n.changes())
		return n.said()
	}
	n.host.FailNext("lvextend", lvm.ExitError{Code: 5, Stderr: "  device-mapper: resume ioctl failed\n"})
	said := pass(0, "lvchange", "lvextend", "lvchange")
	require.Len(t, said, 1)
	require.Contains(t, said[0], `Warning PodlvLVMFailed pool "thin": extend thin pool vg0/pool0: `)
	require.Contains(t, said[0], "resume ioctl failed")
	require.Equal(t, "podlv.pool", n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/pool0"))
	require.Empty(t, pass(time.Minute))
	require.Empty(t, pass(time.Minute))
	require.Len(t, pass(10*time.Minute, "lvchange", "lvextend", "lvchange"), 1)
	require.Equal(t, "24516+24", n.pool0())

	n.lvm("vgextend", "vg0", n.addDisk("/dev/by-hand-too"))
	n.host.FailNext("lvextend", lvm.ExitError{Code: -1, Stderr: ""})
	require.Len(t, pass(0, "lvchange", "lvextend"), 1)
	require.Contains(t, n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/pool0"), "podlv.pool.grows=")
	require.Len(t, pass(time.Minute, "lvextend", "lvchange", "lvchange"), 1)
	require.Equal(t, "32688+32", n.pool0())
	require.Equal(t, "podlv.pool", n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/pool0"))
}

// A thin pool that is full grows, if it has not its share.
func TestThinPoolThatIsFullGrows(t *testing.T) {
	n := newBareNode(t, strings.Replace(thinOfDevices, "default: true", "default: true, overprovision: 3", 1), disk("/dev/sda", 64*mib), disk("/dev/sdb", 64*mib))
	ctx := context.Background()
	n.agent.SetUp(ctx)
	size := n.capacity("thin").GetMaximumVolumeSize().GetValue()
	full := newClaim("full", size)
	require.NoError(t, n.create(full))
	d, err := n.host.Open(full.device())
	require.NoError(t, err)
	_, err = d.WriteAt(make([]byte, size/3), 0)
	require.NoError(t, err)
	n.clock.Step(time.Minute)
	n.agent.SetUp(ctx)
	require.Contains(t, strings.Join(n.said(), "\n"), "is full, and has promised more")
	n.lvm("vgextend", "vg0", n.addDisk("/dev/by-hand"))
	n.agent.SetUp(ctx)
	_, err = d.WriteAt(make([]byte, size-size/3), size/3)
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.Len(t, n.said(), 1, "it is well")
}

// A VG that has not changed never makes a thin pool grow, and one that has, once: whatever
// its extents, the share and the metadata are. What a thin pool has is its share, exactly.
func TestThinPoolGrowsOnce(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	rounds := 300
	if racing {
		rounds = 20
	}
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	ctx, grew := context.Background(), 0
	for range rounds {
		least := int64(1) << 30
		if r.IntN(2) == 0 {
			least = 1 << 40
		}
		size := func() int64 { return least + r.Int64N(8*least) }
		extent := pick("64k", "1m", "4m", "4m", "16m")
		percent := 20 + r.Int64N(81)
		metadata := pick("", "", "thinPoolMetadataSize: 2Mi,", "thinPoolMetadataSize: 33Mi,", "thinPoolMetadataSize: 80Mi,") // twice the last is less than the least share
		text := fmt.Sprintf(`
pools: [{name: thin, volumeGroup: vg0, thinPool: pool0, %s thinPoolSize: %d%%}]
classes: [{name: thin, pool: thin, default: true, unit: 256Mi}]
`, metadata, percent)
		n := newBareNode(t, text, disk("/dev/sda", size()), disk("/dev/sdb", size()))
		if least > 1<<30 {
			extent = pick("1m", "4m", "4m", "64m", "256m")
		}
		n.lvm("vgcreate", "--physicalextentsize", extent, "vg0", "/dev/sda")
		changes := func() []string {
			n.host.ResetSteps()
			n.clock.Step(time.Minute)
			n.agent.SetUp(ctx)
			return n.changes()
		}
		pool := func() lvm.LogicalVolume {
			g := n.group("vg0")
			l, ok := g.LogicalVolume("pool0")
			require.True(t, ok, "%s\n%v", text, n.said())
			share := lvm.RoundDown(g.Size/100*percent, g.ExtentSize)
			require.Equal(t, share, l.Size+2*l.MetadataSize, "%s", text)
			return l
		}
		require.Equal(t, []string{"lvcreate"}, changes(), "%s\n%s\n%v", text, n.host, n.said())
		before := pool()
		require.Empty(t, changes(), "%s\n%s", text, n.host)
		n.lvm("vgextend", "vg0", "/dev/sdb")
		require.Equal(t, []string{"lvchange", "lvextend", "lvchange"}, changes(), "%s\n%s\n%v", text, n.host, n.said())
		after := pool()
		require.GreaterOrEqual(t, after.Size, before.Size)
		require.GreaterOrEqual(t, after.MetadataSize, before.MetadataSize)
		require.GreaterOrEqual(t, after.MetadataSize, after.Size/after.ChunkSize*64, "it maps all its data")
		if after.MetadataSize > before.MetadataSize {
			grew++
		}
		require.Empty(t, changes(), "%s\n%s", text, n.host)
	}
	require.Positive(t, grew)
}

// TestGrowthAtEveryCrashPoint lets the agent die at every point of taking a device into a
// VG and making its thin pool larger, under a volume. The next agent makes of it what would
// have been, and nobody who uses the volume waits for ever.
func TestGrowthAtEveryCrashPoint(t *testing.T) {
	v := newVolume("web", "64Mi")
	for name, row := range map[string]struct{ metadata, becomes string }{
		"data and metadata": {"", "24516+24"},
		"data alone":        {"thinPoolMetadataSize: 40Mi", "24484+40"},
	} {
		t.Run(name, func(t *testing.T) {
			text := func(s string) string { return strings.Replace(s, "thinPoolSize", row.metadata+"\n  thinPoolSize", 1) }
			scene := func(t *testing.T) *fakeNode {
				n := newBareNode(t, text(thinOfDevices), disk("/dev/sda", 10*gib), disk("/dev/sdb", 10*gib))
				n.agent.SetUp(context.Background())
				require.NoError(t, n.publish(v))
				n.write(v, "mine")
				n.agent.Settle(context.Background())
				n.addDisk("/dev/sdc")
				n.become(text(thinOfThree))
				n.host.ResetSteps()
				return n
			}
			atEverySetUpCrash(t, scene, func(n *fakeNode) {
				require.NoError(n.t, n.publish(v))
				require.Equal(n.t, "mine", n.read(v))
				require.Equal(n.t, row.becomes, n.pool0())
			})
		})
	}
}
