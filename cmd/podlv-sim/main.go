// SPDX-License-Identifier: Apache-2.0

// Command podlv-sim runs scenarios: a real Kubernetes control plane, with its
// unmodified scheduler, over fake nodes with real podlv agents, and pods whose volumes
// are really provisioned and published. No root, no disk, no container engine.
//
// It ends with status 0 when every expectation of the scenario held, 1 when one did
// not, 2 when the scenario is wrong or the simulation failed, 130 when it was
// interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = "unknown"

// What the process ends with.
const (
	statusHeld        = 0
	statusNotHeld     = 1
	statusFailed      = 2
	statusInterrupted = 128 + int(syscall.SIGINT)
)

// Outcomes of a run that are no errors of the simulator.
var (
	errNotHeld     = errors.New("an expectation did not hold")
	errInterrupted = errors.New("interrupted")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv("PODLV_CACHE"), os.Stdout, os.Stderr))
}

// run is main without the process: it gives the exit status. cache is the folder of
// built programs, "" for the default one.
func run(ctx context.Context, args []string, cache string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "podlv-sim",
		Short:         "Run scenarios on a real control plane over fake nodes",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(runCommand(cache), compareCommand(), listCommand(), explainCommand(), schemaCommand(), importCommand(), fitCommand(cache), cleanCommand())
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return statusHeld
	case errors.Is(err, errNotHeld):
		return statusNotHeld
	}
	fmt.Fprintln(stderr, "podlv-sim:", err)
	if errors.Is(err, errInterrupted) {
		return statusInterrupted
	}
	return statusFailed
}
