// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"github.com/podlv/podlv/e2e/kind"
	"github.com/podlv/podlv/sim/scenario"
)

// metadataSize is what LVM takes of a disk of its own accord, with the space that its
// extents leave.
const metadataSize = 4 << 20

// prepare makes of kind's workers the nodes of the scenario: with their labels, disks and
// network, the image, and somebody who tells what is on the disks.
func (k *cluster) prepare(ctx context.Context, workers map[string]nodes.Node, archive string) error {
	preparing, preparingCtx := errgroup.WithContext(ctx)
	preparing.SetLimit(4)
	k.scenario.Each(func(name string, g *scenario.NodeGroup) {
		n := workers[name]
		m := newMirror()
		k.access.Machines[n.String()] = m
		preparing.Go(func() error {
			if err := (kind.FakeLVM{Program: k.config.Programs.FakeLVM, Dir: fakeDir(n.String())}).Put(preparingCtx, n); err != nil {
				return err
			}
			if err := kind.Run(preparingCtx, n, "make the disks", setup(n.String(), g)); err != nil {
				return err
			}
			if err := kind.Probe(preparingCtx, n); err != nil {
				return err
			}
			k.running.Go(func() { k.follow(n, m) })
			return k.join(preparingCtx, n, name, g, archive)
		})
	})
	preparing.Go(func() error {
		for _, n := range workerless(k.engine, k.name, workers) {
			if err := kind.Connect(preparingCtx, k.access.Client, n, n.String()); err != nil {
				return err
			}
		}
		return nil
	})
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
func workerless(e *kind.Engine, cluster string, workers map[string]nodes.Node) (rest []nodes.Node) {
	all, _ := e.Nodes(cluster) // it could a moment ago
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
		return fmt.Errorf("load the image into node %s: %w", n, kind.Explain(err))
	}
	if err := kind.Connect(ctx, k.access.Client, n, n.String()); err != nil {
		return err
	}
	// Last: an agent comes as soon as it sees the label.
	if _, err := k.access.Client.CoreV1().Nodes().Patch(ctx, n.String(), types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("label node %s: %w", n, err)
	}
	return nil
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
