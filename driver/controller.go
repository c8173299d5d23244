// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/podlv/podlv/lvm"
)

// controller is the CSI Controller service of the node's own volumes: it decodes,
// calls and encodes.
type controller struct {
	csi.UnimplementedControllerServer
	node       string
	classes    *ClassSource
	persistent *persistent
	locks      *volumeLocks
	stumbled   func(volume string) // told of volumes that could not be made
}

var _ csi.ControllerServer = &controller{}

// controllerCapabilities is what ControllerGetCapabilities says. EXPAND_VOLUME is
// not among them: a volume is expanded by its node alone (NodeExpandVolume), and
// external-resizer then needs nothing from the controller.
var controllerCapabilities = []csi.ControllerServiceCapability_RPC_Type{
	csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
	csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
	csi.ControllerServiceCapability_RPC_GET_CAPACITY,
	csi.ControllerServiceCapability_RPC_GET_VOLUME,
	csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
	csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
	csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
}

func (s *controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	r := &csi.ControllerGetCapabilitiesResponse{}
	for _, c := range controllerCapabilities {
		r.Capabilities = append(r.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: c}},
		})
	}
	return r, nil
}

func (s *controller) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	made, err := s.create(ctx, r)
	if err != nil && !goesOn(err) {
		s.stumbled(r.GetName())
	}
	return made, err
}

func (s *controller) create(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	q, err := decodeCreate(r, s.classes.Get(), s.node)
	if err != nil {
		return nil, err
	}
	h := handle{VG: q.Class.Pool.VolumeGroup, LV: q.LV}
	release, err := s.locks.acquire(h.String())
	if err != nil {
		return nil, err
	}
	defer release()
	v, err := s.persistent.create(ctx, q, h, s.classes.Get())
	if err != nil {
		return nil, fmt.Errorf("create volume %s: %w", q.Name, err)
	}
	made := s.encode(v)
	made.ContentSource = r.GetVolumeContentSource()
	return &csi.CreateVolumeResponse{Volume: made}, nil
}

// encode is a volume as CSI has it.
func (s *controller) encode(v persistentVolume) *csi.Volume {
	return &csi.Volume{
		VolumeId: v.handle.String(), CapacityBytes: v.size,
		VolumeContext:      v.context(),
		AccessibleTopology: []*csi.Topology{topology(s.node)},
	}
}

// context is what kubelet hands back with each call for the volume.
func (v persistentVolume) context() map[string]string {
	return map[string]string{contextClass: v.class, contextFSType: v.fs}
}

func (s *controller) DeleteVolume(ctx context.Context, r *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	h, err := parseHandle(r.GetVolumeId(), s.classes.Get().VolumeGroups())
	if errors.Is(err, errNotThere) {
		return &csi.DeleteVolumeResponse{}, nil // CSI: deleting what is not there succeeds
	}
	if err != nil {
		return nil, err
	}
	release, err := s.locks.acquire(h.String())
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.persistent.delete(ctx, h, s.classes.Get().VolumeGroups()); err != nil {
		return nil, fmt.Errorf("delete volume: %w", err)
	}
	return &csi.DeleteVolumeResponse{}, nil
}

func (s *controller) ValidateVolumeCapabilities(ctx context.Context, r *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	h, err := parseHandle(r.GetVolumeId(), s.classes.Get().VolumeGroups())
	if err != nil {
		return nil, err
	}
	if len(r.GetVolumeCapabilities()) == 0 {
		return nil, fmt.Errorf("%w: volume capabilities are missing", errInvalid)
	}
	v, err := s.persistent.find(ctx, h)
	if err != nil {
		return nil, err
	}
	for _, c := range r.GetVolumeCapabilities() {
		u, err := decodeUse(c)
		if err == nil {
			err = v.fits(u)
		}
		if err != nil {
			return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
		}
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: r.GetVolumeContext(), VolumeCapabilities: r.GetVolumeCapabilities(), Parameters: r.GetParameters(),
	}}, nil
}

// ListVolumes pages by handle: a token is the last handle of the page before, so
// that what is made or deleted meanwhile moves nothing.
func (s *controller) ListVolumes(ctx context.Context, r *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	if r.GetMaxEntries() < 0 {
		return nil, fmt.Errorf("%w: max entries %d: must not be negative", errInvalid, r.GetMaxEntries())
	}
	groups := s.classes.Get().VolumeGroups()
	if t := r.GetStartingToken(); t != "" {
		if _, err := parseHandle(t, groups); err != nil {
			return nil, fmt.Errorf("%w: starting token %q is not one of ours", errAborted, t)
		}
	}
	volumes, err := s.persistent.list(ctx, s.classes.Get())
	if err != nil {
		return nil, err
	}
	start := sort.Search(len(volumes), func(i int) bool { return volumes[i].handle.String() > r.GetStartingToken() })
	page := volumes[start:]
	out := &csi.ListVolumesResponse{}
	if n := int(r.GetMaxEntries()); n > 0 && n < len(page) {
		page = page[:n]
		out.NextToken = page[n-1].handle.String()
	}
	for _, v := range page {
		out.Entries = append(out.Entries, &csi.ListVolumesResponse_Entry{Volume: s.encode(v), Status: &csi.ListVolumesResponse_VolumeStatus{}})
	}
	return out, nil
}

func (s *controller) ControllerGetVolume(ctx context.Context, r *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	h, err := parseHandle(r.GetVolumeId(), s.classes.Get().VolumeGroups())
	if err != nil {
		return nil, err
	}
	v, err := s.persistent.find(ctx, h)
	if err != nil {
		return nil, err
	}
	return &csi.ControllerGetVolumeResponse{Volume: s.encode(v), Status: &csi.ControllerGetVolumeResponse_VolumeStatus{}}, nil
}

func (s *controller) GetCapacity(ctx context.Context, r *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	p, err := decodeParameters(r.GetParameters())
	if err != nil {
		return nil, err
	}
	class, err := s.classes.Get().Named(p.class)
	if err != nil {
		return nil, err
	}
	if t := r.GetAccessibleTopology(); t != nil && t.GetSegments()[TopologyKey] != s.node {
		return &csi.GetCapacityResponse{}, nil // another node's: there is none of it here
	}
	fsType := p.fsType
	block := false
	for _, c := range r.GetVolumeCapabilities() {
		u, err := decodeUse(c)
		if err != nil {
			return &csi.GetCapacityResponse{}, nil //nolint:nilerr // nothing can be made for such a use
		}
		block, fsType = block || u.block, cmp.Or(u.fsType, fsType)
	}
	least := class.granularity()
	if !block {
		fs, err := filesystemNamed(cmp.Or(fsType, class.Filesystem))
		if err != nil {
			return nil, err
		}
		if least, err = lvm.RoundUp(fs.minimum, class.granularity()); err != nil {
			return nil, err
		}
	}
	free, err := s.persistent.capacity(ctx, class)
	if err != nil {
		return nil, err
	}
	return &csi.GetCapacityResponse{
		AvailableCapacity: free, MaximumVolumeSize: wrapperspb.Int64(free), MinimumVolumeSize: wrapperspb.Int64(least),
	}, nil
}
