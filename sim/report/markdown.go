// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"math"
	"strings"
)

// mostReasons is how many reasons and problems a text for people lists.
const mostReasons = 10

// Markdown writes the report for the summary of a CI job ($GITHUB_STEP_SUMMARY).
func (r *Report) Markdown(w io.Writer) error {
	out := &strings.Builder{}
	fmt.Fprintf(out, "## %s: %s\n\n", escaped(r.Scenario), r.verdict())
	if r.Description != "" {
		fmt.Fprintf(out, "%s\n\n", escaped(r.Description))
	}
	if len(r.Expectations) > 0 {
		fmt.Fprint(out, "| | expected | as |\n|---|---|---|\n")
		for _, e := range r.Expectations {
			mark := "✅"
			message := e.Message
			switch {
			case e.Skipped != "":
				mark = "➖"
				message += " (" + e.Skipped + ")"
			case !e.Held:
				mark = "❌"
			}
			if e.Error != "" {
				message += " (" + e.Error + ")"
			}
			fmt.Fprintf(out, "| %s | %s | %s |\n", mark, escaped(message), code(e.That))
		}
		fmt.Fprintln(out)
	}
	fmt.Fprint(out, "| workload | pods | ran | waiting | refused | p50 | p90 | p99 | max |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	m := r.Metrics
	row := func(name string, pods, running, waiting, refused int, s Seconds) {
		fmt.Fprintf(out, "| %s | %d | %d | %d | %d | %.2f s | %.2f s | %.2f s | %.2f s |\n", name, pods, running, waiting, refused, s.P50, s.P90, s.P99, s.Max)
	}
	for _, x := range r.Workloads {
		row(escaped(x.Name), x.Pods, x.Running, x.Waiting, x.Refused, x.ToRunning)
	}
	row("**all**", m.Pods, m.PodsRunning, m.PodsWaiting, m.PodsRefused, m.ToRunning)
	fmt.Fprintf(out, "\np50 to max: from a pod's making to Running. %.0f pods/s on %d nodes, which were %s%% full at most; %.1f%% ran at the first try.\n",
		m.PodsPerSecond, m.Nodes, r.figure("peakUtilisation", math.Round(100*m.PeakUtilisation)), 100*m.FirstTryRate)
	fmt.Fprintf(out, "Wrong-node binds %s, stage and publish failures %d, provision failures %d, claims given back %d, over-allocations %s, orphans %s. It took %.1f s.\n",
		r.figure("wrongNodeBinds", m.WrongNodeBinds), m.StageFailures+m.PublishFailures, m.ProvisionFailures, m.Reschedules, r.figure("overAllocations", m.OverAllocations), r.figure("orphans", known(m.Orphans)), r.Seconds())
	section := func(title string, all []Reason) {
		if len(all) == 0 {
			return
		}
		fmt.Fprintf(out, "\n**%s**\n\n", title)
		for i, x := range all {
			if i == mostReasons {
				fmt.Fprintf(out, "- and %d more; report.json has all\n", len(all)-mostReasons)
				break
			}
			fmt.Fprintf(out, "- %s%s\n", times(x.Count), escaped(x.Text))
		}
	}
	var problems []Reason
	for _, p := range r.Problems {
		problems = append(problems, Reason{Text: p})
	}
	section("Found wrong", problems)
	section("Calls that failed", r.Failures)
	section("Why pods wait in the end", r.Waiting)
	_, err := io.WriteString(w, out.String())
	return err
}

// verdict is what came of the run, in a few words.
func (r *Report) verdict() string {
	missed, skipped := 0, 0
	for _, e := range r.Expectations {
		switch {
		case e.Skipped != "":
			skipped++
		case !e.Held:
			missed++
		}
	}
	switch {
	case r.Interrupted:
		return "interrupted; these are the figures so far"
	case missed > 0:
		return fmt.Sprintf("%d of %d expectations not held", missed, len(r.Expectations))
	}
	if skipped > 0 {
		return fmt.Sprintf("every expectation held, but for %d of which nobody can know", skipped)
	}
	return "every expectation held"
}

// known is a figure that is -1 when it is not known.
func known(n int) string {
	if n < 0 {
		return "not counted"
	}
	return fmt.Sprint(n)
}

func times(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d × ", n)
}

// escaped is text that means nothing else in Markdown, nor in HTML, nor in a table.
func escaped(text string) string {
	return strings.NewReplacer(
		"\\", "\\\\", "|", "\\|", "<", "&lt;", ">", "&gt;", "&", "&amp;", "*", "\\*", "_", "\\_", "`", "\\`", "[", "\\[", "]", "\\]", "\r", " ", "\n", " ",
	).Replace(text)
}

// code is text as it is, in a cell of a table.
func code(text string) string {
	text = strings.NewReplacer("|", "\\|", "\r", " ", "\n", " ").Replace(text)
	fence := "`"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	if fence != "`" {
		return fence + " " + text + " " + fence
	}
	return fence + text + fence
}
