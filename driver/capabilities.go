// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
)

// CapabilityServer is a CSI socket without a node: it says which driver this is and what
// it can, for sidecars that act for the whole cluster, and makes no volumes. The stock
// external-resizer 2.2.0 asks for no more of a driver whose volumes are expanded by
// their node (pkg/resizer/csi_resizer.go, NewResizerFromClient).
type CapabilityServer struct {
	Version string // for GetPluginInfo
	Socket  string // path of the CSI socket
	// HTTPAddress serves /metrics, /healthz and /readyz. Empty: not served.
	HTTPAddress string
	Registry    *prometheus.Registry
	// Ready is nil when the process can do its work; it is what /readyz asks.
	Ready func(context.Context) error
	Log   *slog.Logger
}

// Run serves until ctx ends.
func (s CapabilityServer) Run(ctx context.Context) error {
	m := &metrics{rpcs: newRPCMetric()}
	if err := s.Registry.Register(m.rpcs); err != nil {
		return err
	}
	socket, err := listen(s.Socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(interceptor(s.Log, m)))
	csi.RegisterIdentityServer(server, &identity{version: s.Version})
	csi.RegisterControllerServer(server, onlyControllerCapabilities{})
	csi.RegisterNodeServer(server, onlyNodeCapabilities{})

	failed := make(chan error, 2) // one for each task: nobody waits to be heard
	task := func(name string, run func() error) {
		go func() {
			if err := run(); err != nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		}()
	}
	var web io.Closer
	if s.HTTPAddress != "" {
		if web, err = serveHTTP(s.HTTPAddress, s.Registry, s.Ready, task); err != nil {
			_ = socket.Close() // nothing has been served
			return err
		}
	}
	task("serve CSI", func() error { return server.Serve(socket) })
	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}
	if web != nil {
		_ = web.Close() // closing: there is nobody left to tell
	}
	stopServer(server)
	return err
}

// onlyControllerCapabilities is a Controller service that can do nothing: an expansion
// in particular is the node's.
type onlyControllerCapabilities struct {
	csi.UnimplementedControllerServer
}

func (onlyControllerCapabilities) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	return &csi.ControllerGetCapabilitiesResponse{}, nil
}

// onlyNodeCapabilities says what the nodes' agents can.
type onlyNodeCapabilities struct{ csi.UnimplementedNodeServer }

func (onlyNodeCapabilities) NodeGetCapabilities(ctx context.Context, r *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return (&node{}).NodeGetCapabilities(ctx, r)
}
