// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/exec"
)

// engines are the programs that know containers, one of which knows a node.
var engines = []string{"docker", "podman", "nerdctl"}

// command runs a command of the container engine on a node's container.
func command(ctx context.Context, n nodes.Node, verb string) error {
	for _, program := range engines {
		if exec.CommandContext(ctx, program, "inspect", n.String()).Run() != nil {
			continue // it is not here, or the node is not its
		}
		if err := exec.CommandContext(ctx, program, verb, n.String()).Run(); err != nil {
			return fmt.Errorf("%s node %s: %w", verb, n, Explain(err))
		}
		return nil
	}
	return fmt.Errorf("%s node %s: no container engine knows it", verb, n)
}

// Kill ends all processes of a node at once, kubelet's a moment before. What they wrote is
// not lost, unlike in a cut of a machine's power: it is in the memory of the kernel, which
// the host's is.
func Kill(ctx context.Context, n nodes.Node) error {
	// A loop device of kubelet's would survive it with no name that tells whose it is. And
	// kubelet shall not start before the node is as after a boot.
	return errors.Join(Run(ctx, n, "end kubelet", endKubelet), command(ctx, n, "kill"))
}

const endKubelet = `systemctl kill --signal=KILL kubelet
systemctl disable --now kubelet
` + freeKubelets

// Boot starts a node again that was killed, as if its machine had booted: the fake LVM's
// volumes are inactive and have no devices. prepare is a script that is run before kubelet
// is started.
func Boot(ctx context.Context, n nodes.Node, prepare string) error {
	if err := command(ctx, n, "start"); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if err := Run(ctx, n, "wait for systemd", "systemctl is-active --quiet containerd"); err == nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return Run(ctx, n, "boot", "set -e\n"+makeLoopNodes+"\nfakelvm fakelvm reboot\n"+prepare+"\nsystemctl enable --now kubelet\n")
}
