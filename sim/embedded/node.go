// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
	"github.com/podlv/podlv/sim/fakemount"
	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/scenario"
)

// Node is a fake machine with a real agent and a fake kubelet.
type Node struct {
	Name string
	Host *fakelvm.Host
	// Metrics are the agent's.
	Metrics *prometheus.Registry

	cluster *Cluster
	dir     string // of its sockets
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
			d := fakelvm.Disk{Path: fmt.Sprintf("/dev/fake%d", disks), Size: int64(size)}
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

// socketLimit is what the name of a unix socket may have, bytes (unix(7), sun_path).
const socketLimit = 107

// join registers the node and starts its agent and its kubelet.
func (n *Node) join(ctx context.Context, g *scenario.NodeGroup) error {
	c := n.cluster
	if err := n.checkClasses(ctx, c.config.Scenario.Storage.Classes); err != nil {
		return err
	}
	socket, registry := filepath.Join(n.dir, "csi.sock"), filepath.Join(n.dir, "r")
	if longest := filepath.Join(registry, driver.Name+"-12345678-reg.sock"); len(longest) > socketLimit {
		return fmt.Errorf("the folder %s has too long a name: sockets in it may have %d bytes; set TMPDIR to a shorter one", c.config.Dir, socketLimit)
	}
	if err := os.MkdirAll(registry, 0o700); err != nil {
		return err
	}
	view := c.Router.Join(n.Name)
	core := c.Router.Factory().Core().V1()
	k := kubelet.New(kubelet.Config{
		Node: n.object(g), Client: c.Client, Pods: view.Pods(), LocalVolumes: view.Volumes(),
		Nodes: core.Nodes().Lister(), Claims: core.PersistentVolumeClaims().Lister(), Volumes: core.PersistentVolumes().Lister(),
		Host: n.Host, PluginsRegistry: registry, StatsPeriod: time.Minute,
		Events: c.recorder("kubelet", n.Name), Observer: c.config.Observer, Clock: clock.RealClock{}, Log: c.config.Log,
	})
	if err := k.Register(ctx); err != nil {
		return err
	}
	fake := fakemount.Fake{Host: n.Host}
	n.Metrics = prometheus.NewRegistry()
	agent, err := driver.New(driver.Config{
		NodeName: n.Name, Version: "simulated", Socket: socket, RegistrationDir: registry,
		Classes: driver.FixedClasses(c.config.Scenario.Storage.Classes), Runner: n.Host, Stamp: n.Host.Stamp,
		Mounter: fake, Devices: fake, Filesystem: fake,
		Cluster: view.Cluster(c.Client, Namespace), Pods: driver.NewPods(c.Client, n.Name), Kubelet: folders{n.Host},
		Events: c.recorder(driver.Name, n.Name), Reaper: driver.DefaultReaper(), Metrics: n.Metrics,
		Clock: clock.RealClock{}, Log: c.config.Log.With("node", n.Name),
	})
	if err != nil {
		return fmt.Errorf("agent of node %s: %w", n.Name, err)
	}
	c.task(func() error { return n.must("agent", agent.Run(c.ctx)) })
	c.task(func() error { return n.must("kubelet", k.Run(c.ctx)) })
	return nil
}

// must is an error of a part that has ended, which it must not.
func (n *Node) must(what string, err error) error {
	if err == nil {
		err = errors.New("it has ended")
	}
	return fmt.Errorf("%s of node %s: %w", what, n.Name, err)
}

// object is the node as its kubelet registers it. Topology labels are the CSI driver's.
func (n *Node) object(g *scenario.NodeGroup) *corev1.Node {
	labels := map[string]string{corev1.LabelHostname: n.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"}
	for k, v := range g.Labels {
		labels[k] = v
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: labels},
		Status: corev1.NodeStatus{Capacity: corev1.ResourceList{
			corev1.ResourceCPU:    g.CPU.Quantity,
			corev1.ResourceMemory: *resource.NewQuantity(int64(g.Memory), resource.BinarySI),
			corev1.ResourcePods:   *resource.NewQuantity(int64(g.Pods), resource.DecimalSI),
		}},
	}
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
