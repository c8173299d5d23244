// SPDX-License-Identifier: Apache-2.0

package report

import (
	"errors"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// Prometheus writes the figures in Prometheus' text format, as gauges: podlv_sim_ and the
// names of metrics in lower case with underscores, with the labels scenario and seed.
// What is not known (-1) is left out.
func (r *Report) Prometheus(w io.Writer) error {
	registry := prometheus.NewRegistry()
	labels := prometheus.Labels{"scenario": r.Scenario, "seed": strconv.FormatInt(r.Seed, 10)}
	var wrong error
	gauge := func(name, help string, names ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "podlv", Subsystem: "sim", Name: name, Help: help, ConstLabels: labels}, names)
		wrong = errors.Join(wrong, registry.Register(g))
		return g
	}
	passed := 0.
	if r.Passed() {
		passed = 1
	}
	gauge("passed", "Whether every expectation held and the run came to its end.").WithLabelValues().Set(passed)
	held := gauge("expectation_held", "Whether an expectation of the scenario held.", "message")
	for _, e := range r.Expectations {
		if e.Skipped != "" {
			continue
		}
		value := 0.
		if e.Held {
			value = 1
		}
		held.WithLabelValues(strings.ToValidUTF8(e.Message, "?")).Set(value)
	}
	phases := gauge("phase_seconds", "How long a part of the run took.", "phase")
	for _, p := range r.Phases {
		phases.WithLabelValues(p.Name).Set(p.Seconds)
	}
	r.Metrics.each(func(name, unit string, value reflect.Value) {
		if slices.Contains(r.Unknown, name) {
			return
		}
		full := snake(name)
		if unit != "" {
			full += "_" + unit
		}
		help := "The metric " + name + " of the simulation's report."
		switch v := value.Interface().(type) {
		case Seconds:
			g := gauge(full, help, "percentile")
			for p, x := range map[string]float64{"50": v.P50, "90": v.P90, "99": v.P99, "100": v.Max} {
				g.WithLabelValues(p).Set(x)
			}
		case int:
			if v != -1 {
				gauge(full, help).WithLabelValues().Set(float64(v))
			}
		case int64:
			gauge(full, help).WithLabelValues().Set(float64(v))
		case float64:
			if v != -1 {
				gauge(full, help).WithLabelValues().Set(v)
			}
		}
	})
	families, err := registry.Gather()
	if err = errors.Join(wrong, err); err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

// each calls f for every metric, with its name in expectations and its unit, if it has
// one.
func (m Metrics) each(f func(name, unit string, value reflect.Value)) {
	v := reflect.ValueOf(m)
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		f(name, field.Tag.Get("unit"), v.Field(i))
	}
}

// snake is podsRunning as pods_running.
func snake(name string) string {
	var out strings.Builder
	for _, c := range name {
		if unicode.IsUpper(c) {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToLower(c))
	}
	return out.String()
}
