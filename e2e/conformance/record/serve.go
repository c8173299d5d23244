// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Start makes the driver's sockets, so that kubelet registers it.
func (d *Driver) Start() error {
	services, registration := grpc.NewServer(), grpc.NewServer()
	csi.RegisterNodeServer(services, &node{d: d})
	registerapi.RegisterRegistrationServer(registration, &registrar{d: d})
	// The CSI socket first: kubelet calls as soon as it sees the other one.
	for _, s := range []struct {
		server *grpc.Server
		socket string
	}{{services, d.config.Socket}, {registration, filepath.Join(d.config.Registry, d.config.Name+"-reg.sock")}} {
		if err := os.Remove(s.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: s.socket})
		if err != nil {
			return err
		}
		d.mu.Lock()
		d.servers, d.sockets = append(d.servers, s.server), append(d.sockets, l)
		d.mu.Unlock()
		go func() { _ = s.server.Serve(l) }() // it ends when it is stopped
	}
	return nil
}

// Stop ends the driver. One that was killed leaves its sockets behind, where nobody
// answers.
func (d *Driver) Stop(killed bool) {
	d.mu.Lock()
	servers, sockets := d.servers, d.sockets
	d.servers, d.sockets = nil, nil
	d.mu.Unlock()
	for _, s := range sockets {
		s.SetUnlinkOnClose(!killed)
	}
	for _, s := range servers {
		s.Stop()
	}
}

// registrar answers kubelet's registration.
type registrar struct {
	registerapi.UnimplementedRegistrationServer
	d *Driver
}

func (s *registrar) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	s.d.Mark("GetInfo")
	return &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: s.d.config.Name, Endpoint: s.d.config.Socket, SupportedVersions: []string{"1.0.0"}}, nil
}

func (s *registrar) NotifyRegistrationStatus(_ context.Context, q *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	s.d.Mark(fmt.Sprintf("NotifyRegistrationStatus registered=%t", q.GetPluginRegistered()))
	return &registerapi.RegistrationStatusResponse{}, nil
}

// node is the node service, with what podlv's can do.
type node struct {
	csi.UnimplementedNodeServer
	d *Driver
}

func (n *node) NodeGetInfo(ctx context.Context, q *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return answer(ctx, n.d, "NodeGetInfo", q, func() (*csi.NodeGetInfoResponse, error) {
		c := n.d.config
		return &csi.NodeGetInfoResponse{NodeId: c.Node, AccessibleTopology: &csi.Topology{Segments: map[string]string{c.TopologyKey: c.Node}}}, nil
	})
}

func (n *node) NodeGetCapabilities(ctx context.Context, q *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return answer(ctx, n.d, "NodeGetCapabilities", q, func() (*csi.NodeGetCapabilitiesResponse, error) {
		a := &csi.NodeGetCapabilitiesResponse{}
		for _, t := range []csi.NodeServiceCapability_RPC_Type{
			csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
			csi.NodeServiceCapability_RPC_GET_VOLUME_STATS, csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		} {
			a.Capabilities = append(a.Capabilities, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}}})
		}
		return a, nil
	})
}

func (n *node) NodeStageVolume(ctx context.Context, q *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	return answer(ctx, n.d, "NodeStageVolume", q, func() (*csi.NodeStageVolumeResponse, error) {
		if q.GetVolumeCapability().GetBlock() != nil {
			return &csi.NodeStageVolumeResponse{}, nil
		}
		return &csi.NodeStageVolumeResponse{}, n.d.config.Machine.PublishFolder(q.GetStagingTargetPath())
	})
}

func (n *node) NodeUnstageVolume(ctx context.Context, q *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	return answer(ctx, n.d, "NodeUnstageVolume", q, func() (*csi.NodeUnstageVolumeResponse, error) {
		return &csi.NodeUnstageVolumeResponse{}, n.d.config.Machine.Unpublish(q.GetStagingTargetPath())
	})
}

func (n *node) NodePublishVolume(ctx context.Context, q *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	return answer(ctx, n.d, "NodePublishVolume", q, func() (*csi.NodePublishVolumeResponse, error) {
		publish := n.d.config.Machine.PublishFolder
		if q.GetVolumeCapability().GetBlock() != nil {
			publish = n.d.config.Machine.PublishDevice
		}
		return &csi.NodePublishVolumeResponse{}, publish(q.GetTargetPath())
	})
}

func (n *node) NodeUnpublishVolume(ctx context.Context, q *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	return answer(ctx, n.d, "NodeUnpublishVolume", q, func() (*csi.NodeUnpublishVolumeResponse, error) {
		return &csi.NodeUnpublishVolumeResponse{}, n.d.config.Machine.Unpublish(q.GetTargetPath())
	})
}

func (n *node) NodeExpandVolume(ctx context.Context, q *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	return answer(ctx, n.d, "NodeExpandVolume", q, func() (*csi.NodeExpandVolumeResponse, error) {
		return &csi.NodeExpandVolumeResponse{CapacityBytes: q.GetCapacityRange().GetRequiredBytes()}, nil
	})
}

func (n *node) NodeGetVolumeStats(ctx context.Context, q *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	return answer(ctx, n.d, "NodeGetVolumeStats", q, func() (*csi.NodeGetVolumeStatsResponse, error) {
		return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: 1 << 20, Available: 1 << 19, Used: 1 << 19}}}, nil
	})
}
