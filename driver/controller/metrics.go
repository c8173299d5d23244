// SPDX-License-Identifier: Apache-2.0

package controller

import "github.com/prometheus/client_golang/prometheus"

// metrics are the controller's own numbers.
type metrics struct {
	passes  *prometheus.CounterVec
	events  *prometheus.CounterVec
	deleted *prometheus.CounterVec
	lost    prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		passes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podlv_controller_passes_total", Help: "Passes over the cluster's objects, by result (ok, failed). Only the leader makes any.",
		}, []string{"result"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podlv_controller_events_total", Help: "Events written on claims and StorageClasses, by reason.",
		}, []string{"reason"}),
		deleted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "podlv_controller_deleted_total", Help: "Objects of nodes that are gone, or of StorageClasses that are, that were deleted, by kind.",
		}, []string{"kind"}),
		lost: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "podlv_controller_lost_nodes", Help: "Nodes that are gone and have volumes of podlv left in the cluster.",
		}),
	}
	for _, c := range []prometheus.Collector{m.passes, m.events, m.deleted, m.lost} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) pass(err error) {
	result := "ok"
	if err != nil {
		result = "failed"
	}
	m.passes.WithLabelValues(result).Inc()
}
