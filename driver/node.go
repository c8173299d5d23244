// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// node is the CSI Node service: it decodes, calls and encodes.
type node struct {
	csi.UnimplementedNodeServer
	name       string
	inline     *inline
	filesystem Filesystem
	locks      volumeLocks
}

var _ csi.NodeServer = &node{}

// nodeCapabilities is what NodeGetCapabilities says. kubelet asks at every step.
var nodeCapabilities = &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{{
	Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{
		Type: csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
	}},
}}}

func (s *node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return nodeCapabilities, nil
}

func (s *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{
		NodeId:             s.name,
		AccessibleTopology: &csi.Topology{Segments: map[string]string{TopologyKey: s.name}},
	}, nil
}

func (s *node) NodePublishVolume(ctx context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	q, err := decodeInline(r)
	if err != nil {
		return nil, err
	}
	release, err := s.locks.acquire(q.ID)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.inline.publish(ctx, q); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (s *node) NodeUnpublishVolume(ctx context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	id, target, err := decodeTarget(r.GetVolumeId(), r.GetTargetPath())
	if err != nil {
		return nil, err
	}
	release, err := s.locks.acquire(id)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.inline.unpublish(ctx, id, target); err != nil {
		return nil, fmt.Errorf("unpublish: %w", err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// NodeGetVolumeStats is a look at the mount table and one statfs: kubelet asks
// every minute for every volume.
func (s *node) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	id, target, err := decodeTarget(r.GetVolumeId(), r.GetVolumePath())
	if err != nil {
		return nil, err
	}
	m, err := s.inline.mountedAt(target)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, fmt.Errorf("volume %s: %w: nothing is mounted at %s", id, errNotThere, target)
	}
	if _, lv, ok := volumeOf(*m); !ok || lv != id {
		return nil, fmt.Errorf("volume %s: %w: %s is mounted at %s", id, errNotThere, m.Source, target)
	}
	u, err := s.filesystem.Usage(target)
	if err != nil {
		return nil, err
	}
	usage := []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: u.TotalBytes, Available: u.FreeBytes, Used: u.UsedBytes}}
	if u.TotalInodes > 0 {
		usage = append(usage, &csi.VolumeUsage{Unit: csi.VolumeUsage_INODES, Total: u.TotalInodes, Available: u.FreeInodes, Used: u.UsedInodes})
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: usage}, nil
}
