// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// registration answers kubelet's plugin watcher, which calls any socket in its
// plugins_registry folder: two RPCs that spare a sidecar container.
type registration struct {
	registerapi.UnsafeRegistrationServer
	endpoint string // the CSI socket, as kubelet sees it
	log      *slog.Logger
}

var _ registerapi.RegistrationServer = &registration{}

func (r *registration) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: Name, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

func (r *registration) NotifyRegistrationStatus(_ context.Context, s *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	if s.GetPluginRegistered() {
		r.log.Info("registered with kubelet")
	} else {
		// kubelet tries again by itself; the agent stays, mounted volumes need it.
		r.log.Error("kubelet refused the registration", "error", s.GetError())
	}
	return &registerapi.RegistrationStatusResponse{}, nil
}

// register serves kubelet's registration on a socket of its own.
func (d *Driver) register(task func(string, func() error)) (io.Closer, error) {
	socket, err := listenForKubelet(d.config.RegistrationDir)
	if err != nil {
		return nil, fmt.Errorf("kubelet registration: %w", err)
	}
	server := grpc.NewServer()
	registerapi.RegisterRegistrationServer(server, &registration{endpoint: d.config.Socket, log: d.config.Log})
	task("serve registration", func() error { return server.Serve(socket) })
	return grpcCloser{server}, nil
}

// listenForKubelet listens on a socket that has a name of its own in each boot of
// the node, and removes those of earlier boots.
//
// A power cut leaves the socket's file behind. kubelet finds it as it starts and
// dials it with growing pauses, for 10 s; it does nothing else about that path
// until then, and pods wait. A path that it has not seen it registers at once.
// Within one boot the name stays: kubelet unregisters a path that went in no
// particular order with registering one that came.
func listenForKubelet(dir string) (net.Listener, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	id, _, _ := strings.Cut(string(boot), "-") // as short as it may be: a socket's path has 108 bytes
	path := filepath.Join(dir, Name+"-"+id+"-reg.sock")
	earlier, err := filepath.Glob(filepath.Join(dir, Name+"-*-reg.sock"))
	if err != nil {
		return nil, err
	}
	for _, p := range earlier {
		if err := removeSocket(p); err != nil {
			return nil, err
		}
	}
	return listen(path)
}
