// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a target cannot know is not a 0, which would be good news.
func TestAnExpectationOnWhatIsUnknownIsSkipped(t *testing.T) {
	m := &Report{Metrics: Metrics{Pods: 2, PodsRunning: 1, PublishFailures: 1}, Unknown: []string{"wrongNodeBinds", "orphans"}}
	r := m.Evaluate("metrics.wrongNodeBinds == 0 && metrics.orphans == 0 && metrics.pods == 2", "x")
	require.False(t, r.Held)
	require.Empty(t, r.Error)
	require.Equal(t, "metrics.orphans, metrics.wrongNodeBinds cannot be known on this target", r.Skipped)

	r = m.Evaluate("metrics.wrongNodeBinds == 0 && metrics.publishFailures == 0", "x")
	require.Empty(t, r.Skipped, "it does not hold, whatever the unknown is")
	require.False(t, r.Held)
	r = m.Evaluate("metrics.podsRunning == 1", "x")
	require.True(t, r.Held)
}

func TestWhatIsUnknownIsAbsent(t *testing.T) {
	r := sample()
	r.Target, r.Unknown = "kubeconfig", []string{"wrongNodeBinds", "orphans", "peakUtilisation"}
	r.Expectations = []Result{{That: "metrics.orphans == 0", Message: "nothing is left", Skipped: "metrics.orphans cannot be known on this target"}}
	require.True(t, r.Passed(), "what nobody knows is no failure")

	var b bytes.Buffer
	require.NoError(t, r.JSON(&b))
	var read struct {
		Unknown []string
		Metrics map[string]any
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &read))
	require.Equal(t, r.Unknown, read.Unknown)
	for _, name := range r.Unknown {
		require.NotContains(t, read.Metrics, name)
	}
	require.EqualValues(t, 2, read.Metrics["pods"])
	require.NotContains(t, b.String(), "controlPlane")
	require.Contains(t, b.String(), "<podlv.dev/ssd>", "as it was written")

	b.Reset()
	require.NoError(t, r.JUnit(&b))
	require.Contains(t, b.String(), `skipped="1"`)
	require.Contains(t, b.String(), `<skipped message="metrics.orphans cannot be known on this target">`)
	require.Contains(t, b.String(), `failures="0"`)

	b.Reset()
	require.NoError(t, r.Table(&b))
	require.Contains(t, b.String(), "wrong-node binds ?;")
	require.Contains(t, b.String(), "orphans ?")
	require.Contains(t, b.String(), "skipped nothing is left  (metrics.orphans == 0: metrics.orphans cannot be known on this target)")
}
