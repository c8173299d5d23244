// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/sim/scenario"
	"github.com/podlv/podlv/sim/scenarios"
)

func shipped(t *testing.T, name string, settings ...scenario.Setting) *scenario.Scenario {
	t.Helper()
	data, err := scenarios.Read(name)
	require.NoError(t, err)
	s, err := Parse(name+".yaml", data, settings...)
	require.NoError(t, err)
	return s
}

func TestMemoryIsEstimated(t *testing.T) {
	for name, gibs := range map[string]float64{"first-steps": 0.45, "hostpath-1000-ephemeral": 1, "hostpath-10000": 4.6, "churn": 0.8} {
		require.InEpsilon(t, gibs, gib(Estimate(shipped(t, name))), 0.2, name)
	}
	require.Less(t, gib(Estimate(shipped(t, "large-1000"))), 8.)
	require.NoError(t, checkMemory(shipped(t, "first-steps")))
	have, known := available()
	require.True(t, known)
	require.Positive(t, have)
}

func TestMoreMemoryThanThereIsIsSaidBefore(t *testing.T) {
	huge := shipped(t, "large-1000", scenario.Setting{Path: "workloads[0].pods", Value: "1000000"}, scenario.Setting{Path: "workloads[1].pods", Value: "1000000"})
	require.ErrorContains(t, checkMemory(huge), "make nodes[].count or workloads[].pods less")
	require.ErrorContains(t, checkMemory(huge), "the scenario takes about 9")
}
