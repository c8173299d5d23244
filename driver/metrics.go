// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podlv/podlv/lvm"
)

// metrics are the agent's own numbers.
type metrics struct {
	commands *prometheus.HistogramVec
	rpcs     *prometheus.HistogramVec
	orphans  *prometheus.GaugeVec
	reaped   *prometheus.CounterVec
	ready    *prometheus.GaugeVec
	refused  *prometheus.GaugeVec
}

// hungAfter is when a command that is still running counts as hung.
const hungAfter = time.Minute

func newMetrics(registry prometheus.Registerer, running func() []lvm.Running) (*metrics, error) {
	m := &metrics{
		commands: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "podlv_lvm_command_duration_seconds", Help: "Time that lvm commands took, by verb and result (ok, failed).",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 14),
		}, []string{"verb", "result"}),
		rpcs: newRPCMetric(),
		orphans: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "podlv_orphans", Help: "LVs that nobody asks for any more, as the reaper saw them in its last pass, by volume group and kind (inline, volume, snapshot, temporary).",
		}, []string{"vg", "kind"}),
		reaped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podlv_orphans_removed_total", Help: "LVs that nobody asked for any more and that the agent tried to remove, by volume group, kind (inline, volume, snapshot, temporary) and result (ok, failed).",
		}, []string{"vg", "kind", "result"}),
	}
	m.ready = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "podlv_pool_ready", Help: "1 when a pool of this node is as the device classes have it, else 0.",
	}, []string{"pool"})
	m.refused = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "podlv_devices_refused", Help: "Devices, or patterns of devices, that a pool names and that are not taken, by reason (Missing, Count, Kind, Media, InUse, Signature, Content, Twice, Error).",
	}, []string{"pool", "reason"})
	hung := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "podlv_lvm_commands_hung", Help: "lvm commands that have been running for more than a minute.",
	}, func() float64 {
		n := 0
		for _, r := range running() {
			if time.Since(r.Since) > hungAfter {
				n++
			}
		}
		return float64(n)
	})
	for _, c := range []prometheus.Collector{m.commands, m.rpcs, m.orphans, m.reaped, m.ready, m.refused, hung} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func newRPCMetric() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "podlv_rpc_duration_seconds", Help: "Time that RPCs took, by method and gRPC code.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 18),
	}, []string{"method", "code"})
}

func (m *metrics) rpc(method, code string, took time.Duration) {
	m.rpcs.WithLabelValues(method, code).Observe(took.Seconds())
}

// reap counts an orphan that somebody tried to remove.
func (m *metrics) reap(l lvm.LogicalVolume, err error) {
	m.reaped.WithLabelValues(l.VG, kindOf(l), outcome(err)).Inc()
}

// saw takes down all orphans of a kind. Of these VGs it says so when there are none.
func (m *metrics) saw(kind string, orphans []lvm.LogicalVolume, groups []string) {
	m.orphans.DeletePartialMatch(prometheus.Labels{"kind": kind})
	for _, vg := range groups {
		m.orphans.WithLabelValues(vg, kind).Set(0)
	}
	for _, l := range orphans {
		m.orphans.WithLabelValues(l.VG, kind).Inc()
	}
}

// pools takes down what keeps pools from being ready.
func (m *metrics) pools(classes *Classes, troubles []trouble) {
	m.ready.Reset()
	m.refused.Reset()
	for _, p := range classes.pools {
		m.ready.WithLabelValues(p.Name).Set(1)
	}
	for _, t := range troubles {
		if t.pool != "" {
			m.ready.WithLabelValues(t.pool).Set(0)
		}
		if t.path != "" {
			m.refused.WithLabelValues(t.pool, strings.TrimPrefix(t.condition(), "Device")).Inc()
		}
	}
}

// measured is a Runner that counts and times every command.
type measured struct {
	next    lvm.Runner
	observe func(verb, result string, took time.Duration)
}

func (r *measured) Run(ctx context.Context, args ...string) ([]byte, error) {
	start := time.Now()
	stdout, err := r.next.Run(ctx, args...)
	if len(args) > 0 {
		r.observe(args[0], outcome(err), time.Since(start))
	}
	return stdout, err
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "ok"
}

// briefly is an error for a person: the reason, without the command that failed.
func briefly(err error) string {
	var e *lvm.ExplainedError
	if errors.As(err, &e) {
		return e.Reason.Error()
	}
	return err.Error()
}
