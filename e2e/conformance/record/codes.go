// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Codes are the names of all gRPC codes of failures, as "Internal".
func Codes() (all []string) {
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		all = append(all, c.String())
	}
	return all
}

// spoilt is the failure of a code's name; Unknown if there is none of that name.
func spoilt(name string) error {
	for c := codes.Canceled; c <= codes.Unauthenticated; c++ {
		if c.String() == name {
			return status.Error(c, "spoilt by a rule")
		}
	}
	return status.Error(codes.Unknown, "spoilt by a rule that names no code: "+name)
}

// codeOf is the name of an answer's code: "OK" for no error.
func codeOf(err error) string { return status.Code(err).String() }

// brokenOff is the failure of a call that nobody waits for any more.
func brokenOff(ctx context.Context) error { return status.FromContextError(ctx.Err()).Err() }
