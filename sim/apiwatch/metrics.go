// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/sim/kubelet"
)

// Agents are podlv's pods.
type Agents struct {
	Namespace, Selector string
	// Port is that of their metrics.
	Port int
}

// Metrics counts the failed calls of agents by their own metrics, which have each.
type Metrics struct {
	watcher *Watcher
	agents  Agents

	mu    sync.Mutex
	seen  map[agentCall]uint64
	codes map[string]int // failed CreateVolume
}

// agentCall is calls of a method that an agent, by its pod's name, has answered so.
type agentCall struct{ pod, method, code string }

// NewMetrics reads the metrics of agents that answered no calls yet, when Read is called.
func (w *Watcher) NewMetrics(a Agents) *Metrics {
	return &Metrics{watcher: w, agents: a, seen: map[agentCall]uint64{}, codes: map[string]int{}}
}

// Poll reads once a period until ctx ends. An agent that does not answer is read later.
func (m *Metrics) Poll(ctx context.Context, period time.Duration) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = m.Read(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// Read reads all agents' metrics, through the API server, and tells the observer of each
// call of kubelet that has failed since it did last. CreateVolume it counts: FailedCreates.
func (m *Metrics) Read(ctx context.Context) error {
	core := m.watcher.config.Client.CoreV1()
	pods, err := core.Pods(m.agents.Namespace).List(ctx, metav1.ListOptions{LabelSelector: m.agents.Selector})
	if err != nil {
		return fmt.Errorf("metrics of the agents: %w", err)
	}
	var wrong error
	for _, pod := range pods.Items {
		if pod.Status.Phase != corev1.PodRunning {
			continue
		}
		text, err := core.Pods(m.agents.Namespace).ProxyGet("http", pod.Name, fmt.Sprint(m.agents.Port), "metrics", nil).DoRaw(ctx)
		if err == nil {
			err = m.take(pod.Name, pod.Spec.NodeName, text)
		}
		if err != nil {
			wrong = errors.Join(wrong, fmt.Errorf("metrics of agent %s: %w", pod.Name, err))
		}
	}
	return wrong
}

// take takes up the metrics of one agent.
func (m *Metrics) take(pod, node string, text []byte) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, metric := range families["podlv_rpc_duration_seconds"].GetMetric() {
		full, code := label(metric, "method"), label(metric, "code")
		if code == "OK" || full == "" {
			continue
		}
		call := agentCall{pod, path.Base(full), code}
		now := metric.GetHistogram().GetSampleCount()
		was := m.seen[call]
		if m.seen[call] = now; now < was { // the agent was started anew
			was = 0
		}
		m.tell(call, node, int(now-was)) //nolint:gosec // calls that were made
	}
	return nil
}

// tell tells of calls that failed, with mu held.
func (m *Metrics) tell(c agentCall, node string, times int) {
	if c.method == provision {
		if c.code != "Aborted" && times > 0 {
			m.codes[c.code] += times
		}
		return
	}
	for range times {
		m.watcher.config.Observer.Call(kubelet.Call{Node: node, Method: c.method, Code: c.code, Err: errors.New(m.watcher.saying(c.method, c.code))})
	}
}

// FailedCreates is how many CreateVolume were not answered with OK, by code; those left
// out that only said that it is going on.
func (m *Metrics) FailedCreates() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.codes)
}

// saying is what an event said of such a failure.
func (w *Watcher) saying(method, code string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return cmp.Or(w.words[words{method, code}], "no event tells of it; the agent's log may")
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}
