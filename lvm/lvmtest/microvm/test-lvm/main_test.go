// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	o, err := parse([]string{"-mode=microvm", "-run", "TestA", "-count=3", "-p=2", "-disk-size=1G", "./lvm", "--", "-lvm.seed=4", "-test.short"}, io.Discard, io.Discard)
	require.NoError(t, err)
	require.Equal(t, options{
		mode: "microvm", run: "TestA", count: 3, timeout: 20 * time.Minute, disks: 4, diskSize: 1 << 30, memory: "1G", parallel: 2,
		packages: []string{"./lvm"}, extra: []string{"-lvm.seed=4", "-test.short"}, out: io.Discard,
	}, o)
	for _, bad := range [][]string{{"-mode=cloud"}, {"-disk-size=big"}, {"-nonsense"}, {"-count=0"}, {"-p=0"}} {
		_, err := parse(bad, io.Discard, io.Discard)
		require.Error(t, err, bad)
	}
}

func TestPackagesWithTagAreFound(t *testing.T) {
	found, err := findPackages(t.Context(), []string{harness + "/..."})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, harness, found[0].ImportPath)
	require.Len(t, found[0].tagged, 1)
	require.Equal(t, "machine_test.go", filepath.Base(found[0].tagged[0]))
	_, err = findPackages(t.Context(), []string{harness + "/microvm"})
	require.ErrorContains(t, err, "no tests behind the build tag")
}

func TestOnlyTestsBehindTagAreRun(t *testing.T) {
	dir := t.TempDir()
	tagged := filepath.Join(dir, "real_test.go")
	require.NoError(t, os.WriteFile(tagged, []byte("package p\nfunc TestReal(t *testing.T) {}\nfunc TestRealToo(t *testing.T) {}\n"), 0o600))
	// It stands for a test binary that has another test, and a TestMain that talks.
	binary := filepath.Join(dir, "binary")
	require.NoError(t, os.WriteFile(binary, []byte("#!/bin/sh\necho hello\necho TestOther\necho TestReal\n"), 0o700))
	p := &testPackage{Dir: dir, tagged: []string{tagged}, binary: binary}
	names, err := p.tests(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, []string{"TestReal"}, names)
}

func TestOutputComesInTurn(t *testing.T) {
	var out bytes.Buffer
	first, second := &turn{}, &turn{}
	fmt.Fprint(second, "c")
	fmt.Fprint(first, "a")
	require.Empty(t, out.String())
	require.NoError(t, first.release(&out))
	fmt.Fprint(first, "b")
	require.Equal(t, "ab", out.String())
	require.NoError(t, second.release(&out))
	fmt.Fprint(second, "d")
	require.Equal(t, "abcd", out.String())
}

func TestPlanDividesTests(t *testing.T) {
	dir := t.TempDir()
	source, list := "package p\n", "#!/bin/sh\n"
	for _, n := range []string{"TestA", "TestB", "TestC", "TestD", "TestE", "TestCrashF"} {
		source += "func " + n + "(t *testing.T) {}\n"
		list += "echo " + n + "\n"
	}
	tagged, binary := filepath.Join(dir, "real_test.go"), filepath.Join(dir, "binary")
	require.NoError(t, os.WriteFile(tagged, []byte(source), 0o600))
	require.NoError(t, os.WriteFile(binary, []byte(list), 0o700))
	p := &testPackage{Dir: dir, tagged: []string{tagged}, binary: binary}
	runs := func(r *runner) []string {
		pl, err := r.plan(t.Context(), p)
		require.NoError(t, err)
		var all []string
		for _, j := range pl.jobs {
			all = append(all, fmt.Sprint(j.onHost, " ", j.args[1]))
		}
		return append(all, pl.notes...)
	}
	o := options{count: 1, parallel: 1, run: "Test/sub"}
	require.Equal(t, []string{
		"false -test.run=^(TestA|TestB|TestC)$/sub", "false -test.run=^(TestD|TestE)$/sub", "false -test.run=^(TestCrashF)$/sub",
	}, runs(&runner{options: o}))
	require.Equal(t, []string{
		"true -test.run=^(TestA|TestB|TestC|TestD|TestE)$/sub", "=== NOT RUN TestCrashF: no machines",
	}, runs(&runner{options: o, onHost: true, machines: errors.New("no machines")}))
}
