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
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/podlv/podlv/e2e/lab"
)

// suiteBuild is what e2e/tools/build.sh calls the suite's program and what runs it.
const suiteBuild = "upstream"

// room is what a whole run writes to the disks of the nodes, in bytes.
const room = 16 << 30

func main() {
	if lab.Guest(os.Args) {
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p, check, err := flags(os.Args[1:])
	switch {
	case err != nil:
	case os.Getenv(lab.Plan) != "":
		if err = inside(ctx, os.Getenv(lab.Plan), p); ctx.Err() != nil {
			err = errTold // the other half knows
		}
	default:
		err = outside(ctx, os.Getenv("PODLV_CACHE"), p, check)
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

// plan is what the flags say.
type plan struct {
	Out      string   // folder for reports
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
	set.IntVar(&p.Procs, "procs", 8, "`number` of tests that run at once: most of a test is waiting")
	set.DurationVar(&p.Limit, "limit", 5*time.Hour, "`time` after which tests that have not ended have failed, and no other is started")
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
func outside(ctx context.Context, cache string, p plan, check bool) error {
	if err := errors.Join(lab.Missing(), missingForImages()); err != nil {
		return err
	}
	if check {
		_, err := lab.Build(ctx, cache, suiteBuild)
		return err
	}
	if err := errors.Join(os.RemoveAll(p.Out), os.MkdirAll(p.Out, 0o755)); err != nil {
		return err
	}
	values := filepath.Join(p.Out, "values.yaml")
	if err := os.WriteFile(values, []byte(chartValues), 0o644); err != nil {
		return err
	}
	start := time.Now()
	code, err := lab.Run(ctx, lab.Config{
		Name: "podlv-upstream", Cache: cache, Nodes: p.Machines, Memory: "3G", LVMDisks: []int64{thickDisk, thinDisk}, Room: room, Values: values, Out: p.Out,
		// Nobody answers there, and no test asks; without it kubelet writes an event for
		// each pod, again and again.
		Kubelet: map[string]any{"clusterDNS": []string{"10.96.0.10"}},
		Build:   []string{suiteBuild},
		Prepare: prepare,
	})
	if err != nil {
		return err
	}
	return tell(p, code, time.Since(start))
}
