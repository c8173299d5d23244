// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/mounttest"
)

// freeAddress is one of loopback that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// serve runs an agent with its sockets until the test ends.
func serve(t *testing.T, n *fakeNode, change ...func(*driver.Config)) driver.Config {
	t.Helper()
	dir := t.TempDir()
	fake := mounttest.Fake{Host: n.host}
	config := driver.Config{
		NodeName: "node1", Version: "v1.2.3", Socket: filepath.Join(dir, "csi.sock"), RegistrationDir: filepath.Join(dir, "registry"),
		Classes: n.classes, Runner: n.host, Stamp: n.host.Stamp, Mounter: fake, Devices: fake, Filesystem: fake,
		Clock: n.clock, Log: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&config)
	}
	d, err := driver.New(config)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
		require.NoFileExists(t, config.Socket)
	})
	return config
}

func TestServices(t *testing.T) {
	n := newFakeNode(t)
	config := serve(t, n)
	node, id := dial(t, config.Socket)
	ctx := context.Background()

	info, err := id.GetPluginInfo(ctx, &csi.GetPluginInfoRequest{})
	require.NoError(t, err)
	require.Equal(t, "podlv.dev", info.GetName())
	require.Equal(t, "v1.2.3", info.GetVendorVersion())
	caps, err := id.GetPluginCapabilities(ctx, &csi.GetPluginCapabilitiesRequest{})
	require.NoError(t, err)
	require.Len(t, caps.GetCapabilities(), 3)
	probe, err := id.Probe(ctx, &csi.ProbeRequest{})
	require.NoError(t, err)
	require.True(t, probe.GetReady().GetValue())

	where, err := node.NodeGetInfo(ctx, &csi.NodeGetInfoRequest{})
	require.NoError(t, err)
	require.Equal(t, "node1", where.GetNodeId())
	require.Equal(t, map[string]string{"topology.podlv.dev/node": "node1"}, where.GetAccessibleTopology().GetSegments())
	can, err := node.NodeGetCapabilities(ctx, &csi.NodeGetCapabilitiesRequest{})
	require.NoError(t, err)
	require.Len(t, can.GetCapabilities(), 4)
	_, err = node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{})
	requireCode(t, err, codes.InvalidArgument)

	n.node = node
	v := newVolume("web", "64Mi")
	require.NoError(t, n.publish(v))
	stats, err := node.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: v.handle(), VolumePath: n.target(v)})
	require.NoError(t, err)
	require.Len(t, stats.GetUsage(), 2)
	_, err = node.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: v.handle(), VolumePath: "/elsewhere"})
	requireCode(t, err, codes.NotFound, "nothing is mounted at /elsewhere")
	_, err = node.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: newVolume("x", "1").handle(), VolumePath: n.target(v)})
	requireCode(t, err, codes.NotFound, "is mounted at")
	require.NoError(t, n.unpublish(v))
}

// registrationSocket waits until there is one, and only one.
func registrationSocket(t *testing.T, dir string) string {
	t.Helper()
	var sockets []string
	require.Eventually(t, func() bool {
		var err error
		sockets, err = filepath.Glob(filepath.Join(dir, "*.sock"))
		return err == nil && len(sockets) == 1
	}, 10*time.Second, 10*time.Millisecond)
	return sockets[0]
}

// deadSocket is what a power cut leaves: a socket's file that nobody listens on.
func deadSocket(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())
}

func TestRegistrationHasAPathOfItsOwnInEachBoot(t *testing.T) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	require.NoError(t, err)
	now := "podlv.dev-" + string(boot[:8]) + "-reg.sock"
	dir := filepath.Join(t.TempDir(), "registry")
	deadSocket(t, filepath.Join(dir, "podlv.dev-00000000-reg.sock")) // an earlier boot's
	deadSocket(t, filepath.Join(dir, now))                           // that of an agent that was killed
	deadSocket(t, filepath.Join(dir, "other.dev-00000000-reg.sock")) // another driver's

	serve(t, newFakeNode(t), func(c *driver.Config) { c.RegistrationDir = dir })
	require.Eventually(t, func() bool {
		conn, err := net.Dial("unix", filepath.Join(dir, now))
		return err == nil && conn.Close() == nil
	}, 10*time.Second, 10*time.Millisecond)
	require.NoFileExists(t, filepath.Join(dir, "podlv.dev-00000000-reg.sock"))
	require.FileExists(t, filepath.Join(dir, "other.dev-00000000-reg.sock"))
}

func TestRegistrationAtKubelet(t *testing.T) {
	config := serve(t, newFakeNode(t))
	conn, err := grpc.NewClient("unix:"+registrationSocket(t, config.RegistrationDir), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	client := registerapi.NewRegistrationClient(conn)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	info, err := client.GetInfo(ctx, &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.Equal(t, "CSIPlugin", info.GetType())
	require.Equal(t, "podlv.dev", info.GetName())
	require.Equal(t, config.Socket, info.GetEndpoint())
	require.Equal(t, []string{"1.0.0"}, info.GetSupportedVersions())
	for _, ok := range []bool{true, false} {
		_, err = client.NotifyRegistrationStatus(ctx, &registerapi.RegistrationStatus{PluginRegistered: ok, Error: "no"})
		require.NoError(t, err, "the agent stays whatever kubelet says")
	}
}

func TestHealthAndMetrics(t *testing.T) {
	n := newFakeNode(t)
	config := serve(t, n, func(c *driver.Config) { c.HTTPAddress = freeAddress(t) })
	dial(t, config.Socket)
	get := func(path string) (int, string) {
		t.Helper()
		var r *http.Response
		require.Eventually(t, func() bool {
			var err error
			r, err = http.Get("http://" + config.HTTPAddress + path)
			return err == nil
		}, 10*time.Second, 10*time.Millisecond)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return r.StatusCode, string(b)
	}
	code, _ := get("/healthz")
	require.Equal(t, http.StatusOK, code)
	code, _ = get("/readyz")
	require.Equal(t, http.StatusOK, code)
	_, text := get("/metrics")
	require.Contains(t, text, `podlv_lvm_command_duration_seconds_count{result="ok",verb="fullreport"}`)
	require.Contains(t, text, "podlv_lvm_commands_hung 0")

	require.NoError(t, n.host.TakeDisk("/dev/fake0"))
	code, text = get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, text, `there is no VG "vg0" on this node`)
	code, _ = get("/healthz")
	require.Equal(t, http.StatusOK, code, "a restart would not bring the disk back")
}

// A hung LVM must not keep the agent from serving, and from being asked whether it
// lives.
func TestAgentServesWhileLVMHangs(t *testing.T) {
	n := newFakeNode(t)
	release := n.host.Hang("fullreport")
	defer release()
	config := serve(t, n)
	_, id := dial(t, config.Socket)
	_, err := id.GetPluginInfo(context.Background(), &csi.GetPluginInfoRequest{})
	require.NoError(t, err)
}
