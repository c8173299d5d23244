// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Name is the CSI driver's name.
const Name = "podlv.dev"

// TopologyKey labels the node that a volume is on.
const TopologyKey = "topology.podlv.dev/node"

// topology is where the volumes of a node are.
func topology(node string) *csi.Topology {
	return &csi.Topology{Segments: map[string]string{TopologyKey: node}}
}

// identity is the CSI Identity service.
type identity struct {
	csi.UnimplementedIdentityServer
	version string
	prober  *prober // nil where there is no LVM to ask
}

// ready is nil when LVM answers and has what the device classes need.
func (s *identity) ready(ctx context.Context) error {
	if s.prober == nil {
		return nil
	}
	return s.prober.ready(ctx)
}

var _ csi.IdentityServer = &identity{}

func (s *identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: Name, VendorVersion: s.version}, nil
}

// pluginServices are among what GetPluginCapabilities says.
var pluginServices = []csi.PluginCapability_Service_Type{
	csi.PluginCapability_Service_CONTROLLER_SERVICE,
	csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS,
}

func (s *identity) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	r := &csi.GetPluginCapabilitiesResponse{}
	for _, t := range pluginServices {
		r.Capabilities = append(r.Capabilities, &csi.PluginCapability{
			Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: t}},
		})
	}
	r.Capabilities = append(r.Capabilities, &csi.PluginCapability{
		Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{
			Type: csi.PluginCapability_VolumeExpansion_ONLINE,
		}},
	})
	return r, nil
}

// Probe asks LVM for a report: the plugin is ready when LVM answers and has what
// the device classes need. It is for readiness; a liveness probe that depends on
// LVM would restart the agent in the middle of a write.
func (s *identity) Probe(ctx context.Context, _ *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}
