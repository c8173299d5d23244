// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"log/slog"

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
