// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"
	"sigs.k8s.io/kind/pkg/exec"
)

// Run runs a script on a node. The error has what was said.
func Run(ctx context.Context, n nodes.Node, what, script string) error {
	return run(ctx, n, what, script, nil)
}

func run(ctx context.Context, n nodes.Node, what, script string, stdin io.Reader) error {
	cmd := n.CommandContext(ctx, "sh", "-c", script)
	if stdin != nil {
		cmd = cmd.SetStdin(stdin)
	}
	lines, err := exec.CombinedOutputLines(cmd)
	if err == nil {
		return nil
	}
	said := strings.TrimSpace(strings.Join(lines, " "))
	if strings.Contains(said, "loop") || strings.Contains(said, "operation not permitted") {
		said += " (the nodes must be able to make loop devices: load the kernel's module loop, and use a container engine that runs as root, not a rootless one)"
	}
	return fmt.Errorf("%s on node %s: %w: %s", what, n, err, said)
}

// Connect gives a node its pod network, and waits until it is ready: pods can reach their
// node and what it reaches. name is what Kubernetes calls the node.
func Connect(ctx context.Context, client kubernetes.Interface, n nodes.Node, name string) error {
	node, err := wait(ctx, client, name, "has no pod network of its own", func(node *corev1.Node) bool { return node.Spec.PodCIDR != "" })
	if err != nil {
		return err
	}
	if err := nodeutils.WriteFile(n, "/etc/cni/net.d/10-podlv.conflist", network(node)); err != nil {
		return fmt.Errorf("pod network of node %s: %w", n, Explain(err))
	}
	_, err = wait(ctx, client, name, "does not become ready", ready)
	return err
}

// Route lets a node reach the pods of another, of that name in Kubernetes.
func Route(ctx context.Context, client kubernetes.Interface, from nodes.Node, to string) error {
	node, err := client.CoreV1().Nodes().Get(ctx, to, metav1.GetOptions{})
	if err != nil {
		return err
	}
	gateway, err := Address(ctx, client, to)
	if err != nil {
		return err
	}
	return Run(ctx, from, "route to the pods of "+to, fmt.Sprintf("ip route replace %s via %s", node.Spec.PodCIDR, gateway))
}

// network is the configuration of a node's pods' network. Its plugins are in every node
// image of kind.
func network(node *corev1.Node) string {
	return fmt.Sprintf(`{"cniVersion":"0.4.0","name":"podlv","plugins":[
 {"type":"ptp","mtu":1500,"ipam":{"type":"host-local","dataDir":"/run/cni-ipam","routes":[{"dst":"0.0.0.0/0"}],"ranges":[[{"subnet":"%s"}]]}}]}
`, node.Spec.PodCIDR)
}

// wait waits until a Node is so. What it is not is for the error.
func wait(ctx context.Context, client kubernetes.Interface, name, not string, is func(*corev1.Node) bool) (*corev1.Node, error) {
	for {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
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

// Address is that of a node, of that name in Kubernetes, as the other nodes see it. The API
// server has port 6443 of ControlPlaneName's.
func Address(ctx context.Context, client kubernetes.Interface, name string) (string, error) {
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return a.Address, nil
		}
	}
	return "", fmt.Errorf("node %s has no address", name)
}

// ClearStorage removes what kind installs for claims: its StorageClass could have the name
// of another, and is the default.
func ClearStorage(ctx context.Context, client kubernetes.Interface) error {
	err := client.StorageV1().StorageClasses().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("remove the StorageClasses of kind: %w", err)
	}
	err = client.CoreV1().Namespaces().Delete(ctx, "local-path-storage", metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove the provisioner of kind: %w", err)
	}
	return nil
}

// Output runs a command on a node and returns what it printed on its two streams, also with
// an error.
func Output(ctx context.Context, n nodes.Node, command ...string) (output, warnings string, err error) {
	var out, aside bytes.Buffer
	err = n.CommandContext(ctx, command[0], command[1:]...).SetStdout(&out).SetStderr(&aside).Run()
	return out.String(), aside.String(), err
}
