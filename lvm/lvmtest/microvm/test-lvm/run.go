// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	o.say(o.out, "compiled in %.1fs; tests run %s", time.Since(start).Seconds(), map[bool]string{true: "on this host", false: "in microVMs"}[onHost])
	var plans []*plan
	for _, p := range packages {
		if p.binary == "" {
			continue
		}
		pl, err := r.plan(ctx, p)
		if err != nil {
			return true, err
		}
		plans = append(plans, pl)
	}
	passed, err := r.runAll(ctx, plans)
	return failed || !passed, err
}

// programs is the folder of the module's own programs.
func (r *runner) programs() string { return filepath.Join(r.dir, "bin") }

// plan is what is to be done for one package.
type plan struct {
	p     *testPackage
	jobs  []*job
	notes []string // printed before its result
	word  string   // printed behind its result
}

// plan divides the tests of a package among starts of its binary: in machines a
// few each, so that several can run at once; each test that crashes alone.
func (r *runner) plan(ctx context.Context, p *testPackage) (*plan, error) {
	names, err := p.tests(ctx, r.run)
	if err != nil {
		return nil, err
	}
	pl := &plan{p: p}
	flags := []string{"-test.v", "-test.timeout=" + r.timeout.String()}
	for _, f := range r.extra {
		if p.knows(ctx, f) {
			flags = append(flags, f)
		} else {
			pl.notes = append(pl.notes, fmt.Sprintf("# the tests of %s have no flag %s: left out", p.ImportPath, f))
		}
	}
	_, rest := splitRun(r.run)
	add := func(onHost bool, count int, names ...string) {
		pl.jobs = append(pl.jobs, newJob(p, onHost, append([]string{
			"-test.count=" + strconv.Itoa(count), "-test.run=^(" + strings.Join(names, "|") + ")$" + rest,
		}, flags...)))
	}
	crash := func(name string) bool { return strings.HasPrefix(name, crashPrefix) }
	together := slices.DeleteFunc(slices.Clone(names), crash)
	switch onHost := r.onHost || p.ImportPath == harness; {
	case len(together) == 0:
	case onHost:
		add(true, r.count, together...)
	default:
		for c := range slices.Chunk(together, 1+(len(together)-1)/(2*r.parallel)) {
			add(false, r.count, c...)
		}
	}
	for _, name := range names {
		switch {
		case !crash(name):
		case r.machines != nil:
			pl.notes = append(pl.notes, fmt.Sprintf("=== NOT RUN %s: %v", name, r.machines))
			pl.word = " [some tests not run]"
		default:
			for range r.count {
				add(false, 1, name)
			}
		}
	}
	if len(names) == 0 {
		pl.word = " [no tests to run]"
	}
	return pl, nil
}

// runAll runs the jobs of all plans, several at once but no two on the host, and
// prints what they say one after the other.
func (r *runner) runAll(ctx context.Context, plans []*plan) (passed bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all []*job
	for _, pl := range plans {
		all = append(all, pl.jobs...)
	}
	var running sync.WaitGroup
	defer running.Wait() // disks and machines are theirs until then
	defer cancel()
	running.Add(1)
	go func() {
		defer running.Done()
		slots := make(chan int, r.parallel) // each a CPU's number
		for i := range r.parallel {
			slots <- i
		}
		var host sync.Mutex // its LVM is one
		for _, j := range all {
			j.cpu = <-slots
			running.Add(1)
			go func() {
				defer running.Done()
				defer func() { slots <- j.cpu }()
				defer close(j.done)
				if j.onHost {
					host.Lock()
					defer host.Unlock()
				}
				start := time.Now()
				if j.err = ctx.Err(); j.err == nil {
					j.passed, j.err = r.start(ctx, j)
				}
				j.took = time.Since(start)
			}()
		}
	}()
	passed = true
	for _, pl := range plans {
		ok, took := true, time.Duration(0)
		for _, j := range pl.jobs {
			if err := j.out.release(r.out); err != nil {
				return false, err
			}
			<-j.done
			if j.err != nil {
				return false, j.err
			}
			ok, took = ok && j.passed, took+j.took
		}
		for _, n := range pl.notes {
			fmt.Fprintln(r.out, n)
		}
		word := map[bool]string{true: "ok  ", false: "FAIL"}[ok]
		fmt.Fprintf(r.out, "%s\t%s\t%.3fs%s\n", word, pl.p.ImportPath, took.Seconds(), pl.word)
		passed = passed && ok
	}
	return passed, ctx.Err()
}

// start starts a test binary once, with disks of its own.
func (r *runner) start(ctx context.Context, j *job) (ok bool, err error) {
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
	if j.onHost {
		code, err = r.onThisHost(ctx, j, work, images)
	} else {
		code, err = r.inMachine(ctx, j, work, images)
	}
	var died *microvm.DiedError
	switch {
	case errors.As(err, &died):
		fmt.Fprintf(j.out, "%v\n", died)
		return false, nil
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Fprintf(j.out, "ended after %s: the test binary did not keep its own time limit\n", r.timeout+30*time.Second)
		return false, nil
	}
	return code == 0, err
}

// inMachine runs the test binary in a machine, through all of its boots.
func (r *runner) inMachine(ctx context.Context, j *job, work string, images []string) (int, error) {
	p := j.p
	share := filepath.Join(work, "share")
	if err := os.Mkdir(share, 0o755); err != nil {
		return 0, err
	}
	start := time.Now()
	code, err := microvm.Run(ctx, microvm.Config{
		Command: append([]string{p.binary}, r.withDisks(ctx, p, microvm.DiskNames(len(images)), j.args)...),
		Dir:     p.Dir,
		Env:     []string{"PATH=" + r.programs() + ":" + os.Getenv("PATH")},
		Memory:  r.memory,
		CPU:     j.cpu,
		Disks:   images,
		Share:   share,
		Visible: []string{r.programs()},
		Console: j.out,
		OnBoot: func(n int) {
			if n > 1 {
				fmt.Fprintf(j.out, "=== BOOT  %d\n", n)
			}
		},
	})
	r.say(j.out, "machine ended after %.1fs", time.Since(start).Seconds())
	return code, errors.Join(err, keepOutput(share, j.out))
}

// outputFolder is where a test in a machine puts, in its share, what should outlive it,
// and where that is put here.
const outputFolder = "out"

// keepOutput copies a machine's output to here.
func keepOutput(share string, log io.Writer) error {
	files, err := filepath.Glob(filepath.Join(share, outputFolder, "*"))
	if err != nil || len(files) == 0 {
		return err
	}
	if err := os.MkdirAll(outputFolder, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		to := filepath.Join(outputFolder, filepath.Base(f))
		if err := os.WriteFile(to, b, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(log, "kept %s\n", to)
	}
	return nil
}

// withDisks adds -lvm.disks where the binary has it.
func (r *runner) withDisks(ctx context.Context, p *testPackage, disks, args []string) []string {
	if f := "-lvm.disks=" + strings.Join(disks, ","); p.knows(ctx, f) {
		args = append(args, f)
	}
	return args
}
