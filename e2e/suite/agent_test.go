// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/e2e/lab"
)

// agent is the container of a node's agent that runs: its pod, and its own ID.
type agent struct{ pod, container string }

// agent is the one of a node.
func (c *kase) agent(n *cluster.Node) (a agent) {
	c.Helper()
	c.until("an agent runs on "+n.Name, func() (err error) {
		a, err = c.findAgent(n)
		return err
	})
	return a
}

func (c *kase) findAgent(n *cluster.Node) (agent, error) {
	pods, err := the.Client.CoreV1().Pods(lab.Namespace).List(c.ctx, metav1.ListOptions{
		LabelSelector: "app.kubernetes.io/name=podlv,app.kubernetes.io/component=agent", FieldSelector: "spec.nodeName=" + n.Name,
	})
	if err != nil {
		return agent{}, err
	}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Running != nil {
			return agent{p.Name, p.Status.ContainerStatuses[0].ContainerID}, nil
		}
	}
	return agent{}, fmt.Errorf("none of %d pods runs", len(pods.Items))
}

// metrics are what the agent of a node shows: values by name with labels.
func (c *kase) metrics(n *cluster.Node) (map[string]string, error) {
	a, err := c.findAgent(n)
	if err != nil {
		return nil, err
	}
	all, err := the.Client.CoreV1().Pods(lab.Namespace).ProxyGet("http", a.pod, "9808", "metrics", nil).DoRaw(c.ctx)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, line := range strings.Split(string(all), "\n") {
		if i := strings.LastIndex(line, " "); i > 0 && line[0] != '#' {
			values[line[:i]] = line[i+1:]
		}
	}
	return values, nil
}

// metric is nil when the agent of a node shows a metric, with its labels, of this value.
func (c *kase) metric(n *cluster.Node, name, value string) error {
	all, err := c.metrics(n)
	if err != nil {
		return err
	}
	switch has, ok := all[name]; {
	case !ok:
		return errors.New("there is no " + name)
	case has != value:
		return fmt.Errorf("%s is %s", name, has)
	}
	return nil
}

// gone is nil when there is no pod of that name.
func (c *kase) gone(pod string) error {
	_, err := the.Client.CoreV1().Pods(c.namespace).Get(c.ctx, pod, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("it is there (%v)", err)
}

// containerOf is the ID of a pod's container, which is another one when it is started again.
func (c *kase) containerOf(pod string) string {
	c.Helper()
	p, err := the.Client.CoreV1().Pods(c.namespace).Get(c.ctx, pod, metav1.GetOptions{})
	require.NoError(c, err)
	require.Len(c, p.Status.ContainerStatuses, 1)
	return p.Status.ContainerStatuses[0].ContainerID
}

// agents is a shell program that does something for each agent of a node, whose folder in
// /proc is $p. It starts no program for each other process: there are many, and
// User-Mode Linux is slow.
func agents(do string) string {
	return `for p in /proc/[0-9]*; do
  c=; { read -r c <$p/comm; } 2>/dev/null
  [ "$c" = podlv ] || continue
  tr '\0' ' ' <$p/cmdline | grep -q '^/usr/local/bin/podlv node' && ` + do + `
done
true`
}
