// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"go.etcd.io/etcd/server/v3/embed"

	"github.com/podlv/podlv/sim/controlplane/supervise"
)

const (
	etcdName = "etcd"
	// A socket in the current folder, which is that of the control plane: nobody
	// else may open it, so that etcd needs no certificates.
	etcdURL = "unix://etcd.sock"
	// maxData is how large the data may become, in bytes.
	maxData = 8 << 30
)

// startEtcd starts etcd and returns when it answers.
func startEtcd(ctx context.Context, c *config, parts *supervise.Group) error {
	cfg := embed.NewConfig()
	cfg.Dir = c.path("etcd")
	cfg.UnsafeNoFsync = true // what a crash of this machine would lose, nobody wants back
	cfg.QuotaBackendBytes = maxData
	cfg.LogLevel = "error"
	cfg.LogOutputs = []string{c.path("logs", "etcd.log")}
	listen, err := url.Parse(etcdURL)
	if err != nil {
		return err
	}
	// A member without others has no peers to listen to. What it advertises must be
	// a host and a port, and nobody uses it.
	nobody := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{*listen}, nobody
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = nil, nobody
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("%s: %w", etcdName, err)
	}
	parts.Go(etcdName, func(ctx context.Context) error {
		defer e.Close()
		select {
		case <-ctx.Done():
			return nil
		case err := <-e.Err():
			return err
		case <-e.Server.StopNotify():
			return errors.New("it stopped; see logs/etcd.log")
		}
	})
	select {
	case <-e.Server.ReadyNotify():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
