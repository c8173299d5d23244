// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/controller"
)

// controllerFlags are the flags of podlv controller.
type controllerFlags struct {
	config     string
	kubeconfig string
	socket     string
	http       string
	logLevel   string
	elect      bool
	lease      controller.Lease
	delay      time.Duration
}

func controllerCommand() *cobra.Command {
	f := &controllerFlags{}
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Run what the cluster needs once: events on what cannot work, nodes that are gone, external-resizer's socket",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "/etc/podlv/classes.yaml", "file of pools and device classes; it is read again in each pass")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file (default: the pod's service account)")
	flags.StringVar(&f.socket, "csi-socket", "/csi/csi.sock", "path of the CSI socket, for external-resizer")
	flags.StringVar(&f.http, "http-address", "", "address for /metrics, /healthz and /readyz, such as :9809 (default: not served)")
	flags.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.DurationVar(&f.delay, "node-loss-delay", time.Hour, "how long a Node must have been gone before claims of it are deleted, where their StorageClass wants that; it begins anew when the controller restarts")
	flags.BoolVar(&f.elect, "leader-election", true, "work only while this controller holds the lease")
	flags.StringVar(&f.lease.Namespace, "lease-namespace", "podlv-system", "namespace of the lease")
	flags.StringVar(&f.lease.Name, "lease-name", "podlv-controller", "name of the lease")
	flags.StringVar(&f.lease.Identity, "lease-identity", "", "this controller's name in the lease (default: the host's name, which is the pod's)")
	return cmd
}

func (f *controllerFlags) run(ctx context.Context, cmd *cobra.Command) error {
	log, err := newLog(cmd, f.logLevel)
	if err != nil {
		return err
	}
	classes := func() (*driver.Classes, error) {
		source, err := driver.LoadClasses(f.config)
		if err != nil {
			return nil, err
		}
		return source.Get(), nil
	}
	if _, err := classes(); err != nil {
		return err
	}
	client, err := newClient(f.kubeconfig, "use --kubeconfig")
	if err != nil {
		return err
	}
	klog.SetSlogLogger(log) // leader election's, which has no other way to say anything
	registry := prometheus.NewRegistry()
	config := controller.Config{Client: client, Classes: classes, NodeLossDelay: f.delay, Registry: registry, Clock: clock.RealClock{}, Log: log}
	if f.elect {
		if f.lease.Identity == "" {
			if f.lease.Identity, err = os.Hostname(); err != nil {
				return err
			}
		}
		config.Lease = &f.lease
	}
	c, err := controller.New(config)
	if err != nil {
		return err
	}
	log.Info("serving", "socket", f.socket, "version", version)
	socket := driver.CapabilityServer{Version: version, Socket: f.socket, HTTPAddress: f.http, Registry: registry, Ready: c.Ready, Log: log}
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return socket.Run(ctx) })
	parts.Go(func() error { return c.Run(ctx) })
	return parts.Wait()
}
