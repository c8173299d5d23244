// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
)

func TestPublishMakesOneVolume(t *testing.T) {
	n := newFakeNode(t)
	v := newVolume("web", "100Mi")
	before := n.host.Steps()
	require.NoError(t, n.publish(v))
	require.Equal(t, 1, commandsSince(n.host, before), "lvm commands before the answer:\n%s", n.host.Log())
	n.mounted(v)
	require.Equal(t, []string{v.handle()}, n.volumes())
	for _, tag := range []string{"podlv.dev", "podlv.kind=inline", "podlv.state=new", "podlv.pod=default/web/web-uid", "podlv.class=ssd", "podlv.fs=ext4"} {
		require.Contains(t, n.tags(v), tag)
	}
	require.Equal(t, "104857600", n.lvm("lvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "lv_size", "vg0/"+v.handle()))

	n.agent.Settle(context.Background())
	require.NotContains(t, n.tags(v), "podlv.state=new")

	before = n.host.Steps()
	require.NoError(t, n.publish(v), "kubelet publishes again when it starts")
	require.Zero(t, commandsSince(n.host, before), "a mounted volume costs no command")

	before = n.host.Steps()
	require.NoError(t, n.unpublish(v))
	require.Equal(t, 1, commandsSince(n.host, before))
	n.gone(v)
	before = n.host.Steps()
	require.NoError(t, n.unpublish(v), "unpublish of what is not there")
	require.LessOrEqual(t, commandsSince(n.host, before), 1)
}

// commandsSince counts the lvm commands among the steps.
func commandsSince(h *fakelvm.Host, before int) int {
	count := 0
	for _, line := range h.Log()[before:] {
		if _, what, _ := strings.Cut(line, ": "); strings.HasPrefix(what, "lv") || strings.HasPrefix(what, "vg") || strings.HasPrefix(what, "fullreport") {
			count++
		}
	}
	return count
}

func TestOneCommandSettlesManyVolumes(t *testing.T) {
	n := newFakeNode(t)
	for i := range 20 {
		require.NoError(t, n.publish(newVolume(fmt.Sprint("pod", i), "64Mi")))
	}
	short := newVolume("pod7", "64Mi")
	require.NoError(t, n.unpublish(short), "a volume that goes before it was settled")
	before := n.host.Steps()
	n.agent.Settle(context.Background())
	require.Equal(t, 1, commandsSince(n.host, before))
	n.agent.Settle(context.Background())
	require.Equal(t, 1, commandsSince(n.host, before), "nothing is left to settle")
	require.NotContains(t, n.lvm("lvs", "-o", "lv_tags", "vg0"), "podlv.state=new")
}

func TestBadRequests(t *testing.T) {
	v := newVolume("web", "1Gi")
	without := newVolume("web", "")
	delete(without.attributes, "size")
	for name, row := range map[string]struct {
		volume volume
		change func(*csi.NodePublishVolumeRequest)
		code   codes.Code
		words  []string
	}{
		"size missing":             {without, nil, codes.InvalidArgument, []string{`volumeAttributes[size] is missing`, `class "ssd" has no default size`}},
		"size zero":                {newVolume("web", "0"), nil, codes.InvalidArgument, []string{`volumeAttributes[size]: `, `"0": must be more than 0`}},
		"size negative":            {newVolume("web", "-1Gi"), nil, codes.InvalidArgument, []string{`"-1Gi": must be more than 0`}},
		"size in thousandths":      {newVolume("web", "100m"), nil, codes.InvalidArgument, []string{`"100m": is less than a byte: m means thousandths; write 100Mi`}},
		"size no quantity":         {newVolume("web", "10GB"), nil, codes.InvalidArgument, []string{`"10GB" is not a quantity; write 500Mi or 10Gi`}},
		"size above the VG":        {newVolume("web", "1Ti"), nil, codes.ResourceExhausted, []string{"no space: VG vg0 has 10236Mi free, 1Ti are needed"}},
		"size of 8 EiB":            {newVolume("web", "8Ei"), nil, codes.OutOfRange, []string{`"8Ei": an LV cannot be 8 EiB or larger`}},
		"size beyond all":          {newVolume("web", "1e30"), nil, codes.OutOfRange, []string{"8 EiB"}},
		"too small for xfs":        {newVolume("web", "299Mi").fs("xfs"), nil, codes.OK, nil}, // rounds up to 300Mi
		"much too small for xfs":   {newVolume("web", "296Mi").fs("xfs"), nil, codes.OutOfRange, []string{`"296Mi"`, "xfs needs at least 300Mi"}},
		"much too small for btrfs": {newVolume("web", "1").fs("btrfs"), nil, codes.OutOfRange, []string{"btrfs needs at least 109Mi"}},
		"unknown class":            {v.with("class", "gold"), nil, codes.InvalidArgument, []string{`class "gold": unknown on this node; there are ssd`}},
		"unknown attribute":        {v.with("sise", "2Gi").with("Class", "x"), nil, codes.InvalidArgument, []string{`unknown "Class", "sise"; allowed are class, mkfs-options, mount-options, size`}},
		"unknown filesystem":       {v.fs("zfs"), nil, codes.InvalidArgument, []string{`fsType: `, `filesystem "zfs": must be one of btrfs, ext4, xfs`}},
		"mount option":             {v.with("mount-options", "noatime,suid"), nil, codes.InvalidArgument, []string{`mount option "suid" is not allowed for ext4; allowed are noatime`}},
		"mkfs option":              {v.with("mkfs-options", "-O journal_dev"), nil, codes.InvalidArgument, []string{`mkfs option "-O journal_dev" is not allowed for ext4; allowed are bytes-per-inode`}},
		"mkfs value":               {v.with("mkfs-options", "inode-size=7"), nil, codes.InvalidArgument, []string{`mkfs option inode-size: value "7" does not match`}},
		"block": {v, func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		}, codes.InvalidArgument, []string{"block: an inline volume is always a filesystem"}},
		"many nodes": {v, func(r *csi.NodePublishVolumeRequest) {
			r.VolumeCapability.AccessMode.Mode = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
		}, codes.InvalidArgument, []string{"access mode MULTI_NODE_MULTI_WRITER", "SINGLE_NODE_WRITER"}},
		"no capability":     {v, func(r *csi.NodePublishVolumeRequest) { r.VolumeCapability = nil }, codes.InvalidArgument, []string{"volume capability is missing"}},
		"no volume id":      {v, func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "" }, codes.InvalidArgument, []string{"volume id is empty"}},
		"another volume id": {v, func(r *csi.NodePublishVolumeRequest) { r.VolumeId = "../../etc" }, codes.InvalidArgument, []string{`"../../etc"`, "64 hexadecimal digits"}},
		"no target path":    {v, func(r *csi.NodePublishVolumeRequest) { r.TargetPath = "" }, codes.InvalidArgument, []string{"target path is empty"}},
		"relative path":     {v, func(r *csi.NodePublishVolumeRequest) { r.TargetPath = "var/lib/x" }, codes.InvalidArgument, []string{`"var/lib/x" is relative`}},
		"path with dots":    {v, func(r *csi.NodePublishVolumeRequest) { r.TargetPath = "/var/lib/../x" }, codes.InvalidArgument, []string{"must be clean"}},
		"missing parent": {
			v, func(r *csi.NodePublishVolumeRequest) { r.TargetPath = "/no/such/folder" }, codes.FailedPrecondition,
			[]string{"target path cannot be used: /no/such/folder", "the folder that it should be in is not there"},
		},
		"persistent": {v, func(r *csi.NodePublishVolumeRequest) { delete(r.VolumeContext, "csi.storage.k8s.io/ephemeral") }, codes.InvalidArgument, []string{"podInfoOnMount"}},
		"no pod":     {v, func(r *csi.NodePublishVolumeRequest) { delete(r.VolumeContext, "csi.storage.k8s.io/pod.uid") }, codes.InvalidArgument, []string{"UID is missing"}},
		"odd pod":    {v, func(r *csi.NodePublishVolumeRequest) { r.VolumeContext["csi.storage.k8s.io/pod.name"] = "a b" }, codes.InvalidArgument, []string{"pod: ", "tag"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			require.NoError(t, n.mkdir(path.Dir(n.target(row.volume))))
			r := n.request(row.volume)
			if row.change != nil {
				row.change(r)
			}
			_, err := n.node.NodePublishVolume(context.Background(), r)
			requireCode(t, err, row.code, row.words...)
			if row.code != codes.OK {
				require.Empty(t, n.volumes(), "nothing half-made is left")
				require.False(t, n.host.Exists(n.target(row.volume)))
			}
		})
	}
}

func TestOccupiedTargets(t *testing.T) {
	n := newFakeNode(t)
	v := newVolume("web", "64Mi")
	require.NoError(t, n.mkdir(n.target(v)+"/inside"))
	requireCode(t, n.publish(v), codes.FailedPrecondition, "and 0 more in it")
	require.Empty(t, n.volumes())
	n.removeAll(n.target(v))

	require.NoError(t, n.host.MakeFile(n.target(v)))
	requireCode(t, n.publish(v), codes.FailedPrecondition, "something that is not a folder")
	require.NoError(t, n.host.Remove(n.target(v)))

	n.lvm("lvcreate", "--yes", "--name", "admin", "--size", "64m", "vg0")
	require.NoError(t, n.host.Format("/dev/vg0/admin", "ext4", "11111111-2222-5333-8444-555555555555"))
	require.NoError(t, n.mkdir(n.target(v)))
	require.NoError(t, n.host.Mount("/dev/vg0/admin", n.target(v), "ext4", nil))
	requireCode(t, n.publish(v), codes.FailedPrecondition, "is occupied", "/dev/mapper/vg0-admin is mounted there")
	requireCode(t, n.unpublish(v), codes.FailedPrecondition, "not podlv's to unmount")
	require.Equal(t, []string{"admin"}, n.volumes())
	require.Len(t, n.host.Mounts(), 1)
}

func TestPublishAgainWithOtherAttributes(t *testing.T) {
	n := newFakeNode(t)
	n.classes = classes(t, `
pools: [{name: ssd, volumeGroup: vg0}, {name: hdd, volumeGroup: vg1}]
classes: [{name: ssd, pool: ssd, default: true}, {name: hdd, pool: hdd}]
`)
	n.addVG1()
	n.restart()
	v := newVolume("web", "64Mi")
	n.published(v)
	check := func() {
		t.Helper()
		requireCode(t, n.publish(v.with("size", "128Mi")), codes.AlreadyExists, "has 64Mi, asked for are 128Mi")
		requireCode(t, n.publish(v.fs("xfs").with("size", "400Mi")), codes.AlreadyExists)
		require.Equal(t, "data of web", n.read(v))
		require.NoError(t, n.publish(v))
	}
	requireCode(t, n.publish(v.with("class", "hdd")), codes.AlreadyExists, `was made by class "ssd", asked for is "hdd"`)
	ro := v
	ro.readOnly = true
	requireCode(t, n.publish(ro), codes.AlreadyExists, "readOnly false, asked for is true")
	check()
	require.NoError(t, n.host.Unmount(n.target(v)))
	check()
	require.Equal(t, []string{v.handle()}, n.volumes())
}

func TestPublishThatFailsTakesBackWhatItMade(t *testing.T) {
	for _, step := range []string{"format", "mount", "mkdir"} {
		t.Run(step, func(t *testing.T) {
			n := newFakeNode(t)
			v := newVolume("web", "64Mi")
			require.NoError(t, n.mkdir(path.Dir(n.target(v))))
			n.host.FailNextStep(step, errors.New("the disk is on fire"))
			_, err := n.node.NodePublishVolume(context.Background(), n.request(v))
			requireCode(t, err, codes.Internal, "the disk is on fire")
			n.gone(v)
			require.NoError(t, n.publish(v))
		})
	}
}

func TestPublishThatCannotTakeBackLooksUnfinished(t *testing.T) {
	n := newFakeNode(t)
	v := newVolume("web", "64Mi")
	require.NoError(t, n.mkdir(path.Dir(n.target(v))))
	n.host.FailNextStep("format", errors.New("the disk is on fire"))
	n.host.FailNext("lvremove", lvm.ExitError{Code: 5, Stderr: "  device-mapper: remove ioctl failed: Device or resource busy\n"})
	_, err := n.node.NodePublishVolume(context.Background(), n.request(v))
	requireCode(t, err, codes.Unavailable, "the disk is on fire", "the LV stays", "Device or resource busy")
	require.NoError(t, n.unpublish(v), "so kubelet unpublishes")
	n.gone(v)
}

func TestFailingPublishNeverTouchesAnOlderVolume(t *testing.T) {
	n := newFakeNode(t)
	v := newVolume("web", "64Mi")
	n.published(v)
	n.host.Reboot()
	n.restart()
	uuid := n.uuid(v)
	n.host.FailNextStep("mount", errors.New("no"))
	requireCode(t, n.publish(v), codes.Unavailable, "the LV stays") // kubelet must not forget it
	require.NoError(t, n.publish(v))
	require.Equal(t, uuid, n.uuid(v), "the very same LV")
	require.Equal(t, "data of web", n.read(v))
}

func TestWhatIsOnTheDeviceDecides(t *testing.T) {
	n := newFakeNode(t)
	v := newVolume("web", "64Mi")
	n.published(v)
	require.NoError(t, n.host.Unmount(n.target(v)))
	require.NoError(t, n.host.Wipe("/dev/vg0/"+v.handle()))
	requireCode(t, n.publish(v), codes.Unavailable, "is gone: found nothing, expected ext4 with UUID", "not formatted again")
	require.Equal(t, "data of web", n.read(v))
	require.NoError(t, n.host.Format("/dev/vg0/"+v.handle(), "ext4", "11111111-2222-5333-8444-555555555555"))
	requireCode(t, n.publish(v), codes.Unavailable, "found ext4 with UUID 11111111-2222-5333-8444-555555555555")

	n.lvm("lvchange", "--addtag", "podlv.state=new", "vg0/"+v.handle())
	require.NoError(t, n.publish(v), "nobody was ever given a volume that is new")
	n.mounted(v)
}

func TestForeignVolumeOfTheSameName(t *testing.T) {
	n := newFakeNode(t)
	v := newVolume("web", "64Mi")
	n.lvm("lvcreate", "--yes", "--name", v.handle(), "--size", "64m", "vg0")
	requireCode(t, n.publish(v), codes.FailedPrecondition, "is not an inline volume of podlv (tags: none); it is left alone")
	n.lvm("lvchange", "--addtag", "podlv.kind=inline", "--addtag", "podlv.fs=ext4", "--addtag", "podlv.state=new", "vg0/"+v.handle())
	requireCode(t, n.publish(v), codes.FailedPrecondition, "is not an inline volume of podlv") // without the owner's tag the others mean nothing
	require.NoError(t, n.unpublish(v))
	require.Equal(t, []string{v.handle()}, n.volumes())
}

// A disk of elsewhere may hold a VG with an LV of the same name and tags, as the copy
// of a disk does. Whatever the order of the report, the volume is the one that is
// mounted, else the one in a pool.
func TestVolumeThatIsInTwoVGs(t *testing.T) {
	n := newFakeNode(t)
	n.addVG1()
	v := newVolume("web", "64Mi")
	n.published(v)
	copied := []string{"lvcreate", "--yes", "--name", v.handle(), "--size", "64m"}
	for tag := range strings.SplitSeq(strings.TrimSpace(n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/"+v.handle())), ",") {
		copied = append(copied, "--addtag", tag)
	}
	n.lvm(append(copied, "vg1")...)

	require.NoError(t, n.host.Unmount(n.target(v)))
	n.restart()
	require.NoError(t, n.publish(v))
	require.Equal(t, "data of web", n.read(v))

	n.classes = classes(t, strings.ReplaceAll(onePool, "vg0", "vg1"))
	n.restart()
	require.NoError(t, n.publish(v), "the class has moved to where the copy is, and the volume is mounted")
	require.NoError(t, n.unpublish(v))
	require.Empty(t, n.volumes())
	require.Contains(t, n.lvm("lvs", "--noheadings", "-o", "lv_name", "vg1"), v.handle())
}

func TestVolumeOfAnUnknownFilesystem(t *testing.T) {
	for _, tag := range []string{"", "podlv.fs=zfs"} {
		n := newFakeNode(t)
		v := newVolume("web", "64Mi")
		n.published(v)
		require.NoError(t, n.host.Unmount(n.target(v)))
		n.lvm("lvchange", "--deltag", "podlv.fs=ext4", "vg0/"+v.handle())
		if tag != "" {
			n.lvm("lvchange", "--addtag", tag, "vg0/"+v.handle())
		}
		requireCode(t, n.publish(v), codes.FailedPrecondition, "has the filesystem", "by its tag podlv.fs", "podlv makes btrfs, ext4, xfs", "left alone")
		require.Equal(t, []string{v.handle()}, n.volumes())
	}
}

func TestVolumeGroupThatVanished(t *testing.T) {
	n := newFakeNode(t)
	v := newVolume("web", "64Mi")
	n.published(v)
	n.host.Reboot()
	require.NoError(t, n.host.TakeDisk("/dev/fake0"))
	n.restart()
	requireCode(t, n.publish(newVolume("other", "64Mi")), codes.FailedPrecondition, `class "ssd"`, "VG vg0", "not found")
	require.NoError(t, n.unpublish(v), "the pod must be able to end")
	require.NoError(t, n.host.ReturnDisk("/dev/fake0"))
	n.restart()
	n.forget(v)
	n.reap()
	require.Empty(t, n.volumes(), "what unpublish could not remove, the reaper does")
}

func TestNoSpaceIsToldOnThePod(t *testing.T) {
	n := newFakeNode(t)
	requireCode(t, n.publish(newVolume("big", "100Gi")), codes.ResourceExhausted)
	event := <-n.events.Events
	for _, words := range []string{"Warning PodlvNoSpace", "100Gi", `device class "ssd"`, "node1", "free"} {
		require.Contains(t, event, words)
	}
	require.NotContains(t, event, "lvcreate", "a person is told the reason, not the command")
}

func TestVolumeWaitsForThePodThatEnds(t *testing.T) {
	n := newFakeNode(t)
	old, fresh := newVolume("old", "8Gi"), newVolume("fresh", "8Gi")
	n.pod(old)
	n.published(old)
	requireCode(t, n.publish(fresh), codes.ResourceExhausted, "no space") // nobody ends: no wait

	n.pods.set(driver.Pod{Namespace: "default", Name: old.pod, UID: old.uid, Ending: true})
	done := make(chan error)
	go func() { done <- n.publish(fresh) }()
	require.Eventually(t, n.clock.HasWaiters, 10*time.Second, time.Millisecond, "it waits")
	require.NoError(t, n.unpublish(old))
	require.NoError(t, <-done)
	n.mounted(fresh)

	// And gives up after 90 seconds.
	n.pods.set(driver.Pod{Namespace: "default", Name: fresh.pod, UID: fresh.uid, Ending: true})
	go func() { done <- n.publish(old) }()
	start := n.clock.Now()
	for {
		select {
		case err := <-done:
			requireCode(t, err, codes.ResourceExhausted, "no space")
			require.InDelta(t, 90, n.clock.Since(start).Seconds(), 5)
			return
		default:
			if n.clock.HasWaiters() {
				n.clock.Step(time.Second)
			}
		}
	}
}

func TestHungCommandIsToldAndLeavesNothing(t *testing.T) {
	n := newFakeNode(t)
	v := newVolume("web", "64Mi")
	require.NoError(t, n.mkdir(path.Dir(n.target(v))))
	release := n.host.Hang("lvcreate")
	_, err := n.node.NodePublishVolume(n.impatient(), n.request(v))
	requireCode(t, err, codes.DeadlineExceeded, "lvm lvcreate", "is still running after")

	// kubelet takes it for uncertain and unpublishes: the removal waits for its
	// turn behind the lvcreate, so that nothing is left when both are over.
	done := make(chan error)
	go func() { done <- n.unpublish(v) }()
	time.Sleep(50 * time.Millisecond)
	release()
	require.NoError(t, <-done)
	n.gone(v)
}

// A publish gives up while it waits for another's lvcreate, or while its own runs, which
// then fails: nothing was there that could be lost, and the next one makes the volume.
func TestPublishAfterOneThatGaveUp(t *testing.T) {
	for name, prepare := range map[string]func(n *fakeNode, v volume) (release func()){
		"its lvcreate never began": func(n *fakeNode, _ volume) func() {
			first := newVolume("first", "64Mi")
			release := n.host.Hang("lvcreate")
			done := make(chan error)
			go func() { done <- n.publish(first) }()
			require.Eventually(n.t, func() bool { return n.agent.Running() == 1 }, 10*time.Second, time.Millisecond)
			return func() {
				release()
				require.NoError(n.t, <-done)
			}
		},
		"its lvcreate failed": func(n *fakeNode, _ volume) func() {
			n.host.FailNext("lvcreate", lvm.ExitError{Code: 5, Stderr: "  device-mapper: reload ioctl failed\n"})
			return n.host.Hang("lvcreate")
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			v := newVolume("web", "64Mi")
			require.NoError(t, n.mkdir(path.Dir(n.target(v))))
			release := prepare(n, v)
			_, err := n.node.NodePublishVolume(n.impatient(), n.request(v))
			requireCode(t, err, codes.DeadlineExceeded, "lvm lvcreate")
			release()
			require.Eventually(t, func() bool { return n.agent.Running() == 0 }, 10*time.Second, time.Millisecond)
			require.NoError(t, n.publish(v))
		})
	}
}

func TestSecondCallForOneVolumeIsAborted(t *testing.T) {
	n := newFakeNode(t)
	v := newVolume("web", "64Mi")
	release := n.host.Hang("lvcreate")
	done := make(chan error)
	go func() { done <- n.publish(v) }()
	require.Eventually(t, func() bool { return n.agent.Running() == 1 }, 10*time.Second, time.Millisecond)
	requireCode(t, n.publish(v), codes.Aborted, "another call is at work")
	requireCode(t, n.unpublish(v), codes.Aborted, "another call is at work")
	release()
	require.NoError(t, <-done)
}

func TestLogHasOneLineACallAndNoSecrets(t *testing.T) {
	n := newFakeNode(t)
	var log bytes.Buffer
	n.log = &log
	n.restart()
	v := newVolume("web", "64Mi").with("mount-options", "noatime")
	require.NoError(t, n.mkdir(path.Dir(n.target(v))))
	r := n.request(v)
	r.Secrets = map[string]string{"password": "hunter2"}
	_, err := n.node.NodePublishVolume(context.Background(), r)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(log.String(), "\n"), "%s", log.String())
	for _, words := range []string{"Node/NodePublishVolume", "volume=" + v.handle(), "pod=default/web", "code=OK", "took="} {
		require.Contains(t, log.String(), words)
	}
	require.NotContains(t, log.String(), "hunter2")
}
