// SPDX-License-Identifier: Apache-2.0

package compare_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/sim/compare"
	"github.com/podlv/podlv/sim/report"
)

func TestVariantsAreAllCombinations(t *testing.T) {
	pods, err := compare.ParseDimension("workloads[0].pods=10|20")
	require.NoError(t, err)
	accounting, err := compare.ParseDimension("settings.inlineAccounting=true|false")
	require.NoError(t, err)
	var names []string
	for _, v := range compare.Variants([]string{"dir/a.yaml", "b"}, []compare.Dimension{pods, accounting}) {
		names = append(names, v.String())
	}
	require.Equal(t, []string{
		"a pods=10 inlineAccounting=true", "a pods=10 inlineAccounting=false", "a pods=20 inlineAccounting=true", "a pods=20 inlineAccounting=false",
		"b pods=10 inlineAccounting=true", "b pods=10 inlineAccounting=false", "b pods=20 inlineAccounting=true", "b pods=20 inlineAccounting=false",
	}, names)
	for _, wrong := range []string{"x", "x=1", "=1|2"} {
		_, err := compare.ParseDimension(wrong)
		require.ErrorContains(t, err, "must be PATH=VALUE|VALUE", wrong)
	}
}

func run(running, wrong int, p99 float64) *report.Report {
	return &report.Report{Metrics: report.Metrics{Pods: 5, PodsRunning: running, WrongNodeBinds: wrong, ToRunning: report.Seconds{P99: p99}}}
}

func TestTableShowsWhatDiffersWithItsSpread(t *testing.T) {
	out := &strings.Builder{}
	columns := []compare.Column{
		{Name: "with", Reports: []*report.Report{run(5, 0, 1), run(5, 0, 3), run(5, 0, 2)}},
		{Name: "without", Reports: []*report.Report{run(3, 2, 1.5)}},
	}
	require.NoError(t, compare.Table(out, columns, false))
	text := out.String()
	require.Contains(t, text, "A  with, 3 runs\nB  without, 1 runs\n")
	require.Regexp(t, `podsRunning +5 +3\b`, text)
	require.Regexp(t, `wrongNodeBinds +0 +2\b`, text)
	require.Regexp(t, `toRunning.p99 +2 \(1 to 3\) +1.5\b`, text)
	require.NotRegexp(t, ` pods +5`, text, "it is the same in all")
	require.Contains(t, text, "figures are the same in all")

	out.Reset()
	require.NoError(t, compare.Table(out, columns, true))
	require.Regexp(t, ` pods +5 +5\b`, out.String())
	require.NotContains(t, out.String(), "are the same")
}
