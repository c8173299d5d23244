// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// typicalUse is what the tests of a package write to their disks, in bytes.
const typicalUse = 2 << 30

// crashPrefix starts the names of tests that may call microvm.Crash.
const crashPrefix = "TestCrash"

// runner runs test binaries in one place.
type runner struct {
	options
	onHost   bool
	machines error  // why none can be booted; nil when they can
	dir      string // test binaries, programs and disks; removed at the end
}

// testAll compiles and runs everything. failed means that a test did not pass;
// an error, that not all tests could be run.
func testAll(ctx context.Context, o options) (failed bool, err error) {
	onHost, machines, err := o.place()
	if err != nil {
		return false, err
	}
	packages, err := findPackages(ctx, o.packages)
	if err != nil {
		return false, err
	}
	dir, err := os.MkdirTemp("", "test-lvm-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	r := &runner{options: o, onHost: onHost, machines: machines, dir: dir}
	start := time.Now()
	if err := os.Mkdir(r.programs(), 0o755); err != nil {
		return false, err
	}
	if err := buildPrograms(ctx, r.programs()); err != nil {
		return false, err
	}
	for _, p := range packages {
		if err := p.compile(ctx, dir); err != nil {
			fmt.Fprintf(o.out, "%v\nFAIL\t%s [build failed]\n", err, p.ImportPath)
			failed = true
			p.binary = ""
		}
	}
	o.say("compiled in %.1fs; tests run %s", time.Since(start).Seconds(), map[bool]string{true: "on this host", false: "in microVMs"}[onHost])
	for _, p := range packages {
		if p.binary == "" {
			continue
		}
		ok, err := r.test(ctx, p)
		if err != nil {
			return failed, err
		}
		failed = failed || !ok
	}
	return failed, ctx.Err()
}

// programs is the folder of the module's own programs.
func (r *runner) programs() string { return filepath.Join(r.dir, "bin") }

// test runs the tests of one package and prints its last line.
func (r *runner) test(ctx context.Context, p *testPackage) (ok bool, err error) {
	names, err := p.tests(ctx, r.run)
	if err != nil {
		fmt.Fprintf(r.out, "%v\nFAIL\t%s\n", err, p.ImportPath)
		return false, nil
	}
	flags := []string{"-test.v", "-test.timeout=" + r.timeout.String()}
	for _, f := range r.extra {
		if p.knows(ctx, f) {
			flags = append(flags, f)
		} else {
			fmt.Fprintf(r.out, "# the tests of %s have no flag %s: left out\n", p.ImportPath, f)
		}
	}
	start := time.Now()
	ok = true
	crash := func(name string) bool { return strings.HasPrefix(name, crashPrefix) }
	if slices.ContainsFunc(names, func(n string) bool { return !crash(n) }) {
		top, rest := splitRun(r.run)
		args := append([]string{"-test.count=" + strconv.Itoa(r.count), "-test.run=" + top + rest, "-test.skip=^" + crashPrefix}, flags...)
		passed, err := r.start(ctx, p, r.onHost || p.ImportPath == harness, args)
		if err != nil {
			return false, err
		}
		ok = passed
	}
	notRun := ""
	for _, name := range names {
		switch {
		case !crash(name):
			continue
		case r.machines != nil:
			fmt.Fprintf(r.out, "=== NOT RUN %s: %v\n", name, r.machines)
			notRun = " [some tests not run]"
			continue
		}
		_, rest := splitRun(r.run)
		for range r.count {
			passed, err := r.start(ctx, p, false, append([]string{"-test.run=^" + name + "$" + rest}, flags...))
			if err != nil {
				return false, err
			}
			ok = ok && passed
		}
	}
	if len(names) == 0 {
		notRun = " [no tests to run]"
	}
	word := map[bool]string{true: "ok  ", false: "FAIL"}[ok]
	fmt.Fprintf(r.out, "%s\t%s\t%.3fs%s\n", word, p.ImportPath, time.Since(start).Seconds(), notRun)
	return ok, nil
}

// start starts the package's test binary once, with disks of its own.
func (r *runner) start(ctx context.Context, p *testPackage, onHost bool, args []string) (ok bool, err error) {
	work, err := os.MkdirTemp(r.dir, "run-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(work)
	folder, err := microvm.MakeFolder("test-lvm", typicalUse)
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(folder)
	images, err := microvm.MakeDisks(folder, r.disks, r.diskSize)
	if err != nil {
		return false, err
	}
	// The binary's own limit comes first: it tells what hangs.
	ctx, cancel := context.WithTimeout(ctx, r.timeout+30*time.Second)
	defer cancel()
	var code int
	if onHost {
		code, err = r.onThisHost(ctx, p, work, images, args)
	} else {
		code, err = r.inMachine(ctx, p, work, images, args)
	}
	var died *microvm.DiedError
	switch {
	case errors.As(err, &died):
		fmt.Fprintf(r.out, "%v\n", died)
		return false, nil
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Fprintf(r.out, "ended after %s: the test binary did not keep its own time limit\n", r.timeout+30*time.Second)
		return false, nil
	}
	return code == 0, err
}

// inMachine runs the test binary in a machine, through all of its boots.
func (r *runner) inMachine(ctx context.Context, p *testPackage, work string, images, args []string) (int, error) {
	share := filepath.Join(work, "share")
	if err := os.Mkdir(share, 0o755); err != nil {
		return 0, err
	}
	start := time.Now()
	code, err := microvm.Run(ctx, microvm.Config{
		Command: append([]string{p.binary}, r.withDisks(ctx, p, microvm.DiskNames(len(images)), args)...),
		Dir:     p.Dir,
		Env:     []string{"PATH=" + r.programs() + ":" + os.Getenv("PATH")},
		Memory:  r.memory,
		Disks:   images,
		Share:   share,
		Visible: []string{r.programs()},
		Console: r.out,
		OnBoot: func(n int) {
			if n > 1 {
				fmt.Fprintf(r.out, "=== BOOT  %d\n", n)
			}
		},
	})
	r.say("machine ended after %.1fs", time.Since(start).Seconds())
	return code, err
}

// withDisks adds -lvm.disks where the binary has it.
func (r *runner) withDisks(ctx context.Context, p *testPackage, disks, args []string) []string {
	if f := "-lvm.disks=" + strings.Join(disks, ","); p.knows(ctx, f) {
		args = append(args, f)
	}
	return args
}
