// SPDX-License-Identifier: Apache-2.0

package fit

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/trace"
)

// Simulate runs a scenario and returns the report of the moment when all had come to
// rest: afterwards, pods that wait find a place while others are removed.
func Simulate(ctx context.Context, c sim.Config) (*report.Report, error) {
	var rest *report.Report
	c.Keep = func(_ context.Context, so *report.Report, _ string) {
		then := *so
		rest = &then
	}
	r, err := sim.Run(ctx, c)
	if err == nil && rest != nil && !r.Interrupted {
		r = rest
	}
	return r, err
}

// outcome is what came of one simulation.
type outcome struct {
	counts  map[string]Count // by workload
	waiting []Waiting
}

// whole says whether all pods run.
func (o *outcome) whole() bool {
	for _, c := range o.counts {
		if !c.whole() {
			return false
		}
	}
	return true
}

// short is how many pods do not run.
func (o *outcome) short() (n int) {
	for _, c := range o.counts {
		n += max(c.Pods-c.Running, 0)
	}
	return n
}

// quoted is a name in a message, which would make each pod's another.
var quoted = regexp.MustCompile(`"[^"]*"`)

// read reads a report.
func read(r *report.Report) *outcome {
	o := &outcome{counts: map[string]Count{}}
	missing := 0
	for _, w := range r.Workloads {
		o.counts[w.Name] = Count{w.Pods, w.Running}
		missing += max(w.Pods-w.Running, 0)
	}
	if r.Trace == nil {
		return o
	}
	by := map[string]*Waiting{}
	for i := range r.Trace.Pods {
		p := &r.Trace.Pods[i]
		if p.Workload == "" || p.State == trace.Ran {
			continue
		}
		why := reasons(p)
		key := strings.Join(why, "\n")
		if by[key] == nil {
			by[key] = &Waiting{Reason: why}
		}
		by[key].Pods = append(by[key].Pods, p.Name)
		missing--
	}
	for _, w := range by {
		o.waiting = append(o.waiting, *w)
	}
	slices.SortFunc(o.waiting, func(a, b Waiting) int {
		return cmp.Or(len(b.Pods)-len(a.Pods), slices.Compare(a.Reason, b.Reason))
	})
	if missing > 0 && len(o.waiting) == 0 {
		o.waiting = append(o.waiting, Waiting{Reason: []string{"they were not even made: the pods before them do not all run, or a policy or quota refuses them"}})
	}
	return o
}

// reasons are why a pod does not run, as whoever keeps it from it says.
func reasons(p *trace.Pod) []string {
	for i := len(p.Steps) - 1; i >= 0; i-- {
		switch s := p.Steps[i]; {
		case p.State == trace.Rejected && s.What == trace.Refused:
			return []string{"refused by kubelet: " + s.Text}
		case p.State == trace.Starting && s.What == trace.Called && s.Code != "OK":
			return []string{"its node cannot give it its volumes: " + s.Method + ": " + s.Code + " " + s.Text}
		case p.State == trace.Waiting && s.What == trace.Unplaced:
			all := trace.Refusals(quoted.ReplaceAllString(s.Text, `"…"`))
			return slices.DeleteFunc(all, func(l string) bool { return strings.HasPrefix(l, "preemption: ") })
		}
	}
	switch p.State {
	case trace.Starting:
		return []string{"it has a node, and its volumes are not mounted"}
	case trace.Rejected:
		return []string{"refused by kubelet"}
	}
	return []string{"the scheduler has not looked at it, or was binding it"}
}

func parse(text string) (int64, error) {
	q, err := resource.ParseQuantity(text)
	return q.Value(), err
}
