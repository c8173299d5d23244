// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/podlv/podlv/lvm"
)

// growth is a raw block volume in use of 64 MiB, among somebody's old bytes.
func growth(t *testing.T, class string) (*fakeNode, *claim) {
	n := newWideNode(t)
	c := newClaim("a", 64*mib).raw().ofClass(class)
	n.inUse(c)
	n.dirty(512 * mib)
	return n, c
}

// expandImpatiently gives up on what hangs, as kubelet does after a while.
func (n *fakeNode) expandImpatiently(c *claim, size int64) error {
	_, err := n.node.NodeExpandVolume(n.impatient(), expandRequestFor(c, size))
	return err
}

// While the new extents are zeroed, they are not the volume's.
func TestGrowthIsZeroedBeforeItIsSeen(t *testing.T) {
	for _, class := range []string{"ssd", "striped", "raid1"} {
		t.Run(class, func(t *testing.T) {
			n, c := growth(t, class)
			release := n.host.Hang("zero")
			requireCode(t, n.expandImpatiently(c, 200*mib), codes.DeadlineExceeded, "being zeroed")
			size, err := n.host.DeviceSize(c.device())
			require.NoError(t, err)
			require.EqualValues(t, 64*mib, size)
			require.NoError(t, n.agent.Look(t.Context())) // else the next call may give up on this
			requireCode(t, n.expandImpatiently(c, 200*mib), codes.DeadlineExceeded, "being zeroed")
			release()
			size, err = n.expand(c, 100*mib)
			require.NoError(t, err, "who asks for less waits for what is under way")
			require.EqualValues(t, 200*mib, size)
			n.visiblyClean(c)
			require.Empty(t, n.lvm("lvs", "--noheadings", "-o", "lv_name", "-S", "lv_tags=podlv.kind=temporary"))
		})
	}
}

func TestGrowthWhoseExtentsAreLostBeginsAgain(t *testing.T) {
	n, c := growth(t, "ssd")
	n.host.FailNext("lvextend", lvm.ExitError{Code: 5, Stderr: "somebody was faster"})
	_, err := n.expand(c, 200*mib)
	requireCode(t, err, codes.Unavailable, "somebody was faster")
	require.ElementsMatch(t, []string{"pool", c.name}, n.volumes())
	size, err := n.expand(c, 200*mib)
	require.NoError(t, err)
	require.EqualValues(t, 200*mib, size)
	n.visiblyClean(c)
}

func TestDeleteEndsGrowth(t *testing.T) {
	n, c := growth(t, "ssd")
	release := n.host.Hang("zero")
	requireCode(t, n.expandImpatiently(c, 200*mib), codes.DeadlineExceeded)
	require.NoError(t, n.take(c, "a"))
	require.NoError(t, n.unstage(c))
	go func() {
		time.Sleep(50 * time.Millisecond)
		release()
	}()
	require.NoError(t, n.delete(c))
	require.Equal(t, []string{"pool"}, n.volumes())
}

// An agent that died over a growth whose user then asks for nothing more leaves nothing.
func TestGrowthOfADeadAgentIsSwept(t *testing.T) {
	n, c := growth(t, "ssd")
	release := n.host.Hang("zero")
	defer release()
	requireCode(t, n.expandImpatiently(c, 200*mib), codes.DeadlineExceeded)
	require.Len(t, n.volumes(), 3)
	n.host.Reboot()
	n.restart()
	require.Eventually(t, func() bool { return len(n.volumes()) == 2 }, 10*time.Second, 10*time.Millisecond)
}

func TestGrowthWithAThickSnapshotIsRefused(t *testing.T) {
	n, c := growth(t, "ssd")
	n.lvm("lvcreate", "--yes", "--snapshot", "--name", "rescue", "--size", "16m", c.id)
	_, err := n.expand(c, 200*mib)
	requireCode(t, err, codes.FailedPrecondition, "thick snapshot rescue")
	require.ElementsMatch(t, []string{"pool", c.name, "rescue"}, n.volumes())
}

// What a growth gives up for a moment is not for another claim.
func TestNothingIsMadeWhileGrowthChangesHands(t *testing.T) {
	n, c := growth(t, "ssd")
	n.classes = classes(t, strings.Replace(allLayouts, "volumeGroup: vg0}", "volumeGroup: vg0, reserve: 1Gi}", 1))
	n.restart()
	release := n.host.Hang("lvextend")
	done := make(chan error, 1)
	go func() {
		_, err := n.expand(c, 200*mib)
		done <- err
	}()
	require.Eventually(t, func() bool {
		log := n.host.Log()
		return strings.Contains(log[len(log)-1], "lvremove")
	}, 10*time.Second, time.Millisecond, "the temporary LV is gone, the volume has not grown")
	_, err := n.control.CreateVolume(n.impatient(), n.createRequest(newClaim("b", 64*mib)))
	requireCode(t, err, codes.DeadlineExceeded, "wait for another volume of pool")
	release()
	require.NoError(t, <-done)
	require.NoError(t, n.create(newClaim("b", 64*mib)))
}
