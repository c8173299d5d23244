// SPDX-License-Identifier: Apache-2.0

// Package kubetest gives a test, or a benchmark, the simulator's control plane and an
// administrator's client of it, its Cluster. Watching is for tests with a fake API server.
package kubetest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podlv/podlv/sim/kube"
)

// bound is within what a control plane must be ready on a busy machine that several of
// them share; see docs/performance.md for a quiet one.
const bound = 2 * time.Minute

// Cluster is a control plane that ends with its test. It has no nodes, and believes
// for an hour in those that are made: nobody renews their Leases.
type Cluster struct {
	// Kubeconfig is the path of an administrator's (system:masters).
	Kubeconfig string
	// Config is that administrator's, without a limit of requests, and without the
	// API server's warnings.
	Config *rest.Config
	// Client is one of Config.
	Client kubernetes.Interface
}

// Start starts the control plane whose program kube.Find finds with $PODLV_CACHE, and
// returns when it works. Without the program the test fails.
func Start(t testing.TB) *Cluster {
	t.Helper()
	program, err := kube.Find(os.Getenv("PODLV_CACHE"))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	plane, err := kube.Start(ctx, kube.Config{Program: program, Dir: t.TempDir(), NodeMonitorGracePeriod: time.Hour})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, plane.Stop()) })
	config, err := clientcmd.BuildConfigFromFlags("", plane.Kubeconfig)
	require.NoError(t, err)
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return &Cluster{Kubeconfig: plane.Kubeconfig, Config: config, Client: client}
}
