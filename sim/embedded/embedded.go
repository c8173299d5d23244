// SPDX-License-Identifier: Apache-2.0

// Package embedded runs a cluster of fake nodes on one machine: a real control plane
// in a child process, and in this one for each node the production agent, over real
// gRPC, on a fake machine, and a fake kubelet.
//
// There are only a Config, the Cluster that Start makes of it, and its Nodes. Nothing
// needs root, a disk or a container engine, and nothing leaves 127.0.0.1.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/sim/install"
	"github.com/podlv/podlv/sim/kube"
	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/router"
	"github.com/podlv/podlv/sim/scenario"
)

// Namespace is where the agents' capacity objects are.
const Namespace = "podlv-system"

// Config is what a cluster is made from.
type Config struct {
	// Program is the control plane's: kube.Find looks for it.
	Program string
	// Dir is a folder for state, sockets and logs. It must exist and be empty, its path
	// must be short: sockets in it have names of up to 107 bytes. It is not removed.
	Dir string
	// Scenario says which nodes there are, and what their agents are told of storage.
	Scenario *scenario.Scenario
	// Observer is told what the kubelets do.
	Observer kubelet.Observer
	// Log is for what agents and kubelets log.
	Log *slog.Logger
	// Progress is told what is done now.
	Progress func(format string, args ...any)
}

// Cluster is one that runs.
type Cluster struct {
	Client     kubernetes.Interface
	Kubeconfig string // of an administrator, for kubectl
	Router     *router.Router
	Nodes      []*Node
	// ControlPlaneTime is how long the control plane took until it was ready.
	ControlPlaneTime time.Duration

	config  Config
	byName  map[string]*Node
	plane   *kube.ControlPlane
	events  record.EventBroadcaster
	cancel  context.CancelCauseFunc
	ctx     context.Context
	running sync.WaitGroup
}

// Hosts makes the machines of a scenario's nodes, with their VGs. The error says which
// VG LVM would not make.
func Hosts(s *scenario.Scenario) (map[string]*fakelvm.Host, error) {
	hosts := map[string]*fakelvm.Host{}
	var wrong error
	s.Each(func(name string, g *scenario.NodeGroup) {
		if wrong == nil {
			hosts[name], wrong = newHost(name, g)
		}
	})
	return hosts, wrong
}

// Start starts a cluster on machines that Hosts made, and returns when the scheduler
// knows what every node has. When ctx ends before, or something fails, nothing is left
// of it but what is in its folder. Afterwards ctx means nothing; the caller must call
// Stop.
func Start(ctx context.Context, c Config, hosts map[string]*fakelvm.Host) (*Cluster, error) {
	cluster := &Cluster{config: c, byName: map[string]*Node{}}
	cluster.ctx, cluster.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := cluster.start(ctx, hosts); err != nil {
		if cause := context.Cause(cluster.ctx); cause != nil {
			err = cause // what failed first
		}
		return nil, errors.Join(err, cluster.Stop())
	}
	return cluster, nil
}

func (c *Cluster) start(ctx context.Context, hosts map[string]*fakelvm.Host) error {
	// Whichever of the two ends first ends the other, until all is started.
	ctx, done := context.WithCancelCause(ctx)
	defer done(nil)
	defer context.AfterFunc(c.ctx, func() { done(context.Cause(c.ctx)) })()
	defer context.AfterFunc(ctx, func() { c.cancel(context.Cause(ctx)) })()
	c.config.Progress("starting the control plane")
	begin := time.Now()
	dir := filepath.Join(c.config.Dir, "control-plane")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	settings, err := c.controlPlane(dir)
	if err != nil {
		return err
	}
	if c.plane, err = kube.Start(ctx, settings); err != nil {
		return err
	}
	c.ControlPlaneTime, c.Kubeconfig = time.Since(begin), c.plane.Kubeconfig
	c.task(func() error {
		select {
		case <-c.plane.Ended():
			return c.plane.Stop()
		case <-c.ctx.Done():
			return nil
		}
	})
	if c.Client, err = newClient(c.plane.Kubeconfig); err != nil {
		return err
	}
	c.config.Progress("the API server answers after %.1f s; starting %d nodes", c.ControlPlaneTime.Seconds(), len(hosts))
	c.events = record.NewBroadcaster(record.WithContext(c.ctx))
	c.events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.Client.CoreV1().Events("")})
	installed := install.Config{Client: c.Client, Scenario: c.config.Scenario, Namespace: Namespace, Account: "podlv"}
	if err := installed.Driver(ctx); err != nil {
		return err
	}
	if c.Router, err = router.New(c.Client); err != nil {
		return err
	}
	if err := c.Router.Start(c.ctx); err != nil {
		return err
	}
	joining, joinCtx := errgroup.WithContext(ctx)
	joining.SetLimit(16)
	c.config.Scenario.Each(func(name string, g *scenario.NodeGroup) {
		n := &Node{Name: name, Host: hosts[name], cluster: c, group: g, dir: filepath.Join(c.config.Dir, "n", strconv.Itoa(len(c.Nodes)))}
		c.Nodes, c.byName[name] = append(c.Nodes, n), n
		joining.Go(func() error { return n.join(joinCtx) })
	})
	if err := joining.Wait(); err != nil {
		return err
	}
	if err := installed.Admitted(ctx); err != nil {
		return err
	}
	return installed.Published(ctx, c.Router.Factory().Core().V1().Nodes().Lister(), len(c.Nodes))
}

// task runs f beside everything else. An error of it ends the cluster.
func (c *Cluster) task(f func() error) {
	c.running.Add(1)
	go func() {
		defer c.running.Done()
		if err := f(); err != nil && c.ctx.Err() == nil {
			c.cancel(err)
		}
	}()
}

// Failed is closed when something that must run has ended; Stop then says why.
func (c *Cluster) Failed() <-chan struct{} { return c.ctx.Done() }

// Err is why the cluster failed, nil while it has not.
func (c *Cluster) Err() error { return context.Cause(c.ctx) }

// errStopped is the cause when nothing has failed.
var errStopped = errors.New("the cluster was stopped")

// Stop ends the nodes and then the control plane. The error says what failed before,
// or did not end.
func (c *Cluster) Stop() error {
	c.cancel(errStopped)
	c.running.Wait()
	if c.events != nil {
		c.events.Shutdown()
	}
	if c.Router != nil {
		c.Router.Stop()
	}
	var err error
	if c.plane != nil {
		err = c.plane.Stop()
	}
	if cause := context.Cause(c.ctx); !errors.Is(cause, errStopped) {
		return cause
	}
	return err
}

// Node is the node of a name, nil if there is none.
func (c *Cluster) Node(name string) *Node { return c.byName[name] }

// PID is the control plane's process id.
func (c *Cluster) PID() int { return c.plane.PID() }

// newClient is an administrator's, without a limit: there is nobody to be fair to.
func newClient(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.WarningHandler, config.UserAgent = -1, rest.NoWarnings{}, "podlv-sim"
	// Protobuf costs a fraction of JSON's time, on both sides.
	config.AcceptContentTypes, config.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf"
	return kubernetes.NewForConfig(config)
}

// recorder makes events of a component of a node.
func (c *Cluster) recorder(component, node string) record.EventRecorder {
	return c.events.NewRecorder(scheme.Scheme, eventSource(component, node))
}

// checkClasses says whether a machine has what the agents are told it has.
func (n *Node) checkClasses(ctx context.Context, classes *driver.Classes) error {
	client, err := newLVM(n.Host)
	if err != nil {
		return err
	}
	groups, err := client.VolumeGroups(ctx)
	if err != nil {
		return err
	}
	here, err := classes.On(n.group.Labels)
	if err == nil {
		err = here.Check(groups)
	}
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	return nil
}
