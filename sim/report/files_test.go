// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/sim/trace"
)

func TestMarkdown(t *testing.T) {
	var out bytes.Buffer
	r := sample()
	require.NoError(t, r.Markdown(&out))
	for _, line := range []string{
		"## x: 1 of 2 expectations not held\n", "| ✅ | few &amp; small | `metrics.pods < 3` |\n", "| ❌ | all run | `metrics.podsRunning == 2` |\n",
		"| **all** | 2 | 1 | 1 | 0 |", "- 1 × 0/1 nodes are available: 1 Insufficient &lt;podlv.dev/ssd&gt;\n", "- something is wrong\n",
	} {
		require.Contains(t, out.String(), line)
	}
	r.Expectations[1] = Result{That: "a || `b`", Message: "x | y\nz", Error: "division by zero"}
	r.Metrics.Orphans, r.Interrupted = -1, true
	for range 12 {
		r.Problems = append(r.Problems, "p")
	}
	out.Reset()
	require.NoError(t, r.Markdown(&out))
	require.Contains(t, out.String(), "## x: interrupted")
	require.Contains(t, out.String(), "| ❌ | x \\| y z (division by zero) | `` a \\|\\| `b` `` |\n")
	require.Contains(t, out.String(), "orphans not counted")
	require.Contains(t, out.String(), "- and 3 more; report.json has all\n")
}

func TestPrometheus(t *testing.T) {
	var out bytes.Buffer
	r := sample()
	r.Seed, r.Metrics.FirstTryRate, r.Metrics.Orphans = 7, 0.5, -1
	r.Metrics.ToRunning = Seconds{1, 2, 3, 4}
	r.Expectations[0].Message = "it's \"so\"\n"
	require.NoError(t, r.Prometheus(&out))
	text := out.String()
	for _, line := range []string{
		"podlv_sim_passed{scenario=\"x\",seed=\"7\"} 0\n", "podlv_sim_pods_running{scenario=\"x\",seed=\"7\"} 1\n", "podlv_sim_first_try_rate{scenario=\"x\",seed=\"7\"} 0.5\n",
		"podlv_sim_to_running_seconds{percentile=\"99\",scenario=\"x\",seed=\"7\"} 3\n", "podlv_sim_phase_seconds{phase=\"pods\",scenario=\"x\",seed=\"7\"} 1.5\n",
		`podlv_sim_expectation_held{message="it's \"so\"\n",scenario="x",seed="7"} 1`, "# TYPE podlv_sim_pods gauge\n",
	} {
		require.Contains(t, text, line)
	}
	require.NotContains(t, text, "orphans", "nobody has looked")
	problems, err := promlint.New(&out).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
}

// What the page is made of: its data, and nothing that it would have to load. That it works
// is tested in a browser (make test-page).
func TestPageHasItsDataInIt(t *testing.T) {
	r := sample()
	r.Scenario = `</script><b>"x"`
	r.Trace = &trace.Trace{Version: 1, Pods: []trace.Pod{{Name: "a-pod"}}}
	var out bytes.Buffer
	require.NoError(t, r.Page(&out))
	text := out.String()
	require.Contains(t, text, "<title>&lt;/script&gt;&lt;b&gt;&#34;x&#34; · podlv-sim</title>")
	m := regexp.MustCompile(`<script id="data" type="application/gzip">([A-Za-z0-9+/=]+)</script>`).FindStringSubmatch(text)
	require.NotNil(t, m)
	packed, err := base64.StdEncoding.DecodeString(m[1])
	require.NoError(t, err)
	z, err := gzip.NewReader(bytes.NewReader(packed))
	require.NoError(t, err)
	var data struct {
		Report Report
		Trace  trace.Trace
	}
	require.NoError(t, json.NewDecoder(z).Decode(&data))
	require.Equal(t, r.Scenario, data.Report.Scenario)
	require.Equal(t, "a-pod", data.Trace.Pods[0].Name)
	require.Empty(t, regexp.MustCompile(`@[A-Z_]{2,}@`).FindAllString(text, -1), "every part of the page is filled in")
	require.Empty(t, regexp.MustCompile(`(?:src|href)="(?:https?:|/)`).FindAllString(text, -1))
}

func TestTheLibraryOfThePageIsTheOneThatIsNamed(t *testing.T) {
	script, err := os.ReadFile("page/uplot/uPlot.iife.min.js")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(script), "/*! https://github.com/leeoniya/uPlot (v"+uplotVersion+") */"))
	wanted, err := os.ReadFile("../../tools/page/package.json")
	require.NoError(t, err)
	require.Contains(t, string(wanted), `"uplot": "`+uplotVersion+`"`)
}

func TestEveryFileIsWritten(t *testing.T) {
	dir := t.TempDir()
	r := sample()
	r.Trace = &trace.Trace{Version: 1}
	require.NoError(t, r.Write(dir))
	for _, name := range []string{"report.json", "junit.xml", "report.html", "report.md", "metrics.prom", trace.File} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.NotEmpty(t, text, name)
	}
}
