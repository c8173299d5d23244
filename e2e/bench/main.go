// SPDX-License-Identifier: Apache-2.0

// Command bench measures what podlv adds to the work that a volume takes anyhow.
// In a microVM on real LVM it publishes and unpublishes inline volumes through the
// built agent, with kubelet's calls, and beside each does the same by running
// lvcreate, mkfs.ext4, mount, umount and lvremove itself, without a shell. With
// -claims it creates and deletes persistent volumes, with external-provisioner's
// calls, beside the bare lvcreate and lvremove.
//
//	go run ./e2e/bench
//	go run ./e2e/bench -claims
//
// docs/performance.md tells how it measures and has its figures. It measures and
// does not judge: a missed target is printed, and is no failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/podlv/podlv/e2e/build"
	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// insideCommand is the first argument of the half that runs in the machine.
const insideCommand = "inside"

// limit is for everything but the build.
const limit = 15 * time.Minute

// plan is how much is measured.
type plan struct {
	claims          bool
	rounds, volumes int // one by one
	bursts, burst   int // at once; not of claims
}

func main() {
	microvm.GuestMain()
	if err := recordAndBecome(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case errors.Is(err, errTold):
		os.Exit(1)
	case err != nil:
		fmt.Println("FAILED:", err)
		os.Exit(1)
	}
}

// errTold is a failure that the half in the machine has told of.
var errTold = errors.New("told already")

func run(ctx context.Context, args []string) error {
	within := len(args) > 0 && args[0] == insideCommand
	if within {
		args = args[1:]
	}
	var p plan
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&p.claims, "claims", false, "measure the volumes of claims instead of inline ones; -bursts and -burst mean nothing then")
	flags.IntVar(&p.rounds, "rounds", 5, "rounds of volumes that are published one by one")
	flags.IntVar(&p.volumes, "volumes", 20, "volumes in a round, of each kind")
	flags.IntVar(&p.bursts, "bursts", 3, "rounds of volumes that are published at once")
	flags.IntVar(&p.burst, "burst", 50, "volumes that are published at once")
	logs := flags.String("log", "", "write the agent's log to this `file`, in an existing folder")
	binary := flags.String("binary", "", "measure this podlv `program` instead of building one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for name, n := range map[string]int{"rounds": p.rounds, "volumes": p.volumes, "bursts": p.bursts, "burst": p.burst} {
		if n < 1 {
			return fmt.Errorf("-%s %d: must be at least 1", name, n)
		}
	}
	if within {
		return inside(ctx, p, *binary, *logs)
	}
	return outside(ctx, p, *binary, *logs)
}

// outside builds podlv and boots the machine that measures it.
func outside(ctx context.Context, p plan, binary, logs string) error {
	if err := microvm.Missing(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "podlv-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if binary == "" {
		binary = filepath.Join(dir, "podlv")
		root, err := build.Root(ctx)
		if err != nil {
			return err
		}
		if err := build.Podlv(ctx, root, binary, "bench"); err != nil {
			return err
		}
	}
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	disks, err := microvm.MakeDisks(dir, 1, diskSize(p))
	if err != nil {
		return err
	}
	share := filepath.Join(dir, "share")
	if err := os.Mkdir(share, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	log := filepath.Join(share, "agent.log")
	code, err := microvm.Run(ctx, microvm.Config{
		Command: []string{
			self, insideCommand, "-binary", binary, "-log", log, "-claims=" + strconv.FormatBool(p.claims),
			"-rounds", strconv.Itoa(p.rounds), "-volumes", strconv.Itoa(p.volumes), "-bursts", strconv.Itoa(p.bursts), "-burst", strconv.Itoa(p.burst),
		},
		Disks: disks, Share: share, Visible: []string{filepath.Dir(binary)}, Console: os.Stdout,
		// As few modules as linear LVs need: the boot is not what is measured.
		Modules: []string{"dm-mod"},
		OnBoot:  func(int) { fmt.Printf("booting a machine with a disk of %d GiB\n", diskSize(p)>>30) },
	})
	if logs != "" {
		err = errors.Join(err, copyFile(logs, log))
	}
	switch {
	case err != nil:
		return err
	case code != 0:
		return errTold
	}
	return nil
}

// diskSize holds all volumes that are there at once, of both kinds or of the three of
// claims, and some more: no run should meet a full VG.
func diskSize(p plan) int64 {
	if p.claims {
		return (int64(3*p.volumes)*volumeSize + 2<<30) >> 30 << 30
	}
	return (int64(2*max(p.volumes, p.burst))*volumeSize + 2<<30) >> 30 << 30
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
