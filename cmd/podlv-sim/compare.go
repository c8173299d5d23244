// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/podlv/podlv/sim/compare"
	"github.com/podlv/podlv/sim/report"
)

// compareFlags are the flags of podlv-sim compare.
type compareFlags struct {
	matrix []string
	seeds  int
	out    string
	all    bool
}

func compareCommand() *cobra.Command {
	f := &compareFlags{}
	cmd := &cobra.Command{
		Use:   "compare SCENARIO...",
		Short: "Run scenarios, or one with different settings, one after the other, and show their figures side by side",
		Args:  cobra.MinimumNArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.matrix, "matrix", nil, "PATH=VALUE|VALUE: run with each of these values, such as settings.inlineAccounting=true|false; given several times, with all combinations")
	flags.IntVar(&f.seeds, "seeds", 1, "how often to run each, with seeds from 1 on; the figures are then medians, with their spread")
	flags.StringVar(&f.out, "out", "out", "folder for the results: compare.json, and the results of each run in a folder of its own")
	flags.BoolVar(&f.all, "all", false, "show all figures, also those that are the same in all")
	return cmd
}

func (f *compareFlags) run(cmd *cobra.Command, scenarios []string) error {
	if f.seeds < 1 {
		return fmt.Errorf("--seeds %d: must be at least 1", f.seeds)
	}
	var dimensions []compare.Dimension
	for _, text := range f.matrix {
		d, err := compare.ParseDimension(text)
		if err != nil {
			return fmt.Errorf("--matrix %w", err)
		}
		dimensions = append(dimensions, d)
	}
	variants := compare.Variants(scenarios, dimensions)
	const most = 26 // letters
	if len(variants) < 2 || len(variants) > most {
		return fmt.Errorf("there must be 2 to %d variants to compare, by several scenarios or by --matrix; here are %d", most, len(variants))
	}
	names := make([]string, len(variants)) // of the scenarios
	for i, v := range variants {           // what is wrong with one is said before any is run
		s, err := (&runFlags{settings: v.Settings}).load(cmd, v.Scenario)
		if err != nil {
			return err
		}
		names[i] = s.Name
	}
	dir := filepath.Join(f.out, "compare")
	if err := report.Prepare(dir); err != nil {
		return fmt.Errorf("--out %s: %w", f.out, err)
	}
	var columns []compare.Column
	begin := time.Now()
	for i, v := range variants {
		c := compare.Column{Variant: v, Name: v.String()}
		for seed := 1; seed <= f.seeds; seed++ {
			fmt.Fprintf(cmd.OutOrStdout(), "[%5.1fs] run %d of %d: %s, seed %d\n", time.Since(begin).Seconds(), i*f.seeds+seed, len(variants)*f.seeds, c.Name, seed)
			r, err := f.one(cmd, v, names[i], seed, filepath.Join(dir, fmt.Sprintf("%c%d", 'a'+rune(i), seed)))
			if err != nil {
				return fmt.Errorf("%s, seed %d: %w", c.Name, seed, err)
			}
			c.Reports = append(c.Reports, r)
		}
		columns = append(columns, c)
	}
	data, err := json.MarshalIndent(columns, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "compare.json"), append(data, '\n'), 0o644); err != nil { //nolint:gosec // a report for everybody
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "[%5.1fs] results are in %s\n\n", time.Since(begin).Seconds(), dir)
	return compare.Table(cmd.OutOrStdout(), columns, f.all)
}

// one runs a variant of the scenario of a name in a process of its own: a second control plane in one process
// would find the memory and the global state of the first.
func (f *compareFlags) one(cmd *cobra.Command, v compare.Variant, name string, seed int, out string) (*report.Report, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"run", v.Scenario, "--seed", strconv.Itoa(seed), "--out", out}
	for _, s := range v.Settings {
		args = append(args, "--set", s)
	}
	child := exec.CommandContext(cmd.Context(), self, args...)
	child.Cancel = func() error { return child.Process.Signal(syscall.SIGINT) } // it removes what it has started
	child.WaitDelay = 30 * time.Second
	text, err := child.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case cmd.Context().Err() != nil:
		return nil, fmt.Errorf("%w: %w", errInterrupted, context.Cause(cmd.Context()))
	case errors.As(err, &failed) && failed.ExitCode() == statusNotHeld: // which is a result
	case err != nil:
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	data, err := os.ReadFile(filepath.Join(out, name, "report.json"))
	if err != nil {
		return nil, err
	}
	r := &report.Report{}
	return r, json.Unmarshal(data, r)
}
