// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"strings"
)

// reason says why tests are not run.
type reason struct {
	pattern *regexp.Regexp
	why     string
}

// leftOut are tests that are not asked for, by their names.
var leftOut = []reason{
	{regexp.MustCompile(`\[Disruptive\]`), "they stop kubelets over SSH; the demo, make sim-conformance and the power cuts of make test-lvm are podlv's own"},
	{regexp.MustCompile(`\[Feature:SELinux\]`), "the kernel of the nodes, Debian's User-Mode Linux, has no SELinux"},
	{regexp.MustCompile(`\(immediate binding\)\] topology`), "podlv makes a volume where the scheduler has put its pod: Immediate is refused"},
}

// skipped are the names and the suite's own words of tests that it skips, and why that is
// right. A test that is skipped with other words is a failure: a declared capability may
// hide behind it.
var skipped = []reason{
	{regexp.MustCompile(`(doesn't support|does not support volume type) "?(InlineVolume|PreprovisionedPV)"?`), "for drivers inside Kubernetes, and for volumes made by the test itself: not defined for a driver of CSI"},
	{regexp.MustCompile(`doesn't support ext3 -- skipping`), "podlv makes ext4, xfs and btrfs"},
	{regexp.MustCompile(`doesn't support ntfs -- skipping`), "Windows"},
	{regexp.MustCompile(`Suite "\w+" does not support (CSIInlineVolume|GenericEphemeralVolume|DynamicPV|PreprovisionedPV|InlineVolume)`), "the suite has no such test for that kind of volume"},
	{regexp.MustCompile(`Block volumes do not support mount options|Test for Block volumes is not implemented|not valid for Block volume mode|skipping multiple PV mount test for block mode|raw block volumes cannot be read-only|Test does not support non-filesystem volume mode`), "the test is for filesystems"},
	{regexp.MustCompile(`Filesystem volume case should be covered by block volume case`), "the same test runs with a block volume"},
	{regexp.MustCompile(`does not support ROX access mode|doesn't support RWX -- skipping`), "a volume is one node's: neither ReadOnlyMany nor ReadWriteMany"},
	{regexp.MustCompile(`only supports singleNodeVolume`), "a volume is one node's: its pod cannot be moved to another"},
	{regexp.MustCompile(`VolumeBindingMode immediate is not compatible with a multi-topology environment|Multiple generic ephemeral volumes with immediate binding`), "Immediate does not go together with topology"},
	{regexp.MustCompile(`volume type "GenericEphemeralVolume" is not ephemeral|volume type "\w+" is (not )?ephemeral`), "one of two tests, for the other kind of volume"},
	// The same words are those of a driver without snapshots: here alone they are right.
	{regexp.MustCompile(`\(filesystem volmode\)\] multiVolume .* restored snapshot .*: Driver "podlv\.dev" does not support snapshots - skipping`), "the same test runs with ext4, xfs and block volumes"},
	{regexp.MustCompile(`does not support volume limits`), "volumeLimits is not declared: e2e/testdriver.yaml says why"},
	{regexp.MustCompile(`does not support group ?snapshots|volume group snapshot stress test options`), "podlv takes no snapshots of several volumes together"},
	{regexp.MustCompile(`does not support snapshot metadata`), "podlv has no SnapshotMetadata service"},
	{regexp.MustCompile(`VolumeAttributesClass|volume modify stress test options`), "podlv modifies no volume"},
	{regexp.MustCompile(`performance test options`), "the suite's performance tests know no WaitForFirstConsumer"},
	{regexp.MustCompile(`Skipping \w+ test for expansion`), "an inline volume has no claim that could grow"},
}

// why finds what explains a text; "" is nothing.
func why(reasons []reason, text string) string {
	for _, r := range reasons {
		if r.pattern.MatchString(text) {
			return r.why
		}
	}
	return ""
}

// skipExpression matches the names of the tests that are not asked for.
func skipExpression() string {
	var all []string
	for _, r := range leftOut {
		all = append(all, r.pattern.String())
	}
	return strings.Join(all, "|")
}
