// SPDX-License-Identifier: Apache-2.0

// Command test-lvm runs the tests that need real LVM: those behind the build tag
// reallvm. Where this process is root and the kernel has device-mapper it runs
// them on the host's own LVM, on loop devices; elsewhere in a microVM.
//
//	go run ./lvm/lvmtest/microvm/test-lvm [flags] [packages] [-- flags of the test binaries]
//
// Without packages it takes all of the module that have such tests. It prints
// what go test -v prints, and its exit status is 0 when all tests passed, 1 when
// one failed, 2 when they could not be run.
//
// A test binary is started with -test.v and, where it has that flag, with
// -lvm.disks=/dev/…,/dev/…: empty disks that lvm sees, and the only ones. The
// module's own programs (./cmd/...) are built before and come first on PATH.
//
// Only the tests in files behind the tag are run. In machines they are divided
// among several, each with disks of its own; what they print comes in order.
// Tests whose names start with TestCrash may call microvm.Crash. Each has a
// machine and disks of its own, in both modes; where no machine can be booted
// they are reported as not run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// options are the command line.
type options struct {
	mode     string
	run      string
	count    int
	timeout  time.Duration
	disks    int
	diskSize int64
	memory   string
	parallel int
	verbose  bool
	packages []string
	extra    []string // flags for the test binaries
	out      io.Writer
}

func main() {
	microvm.GuestMain()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stdout, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "test-lvm:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := testAll(ctx, o)
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "test-lvm:", err)
		return 2
	case failed:
		fmt.Fprintln(stdout, "FAIL")
		return 1
	}
	return 0
}

func parse(args []string, stdout, stderr io.Writer) (options, error) {
	o := options{out: stdout}
	if i := slices.Index(args, "--"); i >= 0 {
		args, o.extra = args[:i], args[i+1:]
	}
	flags := flag.NewFlagSet("test-lvm", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: test-lvm [flags] [packages] [-- flags of the test binaries]\nRuns the tests behind the build tag reallvm on real LVM.")
		flags.PrintDefaults()
	}
	flags.StringVar(&o.mode, "mode", "auto", "where: host (root, device-mapper, loop devices), microvm, or auto: host where that can be, else microvm")
	flags.StringVar(&o.run, "run", "", "only tests that match this `regexp`, as in go test")
	flags.IntVar(&o.count, "count", 1, "run each test this many times")
	flags.DurationVar(&o.timeout, "timeout", 20*time.Minute, "longest time for one start of a test binary")
	flags.IntVar(&o.disks, "disks", 4, "number of empty disks")
	size := flags.String("disk-size", "4G", "size of each disk; it takes only the room that is written")
	flags.StringVar(&o.memory, "memory", "1G", "memory of a machine")
	flags.IntVar(&o.parallel, "p", min(runtime.NumCPU(), 4), "number of machines at once; each uses one CPU")
	flags.BoolVar(&o.verbose, "v", false, "also say what test-lvm itself does")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.packages = flags.Args()
	if !slices.Contains([]string{"auto", "host", "microvm"}, o.mode) {
		return o, fmt.Errorf("-mode %q: want auto, host or microvm", o.mode)
	}
	if o.count < 1 || o.parallel < 1 {
		return o, errors.New("-count and -p: want at least 1")
	}
	var err error
	o.diskSize, err = microvm.ParseSize(*size)
	if err != nil {
		return o, fmt.Errorf("-disk-size: %w", err)
	}
	return o, nil
}

// say prints what test-lvm itself does.
func (o options) say(w io.Writer, format string, args ...any) {
	if o.verbose {
		fmt.Fprintf(w, "# "+format+"\n", args...)
	}
}

// place decides where tests run. A nil error of machines means that machines can
// be booted.
func (o options) place() (onHost bool, machines error, err error) {
	machines = microvm.Missing()
	host := hostLVM()
	switch {
	case o.mode == "host" && host != nil:
		return false, machines, fmt.Errorf("-mode host: %w", host)
	case o.mode == "microvm" && machines != nil:
		return false, machines, fmt.Errorf("-mode microvm: %w", machines)
	case o.mode == "host", o.mode == "auto" && host == nil:
		return true, machines, nil
	case machines == nil:
		return false, nil, nil
	}
	return false, machines, fmt.Errorf("neither on this host (%w) nor in a microVM (%w)", host, machines)
}
