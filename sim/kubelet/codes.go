// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// uncertainError is of a call that may be going on, or may have done something: the
// volume is unpublished in the end. transientError is of something that was not even
// tried: nothing has changed. All other errors are final: what was begun is over, and
// nothing is there (kubernetes 1.36, pkg/volume/util/types/types.go).
type (
	uncertainError struct{ error }
	transientError struct{ error }
)

func (e uncertainError) Unwrap() error { return e.error }
func (e transientError) Unwrap() error { return e.error }

func isUncertain(err error) bool { _, is := err.(uncertainError); return is } //nolint:errorlint // as kubelet: a wrapped one is none

func isFinal(err error) bool {
	_, transient := err.(transientError) //nolint:errorlint // as kubelet
	return !isUncertain(err) && !transient
}

// answered is the error of a call that kubelet has made, by its code (kubernetes 1.36,
// pkg/volume/csi/csi_client.go, isFinalError).
func answered(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return uncertainError{err} // it failed before it was made
	}
	switch st.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
		return uncertainError{err}
	}
	return err
}

// code is the name of an answer's gRPC code: "OK", "ResourceExhausted".
func code(err error) string { return status.Code(err).String() }

// inUse says that a volume is not expanded while it is used: kubelet gives up for as long
// as it is (pkg/volume/csi/expander.go, inUseError).
func inUse(err error) bool { return hasCode(err, codes.FailedPrecondition) }

// infeasible says that a volume cannot be expanded so far: kubelet says so on the claim,
// and external-resizer decides (expander.go, isInfeasibleError).
func infeasible(err error) bool {
	return hasCode(err, codes.InvalidArgument) || hasCode(err, codes.OutOfRange) || hasCode(err, codes.NotFound)
}

func hasCode(err error, code codes.Code) bool {
	var s interface{ GRPCStatus() *status.Status }
	return errors.As(err, &s) && s.GRPCStatus().Code() == code
}
