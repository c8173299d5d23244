// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
)

// flood overwrites so many MiB of a volume, from an offset on.
func (n *fakeNode) flood(c *claim, from, size int64) {
	n.t.Helper()
	d, err := n.host.Open(c.device())
	require.NoError(n.t, err)
	for at := from; at < from+size; at += mib {
		_, err = d.WriteAt(bytes.Repeat([]byte("new! "), mib/5), at)
		require.NoError(n.t, err)
	}
	require.NoError(n.t, d.Close())
}

func (n *fakeNode) lvSize(id string) string {
	n.t.Helper()
	return n.lvm("lvs", "--noheadings", "--units", "m", "--nosuffix", "-o", "lv_size", id)
}

func TestThickSnapshotsGrowBeforeTheyAreFull(t *testing.T) {
	n := newSmallNode(t)
	source := newClaim("source", 64*mib)
	n.inUse(source)
	s := newShot("s", source).sized("8Mi")
	require.NoError(t, n.snap(s))
	require.True(t, n.agent.KeepSnapshots(t.Context()))
	require.Equal(t, "8.00", n.lvSize(s.id), "there is room")
	for from := int64(2); from < 60; from += 2 {
		n.flood(source, from*mib, 2*mib)
		n.agent.KeepSnapshots(t.Context())
	}
	require.Equal(t, "68.00", n.lvSize(s.id), "all that could ever be needed")
	require.Equal(t, 1, n.countCommands(func() error { n.agent.KeepSnapshots(t.Context()); return nil }), "a report, and nothing that is in vain")
	restored := newClaim("restored", 64*mib).from(s)
	require.NoError(t, n.create(restored))
	n.served(restored, "data of pvc-source")
	require.NoError(t, n.unsnap(s))
	require.False(t, n.agent.KeepSnapshots(t.Context()), "there is none any more")
}

// An administrator's snapshots are his.
func TestForeignThickSnapshotsAreLeftAlone(t *testing.T) {
	n := newSmallNode(t)
	source := newClaim("source", 64*mib)
	n.inUse(source)
	n.lvm("lvcreate", "--yes", "--snapshot", "--name", "mine", "--size", "8m", source.id)
	n.flood(source, 8*mib, 7*mib)
	require.False(t, n.agent.KeepSnapshots(t.Context()))
	require.Equal(t, "8.00", n.lvSize("vg0/mine"))
}

func TestBrokenThickSnapshotSaysSo(t *testing.T) {
	log := &bytes.Buffer{}
	n := newSmallNode(t)
	n.log = log
	n.restart()
	source := newClaim("source", 64*mib)
	n.inUse(source)
	s := newShot("snapshot-01234567-89ab-cdef-0123-456789abcdef", source).sized("8Mi")
	s.params["csi.storage.k8s.io/volumesnapshot/namespace"], s.params["csi.storage.k8s.io/volumesnapshot/name"] = "default", "backup"
	require.NoError(t, n.snap(s))
	n.lvm("lvcreate", "--yes", "--name", "filler", "--extents", "100%FREE", "vg0")
	n.flood(source, 8*mib, 6*mib)
	for range 3 {
		n.agent.KeepSnapshots(t.Context())
	}
	require.Equal(t, 1, strings.Count(log.String(), "cannot grow"), "said once: %s", log)
	n.flood(source, 16*mib, 8*mib)
	for range 3 {
		n.agent.KeepSnapshots(t.Context())
	}
	require.Equal(t, 1, strings.Count(log.String(), "has overflowed"), "said once: %s", log)
	for _, words := range []string{"cannot grow", "has overflowed"} {
		event := <-n.events.Events
		require.Contains(t, event, "PodlvSnapshotFull")
		require.Contains(t, event, words)
	}
	require.Empty(t, n.events.Events)
	n.lvm("lvremove", "--yes", "vg0/filler")

	before := n.volumes()
	requireCode(t, n.create(newClaim("broken", 64*mib).from(s)), codes.FailedPrecondition, s.id, "is broken", "podlv.dev/snapshot-size")
	require.Equal(t, before, n.volumes(), "nothing is left")
	require.NoError(t, n.snap(s))
	require.False(t, s.ready)
	require.False(t, n.shots(s.id, "")[0].GetReadyToUse())
	require.NoError(t, n.unsnap(s))
	n.free(source)
}

// A snapshot that breaks while it is copied, and a temporary one.
func TestSnapshotThatBreaksWhileItIsCopied(t *testing.T) {
	n := newSmallNode(t)
	source := newClaim("source", 64*mib)
	n.inUse(source)
	s := newShot("s", source).sized("4Mi")
	require.NoError(t, n.snap(s))
	for _, row := range []struct {
		name  string
		claim *claim
		code  codes.Code
	}{
		{"restore", newClaim("copy", 64*mib).from(s), codes.FailedPrecondition}, // first: the other breaks the snapshot, too
		{"clone", newClaim("copy", 64*mib).copyOf(source), codes.Unavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			release := n.host.Hang("copy")
			_, err := n.control.CreateVolume(n.impatient(), n.createRequest(row.claim))
			requireCode(t, err, codes.DeadlineExceeded)
			n.flood(source, 2*mib, 60*mib)
			done := make(chan error, 1)
			go func() { done <- n.create(row.claim) }()
			time.Sleep(50 * time.Millisecond) // it waits for the copy
			release()
			requireCode(t, <-done, row.code)
		})
	}
	require.NoError(t, n.unsnap(s))
	require.NoError(t, n.create(newClaim("copy", 64*mib).copyOf(source)), "and with the next call it may not")
}

// A filesystem that is gone is not copied, and no other one is taken for it.
func TestSourceWithoutItsFilesystem(t *testing.T) {
	for _, class := range []string{"ssd", "thin"} {
		n := newSmallNode(t)
		source := newClaim("source", 64*mib).ofClass(class)
		n.inUse(source)
		require.NoError(t, n.take(source, "a"))
		require.NoError(t, n.unstage(source))
		require.NoError(t, n.host.Wipe(source.device()))
		requireCode(t, n.create(newClaim("copy", 64*mib).ofClass(class).copyOf(source)), codes.FailedPrecondition, "found nothing")
		require.Equal(t, []string{"pool", source.name}, n.volumes(), "nothing is left")
	}
}

// Without thick snapshots the task costs nothing.
func TestKeepingSnapshotsCostsNothingWithoutAny(t *testing.T) {
	n := newSmallNode(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.agent.KeepSnapshotsTask(ctx)
	}()
	reports := func() int {
		count := 0
		for _, line := range n.host.Log() {
			if strings.Contains(line, "fullreport") {
				count++
			}
		}
		return count
	}
	before := reports()
	for range 100 {
		n.clock.Step(time.Minute)
	}
	time.Sleep(50 * time.Millisecond)
	require.LessOrEqual(t, reports(), before+1)

	source := newClaim("source", 64*mib)
	n.inUse(source)
	s := newShot("s", source).sized("8Mi")
	require.NoError(t, n.snap(s))
	n.flood(source, 8*mib, 6*mib)
	require.Eventually(t, func() bool {
		n.clock.Step(time.Second)
		return n.lvSize(s.id) != "8.00"
	}, 10*time.Second, 10*time.Millisecond)
	stop()
	<-done
}
