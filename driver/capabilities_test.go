// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/podlv/podlv/driver"
)

// What external-resizer asks before it starts, in its order: with these answers it leaves
// every expansion to the node.
func TestCapabilityServerAnswersTheResizer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "csi.sock")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- driver.CapabilityServer{Version: "v1", Socket: socket, Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)}.Run(ctx)
	}()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"))
	require.NoError(t, err)
	defer conn.Close()
	call, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()

	probe, err := csi.NewIdentityClient(conn).Probe(call, &csi.ProbeRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.True(t, probe.GetReady().GetValue())
	info, err := csi.NewIdentityClient(conn).GetPluginInfo(call, &csi.GetPluginInfoRequest{})
	require.NoError(t, err)
	require.Equal(t, driver.Name, info.GetName())
	plugin, err := csi.NewIdentityClient(conn).GetPluginCapabilities(call, &csi.GetPluginCapabilitiesRequest{})
	require.NoError(t, err)
	services, expansion := []csi.PluginCapability_Service_Type{}, csi.PluginCapability_VolumeExpansion_UNKNOWN
	for _, c := range plugin.GetCapabilities() {
		if c.GetService() != nil {
			services = append(services, c.GetService().GetType())
		}
		if c.GetVolumeExpansion() != nil {
			expansion = c.GetVolumeExpansion().GetType()
		}
	}
	require.Contains(t, services, csi.PluginCapability_Service_CONTROLLER_SERVICE)
	require.Equal(t, csi.PluginCapability_VolumeExpansion_ONLINE, expansion)

	control, err := csi.NewControllerClient(conn).ControllerGetCapabilities(call, &csi.ControllerGetCapabilitiesRequest{})
	require.NoError(t, err)
	require.Empty(t, control.GetCapabilities())
	node, err := csi.NewNodeClient(conn).NodeGetCapabilities(call, &csi.NodeGetCapabilitiesRequest{})
	require.NoError(t, err)
	expands := false
	for _, c := range node.GetCapabilities() {
		expands = expands || c.GetRpc().GetType() == csi.NodeServiceCapability_RPC_EXPAND_VOLUME
	}
	require.True(t, expands)

	_, err = csi.NewControllerClient(conn).CreateVolume(call, &csi.CreateVolumeRequest{Name: "x"})
	require.Equal(t, codes.Unimplemented, status.Code(err))
	stop()
	require.NoError(t, <-ended)
}
