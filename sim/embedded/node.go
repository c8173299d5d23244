// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/scenario"
)

// Node is a fake machine with a real agent and a fake kubelet. Both can end and be
// started anew.
type Node struct {
	Name string
	Host *fakelvm.Host

	cluster *Cluster
	group   *scenario.NodeGroup
	dir     string // of its sockets

	agent   atomic.Pointer[agent] // nil: it does not run
	metrics registries

	mu      sync.Mutex // held while parts are started or ended
	kubelet *process   // nil: it does not run
	off     bool       // the machine has no power
	lag     time.Duration
}

// metadataSize is what LVM takes of a disk of its own accord, with the space that its
// extents leave: one extent of the usual 4 MiB.
const metadataSize = 4 << 20

// newHost makes a machine with the VGs of a group of nodes.
func newHost(name string, g *scenario.NodeGroup) (*fakelvm.Host, error) {
	h := fakelvm.New()
	h.SetName(name)
	disks := 0
	for _, v := range g.VolumeGroups {
		sizes := v.Disks
		if v.Size > 0 {
			sizes = []scenario.Size{v.Size + metadataSize}
		}
		var paths []string
		for _, size := range sizes {
			d := fakelvm.Disk{Path: diskPath(disks), Size: int64(size)}
			if err := h.AddDisk(d); err != nil {
				return nil, err
			}
			paths = append(paths, d.Path)
			disks++
		}
		if err := h.CreateVG(v.Name, paths...); err != nil {
			return nil, fmt.Errorf("node %s: %w", name, err)
		}
		for _, p := range v.ThinPools {
			_, complaint, code := h.Setup("lvcreate", "--type", "thin-pool", "--size", fmt.Sprintf("%db", p.Size), "--name", p.Name, v.Name)
			if code != 0 {
				return nil, fmt.Errorf("node %s: thin pool %s/%s: %s", name, v.Name, p.Name, complaint)
			}
		}
	}
	if err := h.MkdirAll(kubelet.Dir + "/pods"); err != nil {
		return nil, err
	}
	return h, nil
}

// newLVM is a client of a machine's LVM.
func newLVM(h *fakelvm.Host) (*lvm.Client, error) { return lvm.NewClient(h, driver.Owner) }

func (n *Node) socket() string { return filepath.Join(n.dir, "csi.sock") }

// socketLimit is what the name of a unix socket may have, bytes (unix(7), sun_path).
const socketLimit = 107

// join registers the node and starts its agent and its kubelet.
func (n *Node) join(ctx context.Context) error {
	c := n.cluster
	if err := n.checkClasses(ctx, c.config.Scenario.Storage.Classes); err != nil {
		return err
	}
	if longest := filepath.Join(n.registryDir(), driver.Name+"-12345678-reg.sock"); len(longest) > socketLimit {
		return fmt.Errorf("the folder %s has too long a name: sockets in it may have %d bytes; set TMPDIR to a shorter one", c.config.Dir, socketLimit)
	}
	if err := os.MkdirAll(n.registryDir(), 0o700); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.startKubelet(ctx); err != nil {
		return err
	}
	return n.startAgent()
}

func (n *Node) registryDir() string { return filepath.Join(n.dir, "r") }

// registries are the metrics of all agents that ever ran on a node.
type registries struct {
	mu  sync.Mutex
	all []prometheus.Gatherer
}

func (r *registries) add(g prometheus.Gatherer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, g)
}

// Metrics are those of all agents that ever ran on the node.
func (n *Node) Metrics() []prometheus.Gatherer {
	n.metrics.mu.Lock()
	defer n.metrics.mu.Unlock()
	return slices.Clone(n.metrics.all)
}

// must is an error of a part that has ended, which it must not.
func (n *Node) must(what string, err error) error {
	if err == nil {
		err = errors.New("it has ended")
	}
	return fmt.Errorf("%s of node %s: %w", what, n.Name, err)
}

// object is the node as its kubelet registers it. Topology labels are the CSI driver's.
func (n *Node) object() *corev1.Node {
	g := n.group
	labels := map[string]string{corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"}
	for k, v := range g.Labels {
		labels[k] = v
	}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: labels},
		Spec:       corev1.NodeSpec{Unschedulable: g.Unschedulable},
		Status: corev1.NodeStatus{Capacity: corev1.ResourceList{
			corev1.ResourceCPU:    g.CPU.Quantity,
			corev1.ResourceMemory: *resource.NewQuantity(int64(g.Memory), resource.BinarySI),
			corev1.ResourcePods:   *resource.NewQuantity(int64(g.Pods), resource.DecimalSI),
		}},
	}
	for name, q := range g.Resources {
		node.Status.Capacity[corev1.ResourceName(name)] = q.Quantity
	}
	for _, t := range g.Taints {
		node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: t.Key, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	return node
}

// folders is what kubelet has on the fake machine: a witness for the reaper.
type folders struct{ host *fakelvm.Host }

// Alive implements driver.Witness.
func (f folders) Alive(context.Context) (map[string]bool, error) {
	names, err := f.host.ReadDir(kubelet.Dir + "/pods")
	if err != nil {
		return nil, err
	}
	uids := map[string]bool{}
	for _, n := range names {
		uids[n] = true
	}
	return uids, nil
}

func eventSource(component, node string) corev1.EventSource {
	return corev1.EventSource{Component: component, Host: node}
}
