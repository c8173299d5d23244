// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestExpectationsAreJudged(t *testing.T) {
	m := Report{
		Metrics:   Metrics{Pods: 48, PodsRunning: 47, ToRunning: Seconds{P99: 4.5}, PeakUtilisation: 1},
		Workloads: []Workload{{Name: "a", Seconds: 2}, {Name: "b-c", Seconds: 4, Running: 3}},
	}
	for that, want := range map[string]bool{
		"metrics.podsRunning == 47":                                 true,
		"metrics.podsRunning == metrics.pods":                       false,
		"metrics.toRunning.p99 < 5":                                 true,
		"metrics.toRunning.p99 < 4.5":                               false,
		"metrics.peakUtilisation == 1.0":                            true,
		"metrics.podsRunning > 0 && metrics.wrongNodeBinds == 0":    true,
		"workloads.a.seconds * 2.0 <= workloads['b-c'].seconds":     true,
		"workloads['b-c'].running == 4":                             false,
		"[metrics.pods, metrics.podsRunning].exists(n, n % 2 == 1)": true,
	} {
		r := m.Evaluate(that, "x")
		require.Empty(t, r.Error, that)
		require.Equal(t, want, r.Held, that)
	}
	r := m.Evaluate("metrics.pods / metrics.podsRefused > 0", "x")
	require.False(t, r.Held)
	require.Contains(t, r.Error, "division by zero")
	require.ErrorContains(t, Compile("metrics.podRunning == 1"), "undefined field 'podRunning'")
	require.Contains(t, m.Evaluate("workloads.d.running == 1", "x").Error, "no such key")
	require.ErrorContains(t, Compile("workloads.a.runing == 1"), "undefined field 'runing'")
	require.ErrorContains(t, Compile("podsRunning == 1"), "undeclared reference to 'podsRunning'")
	require.ErrorContains(t, Compile("metrics.pods"), "is a int; it must be true or false")
	require.ErrorContains(t, Compile(`metrics.pods == "1"`), "no matching overload")
}

// What a scenario can name is what the report says, by the same name.
func TestEveryMetricHasAName(t *testing.T) {
	text, err := json.Marshal(Metrics{})
	require.NoError(t, err)
	names := map[string]any{}
	require.NoError(t, json.Unmarshal(text, &names))
	require.Len(t, names, reflect.TypeFor[Metrics]().NumField(), "a field has no name of its own")
	for name := range names {
		require.Regexp(t, regexp.MustCompile("^[a-z][A-Za-z]+$"), name)
		if strings.HasPrefix(name, "to") || name == "capacityStaleness" {
			name += ".p90"
		}
		require.NoError(t, Compile("metrics."+name+" >= -1"))
	}
}

func TestDistribution(t *testing.T) {
	require.Zero(t, Distribution(nil))
	require.Equal(t, Seconds{2, 2, 2, 2}, Distribution([]time.Duration{2 * time.Second}))
	var times []time.Duration
	for i := range 100 {
		times = append(times, time.Duration(100-i)*time.Millisecond)
	}
	require.Equal(t, Seconds{0.05, 0.09, 0.099, 0.1}, Distribution(times))
	require.Equal(t, 100*time.Millisecond, times[0], "the caller's are left as they are")
}

func sample() *Report {
	return &Report{
		Scenario: "x", Phases: []Phase{{"pods", 1.5}, {"stop", 0.25}}, Metrics: Metrics{Pods: 2, PodsRunning: 1, PodsWaiting: 1},
		Workloads:    []Workload{{Name: "a", Pods: 1, Running: 1}, {Name: "b", Pods: 1, Waiting: 1}},
		Waiting:      []Reason{{"0/1 nodes are available: 1 Insufficient <podlv.dev/ssd>", 1}},
		Problems:     []string{"something is wrong"},
		Expectations: []Result{{That: "metrics.pods < 3", Message: "few & small", Held: true}, {That: "metrics.podsRunning == 2", Message: "all run"}},
	}
}

func TestFilesAreWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	r := sample()
	require.NoError(t, r.Write(dir))
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	var again Report
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, r.Metrics, again.Metrics)
	require.Contains(t, string(text), `"podsRunning": 1`)
	require.Contains(t, string(text), "<podlv.dev/ssd>", "it is read by people, too")

	text, err = os.ReadFile(filepath.Join(dir, "junit.xml"))
	require.NoError(t, err)
	var s testSuite
	require.NoError(t, xml.Unmarshal(text, &s))
	require.Equal(t, 2, s.Tests)
	require.Equal(t, 1, s.Failures)
	require.Equal(t, "few & small", s.Cases[0].Name)
	require.Nil(t, s.Cases[0].Failure)
	require.Equal(t, "metrics.podsRunning == 2", s.Cases[1].Failure.Message)
	require.InDelta(t, 1.75, s.Time, 1e-9)
}

func TestAnInterruptedRunHasNotPassed(t *testing.T) {
	r := sample()
	require.False(t, r.Passed())
	r.Expectations = r.Expectations[:1]
	require.True(t, r.Passed())
	r.Interrupted = true
	require.False(t, r.Passed())
	var out bytes.Buffer
	require.NoError(t, r.JUnit(&out))
	require.Contains(t, out.String(), `failures="1"`)
	require.NoError(t, r.Table(&out))
	require.Contains(t, out.String(), "FAILED  the run was interrupted")
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, sample().Table(&out))
	for _, line := range []string{
		"ok      few & small  (metrics.pods < 3)", "FAILED  all run  (metrics.podsRunning == 2)", "waiting: 1 × 0/1 nodes are available", "problem: something is wrong",
	} {
		require.Contains(t, out.String(), line)
	}
	require.Equal(t, []string{"workload", "pods", "running", "waiting", "refused", "p50", "p90", "p99", "max"}, strings.Fields(strings.Split(out.String(), "\n")[0]))
}

func TestAFolderThatCannotBeWrittenIsSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.ErrorContains(t, Prepare(filepath.Join(file, "out")), "output folder: ")
	require.ErrorContains(t, Prepare("/proc/out"), "output folder: ")
}
