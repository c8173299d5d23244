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

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotfake "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned/fake"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
)

// claimUID is the UID of the claim whose volume newClaim(claimUID, …) is.
const claimUID = "01234567-89ab-cdef-0123-456789abcdef"

// api is the API server of a node.
type api struct {
	*fake.Clientset
	snapshots *snapshotfake.Clientset
	informers informers.SharedInformerFactory
}

// inCluster gives the node a new agent that has an API server. Its informers have not
// been started.
func (n *fakeNode) inCluster(objects ...runtime.Object) api {
	n.t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", UID: "uid-of-node1"}}
	client := fake.NewClientset(append(objects, node)...)
	//lint:ignore SA1019 client/v8 8.6.0 has no other
	snapshots := snapshotfake.NewSimpleClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	n.cluster = &driver.Cluster{
		Client: client, Namespace: "podlv-system", Start: factory.Start, Claims: factory.Core().V1().PersistentVolumeClaims(),
		Pods: factory.Core().V1().Pods(), Volumes: factory.Core().V1().PersistentVolumes(), Classes: factory.Storage().V1().StorageClasses(),
		Snapshots: &driver.SnapshotCluster{Client: snapshots},
	}
	n.restart()
	return api{client, snapshots, factory}
}

// logged is the log of agents that are started from now on.
func (n *fakeNode) logged() *bytes.Buffer {
	var log bytes.Buffer
	n.log = &log
	return &log
}

// refuses makes the API server fail to list such objects.
func (a api) refuses(resource string) {
	fail := func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API server is away")
	}
	a.PrependReactor("list", resource, fail)
	a.snapshots.PrependReactor("list", resource, fail)
}

// claimObject is the claim of newClaim(uid, …).
func claimObject(uid string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data", UID: types.UID(uid)}}
}

// volumeObject is a PersistentVolume.
func volumeObject(name, driverName, id string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
			CSI: &corev1.CSIPersistentVolumeSource{Driver: driverName, VolumeHandle: id},
		}},
	}
}

// pass is one of the reaper's.
func (n *fakeNode) pass() {
	n.t.Helper()
	require.NoError(n.t, n.agent.Reap(context.Background()))
}

// orphans are the numbers of them, as metrics.
func (n *fakeNode) orphans(want string, names ...string) {
	n.t.Helper()
	require.NoError(n.t, testutil.GatherAndCompare(n.agent.Metrics(), strings.NewReader(want), names...))
}

// TestVolumeThatNobodyWillAskForIsRemoved lets the agent die at every point of
// CreateVolume, and the claim is deleted before it returns: nobody calls again.
func TestVolumeThatNobodyWillAskForIsRemoved(t *testing.T) {
	t.Parallel()
	total, finished := 0, 0
	for name, kind := range kinds {
		for _, from := range []string{"nothing", "a volume", "a snapshot"} {
			scene := func(t *testing.T) (*copyScene, *claim) {
				s := newCopyScene(t, kind)
				c := kind(claimUID)
				c.size = s.target.size
				switch from {
				case "a volume":
					c.copyOf(s.source)
				case "a snapshot":
					require.NoError(t, s.snap(s.shot))
					c.from(s.shot)
				}
				return s, c
			}
			s, c := scene(t)
			before := s.host.Steps()
			require.NoError(t, s.create(c))
			for step := 1; step <= s.host.Steps()-before; step++ {
				for when, crash := range crashPoints {
					if total++; !drawn(total) {
						continue
					}
					t.Run(fmt.Sprintf("%s from %s/dies %s step %d", name, from, when, step), func(t *testing.T) {
						if diesOverOrphan(t, scene, crash, step) {
							finished++
						}
					})
				}
			}
		}
	}
	t.Logf("went through %s, after %d of which the volume was whole", pointCount(total), finished)
}

// diesOverOrphan says whether the volume was whole, so that it stays.
func diesOverOrphan(t *testing.T, scene func(*testing.T) (*copyScene, *claim), crash func(*fakelvm.Host, int), step int) bool {
	s, c := scene(t)
	crash(s.host, s.host.Steps()+step)
	_ = s.create(c)
	require.True(t, s.host.Crashed())
	c.id = "vg0/" + c.name
	log := s.logged()
	s.hasty = true // it is the passes that must do it
	api := s.inCluster(volumeObject("source", driver.Name, s.source.id))
	others := []string{"pool", s.source.name}
	if len(s.shots("", "")) > 0 {
		others = append(others, strings.TrimPrefix(s.shot.id, "vg0/"))
		_, err := api.snapshots.SnapshotV1().VolumeSnapshotContents().Create(t.Context(), content("content", s.source.id, "node1"), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	left := s.lvm("lvs", "--noheadings", "-o", "lv_tags", "-S", "lv_name="+c.name, "vg0")
	s.reap()
	s.pass()
	require.Equal(t, "then", s.at(s.source, far))
	if left != "" && !strings.Contains(left, "podlv.state") {
		require.ElementsMatch(t, append(others, c.name), s.volumes(), "it cannot be told from one with data")
		require.Equal(t, 1, strings.Count(log.String(), "orphan: kept, because it may have been used"), "%s", log)
		return true
	}
	require.ElementsMatch(t, others, s.volumes())
	return false
}

// unusedVolume is one that nobody was given, made by an agent that died.
func unusedVolume(t *testing.T) (*fakeNode, *claim) {
	n := newFakeNode(t)
	c := newClaim(claimUID, 64*mib)
	require.NoError(t, n.create(c))
	require.Contains(t, n.lvTags(c), "podlv.state=new")
	return n, c
}

func TestOrphanedVolumeIsReportedBeforeItIsRemoved(t *testing.T) {
	n, c := unusedVolume(t)
	log := n.logged()
	n.inCluster()
	n.pass()
	require.NotContains(t, log.String(), "orphan:", "too young")
	n.clock.Step(11 * time.Minute)
	n.pass()
	require.Contains(t, log.String(), "orphan: reported, not removed")
	require.Equal(t, []string{c.name}, n.volumes())
	n.orphans(`
# HELP podlv_orphans LVs that nobody asks for any more, as the reaper saw them in its last pass, by volume group and kind (inline, volume, snapshot, temporary).
# TYPE podlv_orphans gauge
podlv_orphans{kind="inline",vg="vg0"} 0
podlv_orphans{kind="snapshot",vg="vg0"} 0
podlv_orphans{kind="temporary",vg="vg0"} 0
podlv_orphans{kind="volume",vg="vg0"} 1
`, "podlv_orphans", "podlv_orphans_removed_total")
	n.pass()
	require.Contains(t, log.String(), "orphan: removed")
	require.Empty(t, n.volumes())
	n.orphans(`
# HELP podlv_orphans_removed_total LVs that nobody asked for any more and that the agent tried to remove, by volume group, kind (inline, volume, snapshot, temporary) and result (ok, failed).
# TYPE podlv_orphans_removed_total counter
podlv_orphans_removed_total{kind="volume",result="ok",vg="vg0"} 1
`, "podlv_orphans_removed_total")
	n.pass()
	n.orphans(`
# HELP podlv_orphans LVs that nobody asks for any more, as the reaper saw them in its last pass, by volume group and kind (inline, volume, snapshot, temporary).
# TYPE podlv_orphans gauge
podlv_orphans{kind="inline",vg="vg0"} 0
podlv_orphans{kind="snapshot",vg="vg0"} 0
podlv_orphans{kind="temporary",vg="vg0"} 0
podlv_orphans{kind="volume",vg="vg0"} 0
`, "podlv_orphans")
}

// Whatever says that somebody may still want the volume keeps it.
func TestUnusedVolumeStays(t *testing.T) {
	for name, wanted := range map[string]func(n *fakeNode, c *claim){
		"its claim is there": func(n *fakeNode, _ *claim) { n.inCluster(claimObject(claimUID)) },
		"its claim is being deleted": func(n *fakeNode, _ *claim) {
			o := claimObject(claimUID)
			o.DeletionTimestamp, o.Finalizers = ptr.To(metav1.Now()), []string{"kubernetes.io/pvc-protection"}
			n.inCluster(o)
		},
		"it has a PersistentVolume":                 func(n *fakeNode, c *claim) { n.inCluster(volumeObject(c.name, driver.Name, c.id)) },
		"it has a PersistentVolume of another name": func(n *fakeNode, c *claim) { n.inCluster(volumeObject("by-hand", driver.Name, c.id)) },
		"its VG was called otherwise":               func(n *fakeNode, c *claim) { n.inCluster(volumeObject("x", driver.Name, "formerly/"+c.name)) },
		"claims cannot be listed":                   func(n *fakeNode, _ *claim) { n.inCluster().refuses("persistentvolumeclaims") },
		"volumes cannot be listed":                  func(n *fakeNode, _ *claim) { n.inCluster().refuses("persistentvolumes") },
		"there is no API server":                    func(n *fakeNode, _ *claim) { n.restart() },
		"a dry run": func(n *fakeNode, _ *claim) {
			n.reaper.DryRun = true
			n.inCluster()
		},
		"it is open": func(n *fakeNode, c *claim) {
			n.inCluster()
			d, err := n.host.Open(c.device())
			require.NoError(n.t, err)
			n.t.Cleanup(func() { _ = d.Close() })
		},
		"it is mounted": func(n *fakeNode, c *claim) {
			n.inCluster()
			require.NoError(n.t, n.stage(c))
		},
		"it is not ours": func(n *fakeNode, c *claim) {
			n.lvm("lvchange", "--deltag", "podlv.dev", c.id)
			n.inCluster()
		},
		"it was made by hand": func(n *fakeNode, c *claim) {
			n.lvm("lvrename", "vg0", c.name, "pvc-rescued")
			n.inCluster()
		},
		"its VG is in no pool": func(n *fakeNode, c *claim) {
			n.addVG1()
			n.classes = classes(n.t, strings.Replace(onePool, "vg0", "vg1", 1))
			n.inCluster()
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, c := unusedVolume(t)
			log := n.logged()
			wanted(n, c)
			n.clock.Step(time.Hour)
			for range 5 {
				_ = n.agent.Reap(context.Background())
			}
			require.Len(t, n.volumes(), 1)
			require.NotContains(t, log.String(), "orphan: removed")
			require.NotContains(t, log.String(), "orphan: cannot", "lvm refusing to remove it is not what saves it")
			if name != "a dry run" && name != "it was made by hand" {
				require.NotContains(t, log.String(), "orphan:")
			}
		})
	}
}

// A claim of the same name, as a StatefulSet makes it, is another one.
func TestVolumeOfAnEarlierClaimOfThatNameIsRemoved(t *testing.T) {
	n, c := unusedVolume(t)
	n.lvm("lvchange", "--addtag", "podlv.pvc=default/data", c.id)
	n.inCluster(claimObject("11111111-89ab-cdef-0123-456789abcdef"), volumeObject("x", "other.dev", c.id))
	n.reap()
	require.Empty(t, n.volumes())
}

// What was not an orphan twice in a row was not one twice.
func TestErrorBeginsTheCountAnew(t *testing.T) {
	n, _ := unusedVolume(t)
	a := n.inCluster()
	n.clock.Step(time.Hour)
	n.pass()
	away := true
	a.PrependReactor("list", "persistentvolumes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return away, nil, errors.New("the API server is away")
	})
	require.ErrorContains(t, n.agent.Reap(context.Background()), "list volumes: the API server is away")
	away = false
	n.pass()
	require.Len(t, n.volumes(), 1)
	n.pass()
	require.Empty(t, n.volumes())
}

// An error about volumes keeps nothing from being done about pods, and the other way
// round.
func TestReaperDoesWhatItCan(t *testing.T) {
	n, c := unusedVolume(t)
	v := orphaned(t, n)
	a := n.inCluster()
	n.clock.Step(time.Hour)
	a.refuses("persistentvolumes")
	for range 2 {
		require.Error(t, n.agent.Reap(context.Background()))
	}
	require.Equal(t, []string{c.name}, n.volumes())
	require.NotContains(t, n.volumes(), v.handle())

	n.inCluster()
	n.pods.err = errors.New("connection refused")
	for range 2 {
		require.ErrorContains(t, n.agent.Reap(context.Background()), "connection refused")
	}
	require.Empty(t, n.volumes())
}

// An informer that still has a PersistentVolume spares the API server the question; one
// that has none says nothing.
func TestInformerIsBelievedOnlyWhatIsThere(t *testing.T) {
	n, c := unusedVolume(t)
	a := n.inCluster()
	indexer := a.informers.Core().V1().PersistentVolumes().Informer().GetIndexer()
	require.NoError(t, indexer.Add(volumeObject(c.name, driver.Name, c.id)))
	n.reap()
	n.pass()
	require.Len(t, n.volumes(), 1)
	for _, action := range a.Actions() {
		require.NotEqual(t, "persistentvolumes", action.GetResource().Resource, "%v", action)
	}
	require.NoError(t, indexer.Delete(volumeObject(c.name, driver.Name, c.id)))
	n.reap()
	require.Empty(t, n.volumes())
}

// A PersistentVolume with the reclaim policy Retain that an administrator deletes leaves
// the data, which is never removed: it is said that it is there, once.
func TestUsedVolumeIsNeverRemoved(t *testing.T) {
	for kind, c := range map[string]*claim{
		"thick ext4": newClaim(claimUID, 64*mib),
		"thick raw":  newClaim(claimUID, 64*mib).raw(),
		"thin ext4":  newClaim(claimUID, 64*mib).ofClass("thin"),
		"thin raw":   newClaim(claimUID, 64*mib).ofClass("thin").raw(),
	} {
		for _, then := range []string{"the agent goes on", "the agent died before it dropped the tag", "the node reboots"} {
			t.Run(kind+"/"+then, func(t *testing.T) {
				n := newSmallNode(t)
				c := *c
				require.NoError(t, n.create(&c))
				require.NoError(t, n.stage(&c))
				require.NoError(t, n.give(&c, "a"))
				n.put(&c, dataAt, "data")
				if then == "the agent goes on" {
					n.agent.Settle(context.Background())
				}
				require.NoError(t, n.take(&c, "a"))
				require.NoError(t, n.unstage(&c))
				if then == "the node reboots" {
					n.host.Reboot()
				}
				log := n.logged()
				n.inCluster()
				n.reap()
				for range 3 {
					n.pass()
				}
				require.Contains(t, n.volumes(), c.name)
				require.Equal(t, 1, strings.Count(log.String(), "orphan: kept, because it may have been used"), "%s", log)
				require.NotContains(t, log.String(), "orphan: removed")
				n.orphans(`
# HELP podlv_orphans LVs that nobody asks for any more, as the reaper saw them in its last pass, by volume group and kind (inline, volume, snapshot, temporary).
# TYPE podlv_orphans gauge
podlv_orphans{kind="inline",vg="vg0"} 0
podlv_orphans{kind="snapshot",vg="vg0"} 0
podlv_orphans{kind="temporary",vg="vg0"} 0
podlv_orphans{kind="volume",vg="vg0"} 1
`, "podlv_orphans", "podlv_orphans_removed_total")
				require.NoError(t, n.stage(&c), "a PersistentVolume is written for it by hand")
				require.Equal(t, "data", n.at(&c, dataAt))
			})
		}
	}
}

// A snapshot is somebody's data, too.
func TestSnapshotWithoutContentIsReported(t *testing.T) {
	n := newSmallNode(t)
	c := newClaim(claimUID, 64*mib)
	require.NoError(t, n.create(c)) // unused: a snapshot of it is tagged so, too
	s := newShot("snapshot-"+claimUID, c)
	require.NoError(t, n.snap(s))
	log := n.logged()
	a := n.inCluster(volumeObject(c.name, driver.Name, c.id))
	contents := a.snapshots.SnapshotV1().VolumeSnapshotContents()
	object := content("content", c.id, "node1")
	_, err := contents.Create(t.Context(), object, metav1.CreateOptions{})
	require.NoError(t, err)
	n.reap()
	require.NotContains(t, log.String(), "orphan:", "its content has no handle yet")
	object.Spec.VolumeSnapshotRef.UID = "another"
	object.Status = &snapshotv1.VolumeSnapshotContentStatus{SnapshotHandle: &s.id}
	_, err = contents.Update(t.Context(), object, metav1.UpdateOptions{})
	require.NoError(t, err)
	n.reap()
	require.NotContains(t, log.String(), "orphan:")
	object.Status, object.Spec.Source = nil, snapshotv1.VolumeSnapshotContentSource{SnapshotHandle: &s.id}
	_, err = contents.Update(t.Context(), object, metav1.UpdateOptions{})
	require.NoError(t, err)
	n.reap()
	require.NotContains(t, log.String(), "orphan:", "written by hand")

	require.NoError(t, contents.Delete(t.Context(), "content", metav1.DeleteOptions{}))
	n.reap()
	n.pass()
	require.Equal(t, 1, strings.Count(log.String(), "orphan: kept, because it may have been used"), "%s", log)
	require.Len(t, n.volumes(), 3)
	a.refuses("volumesnapshotcontents")
	require.ErrorContains(t, n.agent.Reap(context.Background()), "list snapshot contents")
}

// A call or a job that is at work on a volume keeps the reaper and the sweep away.
func TestReaperLeavesWhatIsBeingMade(t *testing.T) {
	for name, c := range map[string]struct {
		hangs string
		gone  bool // the call has ended, its job goes on
		claim *claim
	}{
		"a call that zeroes": {"zero", false, newClaim(claimUID, 64*mib).raw()},
		"a job that zeroes":  {"zero", true, newClaim(claimUID, 64*mib).raw()},
		"a job that ends":    {"lvchange", true, newClaim(claimUID, 64*mib).raw()},
		"a call that copies": {"copy", false, newClaim(claimUID, 64*mib)},
		"a job that copies":  {"copy", true, newClaim(claimUID, 64*mib)},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			source := newClaim("source", 64*mib)
			n.inUse(source)
			if c.hangs == "copy" {
				c.claim.copyOf(source)
			}
			log := n.logged()
			n.inCluster(volumeObject("source", driver.Name, source.id))
			release := n.host.Hang(c.hangs)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() {
				_, err := n.control.CreateVolume(ctx, n.createRequest(c.claim))
				ended <- err
			}()
			require.Eventually(t, func() bool { return n.agent.Jobs() == 1 && (c.hangs != "lvchange" || n.agent.Running() == 1) }, 10*time.Second, time.Millisecond)
			if c.gone {
				cancel()
				require.Error(t, <-ended)
			}
			n.clock.Step(time.Hour)
			for range 3 {
				n.pass()
			}
			release()
			if !c.gone {
				require.NoError(t, <-ended)
			}
			require.NoError(t, n.create(c.claim))
			require.NotContains(t, log.String(), "orphan:")
			require.NotContains(t, log.String(), "removing what is left")
		})
	}
}

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
	log := n.logged()
	n.hasty = true
	n.clock.Step(time.Hour)
	n.inCluster(volumeObject("whole", driver.Name, "vg1/pvc-whole"))
	n.pass()
	names := func() []string {
		return strings.Fields(n.lvm("lvs", "--noheadings", "-o", "lv_name", "-O", "lv_name", "vg0", "vg1"))
	}
	require.ElementsMatch(t, []string{"pvc-whole", "temporary-1", "temporary-2"}, names())
	require.Contains(t, log.String(), "cannot be removed yet")
	n.orphans(`
# HELP podlv_orphans LVs that nobody asks for any more, as the reaper saw them in its last pass, by volume group and kind (inline, volume, snapshot, temporary).
# TYPE podlv_orphans gauge
podlv_orphans{kind="inline",vg="vg0"} 0
podlv_orphans{kind="inline",vg="vg1"} 0
podlv_orphans{kind="snapshot",vg="vg0"} 0
podlv_orphans{kind="snapshot",vg="vg1"} 0
podlv_orphans{kind="temporary",vg="vg0"} 1
podlv_orphans{kind="temporary",vg="vg1"} 0
podlv_orphans{kind="volume",vg="vg0"} 0
podlv_orphans{kind="volume",vg="vg1"} 0
# HELP podlv_orphans_removed_total LVs that nobody asked for any more and that the agent tried to remove, by volume group, kind (inline, volume, snapshot, temporary) and result (ok, failed).
# TYPE podlv_orphans_removed_total counter
podlv_orphans_removed_total{kind="snapshot",result="ok",vg="vg1"} 1
podlv_orphans_removed_total{kind="temporary",result="failed",vg="vg0"} 1
podlv_orphans_removed_total{kind="volume",result="ok",vg="vg1"} 1
`, "podlv_orphans", "podlv_orphans_removed_total")
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
	n.pass()
	require.Equal(t, []string{c.name}, n.volumes())
	size, err := n.expand(c, 24*mib)
	require.NoError(t, err)
	require.EqualValues(t, 24*mib, size)
}
