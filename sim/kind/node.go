// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"
	"sigs.k8s.io/kind/pkg/exec"

	"github.com/podlv/podlv/sim/scenario"
)

// metadataSize is what LVM takes of a disk of its own accord, with the space that its
// extents leave.
const metadataSize = 4 << 20

// prepare makes of kind's workers the nodes of the scenario: with their labels, disks and
// network, the image, and somebody who tells what is on the disks.
func (k *cluster) prepare(ctx context.Context, workers map[string]nodes.Node, archive string) error {
	program, err := os.ReadFile(k.config.Programs.FakeLVM)
	if err != nil {
		return err
	}
	preparing, preparingCtx := errgroup.WithContext(ctx)
	preparing.SetLimit(4)
	k.scenario.Each(func(name string, g *scenario.NodeGroup) {
		n := workers[name]
		m := newMirror()
		k.access.Machines[n.String()] = m
		preparing.Go(func() error {
			if err := n.CommandContext(preparingCtx, "sh", "-c", "cat >/usr/local/bin/fakelvm && chmod 755 /usr/local/bin/fakelvm").SetStdin(bytes.NewReader(program)).Run(); err != nil {
				return fmt.Errorf("put fakelvm on node %s: %w", n, explain(err))
			}
			for _, step := range []struct{ what, script string }{
				{"make the disks", setup(n.String(), g)}, {"make loop devices", makeLoopNodes}, {"make a volume", probe},
			} {
				if err := onNode(preparingCtx, n, step.what, step.script); err != nil {
					return err
				}
			}
			k.running.Go(func() { k.follow(n, m) })
			return k.join(preparingCtx, n, name, g, archive)
		})
	})
	preparing.Go(func() error { return k.connect(preparingCtx, workerless(k.engine, k.name, workers)) })
	if err := preparing.Wait(); err != nil {
		return err
	}
	for name, m := range k.access.Machines {
		if err := m.(*mirror).ready(ctx); err != nil {
			return fmt.Errorf("node %s: %w", name, err)
		}
	}
	return nil
}

// workerless are the nodes that are none of the scenario's.
func workerless(e engine, cluster string, workers map[string]nodes.Node) (rest []nodes.Node) {
	all, _ := e.ListInternalNodes(cluster) // it could a moment ago
	for _, n := range all {
		ours := false
		for _, w := range workers {
			ours = ours || w.String() == n.String()
		}
		if !ours {
			rest = append(rest, n)
		}
	}
	return rest
}

// join loads the image into a node, labels and connects it.
func (k *cluster) join(ctx context.Context, n nodes.Node, name string, g *scenario.NodeGroup, archive string) error {
	labels := map[string]string{nodeLabel: name}
	for key, value := range g.Labels {
		labels[key] = value
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels}})
	if err != nil {
		return err
	}
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := nodeutils.LoadImageArchive(n, f); err != nil {
		return fmt.Errorf("load the image into node %s: %w", n, explain(err))
	}
	if err := k.connect(ctx, []nodes.Node{n}); err != nil {
		return err
	}
	// Last: an agent comes as soon as it sees the label.
	if _, err := k.access.Client.CoreV1().Nodes().Patch(ctx, n.String(), types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("label node %s: %w", n, err)
	}
	return nil
}

// connect gives nodes their pod network, and waits until they are ready.
func (k *cluster) connect(ctx context.Context, list []nodes.Node) error {
	for _, n := range list {
		node, err := k.wait(ctx, n.String(), "has no pod network of its own", func(node *corev1.Node) bool { return node.Spec.PodCIDR != "" })
		if err != nil {
			return err
		}
		if err := nodeutils.WriteFile(n, "/etc/cni/net.d/10-podlv-sim.conflist", network(node)); err != nil {
			return fmt.Errorf("pod network of node %s: %w", n, explain(err))
		}
		if _, err := k.wait(ctx, n.String(), "does not become ready", ready); err != nil {
			return err
		}
	}
	return nil
}

// wait waits until a Node is so. What it is not is for the error.
func (k *cluster) wait(ctx context.Context, name, not string, is func(*corev1.Node) bool) (*corev1.Node, error) {
	for {
		node, err := k.access.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err == nil && is(node) {
			return node, nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("node %s %s: %w %s", name, not, context.Cause(ctx), conditions(node))
		}
	}
}

func ready(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// conditions are what kubelet says is wrong.
func conditions(node *corev1.Node) string {
	if node == nil {
		return ""
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return "(" + c.Message + ")"
		}
	}
	return ""
}

// setup is what makes a machine with a group's VGs, in a shell on the node. fakelvm is told
// of its disks once.
func setup(node string, g *scenario.NodeGroup) string {
	var disks, commands []string
	for _, v := range g.VolumeGroups {
		sizes := v.Disks
		if v.Size > 0 {
			sizes = []scenario.Size{v.Size + metadataSize}
		}
		vgcreate := "fakelvm vgcreate " + v.Name
		for _, size := range sizes {
			disk := diskPath(node, len(disks))
			disks = append(disks, fmt.Sprintf("%s=%d", disk, size))
			vgcreate += " " + disk
		}
		commands = append(commands, vgcreate)
		for _, p := range v.ThinPools {
			commands = append(commands, fmt.Sprintf("fakelvm lvcreate --type thin-pool --size %db --name %s %s", p.Size, p.Name, v.Name))
		}
	}
	return "export FAKELVM_DISKS=" + strings.Join(disks, ",") + "\n" + strings.Join(append([]string{"fakelvm vgs >/dev/null"}, commands...), " &&\n")
}

// probe finds out whether a node can have loop devices, with an LV that does not stay.
const probe = `vg=$(fakelvm vgs --noheadings -o vg_name | head -n 1)
[ -z "$vg" ] || {
  vg=$(echo $vg)
  fakelvm lvcreate --yes --name podlv-sim-probe --extents 1 $vg && test -b /dev/$vg/podlv-sim-probe && fakelvm lvremove --yes $vg/podlv-sim-probe
}`

// makeLoopNodes makes the nodes of loop devices, of which a container has those that the
// host had when it was started: kubelet's losetup, for raw block volumes, makes none.
const makeLoopNodes = `i=0
while [ $i -lt 256 ]; do [ -b /dev/loop$i ] || mknod -m 660 /dev/loop$i b 7 $i || exit 1; i=$((i+1)); done`

// onNode runs a script on a node, with its machine in the environment. The error has what
// was said.
func onNode(ctx context.Context, n nodes.Node, what, script string) error {
	script = fmt.Sprintf("export FAKELVM_DIR=%s/%s FAKELVM_BACKING=loop\n%s", stateDir, n, script)
	lines, err := exec.CombinedOutputLines(n.CommandContext(ctx, "sh", "-c", script))
	if err == nil {
		return nil
	}
	said := strings.TrimSpace(strings.Join(lines, " "))
	if strings.Contains(said, "loop") || strings.Contains(said, "operation not permitted") {
		said += " (the nodes must be able to make loop devices: load the kernel's module loop, and use a container engine that runs as root, not a rootless one)"
	}
	return fmt.Errorf("%s on node %s: %w: %s", what, n, err, said)
}
