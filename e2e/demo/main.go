// SPDX-License-Identifier: Apache-2.0

// Command demo shows podlv at work: a cluster of one node with a real kubelet and
// real LVM, pods with inline volumes, a power cut in the middle. It needs root and
// nothing else that a Debian machine without a container engine would not have; it
// says what is missing. It leaves nothing behind but, after a failure, logs.
//
//	go run ./e2e/demo
//
// The last line starts with OK, or says what went wrong and the exit status is 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// insideCommand is the first argument of the demo's second half, which runs in
// namespaces of its own.
const insideCommand = "inside"

func main() {
	microvm.GuestMain()
	if len(os.Args) > 1 && os.Args[1] == cluster.NodeCommand {
		fmt.Fprintln(os.Stderr, cluster.NodeMain(os.Args[2:]))
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) == 6 && os.Args[1] == insideCommand {
		err = inside(ctx, os.Args[2], os.Args[3], os.Args[4], os.Args[5])
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

// errTold is a failure that the other half has already told of.
var errTold = errors.New("told already")

// outside prepares everything, runs the other half and clears up after it.
func outside(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	keep := flags.Bool("keep", false, "keep all logs also after a success")
	archive := flags.String("image", "", "archive of podlv's image, called "+podlvImage+", in place of one of this machine's files")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the demo needs root: it makes a network for its cluster, and mounts")
	}
	if err := errors.Join(cluster.Missing(), missingForImages()); err != nil {
		return err
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	programs, err := buildPrograms(ctx, root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "podlv-demo-")
	if err != nil {
		return err
	}
	disks, err := microvm.MakeFolder("podlv-demo", cluster.TypicalUse)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	logs := dir + "-logs"
	defer func() {
		if (err != nil || *keep) && ctx.Err() == nil {
			if e := os.Rename(filepath.Join(dir, "logs"), logs); e == nil {
				defer fmt.Println("Logs are kept in", logs)
			}
		}
		if e := errors.Join(os.RemoveAll(dir), os.RemoveAll(disks)); e != nil && err == nil {
			err = e
		}
	}()
	if err := buildPodlv(ctx, root, dir); err != nil {
		return err
	}
	if err := keepCRDs(ctx, root, dir); err != nil {
		return err
	}
	if err := keepChart(root, dir); err != nil {
		return err
	}
	start := time.Now() // everything is built
	if err := os.Mkdir(filepath.Join(dir, "images"), 0o755); err != nil {
		return err
	}
	if *archive != "" {
		b, err := os.ReadFile(*archive)
		if err != nil {
			return err
		}
		if err := os.WriteFile(imageFile(dir, podlvImage), b, 0o644); err != nil {
			return err
		}
	}
	code, err := cluster.Isolate(ctx, []string{insideCommand, dir, disks, programs, start.Format(time.RFC3339Nano)}, os.Stdout, os.Stderr)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; everything was cleared away")
	case err != nil:
		return err
	case code != 0:
		return errTold
	}
	fmt.Printf("OK: three inline volumes and three claims made, used, grown, restored from a snapshot, kept through a power cut and removed, in %.0f s\n", time.Since(start).Seconds())
	return nil
}

// noteSince prints a step with the time since start.
func noteSince(start time.Time) func(format string, args ...any) {
	return func(format string, args ...any) {
		fmt.Printf("[%5.1fs] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}

// moduleRoot is the folder of podlv's source.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("where is podlv's source? %w: run the demo in it", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// buildPrograms builds kubelet and the others, which takes minutes the first time
// and the script says so, and returns their folder.
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
	cmd := exec.CommandContext(ctx, filepath.Join(root, "e2e", "tools", "build.sh"), programs)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build the cluster's programs: %w", err)
	}
	return programs, nil
}
