// SPDX-License-Identifier: Apache-2.0

// Package kind runs a scenario on a cluster of kind that it makes for it: real kubelets and
// containers, and the production agent as a DaemonSet, on a fake LVM whose volumes are
// sparse files behind loop devices, so that a node can have disks of any size.
//
// There are only a Config, with the sim.Target that it is, and what clears up after a
// process that could not: Leftovers and Remove. Each cluster has a name of its own that
// begins with Prefix; no other is ever touched.
package kind

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kind/pkg/cluster/nodes"

	"github.com/podlv/podlv/e2e/image"
	"github.com/podlv/podlv/e2e/kind"
	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/apiwatch"
	"github.com/podlv/podlv/sim/dress"
	"github.com/podlv/podlv/sim/install"
	"github.com/podlv/podlv/sim/oracle"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

// Prefix is what the names of all clusters begin with that this package makes.
const Prefix = "podlv-sim-"

// Config is how a cluster is made.
type Config struct {
	// NodeImage is that of the nodes; "" for kind's own.
	NodeImage string
	// Provider is docker, podman or nerdctl; "" for the one that is here.
	Provider string
	// Programs are what is put into the nodes: Find.
	Programs Programs
	// Dir is a folder for the image and the kubeconfig. It must exist; it is not removed.
	Dir string
}

// How long things may take.
const (
	readyTime    = 5 * time.Minute  // from the cluster's making until all agents have spoken
	quiet        = 20 * time.Second // without which nothing more is to come
	metricsEvery = time.Second
)

// Start is a sim.Target. It takes a minute or so, and of a node image that is not here as
// long as that takes to be pulled.
func (c Config) Start(ctx context.Context, p sim.Parts) (sim.Cluster, error) {
	if err := checkScenario(p.Scenario); err != nil {
		return nil, err
	}
	root, err := rootfs(c.Programs, p.Scenario)
	if err != nil {
		return nil, err
	}
	engine, err := c.engine(p.Progress)
	if err != nil {
		return nil, err
	}
	if err := leftovers(engine, p.Progress); err != nil {
		return nil, err
	}
	k := &cluster{
		config: c, engine: engine, name: Prefix + strings.ToLower(rand.Text()[:6]), log: p.Log, progress: p.Progress,
		scenario: p.Scenario, names: map[string]string{}, failed: make(chan struct{}),
	}
	k.ctx, k.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := k.start(ctx, root, p); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		return nil, errors.Join(err, k.Stop())
	}
	return k, nil
}

// cluster is one of kind.
type cluster struct {
	config   Config
	engine   *kind.Engine
	name     string
	log      *slog.Logger
	progress func(string, ...any)
	scenario *scenario.Scenario
	names    map[string]string // of the nodes, by the scenario's
	access   sim.Access
	watcher  *apiwatch.Watcher
	metrics  *apiwatch.Metrics

	ctx      context.Context
	end      context.CancelFunc
	running  sync.WaitGroup
	failure  sync.Once
	failed   chan struct{}
	err      error // read it after failed
	stopping sync.Once
	stopErr  error
}

func (k *cluster) start(ctx context.Context, root *image.Rootfs, p sim.Parts) error {
	begin := time.Now()
	config, err := clusterConfig(k.scenario)
	if err != nil {
		return err
	}
	k.progress("making cluster %s of kind, with %d nodes", k.name, len(config.Nodes)-1)
	kubeconfig := filepath.Join(k.config.Dir, "kubeconfig")
	if err := k.engine.Create(ctx, k.name, kubeconfig, k.config.NodeImage, config); err != nil {
		return err
	}
	made := time.Since(begin)
	k.progress("the API server answers; making the nodes' disks and agents")
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	defer context.AfterFunc(k.ctx, cancel)()
	archive := filepath.Join(k.config.Dir, "podlv.tar")
	if err := root.WriteFile(archive, image.Config{Name: imageName, Entrypoint: []string{agentPath}}); err != nil {
		return err
	}
	client, err := newClient(kubeconfig)
	if err != nil {
		return err
	}
	k.access = sim.Access{
		TargetName: "kind", Client: client, Kubeconfig: kubeconfig, Namespace: metav1.NamespaceDefault, AgentNamespace: agentNamespace,
		Names: k.names, Machines: map[string]oracle.Machine{}, Quiet: quiet, Dress: k.dress(),
	}
	workers, err := k.workers()
	if err != nil {
		return err
	}
	if err := k.prepare(ctx, workers, archive); err != nil {
		return err
	}
	if k.watcher, err = apiwatch.Watch(k.ctx, apiwatch.Config{Client: client, Namespace: k.access.Namespace, All: true, Observer: p.Observer, Uncounted: true}); err != nil {
		return err
	}
	k.access.Informers = k.watcher.Informers
	k.metrics = k.watcher.NewMetrics(apiwatch.Agents{Namespace: agentNamespace, Selector: agentSelector, Port: metricsPort})
	if err := k.install(ctx); err != nil {
		return err
	}
	k.access.Phases = []report.Phase{report.Took("control plane", made), report.Took("nodes", time.Since(begin)-made)}
	k.running.Go(func() { k.metrics.Poll(k.ctx, metricsEvery) })
	return nil
}

// install installs podlv and waits until all of it works.
func (k *cluster) install(ctx context.Context) error {
	installed := install.Config{Client: k.access.Client, Scenario: k.scenario, Namespace: agentNamespace, Account: agentAccount}
	if err := kind.ClearStorage(ctx, k.access.Client); err != nil {
		return err
	}
	if err := installed.Driver(ctx); err != nil {
		return err
	}
	if err := k.makeAgents(ctx); err != nil {
		return err
	}
	if err := installed.Admitted(ctx); err != nil {
		return err
	}
	if err := installed.Published(ctx, k.access.Informers.Core().V1().Nodes().Lister(), k.access.Nodes); err != nil {
		return fmt.Errorf("%w%s", err, k.agentsSay())
	}
	return nil
}

// workers are the nodes of kind for the scenario's, by the latter's names.
func (k *cluster) workers() (map[string]nodes.Node, error) {
	list, err := k.engine.Nodes(k.name)
	if err != nil {
		return nil, err
	}
	byName := map[string]nodes.Node{}
	for _, n := range list {
		byName[n.String()] = n
	}
	workers := map[string]nodes.Node{}
	k.scenario.Each(func(name string, _ *scenario.NodeGroup) {
		k.names[name] = kind.WorkerName(k.name, len(workers))
		workers[name] = byName[k.names[name]]
	})
	for name, n := range workers {
		if n == nil {
			return nil, fmt.Errorf("kind made no node %s, which was to be %s", k.names[name], name)
		}
	}
	k.access.Nodes = len(workers)
	return workers, nil
}

// dress is what pods run here. They may name a node of the scenario as its host name.
func (k *cluster) dress() func(*corev1.PodSpec, time.Duration) {
	wait := dress.With(imageName, corev1.PullNever)
	return func(spec *corev1.PodSpec, lifetime time.Duration) {
		wait(spec, lifetime)
		if name, ok := k.names[spec.NodeSelector[corev1.LabelHostname]]; ok {
			selector := map[string]string{}
			for key, value := range spec.NodeSelector { // it is the workload's, for all pods
				selector[key] = value
			}
			selector[corev1.LabelHostname] = name
			spec.NodeSelector = selector
		}
	}
}

// newClient is an administrator's, without a limit.
func newClient(kubeconfig string) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.WarningHandler, config.UserAgent = -1, rest.NoWarnings{}, "podlv-sim"
	return kubernetes.NewForConfig(config)
}

// Access implements sim.Cluster.
func (k *cluster) Access() sim.Access { return k.access }

// FailedCreates implements sim.Cluster.
func (k *cluster) FailedCreates() map[string]int {
	ctx, cancel := context.WithTimeout(k.ctx, 10*time.Second)
	defer cancel()
	if err := k.metrics.Read(ctx); err != nil {
		k.log.Warn("figures of failed calls may be too low", "error", err)
	}
	return k.metrics.FailedCreates()
}

// Failed implements sim.Cluster.
func (k *cluster) Failed() <-chan struct{} { return k.failed }

// Err implements sim.Cluster.
func (k *cluster) Err() error {
	select {
	case <-k.failed:
		return k.err
	default:
		return nil
	}
}

// fail ends the cluster.
func (k *cluster) fail(err error) {
	k.failure.Do(func() {
		k.err = err
		close(k.failed)
	})
}

// Stop implements sim.Cluster: it deletes the cluster and frees its loop devices.
func (k *cluster) Stop() error {
	k.stopping.Do(func() {
		k.end()
		k.running.Wait()
		if k.watcher != nil {
			k.watcher.Stop()
		}
		k.progress("deleting cluster %s", k.name)
		k.stopErr = errors.Join(k.Err(), k.engine.Remove(k.name, k.access.Kubeconfig), ignoreMissing(os.Remove(filepath.Join(k.config.Dir, "podlv.tar"))))
	})
	return k.stopErr
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
