// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/podlv/podlv/e2e/cluster"
	"github.com/podlv/podlv/e2e/conformance/cases"
	"github.com/podlv/podlv/e2e/image"
	"github.com/podlv/podlv/lvm/lvmtest/microvm"
)

// The first arguments of this program's other lives: the half in namespaces of its own,
// and the recorder on the node.
const (
	insideCommand   = "inside"
	recorderCommand = "recorder"
)

func main() {
	microvm.GuestMain()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch args := os.Args[1:]; {
	case len(args) > 0 && args[0] == cluster.NodeCommand:
		err = cluster.NodeMain(args[1:])
	case len(args) == 3 && args[0] == recorderCommand:
		err = recorder(ctx, args[1], args[2])
	case len(args) == 5 && args[0] == insideCommand:
		err = inside(ctx, args[1], args[2], args[3], args[4])
	default:
		err = outside(ctx, args)
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

// outside prepares everything, runs the other half and clears up after it.
func outside(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("conformance", flag.ContinueOnError)
	out := flags.String("out", "", "write the recording to this `file`, as JSON (required)")
	check := flags.Bool("check", false, "only say what is missing here, and build the cluster's programs")
	keep := flags.Bool("keep", false, "keep all logs also after a success")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" && !*check {
		return errors.New("-out is missing: the file for the recording")
	}
	if os.Geteuid() != 0 {
		return errors.New("a real kubelet needs root: it gets a machine and a network of its own")
	}
	if err := errors.Join(cluster.Missing(), missing()); err != nil {
		return err
	}
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("where is podlv's source? %w: run this in it", err)
	}
	source := strings.TrimSpace(string(root))
	programs, err := build(ctx, source)
	if err != nil {
		return err
	}
	if *check {
		return nil
	}
	target, err := filepath.Abs(*out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "podlv-conformance-")
	if err != nil {
		return err
	}
	disks, err := microvm.MakeFolder("podlv-conformance", cluster.TypicalUse)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	defer func() {
		if (err != nil || *keep) && ctx.Err() == nil {
			if e := os.Rename(filepath.Join(dir, "logs"), dir+"-logs"); e == nil {
				fmt.Println("Logs are kept in", dir+"-logs")
			}
		}
		err = errors.Join(err, os.RemoveAll(dir), os.RemoveAll(disks))
	}()
	if err := pack(ctx, filepath.Join(dir, "busybox.tar")); err != nil {
		return err
	}
	code, err := cluster.Isolate(ctx, []string{insideCommand, dir, disks, programs, target}, os.Stdout, os.Stderr)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; everything was cleared away")
	case err == nil && code != 0:
		err = errTold
	}
	return err
}

// build builds kubelet and the others, once, and returns their folder.
func build(ctx context.Context, source string) (string, error) {
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
	cmd := exec.CommandContext(ctx, filepath.Join(source, "e2e", "tools", "build.sh"), programs)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build the cluster's programs: %w", err)
	}
	return programs, nil
}

// busybox is a static program, which needs nothing else in its image.
const busybox = "/bin/busybox"

// missing names what is not here for the pods' image, with its package.
func missing() error {
	if _, err := os.Stat(busybox); err != nil {
		return fmt.Errorf("no %s here: apt-get install busybox-static", busybox)
	}
	return nil
}

// pack makes the image of the pods.
func pack(ctx context.Context, file string) error {
	box := &image.Rootfs{}
	if err := box.AddAs(busybox, "/bin/busybox"); err != nil {
		return err
	}
	applets, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return fmt.Errorf("list the applets of busybox: %w", err)
	}
	for _, a := range strings.Fields(string(applets)) {
		if a != "busybox" {
			box.AddLink("/bin/"+a, "busybox")
		}
	}
	box.AddFolder("/tmp", 0o777|fs.ModeSticky)
	box.AddFolder("/etc", 0o755)
	return box.WriteFile(file, image.Config{Name: cases.Image, Entrypoint: []string{"/bin/sleep", "infinity"}})
}

// noteSince prints a step with the time since start.
func noteSince(start time.Time) func(format string, args ...any) {
	return func(format string, args ...any) {
		fmt.Printf("[%5.1fs] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
}
