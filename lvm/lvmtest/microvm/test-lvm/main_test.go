// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunRegexpIsSplitAsPackageTestingDoes(t *testing.T) {
	for run, want := range map[string][2]string{
		"":                {".", ""},
		"TestA":           {"TestA", ""},
		"TestA/sub":       {"TestA", "/sub"},
		"TestA/sub/x":     {"TestA", "/sub/x"},
		"/sub":            {".", "/sub"},
		"Test[/]A/b":      {"Test[/]A", "/b"},
		"^(TestA|Test/)$": {"^(TestA|Test/)$", ""},
		`Test\(/x`:        {`Test\(`, "/x"},
	} {
		top, rest := splitRun(run)
		require.Equal(t, want, [2]string{top, rest}, run)
	}
}

func TestCommandLine(t *testing.T) {
	o, err := parse([]string{"-mode=microvm", "-run", "TestA", "-count=3", "-disk-size=1G", "./lvm", "--", "-lvm.seed=4", "-test.short"}, io.Discard, io.Discard)
	require.NoError(t, err)
	require.Equal(t, options{
		mode: "microvm", run: "TestA", count: 3, timeout: 10 * time.Minute, disks: 4, diskSize: 1 << 30, memory: "1G",
		packages: []string{"./lvm"}, extra: []string{"-lvm.seed=4", "-test.short"}, out: io.Discard,
	}, o)
	for _, bad := range [][]string{{"-mode=cloud"}, {"-disk-size=big"}, {"-nonsense"}} {
		_, err := parse(bad, io.Discard, io.Discard)
		require.Error(t, err, bad)
	}
}

func TestPackagesWithTagAreFound(t *testing.T) {
	found, err := findPackages(t.Context(), []string{harness + "/..."})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, harness, found[0].ImportPath)
	_, err = findPackages(t.Context(), []string{harness + "/microvm"})
	require.ErrorContains(t, err, "no tests behind the build tag")
}
