// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/fakemount"
	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/router"
)

// process is a part of a node that runs.
type process struct {
	cancel context.CancelFunc
	done   chan struct{}
	view   *router.Node // what it is told of
}

// start runs a part. When it ends, and was not told to, the cluster has failed.
func (n *Node) start(what string, view *router.Node, run func(context.Context) error) *process {
	ctx, cancel := context.WithCancel(n.cluster.ctx)
	p := &process{cancel: cancel, done: make(chan struct{}), view: view}
	view.Delay(n.lag)
	n.cluster.task(func() error {
		defer close(p.done)
		err := run(ctx)
		if ctx.Err() != nil {
			return nil // it was told to
		}
		return n.must(what, err)
	})
	return p
}

// end ends a part and waits for that.
func (p *process) end() {
	p.cancel()
	<-p.done
	p.view.Leave()
}

// startKubelet starts the kubelet. The caller holds mu.
func (n *Node) startKubelet(ctx context.Context) error {
	c := n.cluster
	view, core := c.Router.Join(n.Name), c.Router.Factory().Core().V1()
	k := kubelet.New(kubelet.Config{
		Node: n.object(), Client: c.Client, Pods: view.Pods(), LocalVolumes: view.Volumes(),
		Nodes: core.Nodes().Lister(), Claims: core.PersistentVolumeClaims().Lister(), Volumes: core.PersistentVolumes().Lister(),
		Host: n.Host, PluginsRegistry: n.registryDir(), StatsPeriod: time.Minute,
		LeaseDuration: time.Duration(c.config.Scenario.Settings.NodeGracePeriod) * 4 / 5, // 40 s of 50 s
		Dial:          n.dial, Events: c.recorder("kubelet", n.Name), Observer: c.config.Observer, Clock: clock.RealClock{}, Log: c.config.Log,
	})
	if err := k.Register(ctx); err != nil {
		return err
	}
	n.kubelet = n.start("kubelet", view, k.Run)
	return nil
}

// agent is one run of podlv's agent.
type agent struct {
	*process
	machine

	mu    sync.Mutex
	conns []net.Conn // of kubelet, to it
}

// startAgent starts the agent. The caller holds mu.
func (n *Node) startAgent() error {
	c := n.cluster
	view := c.Router.Join(n.Name)
	a := &agent{machine: machine{Fake: fakemount.Fake{Host: n.Host}, host: n.Host, dead: make(chan struct{})}}
	metrics := prometheus.NewRegistry()
	d, err := driver.New(driver.Config{
		NodeName: n.Name, Version: "simulated", Socket: n.socket(), RegistrationDir: n.registryDir(),
		Classes: driver.FixedClasses(c.config.Scenario.Storage.Classes), Runner: a, Stamp: n.Host.Stamp,
		Mounter: a, Devices: a, Disks: a, Filesystem: a,
		Cluster: view.Cluster(c.Client, Namespace), Pods: driver.NewPods(c.Client, n.Name), Kubelet: folders{n.Host},
		Events: c.recorder(driver.Name, n.Name), Reaper: driver.DefaultReaper(), Metrics: metrics,
		CapacityPeriod: time.Duration(c.config.Scenario.Settings.CapacityPeriod),
		Clock:          clock.RealClock{}, Log: c.config.Log.With("node", n.Name),
	})
	if err != nil {
		view.Leave()
		return err
	}
	n.metrics.add(metrics)
	n.agent.Store(a) // kubelet may come at once
	a.process = n.start("agent", view, d.Run)
	return nil
}

// kill ends the agent as SIGKILL does: nobody hears from it any more, and nothing more
// that it does happens. What it has begun of the machine's, such as an lvm command, goes
// on.
func (a *agent) kill() {
	a.cut()
	a.end()
}

// cut ends what connects the agent with the rest of the machine.
func (a *agent) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		_ = c.Close() // the other side sees that
	}
	a.conns = nil
	close(a.dead)
}

// dial connects kubelet to the agent.
func (n *Node) dial(ctx context.Context, socket string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	if a := n.agent.Load(); a == nil || !a.keep(conn) {
		_ = conn.Close()
		return nil, syscall.ECONNREFUSED
	}
	return conn, nil
}

// keep takes up a connection, unless the agent is dead.
func (a *agent) keep(conn net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.dead:
		return false
	default:
		a.conns = append(a.conns, conn)
		return true
	}
}
