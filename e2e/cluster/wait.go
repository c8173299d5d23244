// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// WaitPods waits until pods are Running and Ready. The error says what state and
// which last event another one has.
func (c *Cluster) WaitPods(ctx context.Context, namespace, selector string, number int) error {
	return c.WaitRestarted(ctx, namespace, selector, number, time.Time{})
}

// WaitRestarted is WaitPods for containers that were started after since: what the
// API server says of the pods of a node that crashed is old until its kubelet is
// back.
func (c *Cluster) WaitRestarted(ctx context.Context, namespace, selector string, number int, since time.Time) error {
	return c.poll(ctx, "pods", 100*time.Millisecond, func(ctx context.Context) error {
		pods, err := c.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return err
		}
		if len(pods.Items) != number {
			return fmt.Errorf("%d pods, want %d", len(pods.Items), number)
		}
		for i := range pods.Items {
			if p := &pods.Items[i]; !ready(p, since) {
				return fmt.Errorf("pod %s is %s%s", p.Name, p.Status.Phase, c.lastEvent(ctx, p))
			}
		}
		return nil
	})
}

// WaitDriver waits until kubelet has registered a CSI driver.
func (c *Cluster) WaitDriver(ctx context.Context, node, driver string) error {
	return c.poll(ctx, "the registration of "+driver, 100*time.Millisecond, func(ctx context.Context) error {
		n, err := c.Client.StorageV1().CSINodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, d := range n.Spec.Drivers {
			if d.Name == driver {
				return nil
			}
		}
		return fmt.Errorf("kubelet of %s does not know it", node)
	})
}

// WaitLog waits until the log of a pod's only container, of its present start, has
// words in it, and returns all of it.
func (c *Cluster) WaitLog(ctx context.Context, namespace, pod, words string) (string, error) {
	var log string
	err := c.poll(ctx, "the log of "+pod, 100*time.Millisecond, func(ctx context.Context) error {
		b, err := c.Client.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			return err
		}
		if log = string(b); !strings.Contains(log, words) {
			return fmt.Errorf("it has no %q: %s", words, log)
		}
		return nil
	})
	return log, err
}

// ready tells whether a pod is Ready and all of its containers started after since.
func ready(p *corev1.Pod, since time.Time) bool {
	if len(p.Status.ContainerStatuses) == 0 {
		return false
	}
	for _, s := range p.Status.ContainerStatuses {
		// The API's times are whole seconds.
		if s.State.Running == nil || s.State.Running.StartedAt.Time.Before(since.Truncate(time.Second)) {
			return false
		}
	}
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue && p.Status.Phase == corev1.PodRunning
		}
	}
	return false
}

// lastEvent is the latest event on a pod, for an error.
func (c *Cluster) lastEvent(ctx context.Context, p *corev1.Pod) string {
	events, err := c.Client.CoreV1().Events(p.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(p.UID)})
	if err != nil || len(events.Items) == 0 {
		return ""
	}
	last := events.Items[0]
	for _, e := range events.Items[1:] {
		if last.LastTimestamp.Before(&e.LastTimestamp) {
			last = e
		}
	}
	return fmt.Sprintf(": %s: %s", last.Reason, last.Message)
}
