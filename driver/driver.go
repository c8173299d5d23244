// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

// Config is all that an agent is given. It makes nothing of this itself, so that
// a simulator can run a thousand agents on shared parts.
type Config struct {
	NodeName string // the Kubernetes node's
	Version  string // for GetPluginInfo
	Socket   string // path of the CSI socket
	// RegistrationDir is kubelet's plugins_registry folder. Empty: no registration.
	RegistrationDir string
	// HTTPAddress serves /metrics, /healthz and /readyz. Empty: not served.
	HTTPAddress string

	Classes    *ClassSource
	Runner     lvm.Runner
	Stamp      func(device string) (string, error) // lvm.Stamp
	Mounter    Mounter
	Devices    Devices
	Disks      Disks // nil: no devices are taken for VGs
	Filesystem Filesystem
	Cluster    *Cluster             // nil: nothing is provisioned for claims
	Pods       Pods                 // nil without a Kubernetes API
	Kubelet    Witness              // what kubelet has on disk; nil only with the reaper off
	Events     record.EventRecorder // nil without a Kubernetes API
	Reaper     ReaperConfig
	// CapacityPeriod is the least time between two writes of a node's capacity objects; 0:
	// they are written at once. The simulator compares with drivers that poll.
	CapacityPeriod time.Duration
	// Metrics is where the agent's metrics are registered. nil: in a registry of its
	// own, which HTTPAddress serves as it does this one.
	Metrics *prometheus.Registry
	Clock   clock.Clock
	Log     *slog.Logger
}

// Driver is the agent of one node.
type Driver struct {
	config   Config
	client   *lvm.Client
	model    *model
	publish  *publisher // nil without a Cluster
	settle   *settler
	keeper   *keeper
	reaper   *reaper
	setup    *setup
	identity *identity
	node     *node
	control  *controller
	metrics  *metrics
	registry *prometheus.Registry
}

// New puts an agent together. It touches nothing yet.
func New(c Config) (*Driver, error) {
	if c.NodeName == "" {
		return nil, fmt.Errorf("%w: the node's name is empty", errInvalid)
	}
	if err := c.Reaper.Validate(); err != nil {
		return nil, err
	}
	witnesses := map[string]Witness{}
	if c.Reaper.Interval > 0 {
		if c.Kubelet == nil {
			return nil, fmt.Errorf("%w: the reaper needs kubelet's folders as a witness", errInvalid)
		}
		witnesses["kubelet's folders"] = c.Kubelet
		switch {
		case c.Pods != nil:
			witnesses["the API server"] = apiWitness{c.Pods}
		case !c.Reaper.WithoutAPI:
			return nil, fmt.Errorf("%w: the reaper needs the API server as a witness", errInvalid)
		}
	}
	d := &Driver{config: c, registry: cmp.Or(c.Metrics, prometheus.NewRegistry())}
	observe := func(verb, result string, took time.Duration) {
		d.metrics.commands.WithLabelValues(verb, result).Observe(took.Seconds())
	}
	var err error
	if d.client, err = lvm.NewClient(&measured{next: c.Runner, observe: observe}, Owner); err != nil {
		return nil, err
	}
	if d.metrics, err = newMetrics(d.registry, d.client.Running); err != nil {
		return nil, err
	}
	c.Classes.on(d.labels)
	d.model = newModel(d.client, c.Stamp, c.Clock)
	d.settle = newSettler(d.client, c.Clock, c.Log)
	if c.Cluster != nil {
		if d.publish, err = newPublisher(c, d.model); err != nil {
			return nil, err
		}
	}
	if err := d.registry.Register(newPoolMetrics(c.Classes, d.model, d.publish, c.Log)); err != nil {
		return nil, err
	}
	space := &spaceWaiter{lvm: d.client, model: d.model, publisher: d.publish, pods: c.Pods, clock: c.Clock, log: c.Log}
	d.keeper = newKeeper(d.client, c.Classes, space, events{recorder: c.Events, node: c.NodeName}, c.Clock, c.Log)
	d.identity = &identity{version: c.Version, prober: &prober{lvm: d.client, model: d.model, classes: c.Classes}}
	volumes := &persistent{
		lvm: d.client, model: d.model, devices: c.Devices, filesystem: c.Filesystem, mounts: c.Mounter, settle: d.settle, space: space,
		keeper: d.keeper, clock: c.Clock, metrics: d.metrics, log: c.Log,
	}
	d.node = &node{
		name: c.NodeName, classes: c.Classes, filesystem: c.Filesystem, mounts: c.Mounter, devices: c.Devices, persistent: volumes,
		inline: &inline{
			lvm: d.client, classes: c.Classes, places: newPlaces(), mounts: c.Mounter, devices: c.Devices, filesystem: c.Filesystem, settle: d.settle, space: space,
			events: events{recorder: c.Events, node: c.NodeName}, log: c.Log,
		},
	}
	volumes.locks = &d.node.locks
	d.control = &controller{node: c.NodeName, classes: c.Classes, persistent: volumes, locks: &d.node.locks, stumbled: func(string) {}}
	if d.publish != nil {
		d.control.stumbled = d.publish.coming.stumbled
	}
	d.reaper = &reaper{
		config: c.Reaper, lvm: d.client, mounts: c.Mounter, witnesses: witnesses, cluster: c.Cluster, locks: &d.node.locks, persistent: volumes,
		classes: c.Classes, freed: space.freed, metrics: d.metrics, clock: c.Clock, log: c.Log,
	}
	d.setup = &setup{
		lvm: d.client, model: d.model, classes: c.Classes, disks: c.Disks, events: events{recorder: c.Events, node: c.NodeName}, metrics: d.metrics, space: space, publish: d.publish, refused: map[string]refusedGrowth{}, clock: c.Clock, log: c.Log,
	}
	if d.publish != nil {
		d.setup.tell = func(h health) { d.publish.health.Store(&h) }
	}
	return d, nil
}

// labels are those of the node; none without a Kubernetes API.
func (d *Driver) labels(ctx context.Context) (map[string]string, error) {
	if d.config.Cluster == nil {
		return nil, nil
	}
	node, err := d.config.Cluster.Client.CoreV1().Nodes().Get(ctx, d.config.NodeName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return node.Labels, nil
}

// Run serves until ctx ends, and then until the calls and commands that run have
// ended. It returns an error when it could not start, or had to stop by itself.
func (d *Driver) Run(ctx context.Context) error {
	socket, err := listen(d.config.Socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(interceptor(d.config.Log, d.metrics)))
	csi.RegisterIdentityServer(server, d.identity)
	csi.RegisterControllerServer(server, d.control)
	csi.RegisterNodeServer(server, d.node)

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	provision := func(context.Context) error { return nil }
	snapshots := provision
	if d.config.Cluster != nil && d.config.Cluster.Snapshots != nil {
		if snapshots, err = d.snapshotter(); err != nil {
			return errors.Join(fmt.Errorf("snapshots: %w", err), socket.Close())
		}
	}
	if d.config.Cluster != nil {
		if provision, err = d.provisioner(ctx); err == nil {
			err = d.publish.watch()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("provisioner: %w", err), socket.Close())
		}
	}
	var tasks sync.WaitGroup
	task := func(name string, run func() error) {
		tasks.Add(1)
		go func() {
			defer tasks.Done()
			if err := run(); err != nil {
				stop(fmt.Errorf("%s: %w", name, err))
			}
		}()
	}
	task("serve CSI", func() error { return server.Serve(socket) })
	task("set up pools", func() error { d.setup.run(ctx); return nil })
	task("recover", func() error { d.recoverUntilDone(ctx); return nil })
	task("provision", func() error { return provision(ctx) })
	task("snapshots", func() error { return snapshots(ctx) })
	if d.config.Cluster != nil {
		task("protect clones", func() error { d.protectClones(ctx); return nil })
	}
	if d.publish != nil {
		task("publish capacity", func() error { d.publish.run(ctx); return nil })
	}
	task("settle", func() error { d.settle.run(ctx); return nil })
	task("keep thick snapshots", func() error { d.keeper.run(ctx); return nil })
	task("reap", func() error { d.reaper.run(ctx); return nil })
	task("device classes", func() error {
		d.config.Classes.watch(ctx, d.client, d.config.Clock, d.config.Log)
		return nil
	})
	closers := []io.Closer{}
	if d.config.RegistrationDir != "" {
		registrar, err := d.register(task)
		if err != nil {
			stop(err)
		} else {
			closers = append(closers, registrar)
		}
	}
	if d.config.HTTPAddress != "" {
		web, err := serveHTTP(d.config.HTTPAddress, d.registry, d.identity.ready, task)
		if err != nil {
			stop(err)
		} else {
			closers = append(closers, web)
		}
	}
	d.config.Log.Info("serving", "socket", d.config.Socket, "node", d.config.NodeName, "version", d.config.Version)
	<-ctx.Done()
	for _, c := range closers {
		_ = c.Close() // closing: there is nobody left to tell
	}
	stopServer(server)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	d.control.persistent.jobs.stopAll(ending)
	cancel()
	tasks.Wait()
	d.waitForCommands()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// callTime is how long the agent waits for calls that it is serving when it stops:
// most take a second, but one may wait for space. stopTime is how long it waits
// for lvm commands. Both fit into the 30 seconds that Kubernetes gives a pod.
const (
	callTime = 5 * time.Second
	stopTime = 20 * time.Second
)

// stopServer lets calls end, cancels those that take too long, and leaves behind
// those that hang even so: in a tool that waits for a disk.
func stopServer(server *grpc.Server) {
	done := make(chan struct{})
	go func() {
		server.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-time.After(callTime):
	}
	go server.Stop()
	select {
	case <-done:
	case <-time.After(callTime):
	}
}

// waitForCommands lets lvm commands end that nobody waits for any more: the end
// of a container kills all in it.
func (d *Driver) waitForCommands() {
	deadline := time.Now().Add(stopTime)
	for len(d.client.Running()) > 0 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	for _, r := range d.client.Running() {
		d.config.Log.Error("stopping while an lvm command runs", "verb", r.Args[0], "vg", r.VG, "since", r.Since)
	}
}

// grpcCloser stops a gRPC server.
type grpcCloser struct{ *grpc.Server }

func (c grpcCloser) Close() error { c.Stop(); return nil }

// serveHTTP serves metrics and health. Liveness does not ask LVM: a restart would
// not make a hung disk answer, and would kill lvm in the middle of a write.
func serveHTTP(address string, registry *prometheus.Registry, ready func(context.Context) error, task func(string, func() error)) (io.Closer, error) {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		if err := ready(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics and health: %w", err)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	task("serve metrics and health", func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return server, nil
}

// listen listens on a unix socket. One that a dead process left is replaced; one
// that answers is an error.
func listen(path string) (net.Listener, error) {
	if err := removeSocket(path); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", path, err)
	}
	return l, nil
}

// removeSocket removes a socket that nobody answers on, if there is one.
func removeSocket(path string) error {
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = conn.Close() // only asked whether somebody is there
		return fmt.Errorf("socket %s is in use: another process answers on it; is another podlv running on this node?", path)
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("socket %s: %w", path, err)
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("socket %s: something that is not a socket is there; it is left alone", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("socket %s: %w", path, err)
	}
	return nil
}
