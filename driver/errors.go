// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/podlv/podlv/lvm"
)

// What can be wrong with a request, beside what package lvm knows.
var (
	errInvalid   = errors.New("invalid")                    // can never succeed as it is
	errRange     = errors.New("out of range")               // a size that can never be had
	errNotThere  = errors.New("no such volume")             // the volume or its path is not there
	errDiffers   = errors.New("exists and differs")         // published already, with other attributes
	errCondition = errors.New("not possible as things are") // somebody has to change something first
	errBusy      = errors.New("another call is at work on this volume")
	// errStays: the volume's LV is there after the call failed, so that somebody has
	// to unpublish it.
	errStays     = errors.New("the LV stays")
	errElsewhere = errors.New("not on this node")
	errAway      = errors.New("not there now") // it may come back
	errAborted   = errors.New("start over")    // a token of a list that means nothing here
)

// goesOn says whether an error only says that what was asked for is being done.
func goesOn(err error) bool { return codeOf(err) == codes.Aborted }

// codeOf is the one place where errors become gRPC codes. The order counts: what
// is left half-made must not look final, whatever made the call fail. kubelet
// takes Canceled, DeadlineExceeded, Unavailable, ResourceExhausted and Aborted
// for "uncertain", so that it calls NodeUnpublishVolume when the pod goes; after
// any other code it forgets the volume (kubernetes 1.36,
// pkg/volume/csi/csi_client.go, isFinalError).
func codeOf(err error) codes.Code {
	for _, row := range []struct {
		is   error
		code codes.Code
	}{
		{errStays, codes.Unavailable},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
		{errBusy, codes.Aborted},
		{errAborted, codes.Aborted},
		// The one code that makes external-provisioner ask for another node.
		{errElsewhere, codes.ResourceExhausted},
		{errAway, codes.Unavailable},
		{errInvalid, codes.InvalidArgument},
		{errRange, codes.OutOfRange},
		{errDiffers, codes.AlreadyExists},
		{errCondition, codes.FailedPrecondition},
		{ErrTarget, codes.FailedPrecondition},
		{errNotThere, codes.NotFound},
		{lvm.ErrInvalid, codes.InvalidArgument},
		{lvm.ErrNoSpace, codes.ResourceExhausted},
		{lvm.ErrMetadataFull, codes.ResourceExhausted},
		{lvm.ErrInUse, codes.FailedPrecondition},
		{lvm.ErrUnavailable, codes.Unavailable},
		{lvm.ErrExists, codes.AlreadyExists},
		{lvm.ErrNotFound, codes.NotFound},
	} {
		if errors.Is(err, row.is) {
			return row.code
		}
	}
	return codes.Internal
}

// quiet are the calls that kubelet makes all the time.
var quiet = map[string]bool{
	csi.Node_NodeGetCapabilities_FullMethodName: true,
	csi.Node_NodeGetVolumeStats_FullMethodName:  true,
	csi.Identity_Probe_FullMethodName:           true,
}

// interceptor maps errors, logs one line a call and counts it. It logs no part
// of a request but the names below: volume contexts are users' words, and secrets
// are in requests too.
func interceptor(log *slog.Logger, m *metrics) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		start := time.Now()
		response, err := next(ctx, req)
		code := codes.OK
		if err != nil {
			// What grpc itself or an embedded Unimplemented server said stays.
			if s, ok := status.FromError(err); ok && s.Code() != codes.OK {
				code = s.Code()
			} else {
				code = codeOf(err)
			}
		}
		took := time.Since(start)
		m.rpc(info.FullMethod, code.String(), took)
		attrs := append(requestAttrs(req), slog.String("code", code.String()), slog.Duration("took", took.Round(time.Microsecond)))
		level := slog.LevelInfo
		switch {
		case err != nil:
			level = slog.LevelError
			attrs = append(attrs, slog.String("error", oneError(err)))
		case quiet[info.FullMethod]:
			level = slog.LevelDebug
		}
		log.LogAttrs(ctx, level, info.FullMethod[len("/csi.v1."):], attrs...)
		if err != nil {
			return nil, status.Error(code, oneError(err))
		}
		return response, nil
	}
}

// oneError is an error's words, without a status's own prefix.
func oneError(err error) string {
	if s, ok := status.FromError(err); ok {
		return s.Message()
	}
	return err.Error()
}

// requestAttrs are the words of a request that are logged.
func requestAttrs(req any) []slog.Attr {
	var attrs []slog.Attr
	if r, ok := req.(interface{ GetVolumeId() string }); ok {
		attrs = append(attrs, slog.String("volume", r.GetVolumeId()))
	}
	if r, ok := req.(*csi.CreateVolumeRequest); ok {
		attrs = append(attrs, slog.String("name", r.GetName()), slog.String("class", r.GetParameters()[parameterClass]), slog.Int64("bytes", r.GetCapacityRange().GetRequiredBytes()))
	}
	if r, ok := req.(interface{ GetVolumeContext() map[string]string }); ok {
		c := r.GetVolumeContext()
		if c[keyPodName] != "" {
			attrs = append(attrs, slog.String("pod", c[keyPodNamespace]+"/"+c[keyPodName]))
		}
		if c[keyEphemeral] == "true" {
			attrs = append(attrs, slog.String("class", c[attributeClass]), slog.String("size", c[attributeSize]))
		}
	}
	if r, ok := req.(interface{ GetTargetPath() string }); ok {
		attrs = append(attrs, slog.String("target", r.GetTargetPath()))
	}
	return attrs
}
