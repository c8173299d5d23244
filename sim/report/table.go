// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
)

// Table writes the report for a terminal.
func (r *Report) Table(w io.Writer) error {
	out := &strings.Builder{}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { fmt.Fprintf(t, format+"\t\n", args...) }
	line("workload\tpods\trunning\twaiting\trefused\tp50\tp90\tp99\tmax")
	for _, x := range r.Workloads {
		line("%s\t%d\t%d\t%d\t%d\t%s", x.Name, x.Pods, x.Running, x.Waiting, x.Refused, x.ToRunning)
	}
	m := r.Metrics
	if len(r.Workloads) > 1 {
		line("all\t%d\t%d\t%d\t%d\t%s", m.Pods, m.PodsRunning, m.PodsWaiting, m.PodsRefused+m.PodsRejected, m.ToRunning)
	}
	_ = t.Flush() // into memory

	of := r.figure
	fmt.Fprintf(out, "\nseconds from a pod's making to Running; %.0f pods/s on %d nodes, which were %s%% full at most\n", m.PodsPerSecond, m.Nodes, of("peakUtilisation", math.Round(100*m.PeakUtilisation)))
	fmt.Fprintf(out, "failed calls: stage %s, publish %s, provision %s; reschedules %d; wrong-node binds %s; first try %.1f%%\n",
		of("stageFailures", m.StageFailures), of("publishFailures", m.PublishFailures), of("provisionFailures", m.ProvisionFailures), m.Reschedules, of("wrongNodeBinds", m.WrongNodeBinds), 100*m.FirstTryRate)
	fmt.Fprintf(out, "disks: over-allocations %s, capacity not as published %s, orphans %s\n", of("overAllocations", m.OverAllocations), of("capacityErrors", m.CapacityErrors), of("orphans", m.Orphans))
	var phases []string
	for _, p := range r.Phases {
		phases = append(phases, fmt.Sprintf("%s %.1f s", p.Name, p.Seconds))
	}
	fmt.Fprintf(out, "time: %s; together %.1f s\n", strings.Join(phases, ", "), r.Seconds())
	fmt.Fprintf(out, "simulator: %s", r.Simulator)
	if r.ControlPlane != (Usage{}) {
		fmt.Fprintf(out, "; control plane: %s", r.ControlPlane)
	}
	fmt.Fprintln(out)
	reasons(out, "waiting", r.Waiting)
	reasons(out, "failed", r.Failures)
	for _, p := range r.Problems {
		fmt.Fprintf(out, "problem: %s\n", p)
	}
	fmt.Fprintln(out)
	for _, e := range r.Expectations {
		switch {
		case e.Held:
			fmt.Fprintf(out, "ok      %s  (%s)\n", e.Message, e.That)
		case e.Skipped != "":
			fmt.Fprintf(out, "skipped %s  (%s: %s)\n", e.Message, e.That, e.Skipped)
		case e.Error != "":
			fmt.Fprintf(out, "FAILED  %s  (%s: %s)\n", e.Message, e.That, e.Error)
		default:
			fmt.Fprintf(out, "FAILED  %s  (%s)\n", e.Message, e.That)
		}
	}
	if r.Interrupted {
		fmt.Fprintln(out, "FAILED  the run was interrupted; these are the figures so far")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// figure is a metric for a person, "?" for one that is unknown.
func (r *Report) figure(name string, value any) string {
	if slices.Contains(r.Unknown, name) {
		return "?"
	}
	return fmt.Sprint(value)
}

// String is four columns of a table.
func (s Seconds) String() string {
	return fmt.Sprintf("%.2f\t%.2f\t%.2f\t%.2f", s.P50, s.P90, s.P99, s.Max)
}

// String is for a person.
func (u Usage) String() string {
	return fmt.Sprintf("%d MiB, %.1f s of a processor", u.PeakMemory>>20, u.CPUSeconds)
}

func reasons(w io.Writer, what string, list []Reason) {
	for i, r := range list {
		if i == mostReasons {
			fmt.Fprintf(w, "%s: %d more reasons; report.json has all\n", what, len(list)-mostReasons)
			return
		}
		fmt.Fprintf(w, "%s: %d × %s\n", what, r.Count, r.Text)
	}
}
