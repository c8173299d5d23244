// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Node is one node, through all of its boots.
type Node struct {
	// Name is "node-1" for the first.
	Name string

	cluster *Cluster
	machine machine
	ip      string
	logs    string
	disks   []string
}

// machine is what a node runs on.
type machine interface {
	// start switches the power on. It may return before the node has booted.
	start(context.Context) error
	// kill cuts the power and returns when nothing of the node is left but its disks.
	kill() error
	// run runs a command outside of all containers, of a node that may still be booting,
	// and returns what it printed on its two streams, also with an error.
	run(ctx context.Context, command []string) (output, warnings string, err error)
	// stopKubelet kills kubelet, which then stays away until startKubelet, or a boot.
	stopKubelet(context.Context) error
	startKubelet(context.Context) error
	// load imports an image's archive, a file of the host.
	load(ctx context.Context, file string) error
}

// Boot starts a node whose power is off, on its disks as they are. WaitReady tells
// when it is back.
func (n *Node) Boot() error { return n.machine.start(n.cluster.ctx) }

// Kill cuts the node's power and returns when nothing of it is left but its disks. That it
// cannot ends the cluster.
func (n *Node) Kill() {
	if err := n.machine.kill(); err != nil {
		n.cluster.fail(fmt.Errorf("cut the power of %s: %w", n.Name, err))
	}
}

// StopKubelet kills kubelet, which then stays away until StartKubelet, or a boot.
func (n *Node) StopKubelet(ctx context.Context) error { return n.machine.stopKubelet(ctx) }

// StartKubelet undoes StopKubelet. It does not wait until kubelet works.
func (n *Node) StartKubelet(ctx context.Context) error { return n.machine.startKubelet(ctx) }

// LoadImage makes the image of an archive (package image), a file of the host, known to the
// node.
func (n *Node) LoadImage(ctx context.Context, file string) error { return n.machine.load(ctx, file) }

// IP is the node's address, which the host side reaches.
func (n *Node) IP() string { return n.ip }

// Logs is a folder of the host side with the node's logs. A microVM can write to it, at the
// same path.
func (n *Node) Logs() string { return n.logs }

// LVMDisks are the paths of the disks of Config.LVMDisks on the node.
func (n *Node) LVMDisks() []string { return n.disks }

// WaitReady waits until kubelet has said, at a time after since, that the node is
// Ready.
func (n *Node) WaitReady(ctx context.Context, since time.Time) error {
	return n.cluster.poll(ctx, n.Name, 100*time.Millisecond, func(ctx context.Context) error {
		node, err := n.cluster.Client.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, cond := range node.Status.Conditions {
			if cond.Type != corev1.NodeReady {
				continue
			}
			if cond.Status == corev1.ConditionTrue && cond.LastHeartbeatTime.After(since) {
				return nil
			}
			return fmt.Errorf("%s: %s", cond.Reason, cond.Message)
		}
		return errors.New("kubelet has not said anything yet")
	})
}

// Run runs a command on the node itself, outside of all containers, and returns what it
// printed, without its warnings: programs of LVM have some that go by themselves. The error
// has both. It waits for a node that is still booting.
func (n *Node) Run(ctx context.Context, command ...string) (output string, err error) {
	output, warnings, err := n.machine.run(ctx, command)
	if err != nil {
		return output, fmt.Errorf("run %s on %s: %w: %s", strings.Join(command, " "), n.Name, err, strings.TrimSpace(output+warnings))
	}
	return output, nil
}
