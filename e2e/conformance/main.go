// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/e2e/conformance/cases"
	"github.com/podlv/podlv/e2e/lab"
)

// recorderCommand is the first argument of this program's third life: the recorder on the
// node.
const recorderCommand = "recorder"

func main() {
	if lab.Guest(os.Args) {
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if args := os.Args[1:]; len(args) == 3 && args[0] == recorderCommand {
		err = recorder(ctx, args[1], args[2])
	} else {
		err = run(ctx, args)
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

// errTold is a failure that the other half has told of.
var errTold = errors.New("told already")

// run is either half.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	out := flags.String("out", "", "write the recording to this `file`, as JSON (required); logs go into its folder")
	check := flags.Bool("check", false, "only say what is missing here, and build the cluster's programs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *check {
		err := lab.Missing()
		if err == nil {
			_, err = lab.Build(ctx, os.Getenv("PODLV_CACHE"))
		}
		return err
	}
	if *out == "" {
		return errors.New("-out is missing: the file for the recording")
	}
	if plan := os.Getenv(lab.Plan); plan != "" {
		return inside(ctx, plan, *out)
	}
	code, err := lab.Run(ctx, lab.Config{
		Name: "podlv-conformance", Cache: os.Getenv("PODLV_CACHE"), Bare: true, Nodes: 1, Memory: "3G", LVMDisks: []int64{64 << 20}, Room: cluster.TypicalUse,
		Kubelet: map[string]any{"volumeStatsAggPeriod": cases.StatsPeriod.String()}, Out: filepath.Dir(*out),
	})
	if err == nil && code != 0 {
		fmt.Println("Logs are kept in", filepath.Join(filepath.Dir(*out), "logs"))
		err = errTold
	}
	return err
}
