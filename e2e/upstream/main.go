// SPDX-License-Identifier: Apache-2.0

// Command upstream runs Kubernetes' own external storage suite against podlv: on a
// cluster of microVMs (e2e/cluster) with real kubelets and real LVM, with every
// capability that e2e/testdriver.yaml declares, for thick and for thin volumes. It needs
// what the demo needs, and the suite's program, which e2e/tools/build.sh builds once.
//
//	go run ./e2e/upstream [-focus REGEXP] [-class thick|thin]
//
// It says which tests failed and why each other one was skipped; a skip that skips.go
// does not explain is a failure. JUnit and JSON reports and all logs stay in -out. The
// last line counts: "upstream: N passed, N failed, N skipped".
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// insideCommand is the first argument of the second half, which runs in namespaces of
// its own.
const insideCommand = "inside"

// room is what a whole run writes to the disks of the nodes, in bytes.
const room = 16 << 30

func main() {
	microvm.GuestMain()
	if len(os.Args) > 1 && os.Args[1] == cluster.NodeCommand {
		fmt.Fprintln(os.Stderr, cluster.NodeMain(os.Args[2:]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) == 3 && os.Args[1] == insideCommand {
		err = inside(ctx, os.Args[2])
		if ctx.Err() != nil {
			err = errTold // the other half knows
		}
	} else {
		err = outside(ctx, os.Args[1:])
	}
	switch {
	case errors.Is(err, errTold):
		os.Exit(1)
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Println("FAILED:", err)
		os.Exit(1)
	}
}

// errTold is a failure that has been told of already.
var errTold = errors.New("told already")

// plan is what the first half tells the second.
type plan struct {
	Programs string   // folder of e2e/tools/build.sh's programs
	Dir      string   // folder of the cluster: keys, images, logs
	Disks    string   // folder of its disks
	Out      string   // folder for reports
	Manifest string   // file: podlv as a DaemonSet, its roles, its CSIDriver
	Driver   string   // file: the driver definition
	Classes  []string // "thick", "thin": which definitions
	Focus    string   // a regular expression; "" is all
	Machines int      // nodes
	Procs    int      // tests at once
	Limit    time.Duration
}

func flags(args []string) (plan, bool, error) {
	p := plan{}
	set := flag.NewFlagSet("upstream", flag.ContinueOnError)
	set.StringVar(&p.Out, "out", filepath.Join("out", "upstream"), "`folder` for reports and logs; what is in it is removed")
	set.StringVar(&p.Focus, "focus", "", "only tests whose names match this `regexp`")
	class := set.String("class", "", "only thick or thin `class`es of volumes")
	set.IntVar(&p.Machines, "nodes", 2, "`number` of nodes; tests of several nodes need two")
	set.IntVar(&p.Procs, "procs", 6, "`number` of tests that run at once: most of a test is waiting")
	set.DurationVar(&p.Limit, "limit", 5*time.Hour, "`time` after which tests that have not ended have failed, and no other is started")
	set.StringVar(&p.Manifest, "manifest", "", "`file` that installs podlv, but for its ConfigMap of device classes (default: the demo's)")
	check := set.Bool("check", false, "only say what is missing here, and build the programs")
	if err := set.Parse(args); err != nil {
		return p, false, err
	}
	switch *class {
	case "":
		p.Classes = []string{"thick", "thin"}
	case "thick", "thin":
		p.Classes = []string{*class}
	default:
		return p, false, fmt.Errorf("-class %q: must be thick or thin", *class)
	}
	if _, err := regexp.Compile(p.Focus); err != nil {
		return p, false, fmt.Errorf("-focus: %w", err)
	}
	var err error
	p.Out, err = filepath.Abs(p.Out)
	return p, *check, err
}

// outside prepares everything, runs the other half and clears up after it.
func outside(ctx context.Context, args []string) (err error) {
	p, check, err := flags(args)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the suite needs root: it makes a network for its cluster, and mounts")
	}
	if err := errors.Join(cluster.Missing(), missingForImages()); err != nil {
		return err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	if p.Manifest == "" {
		p.Manifest = filepath.Join(root, "e2e", "demo", "podlv.yaml")
	}
	p.Driver = filepath.Join(root, "e2e", "testdriver.yaml")
	if p.Programs, err = buildPrograms(ctx, root); err != nil || check {
		return err
	}
	if err := os.RemoveAll(p.Out); err != nil {
		return err
	}
	if err := os.MkdirAll(p.Out, 0o755); err != nil {
		return err
	}
	if p.Dir, err = os.MkdirTemp("", "podlv-upstream-"); err != nil {
		return err
	}
	if p.Disks, err = microvm.MakeFolder("podlv-upstream", room); err != nil {
		return errors.Join(err, os.RemoveAll(p.Dir))
	}
	defer func() {
		// Not os.CopyFS: it takes no links and no sockets.
		e := exec.Command("cp", "-a", filepath.Join(p.Dir, "logs"), p.Out).Run()
		err = errors.Join(err, e, os.RemoveAll(p.Dir), os.RemoveAll(p.Disks))
	}()
	if err := prepare(ctx, root, p); err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	start := time.Now()
	code, err := cluster.Isolate(ctx, []string{insideCommand, string(text)}, os.Stdout, os.Stderr)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; everything was cleared away")
	case err != nil:
		return err
	}
	return tell(p, code, time.Since(start))
}

// moduleRoot is the folder of podlv's source.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("where is podlv's source? %w: run this in it", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// buildPrograms builds the cluster's programs and the suite, which takes minutes the
// first time and the script says so, and returns their folder.
func buildPrograms(ctx context.Context, root string) (string, error) {
	cache := os.Getenv("PODLV_CACHE")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache", "podlv")
	}
	programs, err := filepath.Abs(filepath.Join(cache, "bin"))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(root, "e2e", "tools", "build.sh"), programs, "upstream")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build the suite and its cluster's programs: %w", err)
	}
	return programs, nil
}
