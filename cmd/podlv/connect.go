// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// newClient reaches the API server, as restConfig says.
func newClient(kubeconfig, remedy string) (kubernetes.Interface, error) {
	config, err := restConfig(kubeconfig, remedy)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// restConfig is how to reach the API server: as a kubeconfig file says, or as the
// pod's service account. remedy is what a person can do when that fails.
func restConfig(kubeconfig, remedy string) (*rest.Config, error) {
	read := rest.InClusterConfig
	if kubeconfig != "" {
		read = func() (*rest.Config, error) { return clientcmd.BuildConfigFromFlags("", kubeconfig) }
	}
	config, err := read()
	if err != nil {
		return nil, fmt.Errorf("reach the Kubernetes API: %w (%s)", err, remedy)
	}
	config.UserAgent = "podlv/" + version
	// A burst of claims must not make capacity late. The API server has its own ways
	// to be fair (API Priority and Fairness).
	config.QPS, config.Burst = 50, 100
	return config, nil
}

// newLog writes text to stderr.
func newLog(cmd *cobra.Command, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: must be debug, info, warn or error", level)
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: l})), nil
}
