// SPDX-License-Identifier: Apache-2.0

// Command demo shows podlv at work: a cluster of one node with a real kubelet and
// real LVM, pods with inline volumes, a power cut in the middle. It needs root and
// nothing else that a Debian machine without a container engine would not have; it
// says what is missing. It leaves nothing behind but its logs.
//
//	go run ./e2e/demo
//
// The last line starts with OK, or says what went wrong and the exit status is 1.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/e2e/lab"
)

//go:embed values.yaml
var values string

func main() {
	if lab.Guest(os.Args) {
		os.Exit(1)
	}
	flags := flag.NewFlagSet("demo", flag.ExitOnError)
	out := flags.String("out", filepath.Join("out", "demo"), "`folder` for the logs")
	archive := flags.String("image", "", "`archive` of podlv's image, called "+lab.PodlvImage+", in place of one of this machine's files")
	_ = flags.Parse(os.Args[1:]) // it ends the program
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if plan := os.Getenv(lab.Plan); plan != "" {
		err = inside(ctx, plan)
		if ctx.Err() != nil {
			err = errTold // the other half knows
		}
	} else {
		err = outside(ctx, *out, *archive)
	}
	if err == nil {
		return
	}
	if !errors.Is(err, errTold) {
		fmt.Println("FAILED:", err)
	}
	os.Exit(1)
}

// errTold is a failure that the other half has already told of.
var errTold = errors.New("told already")

// outside prepares everything, runs the other half and clears up after it.
func outside(ctx context.Context, out, archive string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	file, err := filepath.Abs(filepath.Join(out, "values.yaml"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(file, []byte(values), 0o644); err != nil {
		return err
	}
	code, err := lab.Run(ctx, lab.Config{
		Name: "podlv-demo", Cache: os.Getenv("PODLV_CACHE"), Nodes: 1, LVMDisks: []int64{2 << 30}, Room: cluster.TypicalUse,
		Values: file, PodlvImage: archive, Audited: accounts, Out: out,
	})
	if err == nil && code != 0 {
		fmt.Println("Logs are kept in", filepath.Join(out, "logs"))
		return errTold
	}
	return err
}
