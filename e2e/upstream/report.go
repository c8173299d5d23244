// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/onsi/ginkgo/v2/types"
)

// Files of plan.Out.
const (
	logFile    = "ginkgo.log"
	reportFile = "report.json"
)

// results is what a run came to.
type results struct {
	passed, failed []types.SpecReport
	skipped        []skip
	broken         []string // what went wrong beside the tests
}

// skip is a test that was not run.
type skip struct {
	name, why string // why is "" for a skip that nobody has explained
	words     string // the suite's, when it skipped the test itself
}

// tell prints what came of it; code is the second half's exit status.
func tell(p plan, code int, took time.Duration) error {
	text, err := os.ReadFile(filepath.Join(p.Out, reportFile))
	if err != nil {
		return fmt.Errorf("the suite left no report: %w; logs are in %s", err, p.Out)
	}
	var reports []types.Report
	if err := json.Unmarshal(text, &reports); err != nil {
		return fmt.Errorf("%s: %w", reportFile, err)
	}
	r := collect(reports, regexp.MustCompile(p.focus()))
	if code != 0 {
		r.broken = append(r.broken, "the run did not end as it should: see above")
	}
	r.print(os.Stdout)
	fmt.Printf("\nIt took %.0f minutes. Reports and logs are in %s\n", took.Minutes(), p.Out)
	fmt.Printf("upstream: %d passed, %d failed, %d skipped\n", len(r.passed), len(r.failed), len(r.skipped))
	if !r.good() {
		return errTold
	}
	return nil
}

// collect sorts the tests that match focus.
func collect(reports []types.Report, focus *regexp.Regexp) results {
	var r results
	for _, report := range reports {
		for _, reason := range report.SpecialSuiteFailureReasons {
			if reason != "" && reason != "Detected pending specs and --fail-on-pending is set" {
				r.broken = append(r.broken, "ginkgo: "+reason)
			}
		}
		for _, s := range report.SpecReports {
			name := s.FullText()
			switch {
			case s.LeafNodeType != types.NodeTypeIt:
				if s.State.Is(types.SpecStateFailureStates) {
					r.broken = append(r.broken, s.LeafNodeType.String()+": "+s.Failure.Message)
				}
			case !focus.MatchString(name):
			case s.State.Is(types.SpecStateFailureStates):
				r.failed = append(r.failed, s)
			case s.State == types.SpecStatePassed:
				r.passed = append(r.passed, s)
			case s.Failure.Message != "": // the test ran and skipped itself
				r.skipped = append(r.skipped, skip{name, why(skipped, name+": "+s.Failure.Message), s.Failure.Message})
			default:
				r.skipped = append(r.skipped, skip{name, why(leftOut, name), "never started"})
			}
		}
	}
	return r
}

// unexplained are the skips that nobody has explained.
func (r results) unexplained() []skip {
	var all []skip
	for _, s := range r.skipped {
		if s.why == "" {
			all = append(all, s)
		}
	}
	return all
}

// good tells whether all is as it must be. That no test passed is not: something is
// wrong with the focus.
func (r results) good() bool {
	return len(r.failed) == 0 && len(r.broken) == 0 && len(r.unexplained()) == 0 && len(r.passed) > 0
}

// groupName is what the name of a test says of where it belongs: the class of its
// volumes, and the part of the suite.
var groupName = regexp.MustCompile(`\[Driver: podlv\.dev\] (\w+) \[Testpattern: [^\]]*\]+ (?:\[[^\]]*\] )*([\w-]+)`)

func group(name string) string {
	m := groupName.FindStringSubmatch(name)
	if m == nil {
		return name
	}
	return m[1] + " " + m[2]
}

// print prints tables of all tests by where they belong, of skips by reason, of what
// failed, and of what took longest.
func (r results) print(w io.Writer) {
	type count struct{ passed, failed, skipped int }
	groups := map[string]*count{}
	of := func(name string) *count {
		g := group(name)
		if groups[g] == nil {
			groups[g] = &count{}
		}
		return groups[g]
	}
	for _, s := range r.passed {
		of(s.FullText()).passed++
	}
	for _, s := range r.failed {
		of(s.FullText()).failed++
	}
	reasons := map[string]int{}
	for _, s := range r.skipped {
		of(s.name).skipped++
		reasons[cmp.Or(s.why, "NOT EXPLAINED")]++
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\npart of the suite\tpassed\tfailed\tskipped")
	for _, g := range sorted(groups) {
		c := groups[g]
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\n", g, c.passed, c.failed, c.skipped)
	}
	fmt.Fprintln(t, "\nskipped\twhy\t\t")
	for _, why := range sorted(reasons) {
		fmt.Fprintf(t, "%d\t%s\t\t\n", reasons[why], why)
	}
	_ = t.Flush()
	r.printSlowest(w)
	for _, s := range r.unexplained() {
		fmt.Fprintf(w, "\nSKIPPED, and skips.go does not say why: %s\n  %s\n", s.name, s.words)
	}
	for _, s := range r.failed {
		fmt.Fprintf(w, "\nFAILED after %.0f s: %s\n  %s\n", s.RunTime.Seconds(), s.FullText(), firstLines(s.Failure.Message, 12))
	}
	for _, b := range r.broken {
		fmt.Fprintf(w, "\nFAILED: %s\n", b)
	}
}

// printSlowest prints what took longest.
func (r results) printSlowest(w io.Writer) {
	all := slices.Concat(r.passed, r.failed)
	slices.SortFunc(all, func(a, b types.SpecReport) int { return cmp.Compare(b.RunTime, a.RunTime) })
	fmt.Fprintln(w, "\nslowest")
	for _, s := range all[:min(5, len(all))] {
		fmt.Fprintf(w, "%5.0f s  %s\n", s.RunTime.Seconds(), strings.TrimPrefix(s.FullText(), "External Storage [Driver: podlv.dev] "))
	}
}

// firstLines are the first lines of a text, indented.
func firstLines(text string, most int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[:min(most, len(lines))], "\n  ")
}

func sorted[T any](m map[string]T) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
