// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// final says whether a call that failed is over: what it began is not going on. After
// any other error the volume may be there, and is unpublished in the end (kubernetes
// 1.36, pkg/volume/csi/csi_client.go, isFinalError).
func final(err error) bool {
	st, ok := status.FromError(err)
	if !ok {
		return false // it failed before it was made
	}
	switch st.Code() {
	case codes.Canceled, codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted, codes.Aborted:
		return false
	}
	return true
}

// code is the name of an answer's gRPC code: "OK", "ResourceExhausted".
func code(err error) string { return status.Code(err).String() }
