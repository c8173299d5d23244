// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"github.com/podlv/podlv/e2e/kind"
)

// Kind is a cluster of kind in the place of microVMs: its nodes are containers with fake
// LVM, on loop devices of this host.
type Kind struct {
	// Name is the cluster's; no other may have it.
	Name string
	// NodeImage is that of the nodes; "" for kind's own.
	NodeImage string
	// Engine is docker, podman or nerdctl; "" for the one that is here.
	Engine string
	// FakeLVM is the path of the program fakelvm/lvm.
	FakeLVM string
}

// kindTime is how long a cluster of kind may take until it can be used, beside the pull of
// its node image.
const kindTime = 10 * time.Minute

// LVM is the nodes' fake LVM, which the image of podlv must have, too. It lies where the
// agents' containers see it at the same path, because its disks are named by it.
func (k *Kind) LVM() kind.FakeLVM {
	return kind.FakeLVM{Program: k.FakeLVM, Dir: "/var/lib/kubelet/" + k.Name}
}

// Missing says what this host lacks for a cluster of kind; nil when nothing is.
func (k *Kind) Missing() error {
	_, err := k.engine()
	return err
}

func (k *Kind) engine() (*kind.Engine, error) {
	return kind.Find(k.Engine, "run the tests on microVMs (make e2e-vm), which need none", func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
}

// Remove deletes the cluster, if there is one, and frees its loop devices.
func (k *Kind) Remove() error {
	e, err := k.engine()
	if err != nil {
		return err
	}
	names, err := e.Clusters(k.Name)
	if err != nil || len(names) == 0 {
		return err
	}
	return e.Remove(k.Name, "")
}

// startKind makes a cluster of kind with as many workers as there are nodes.
func (c *Cluster) startKind(ctx context.Context) error {
	k := c.cfg.Kind
	if len(c.cfg.Audited) > 0 {
		return errors.New("requests are not audited on kind")
	}
	engine, err := k.engine()
	if err != nil {
		return err
	}
	var names []string
	for n := 1; n <= c.cfg.Nodes; n++ {
		names = append(names, fmt.Sprintf("node-%d", n))
	}
	config, err := kind.ClusterConfig(names, c.cfg.Kubelet)
	if err != nil {
		return err
	}
	c.Kubeconfig = filepath.Join(c.cfg.Dir, "kubeconfig")
	if err := engine.Create(ctx, k.Name, c.Kubeconfig, k.NodeImage, config); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, kindTime)
	defer cancel()
	if err := c.connect(); err != nil {
		return err
	}
	list, err := engine.Nodes(k.Name)
	if err != nil {
		return err
	}
	byName := map[string]nodes.Node{}
	for _, n := range list {
		byName[n.String()] = n
	}
	controlPlane := &container{name: kind.ControlPlaneName(k.Name), node: byName[kind.ControlPlaneName(k.Name)], cluster: c}
	if controlPlane.apiServer, err = kind.Address(ctx, c.Client, controlPlane.name); err != nil {
		return err
	}
	all := []*container{controlPlane}
	for i, name := range names {
		n := &container{name: name, node: byName[kind.WorkerName(k.Name, i)], cluster: c, controlPlane: controlPlane.node, apiServer: controlPlane.apiServer}
		node := &Node{Name: name, cluster: c, machine: n, logs: filepath.Join(c.Logs(), name)}
		for i := range c.cfg.LVMDisks {
			node.disks = append(node.disks, fmt.Sprintf("%s/disk%d", k.LVM().Dir, i))
		}
		if err := os.Mkdir(node.logs, 0o755); err != nil {
			return err
		}
		c.nodes, all = append(c.nodes, node), append(all, n)
	}
	// Their images are loaded one after the other: it is the disk that takes the time.
	joining, joiningCtx := errgroup.WithContext(ctx)
	for i, n := range all {
		joining.Go(func() error {
			if i > 0 {
				if err := n.makeDisks(joiningCtx, k.LVM(), c.nodes[i-1].disks); err != nil {
					return err
				}
			}
			if err := kind.Connect(joiningCtx, c.Client, n.node, n.name); err != nil {
				return err
			}
			return n.network(joiningCtx)
		})
	}
	if err := joining.Wait(); err != nil {
		return err
	}
	for _, n := range c.nodes {
		if n.ip, err = kind.Address(ctx, c.Client, n.Name); err != nil {
			return err
		}
	}
	for _, file := range c.cfg.Images {
		// They may be made while the cluster is.
		if err := wait(ctx, time.Minute, func() error { _, err := os.Stat(file); return err }); err != nil {
			return err
		}
		for _, n := range all {
			if err := n.load(ctx, file); err != nil {
				return err
			}
		}
	}
	return kind.ClearStorage(ctx, c.Client)
}

// closeKind keeps the nodes' logs and deletes the cluster.
func (c *Cluster) closeKind() error {
	ctx, cancel := context.WithTimeout(context.Background(), kindTime)
	defer cancel()
	var wrong error
	for _, n := range c.nodes {
		m := n.machine.(*container)
		wrong = errors.Join(wrong, m.start(ctx)) // what is off has loop devices, too
		for _, unit := range []string{"kubelet", "containerd"} {
			log, warnings, err := kind.Output(ctx, m.node, "journalctl", "--no-pager", "--unit="+unit)
			wrong = errors.Join(wrong, err, os.WriteFile(filepath.Join(n.logs, unit+".log"), []byte(log+warnings), 0o644))
		}
	}
	return errors.Join(wrong, c.cfg.Kind.Remove())
}

// container is a node of kind.
type container struct {
	name         string // of the Node
	node         nodes.Node
	cluster      *Cluster
	controlPlane nodes.Node // nil for that itself
	apiServer    string     // the address of it

	mu  sync.Mutex
	off bool
}

// makeDisks gives the node fake LVM, with disks.
func (n *container) makeDisks(ctx context.Context, lvm kind.FakeLVM, disks []string) error {
	if err := lvm.Put(ctx, n.node); err != nil {
		return err
	}
	var commands []string
	for i, size := range n.cluster.cfg.LVMDisks {
		commands = append(commands, fmt.Sprintf("fakelvm fakelvm disk %s %d", disks[i], size))
	}
	return kind.Run(ctx, n.node, "make disks", strings.Join(commands, " && "))
}

// load loads an image's archive.
func (n *container) load(_ context.Context, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := nodeutils.LoadImageArchive(n.node, f); err != nil {
		return fmt.Errorf("load %s into %s: %w", filepath.Base(file), n.name, kind.Explain(err))
	}
	return nil
}

// toAPIServer is a script that makes the Service of the API server work on a node, on which
// no kube-proxy runs: for what runs on the node itself, and in its pods.
func (n *container) toAPIServer() string {
	var lines []string
	for _, chain := range []string{"PREROUTING", "OUTPUT"} {
		rule := fmt.Sprintf("%s --destination %s --protocol tcp --dport %s --jump DNAT --to-destination %s:6443", chain, serviceIP, apiPort, n.apiServer)
		lines = append(lines, fmt.Sprintf("iptables --table nat --check %s 2>/dev/null || iptables --table nat --append %s", rule, rule))
	}
	return strings.Join(lines, "\n")
}

// network lets pods of the node reach the API server, and it them.
func (n *container) network(ctx context.Context) error {
	if err := kind.Run(ctx, n.node, "let pods reach the API server", "set -e\n"+n.toAPIServer()); err != nil {
		return err
	}
	if n.controlPlane == nil {
		return nil
	}
	return kind.Route(ctx, n.cluster.Client, n.controlPlane, n.name)
}

func (n *container) start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.off {
		return nil
	}
	if err := kind.Boot(ctx, n.node, n.toAPIServer()); err != nil {
		return err
	}
	n.off = false
	return nil
}

func (n *container) kill() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.off {
		return nil
	}
	n.off = true
	return kind.Kill(n.cluster.ctx, n.node)
}

func (n *container) run(ctx context.Context, command []string) (output, warnings string, err error) {
	return kind.Output(ctx, n.node, command...)
}

func (n *container) stopKubelet(ctx context.Context) error {
	return kind.Run(ctx, n.node, "kill kubelet", "systemctl kill --signal=KILL kubelet; systemctl stop kubelet")
}

func (n *container) startKubelet(ctx context.Context) error {
	return kind.Run(ctx, n.node, "start kubelet", "systemctl start kubelet")
}
