// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/podlv/podlv/fakelvm"
	"github.com/stretchr/testify/require"
)

// TestCapturedReports makes the machine of setup.txt and compares its reports with
// those that real lvm2 printed there: fields, their order, types and formats,
// values, the layout of the JSON.
func TestCapturedReports(t *testing.T) {
	const dir = "testdata/reports-2.03.16/"
	var disks []fakelvm.Disk
	for _, letter := range "bcdef" {
		disks = append(disks, fakelvm.Disk{Path: "/dev/ubd" + string(letter), Size: 2 * gib})
	}
	h := fakelvm.New(disks...)
	h.SetName("(none)")
	for _, line := range linesOf(t, dir+"setup.txt") {
		_, stderr, code := h.Setup(split(line)...)
		require.Zero(t, code, "%s: %s", line, stderr)
	}
	require.NoError(t, (&machine{h: h}).write("/dev/vg0/thin1", "0", "5242880"))
	for _, line := range linesOf(t, dir+"commands.txt") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, command, ok := strings.Cut(line, ": lvm ")
		require.True(t, ok, line)
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(dir + name + ".json")
			require.NoError(t, err)
			got, _ := h.Run(context.Background(), split(command)...)
			ordered := !strings.HasPrefix(command, "fullreport") // its rows are in the order of UUIDs
			w, g := reportLines(string(want), ordered), reportLines(string(got), ordered)
			for i := 0; i < len(w) && i < len(g); i++ {
				if w[i] != g[i] {
					t.Fatalf("line %d\nreal: %s\nfake: %s\n%s", i+1, w[i], g[i], firstDifference(w[i], g[i]))
				}
			}
			require.Len(t, g, len(w))
		})
	}
}

func linesOf(t *testing.T, file string) []string {
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(raw)), "\n")
}

// vary is what differs between two equal machines: UUIDs, times, minor numbers, and
// the blocks that a pool's open transaction holds when the report is made.
var vary = regexp.MustCompile(`"(lv_time|lv_kernel_minor|metadata_percent)":"[^"]+"`)

func reportLines(s string, ordered bool) []string {
	s = uuids.ReplaceAllString(s, "UUID")
	s = vary.ReplaceAllString(s, `"$1":"…"`)
	lines := strings.Split(s, "\n")
	if ordered {
		return lines
	}
	for i := 0; i < len(lines); i++ {
		j := i
		for j < len(lines) && strings.HasPrefix(strings.TrimSpace(lines[j]), `{"`) {
			lines[j] = strings.TrimSuffix(lines[j], ",")
			j++
		}
		slices.Sort(lines[i:j])
		i = max(i, j-1)
	}
	return lines
}

// firstDifference shows where two lines part.
func firstDifference(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	cut := func(s string) string { return s[max(0, min(len(s), i-60)):min(len(s), i+60)] }
	return "at: …" + cut(a) + "\nnot: …" + cut(b)
}
