// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/lvm"
)

// What changes while volumes live must not change the volumes.

func TestVolumeStaysWhereItIsWhenItsPoolMoves(t *testing.T) {
	n := newFakeNode(t)
	n.addVG1()
	v := newVolume("web", "64Mi")
	n.pod(v)
	n.published(v)
	n.classes = classes(t, strings.Replace(onePool, "vg0", "vg1", 1))
	n.restart()
	require.NoError(t, n.publish(v), "mounted")
	n.host.Reboot()
	n.restart()
	require.NoError(t, n.publish(v), "not mounted, not active")
	require.Equal(t, "data of web", n.read(v))
	require.Empty(t, n.lvm("lvs", "--noheadings", "-o", "lv_name", "vg1"))

	n.host.Reboot()
	n.restart()
	require.NoError(t, n.unpublish(v))
	require.Empty(t, n.volumes(), "no class is on vg0 any more, and yet it is found")
}

func TestReaperTellsOfOrphansInForeignVolumeGroups(t *testing.T) {
	n := newFakeNode(t)
	v := orphaned(t, n)
	n.addVG1()
	n.classes = classes(t, strings.Replace(onePool, "vg0", "vg1", 1))
	var log bytes.Buffer
	n.log = &log
	n.restart()
	n.reap()
	require.Contains(t, log.String(), "never removed, because its VG is in no pool of this node")
	require.Equal(t, []string{v.handle()}, n.volumes(), "it may be a virtual machine's that runs here")
}

func TestVolumesOutliveTheirClassAsItWas(t *testing.T) {
	const before = `
pools: [{name: ssd, volumeGroup: vg0}]
classes: [{name: ssd, pool: ssd, default: true, defaultSize: 320Mi, filesystem: ext4, mountOptions: noatime}]
`
	for name, after := range map[string]string{
		"another default size":       strings.Replace(before, "320Mi", "640Mi", 1),
		"another default filesystem": strings.Replace(before, "ext4", "xfs", 1),
		"another unit":               strings.Replace(before, "default: true,", "default: true, unit: 64Mi,", 1),
		"another name":               strings.Replace(before, "[{name: ssd, pool: ssd, default: true,", "[{name: gold, pool: ssd,", 1),
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			n.classes = classes(t, before)
			n.restart()
			v := newVolume("web", "")
			delete(v.attributes, "size")
			n.published(v)
			n.classes = classes(t, after)
			n.restart()
			require.NoError(t, n.publish(v), "kubelet was restarted")
			n.host.Reboot()
			n.restart()
			require.NoError(t, n.publish(v), "the node was rebooted")
			require.Equal(t, "data of web", n.read(v))
			require.NoError(t, n.unpublish(v))
			n.gone(v)
		})
	}
}

// A tag that stays says for ever that the volume may be formatted.
func TestSettlingIsTriedAgain(t *testing.T) {
	n := newFakeNode(t)
	ctx, stop := context.WithCancel(context.Background())
	settled := make(chan struct{})
	go func() { n.agent.SettleTask(ctx); close(settled) }()
	t.Cleanup(func() { stop(); <-settled })
	v := newVolume("web", "64Mi")
	n.host.FailNext("lvchange", lvm.ExitError{Code: 5, Stderr: "  Can't get lock for vg0\n"})
	require.NoError(t, n.publish(v))
	require.Eventually(t, func() bool {
		n.clock.Step(time.Second)
		return !strings.Contains(n.tags(v), "podlv.state=new")
	}, 20*time.Second, time.Millisecond)
}

func TestHungVolumeGroupDoesNotKeepOthersFromSettling(t *testing.T) {
	n := newFakeNode(t)
	n.addVG1()
	n.classes = classes(t, `
pools: [{name: ssd, volumeGroup: vg0}, {name: hdd, volumeGroup: vg1}]
classes: [{name: ssd, pool: ssd, default: true}, {name: hdd, pool: hdd}]
`)
	n.restart()
	a, b := newVolume("a", "64Mi"), newVolume("b", "64Mi").with("class", "hdd")
	require.NoError(t, n.publish(a))
	release := n.host.Hang("lvchange")
	defer release()
	flushed := make(chan struct{})
	go func() { n.agent.Settle(context.Background()); close(flushed) }()
	require.Eventually(t, func() bool { return n.host.Hanging() == 1 }, 10*time.Second, time.Millisecond)
	require.NoError(t, n.publish(b))
	n.agent.Settle(context.Background())
	require.NotContains(t, n.lvm("lvs", "-o", "lv_tags", "vg1"), "podlv.state=new")
	release()
	<-flushed
}

func TestNobodyEndsNobodyWaits(t *testing.T) {
	for name, text := range map[string]string{
		"a full thin pool beside free space": `
pools: [{name: ssd, volumeGroup: vg0, thinPool: pool}]
classes: [{name: ssd, pool: ssd, default: true}]
`,
		"a copy too many": `
pools: [{name: ssd, volumeGroup: vg0}]
classes: [{name: ssd, pool: ssd, default: true, layout: raid1, copies: 2}]
`,
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", "512m", "vg0")
			n.classes = classes(t, text)
			n.restart()
			n.pods.set(driver.Pod{Namespace: "default", Name: "other", UID: "other-uid", Ending: true})
			requireCode(t, n.publish(newVolume("web", "1Gi")), codes.ResourceExhausted) // at once: the clock stands still
		})
	}
}

func TestHungLVMIsToldByReadinessWithoutMoreCommands(t *testing.T) {
	n := newFakeNode(t)
	require.NoError(t, n.agent.Ready(context.Background()), "by the report of the start")
	release := n.host.Hang("fullreport")
	defer release()
	n.clock.Step(time.Minute) // that is too old
	for range 5 {
		require.ErrorContains(t, n.agent.Ready(n.impatient()), "LVM does not answer; its oldest command has been running for")
		require.Equal(t, 1, n.agent.Running(), "probes do not pile up")
	}
	release()
	require.Eventually(t, func() bool { return n.agent.Ready(context.Background()) == nil }, 10*time.Second, time.Millisecond)
}

func TestUnpublishOfWhatIsNotOursTouchesNothing(t *testing.T) {
	n := newFakeNode(t)
	require.NoError(t, n.mkdir("/etc/empty"))
	require.NoError(t, n.host.MakeFile("/etc/file"))
	for _, target := range []string{"/etc/empty", "/etc/file"} {
		_, err := n.node.NodeUnpublishVolume(context.Background(), &csi.NodeUnpublishVolumeRequest{VolumeId: "whatever", TargetPath: target})
		require.NoError(t, err, "CSI: what is not there is unpublished")
		require.True(t, n.host.Exists(target))
	}
}

func TestAdministratorsSnapshotOutlivesItsPod(t *testing.T) {
	n := newFakeNode(t)
	v := newVolume("web", "64Mi")
	n.pod(v)
	n.published(v)
	n.lvm("lvcreate", "--yes", "--snapshot", "--name", "rescue", "--size", "16m", "vg0/"+v.handle())
	require.NoError(t, n.unpublish(v), "the pod can end")
	n.forget(v)
	n.reap()
	require.Equal(t, []string{v.handle(), "rescue"}, n.volumes())
	n.lvm("lvremove", "--yes", "vg0/rescue")
	n.reap()
	require.Empty(t, n.volumes())
}
