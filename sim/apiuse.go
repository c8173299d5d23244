// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/podlv/podlv/sim/report"
)

// The counters that are read of the control plane's metrics. The API server's has the
// scheduler's, too, where both are one process, as in the simulator's own.
const (
	requestsMetric = "apiserver_request_total"
	attemptsMetric = "scheduler_schedule_attempts_total"
	scrapeTime     = 10 * time.Second
)

// apiUse is what the control plane has counted so far.
type apiUse struct {
	known    bool
	requests map[report.APIRequests]int // without the count
	attempts map[string]int             // of the scheduler, by result; nil: not known
}

// apiUse reads the counters. Where the API server does not show them, nothing is known.
func (r *run) apiUse(ctx context.Context) apiUse {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scrapeTime)
	defer cancel()
	text, err := r.Client.CoreV1().RESTClient().Get().AbsPath("/metrics").SetHeader("Accept", "text/plain").DoRaw(ctx)
	if err != nil {
		return apiUse{}
	}
	return parseAPIUse(text)
}

// parseAPIUse reads two of the hundreds of metrics.
func parseAPIUse(text []byte) apiUse {
	var ours bytes.Buffer
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimPrefix(strings.TrimPrefix(lines.Text(), "# TYPE "), "# HELP ")
		if strings.HasPrefix(line, requestsMetric) || strings.HasPrefix(line, attemptsMetric) {
			ours.WriteString(lines.Text() + "\n")
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(&ours)
	if err != nil || families[requestsMetric] == nil {
		return apiUse{}
	}
	use := apiUse{known: true, requests: map[report.APIRequests]int{}}
	for _, m := range families[requestsMetric].GetMetric() {
		resource := labelOf(m, "resource")
		if s := labelOf(m, "subresource"); s != "" {
			resource += "/" + s
		}
		use.requests[report.APIRequests{Verb: labelOf(m, "verb"), Resource: resource}] += int(m.GetCounter().GetValue())
	}
	if f := families[attemptsMetric]; f != nil {
		use.attempts = map[string]int{}
		for _, m := range f.GetMetric() {
			use.attempts[labelOf(m, "result")] += int(m.GetCounter().GetValue())
		}
	}
	return use
}

func labelOf(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// writes are the verbs that change something.
var writes = []string{"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"}

// cost is what was asked of the control plane between two readings, in figures; volumes is
// how many were published meanwhile. Leases are left out: their writes are of the time
// that passes.
func cost(rep *report.Report, before, after apiUse, volumes int) {
	m := &rep.Metrics
	m.APIWritesPerVolume, m.CapacityWritesPerVolume, m.NodeStatusWritesPerVolume, m.ScheduleAttempts, m.ScheduleFailures = -1, -1, -1, -1, -1
	rep.APIRequests = nil
	if !before.known || !after.known {
		return
	}
	all, capacity, status := 0, 0, 0
	for key, count := range after.requests {
		count -= before.requests[key]
		if count <= 0 || !slices.Contains(writes, key.Verb) || key.Resource == "leases" {
			continue
		}
		all += count
		switch key.Resource {
		case "csistoragecapacities":
			capacity += count
		case "nodes/status":
			status += count
		}
		key.Count = count
		rep.APIRequests = append(rep.APIRequests, key)
	}
	slices.SortFunc(rep.APIRequests, func(a, b report.APIRequests) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Verb, b.Verb))
	})
	if volumes > 0 {
		per := func(n int) float64 { return report.Thousandths(float64(n) / float64(volumes)) }
		m.APIWritesPerVolume, m.CapacityWritesPerVolume, m.NodeStatusWritesPerVolume = per(all), per(capacity), per(status)
	}
	if before.attempts != nil || after.attempts != nil {
		m.ScheduleAttempts, m.ScheduleFailures = 0, 0
		for result, count := range after.attempts {
			count -= before.attempts[result]
			m.ScheduleAttempts += count
			if result != "scheduled" {
				m.ScheduleFailures += count
			}
		}
	}
}
