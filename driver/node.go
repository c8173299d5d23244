// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// node is the CSI Node service: it decodes, calls and encodes.
type node struct {
	csi.UnimplementedNodeServer
	name       string
	classes    *ClassSource
	inline     *inline
	persistent *persistent
	mounts     Mounter
	devices    Devices
	filesystem Filesystem
	locks      volumeLocks
}

var _ csi.NodeServer = &node{}

// nodeCapabilities is what NodeGetCapabilities says. VOLUME_MOUNT_GROUP is not
// among it: it is the whole driver's, and turns kubelet's own fsGroup off.
var nodeCapabilities = []csi.NodeServiceCapability_RPC_Type{
	csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
	csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
	csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
	csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
}

func (s *node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	r := &csi.NodeGetCapabilitiesResponse{}
	for _, c := range nodeCapabilities {
		r.Capabilities = append(r.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: c}},
		})
	}
	return r, nil
}

func (s *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return nodeInfo(s.name), nil
}

func nodeInfo(name string) *csi.NodeGetInfoResponse {
	return &csi.NodeGetInfoResponse{NodeId: name, AccessibleTopology: topology(name)}
}

func (s *node) NodeStageVolume(ctx context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	q, err := decodeStage(r, s.classes.Get())
	if err != nil {
		return nil, err
	}
	release, err := s.locks.acquire(q.handle.String())
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.persistent.stage(ctx, q); err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

func (s *node) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if err := checkPath(r.GetVolumeId(), "staging target path", r.GetStagingTargetPath()); err != nil {
		return nil, err
	}
	h, err := splitHandle(r.GetVolumeId())
	if err != nil {
		return nil, err
	}
	release, err := s.locks.acquire(h.String())
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.persistent.unstage(h, r.GetStagingTargetPath()); err != nil {
		return nil, fmt.Errorf("unstage: %w", err)
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

func (s *node) NodePublishVolume(ctx context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	publish, id, err := s.decodePublish(r)
	if err != nil {
		return nil, err
	}
	release, err := s.locks.acquire(id)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := publish(ctx); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// decodePublish tells inline volumes from persistent ones: kubelet says which, and
// only a persistent one's handle has a slash.
func (s *node) decodePublish(r *csi.NodePublishVolumeRequest) (publish func(context.Context) error, id string, err error) {
	if r.GetVolumeContext()[keyEphemeral] != "true" && !inlineHandle.MatchString(r.GetVolumeId()) {
		q, err := decodePersistent(r, s.classes.Get())
		return func(ctx context.Context) error { return s.persistent.publish(ctx, q) }, q.handle.String(), err
	}
	q, err := decodeInline(r)
	return func(ctx context.Context) error { return s.inline.publish(ctx, q) }, q.ID, err
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
	if h, bad := splitHandle(id); bad == nil {
		err = s.persistent.unpublish(h, target)
	} else {
		err = s.inline.unpublish(ctx, id, target)
	}
	if err != nil {
		return nil, fmt.Errorf("unpublish: %w", err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (s *node) NodeExpandVolume(ctx context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	q, err := decodeExpand(r, s.classes.Get())
	if err != nil {
		return nil, err
	}
	release, err := s.locks.acquire(q.handle.String())
	if err != nil {
		return nil, err
	}
	defer release()
	size, err := s.persistent.expand(ctx, q, s.classes.Get())
	if err != nil {
		return nil, fmt.Errorf("expand: %w", err)
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: size}, nil
}

// NodeGetVolumeStats is a look at the mount table and one statfs: kubelet asks
// every minute for every volume. Of a block device the total is all there is to
// say.
func (s *node) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	id, target := r.GetVolumeId(), r.GetVolumePath()
	if id == "" || target == "" {
		return nil, checkPath(id, "volume path", target)
	}
	// Any other path, however odd, is one at which the volume is not.
	m, err := mountedAt(s.mounts, target)
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, fmt.Errorf("volume %s: %w: nothing is mounted at %s", id, errNotThere, target)
	}
	if m.Block {
		return s.blockStats(id, *m)
	}
	if vg, lv, ok := volumeOf(*m); !ok || lv != id && vg+"/"+lv != id {
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

func (s *node) blockStats(id string, m Mount) (*csi.NodeGetVolumeStatsResponse, error) {
	h, err := splitHandle(id)
	if err != nil {
		return nil, err
	}
	d, there, err := s.devices.Device(h.device())
	if err != nil {
		return nil, err
	}
	if !there || d.Number != m.Number {
		return nil, fmt.Errorf("volume %s: %w: another device, %s, is at %s", id, errNotThere, m.Number, m.Target)
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: d.Size}}}, nil
}

func decodeStage(r *csi.NodeStageVolumeRequest, classes *Classes) (stageRequest, error) {
	q := stageRequest{staging: r.GetStagingTargetPath()}
	err := checkPath(r.GetVolumeId(), "staging target path", q.staging)
	if err != nil {
		return q, err
	}
	if q.use, err = decodeContextUse(r.GetVolumeCapability(), r.GetVolumeContext()); err != nil {
		return q, err
	}
	if q.handle, err = parseHandle(r.GetVolumeId(), classes.VolumeGroups()); err != nil {
		return q, err
	}
	if name := r.GetVolumeContext()[contextClass]; name != "" {
		// A class that is gone from the configuration has no options any more; what
		// was made by it stays usable.
		if q.class, err = classes.Named(name); err != nil && !errors.Is(err, errInvalid) {
			return q, err
		}
	}
	return q, nil
}

// decodeContextUse is decodeUse, with the filesystem that CreateVolume chose.
func decodeContextUse(c *csi.VolumeCapability, context map[string]string) (use, error) {
	u, err := decodeUse(c)
	if err != nil || u.block {
		return u, err
	}
	made := context[contextFSType]
	switch {
	case u.fsType == "":
		u.fsType = made
	case made != "" && made != u.fsType:
		return u, fmt.Errorf("%w: volume capability: filesystem %q: the volume was made as %s", errInvalid, u.fsType, made)
	}
	return u, nil
}

func decodePersistent(r *csi.NodePublishVolumeRequest, classes *Classes) (publishRequest, error) {
	q := publishRequest{staging: r.GetStagingTargetPath(), target: r.GetTargetPath()}
	err := checkPath(r.GetVolumeId(), "target path", q.target)
	if err != nil {
		return q, err
	}
	if q.use, err = decodeContextUse(r.GetVolumeCapability(), r.GetVolumeContext()); err != nil {
		return q, err
	}
	if err := checkPath(r.GetVolumeId(), "staging target path", q.staging); err != nil {
		return q, err
	}
	if !strings.Contains(r.GetVolumeId(), "/") && r.GetVolumeContext()[keyEphemeral] == "" {
		return q, fmt.Errorf("volume %q: %w: neither a persistent volume, whose id is VG/LV, nor an inline one, for which %s must be true (CSIDriver with podInfoOnMount)", r.GetVolumeId(), errNotThere, keyEphemeral)
	}
	if q.handle, err = parseHandle(r.GetVolumeId(), classes.VolumeGroups()); err != nil {
		return q, err
	}
	q.readOnly = r.GetReadonly() || q.use.mode == csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
	return q, nil
}

func decodeExpand(r *csi.NodeExpandVolumeRequest, classes *Classes) (expandRequest, error) {
	q := expandRequest{path: r.GetVolumePath(), staging: r.GetStagingTargetPath()}
	if q.path == "" && r.GetVolumeId() != "" {
		return q, fmt.Errorf("%w: volume %s: volume path is empty", errInvalid, r.GetVolumeId())
	}
	var err error
	if q.handle, err = parseHandle(r.GetVolumeId(), classes.VolumeGroups()); err != nil {
		return q, err
	}
	if q.size, q.limit, err = bounds(r.GetCapacityRange()); err != nil {
		return q, err
	}
	return q, checkPath(r.GetVolumeId(), "volume path", q.path)
}
