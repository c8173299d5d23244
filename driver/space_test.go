// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"strings"
	"testing"
	"time"

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
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := n.control.CreateVolume(ctx, n.createRequest(c))
		return err
	}
	release := n.host.Hang("lvcreate")
	requireCode(t, create(newClaim("a", 5*gib)), codes.DeadlineExceeded, "still running")
	requireCode(t, create(newClaim("b", 5*gib)), codes.DeadlineExceeded, "wait for another volume of pool")
	release()
	requireCode(t, n.create(newClaim("b", 5*gib)), codes.ResourceExhausted, "reserve")
	require.NoError(t, n.create(newClaim("a", 5*gib)))
}
