// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"regexp"
	"testing"

	"github.com/onsi/ginkgo/v2/types"
	"github.com/stretchr/testify/require"
)

// spec is one test of a report.
func spec(state types.SpecState, name, says string) types.SpecReport {
	return types.SpecReport{
		ContainerHierarchyTexts: []string{"External Storage", "[Driver: podlv.dev] thick"},
		LeafNodeType:            types.NodeTypeIt, LeafNodeText: name, State: state, Failure: types.Failure{Message: says},
	}
}

func TestResultsAreCounted(t *testing.T) {
	p := plan{Classes: []string{"thick", "thin"}}
	focus := regexp.MustCompile(p.focus())
	pass := spec(types.SpecStatePassed, "[Testpattern: Dynamic PV (xfs)] [Slow] volumes should store data", "")
	for name, c := range map[string]struct {
		specs                   []types.SpecReport
		passed, failed, skipped int
		good                    bool
	}{
		"all well": {[]types.SpecReport{
			pass,
			spec(types.SpecStateSkipped, "[Testpattern: Inline-volume (ext4)] volumes should store data", `Driver "podlv.dev" does not support volume type "InlineVolume" - skipping`),
			spec(types.SpecStateSkipped, "[Testpattern: Dynamic PV (ext4)] disruptive [Disruptive] should survive", ""),
			{LeafNodeType: types.NodeTypeIt, LeafNodeText: "[sig-node] of somebody else", State: types.SpecStateSkipped},
		}, 1, 0, 2, true},
		"a failure": {[]types.SpecReport{pass, spec(types.SpecStateFailed, "x", "it broke")}, 1, 1, 0, false},
		"a timeout": {[]types.SpecReport{pass, spec(types.SpecStateTimedout, "x", "it hung")}, 1, 1, 0, false},
		"a panic":   {[]types.SpecReport{pass, spec(types.SpecStatePanicked, "x", "it died")}, 1, 1, 0, false},
		// What a capability that is declared no more would look like.
		"a skip that nobody has explained":    {[]types.SpecReport{pass, spec(types.SpecStateSkipped, "x", `Driver "podlv.dev" does not support online volume expansion - skipping`)}, 1, 0, 1, false},
		"snapshots that are declared no more": {[]types.SpecReport{pass, spec(types.SpecStateSkipped, "[Testpattern: Dynamic Snapshot (delete policy)] snapshottable x", `Driver "podlv.dev" does not support snapshots - skipping`)}, 1, 0, 1, false},
		"a pattern without snapshots":         {[]types.SpecReport{pass, spec(types.SpecStateSkipped, "[Testpattern: Dynamic PV (filesystem volmode)] multiVolume [Slow] should concurrently access the volume and restored snapshot from pods on the same node [LinuxOnly] [Feature:VolumeSnapshotDataSource]", `Driver "podlv.dev" does not support snapshots - skipping`)}, 1, 0, 1, true},
		"a test that never started":           {[]types.SpecReport{pass, spec(types.SpecStateSkipped, "x", "")}, 1, 0, 1, false},
		"nothing that was run":                {nil, 0, 0, 0, false},
		"a failure before all tests": {[]types.SpecReport{pass, {
			LeafNodeType: types.NodeTypeSynchronizedBeforeSuite, State: types.SpecStateFailed, Failure: types.Failure{Message: "no nodes"},
		}}, 1, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := collect([]types.Report{{SpecReports: c.specs}}, focus)
			require.Len(t, r.passed, c.passed)
			require.Len(t, r.failed, c.failed)
			require.Len(t, r.skipped, c.skipped)
			require.Equal(t, c.good, r.good())
			var out bytes.Buffer
			r.print(&out)
			for _, s := range r.failed {
				require.Contains(t, out.String(), s.Failure.Message)
			}
			for _, s := range r.unexplained() {
				require.Contains(t, out.String(), "SKIPPED, and skips.go does not say why: "+s.name)
			}
		})
	}
}

func TestTestsAreGroupedByClassAndPart(t *testing.T) {
	for name, want := range map[string]string{
		"External Storage [Driver: podlv.dev] thin [Testpattern: Dynamic PV (xfs)] [Slow] volumes should store data":                                                                                "thin volumes",
		"External Storage [Driver: podlv.dev] thick [Testpattern: Dynamic Snapshot (delete policy)] snapshottable [Feature:VolumeSnapshotDataSource] volume snapshot controller should check":       "thick snapshottable",
		"External Storage [Driver: podlv.dev] thick [Testpattern: Generic Ephemeral-volume (block volmode) (late-binding)] ephemeral should support two pods which have the same volume definition": "thick ephemeral",
		"something else": "something else",
	} {
		require.Equal(t, want, group(name))
	}
}

func TestFocusChoosesAmongOurTests(t *testing.T) {
	f := regexp.MustCompile(plan{Classes: []string{"thin"}, Focus: "volumes|topology"}.focus())
	require.True(t, f.MatchString("External Storage [Driver: podlv.dev] thin [Testpattern: Dynamic PV (xfs)] [Slow] volumes should store data"))
	require.False(t, f.MatchString("External Storage [Driver: podlv.dev] thick [Testpattern: Dynamic PV (xfs)] [Slow] volumes should store data"))
	require.False(t, f.MatchString("External Storage [Driver: podlv.dev] thin [Testpattern: Dynamic PV (xfs)] capacity"))
	require.False(t, f.MatchString("[sig-storage] CSI Volumes [Driver: csi-hostpath] thin volumes"))
}
