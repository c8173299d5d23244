// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/podlv/podlv/lvm"
)

// kubelet's rule is in codeOf's comment: what may have left something must not be
// final, what left nothing may be.
func TestEveryErrorHasItsCode(t *testing.T) {
	for _, row := range []struct {
		err  error
		code codes.Code
	}{
		{errInvalid, codes.InvalidArgument},
		{errRange, codes.OutOfRange},
		{errDiffers, codes.AlreadyExists},
		{errCondition, codes.FailedPrecondition},
		{errAway, codes.Unavailable},
		{ErrTarget, codes.FailedPrecondition},
		{errNotThere, codes.NotFound},
		{errBusy, codes.Aborted},
		{errAborted, codes.Aborted},
		{errElsewhere, codes.ResourceExhausted},
		{errStays, codes.Unavailable},
		{lvm.ErrInvalid, codes.InvalidArgument},
		{lvm.ErrNoSpace, codes.ResourceExhausted},
		{lvm.ErrMetadataFull, codes.ResourceExhausted},
		{lvm.ErrInUse, codes.FailedPrecondition},
		{lvm.ErrUnavailable, codes.Unavailable},
		{lvm.ErrExists, codes.AlreadyExists},
		{lvm.ErrNotFound, codes.NotFound},
		{context.Canceled, codes.Canceled},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{&lvm.HungError{Cause: context.DeadlineExceeded}, codes.DeadlineExceeded},
		{&lvm.ExplainedError{Reason: lvm.ErrNoSpace, Failed: &lvm.ExitError{Code: 5}}, codes.ResourceExhausted},
		{&lvm.ExitError{Code: 5}, codes.Internal},
		{errors.New("anything else"), codes.Internal},
		// Two at once: what is left half-made decides, then who may try again.
		{fmt.Errorf("%w; %w", lvm.ErrNoSpace, errStays), codes.Unavailable},
		{fmt.Errorf("%w: %w", errBusy, lvm.ErrInUse), codes.Aborted},
		{fmt.Errorf("%w: %w", errCondition, lvm.ErrNotFound), codes.FailedPrecondition},
	} {
		require.Equal(t, row.code, codeOf(row.err), "%v", row.err)
		require.Equal(t, row.code, codeOf(fmt.Errorf("publish: %w", row.err)), "wrapped: %v", row.err)
	}
}
