// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
)

// A call that gave up on a hung lvm leaves its command running: what that will take is
// not another's meanwhile.
func TestSpaceOfAHungCommandIsNotGivenTwice(t *testing.T) {
	n := newWideNode(t)
	n.classes = classes(t, strings.Replace(allLayouts, "volumeGroup: vg0}", "volumeGroup: vg0, reserve: 1Gi}", 1))
	n.restart()
	create := func(c *claim) error {
		_, err := n.control.CreateVolume(n.impatient(), n.createRequest(c))
		return err
	}
	release := n.host.Hang("lvcreate")
	requireCode(t, create(newClaim("a", 5*gib)), codes.DeadlineExceeded, "still running")
	requireCode(t, create(newClaim("b", 5*gib)), codes.DeadlineExceeded, "wait for another volume of pool")
	release()
	requireCode(t, n.create(newClaim("b", 5*gib)), codes.ResourceExhausted, "reserve")
	require.NoError(t, n.create(newClaim("a", 5*gib)))
}

// Claims that come in a burst are checked by the report from before them, and fill the pool to the last
// byte that it may give.
func TestBurstOfClaimsCostsNoReports(t *testing.T) {
	for class, whole := range map[string]int{"ssd": 8, "thin": 2} {
		t.Run(class, func(t *testing.T) {
			n := newWideNode(t)
			n.classes = classes(t, strings.Replace(allLayouts, "volumeGroup: vg0}", "volumeGroup: vg0, reserve: 1008Mi}", 1))
			n.restart()
			const size = 64 * mib
			count := whole * gib / size
			commands := n.countCommands(func() error {
				for i := range count {
					require.NoError(t, n.create(newClaim(fmt.Sprintf("a%d", i), size).ofClass(class)))
				}
				return nil
			})
			require.Equal(t, count, commands, "the agent looked when it started")
			n.lvm("lvcreate", "--yes", "--name", "admin", "--size", "4m", "vg0") // what others do is seen at the latest when it matters
			requireCode(t, n.create(newClaim("last", size).ofClass(class)), codes.ResourceExhausted)
			require.NoError(t, n.delete(newClaimOf("vg0/pvc-a0")))
			if class == "thin" {
				require.NoError(t, n.create(newClaim("last", size).ofClass(class)))
			}
		})
	}
}
