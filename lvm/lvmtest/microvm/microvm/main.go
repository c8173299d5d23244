// SPDX-License-Identifier: Apache-2.0

// Command microvm runs a command of this host in a fresh machine with empty
// disks, lvm ready to use, and throws the machine away after it:
//
//	go run ./lvm/lvmtest/microvm/microvm -disks 2 -- sh -c 'pvcreate /dev/ubdb && vgcreate vg0 /dev/ubdb && vgs'
//
// Its exit status is that of the command; 125 when the machine could not run it.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

func main() {
	microvm.GuestMain()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("microvm", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: microvm [flags] -- COMMAND ARGS…\nRuns COMMAND in a fresh machine; its disks are /dev/ubdb, /dev/ubdc, ….")
		flags.PrintDefaults()
	}
	disks := flags.Int("disks", 2, "number of empty disks")
	size := flags.String("disk-size", "2G", "size of each disk; it takes only the room that is written")
	memory := flags.String("memory", "1G", "memory of the machine")
	modules := flags.String("modules", "", "kernel modules to load, by commas, instead of "+strings.Join(microvm.DefaultModules(), ","))
	timeout := flags.Duration("timeout", 0, "end the machine after this time; 0: never")
	verbose := flags.Bool("v", false, "say when it boots and when it ended")
	if err := flags.Parse(args); err != nil {
		return 125
	}
	if flags.NArg() == 0 {
		flags.Usage()
		return 125
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *timeout)
		defer cancel()
	}
	code, err := boot(ctx, flags.Args(), *disks, *size, *memory, *modules, *verbose, stdout, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "microvm:", err)
		return 125
	}
	return code
}

// typicalUse is what a few commands write to their disks, in bytes.
const typicalUse = 1 << 30

func boot(ctx context.Context, command []string, disks int, size, memory, modules string, verbose bool, stdout, stderr io.Writer) (int, error) {
	bytes, err := microvm.ParseSize(size)
	if err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "microvm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	folder, err := microvm.MakeFolder("microvm", typicalUse)
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(folder)
	images, err := microvm.MakeDisks(folder, disks, bytes)
	if err != nil {
		return 0, err
	}
	here, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	cfg := microvm.Config{
		Command: command, Dir: here, Memory: memory, Disks: images, Share: filepath.Join(dir, "share"), Console: stdout,
	}
	if err := os.Mkdir(cfg.Share, 0o755); err != nil {
		return 0, err
	}
	if modules != "" {
		cfg.Modules = strings.Split(modules, ",")
	}
	start := time.Now()
	if verbose {
		cfg.OnBoot = func(n int) { fmt.Fprintf(stderr, "microvm: %6.2fs boot %d\n", time.Since(start).Seconds(), n) }
		defer func() { fmt.Fprintf(stderr, "microvm: %6.2fs ended\n", time.Since(start).Seconds()) }()
	}
	return microvm.Run(ctx, cfg)
}
