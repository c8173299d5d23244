// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
	"github.com/podlv/podlv/sim/scenarios"
)

// runFlags are the flags of podlv-sim run.
type runFlags struct {
	settings []string
	seed     int64
	out      string
	keep     bool
	target   targetFlags
	cache    string
}

func runCommand(cache string) *cobra.Command {
	f := &runFlags{cache: cache}
	cmd := &cobra.Command{
		Use:   "run SCENARIO",
		Short: "Run a scenario: a YAML file, or the name of one that ships with the program",
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.settings, "set", nil, "PATH=VALUE: a value in place of the scenario's, such as nodes[0].count=5; once for each")
	flags.Int64Var(&f.seed, "seed", 0, "what sizes are drawn with, in place of the scenario's seed")
	flags.StringVar(&f.out, "out", "out", "folder for the results, in a folder of the scenario's name: report.html, report.json and others")
	f.target.add(flags)
	flags.BoolVar(&f.keep, "keep", false, "when all has come to rest, keep the cluster and print its kubeconfig, until Ctrl-C; then go on")
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command, name string) error {
	s, err := f.load(cmd, name)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "podlv-sim-")
	if err != nil {
		return err
	}
	target, err := f.target.target(f.cache, dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	out := filepath.Join(f.out, s.Name)
	if err := report.Prepare(out); err != nil {
		return errors.Join(fmt.Errorf("--out %s: %w", f.out, err), os.RemoveAll(dir))
	}
	logs, err := os.Create(filepath.Join(dir, "agents.log"))
	if err != nil {
		return err
	}
	defer logs.Close()
	log := slog.New(slog.NewTextHandler(logs, nil))
	klog.SetSlogLogger(log) // the provisioner's library has no other way to say anything
	p := newProgress(cmd.OutOrStdout())
	p.say("scenario %s, seed %d", s.Name, s.Seed)
	config := sim.Config{Scenario: s, Target: target, Log: log, Progress: p.say, Counts: p.count}
	if f.keep {
		config.Keep = func(ctx context.Context, so *report.Report, kubeconfig string) {
			p.end()
			_ = so.Table(cmd.OutOrStdout()) // to a terminal
			p.say("the cluster is kept until Ctrl-C: kubectl --kubeconfig %s get pods -o wide", kubeconfig)
			<-ctx.Done()
		}
	}
	r, err := sim.Run(cmd.Context(), config)
	p.end()
	if r != nil {
		if werr := r.Write(out); werr != nil {
			err = errors.Join(err, werr)
		} else {
			p.say("results are in %s", out)
		}
		fmt.Fprintln(cmd.OutOrStdout())
		err = errors.Join(err, r.Table(cmd.OutOrStdout()))
	}
	switch {
	case err != nil && cmd.Context().Err() != nil && r == nil:
		err = fmt.Errorf("%w: %w", errInterrupted, err)
	case err != nil:
		return fmt.Errorf("%w (logs are in %s)", err, dir)
	case r.Interrupted:
		err = errInterrupted
	case !r.Passed():
		err = errNotHeld
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// load reads a scenario from a file, or one that ships with the program.
func (f *runFlags) load(cmd *cobra.Command, name string) (*scenario.Scenario, error) {
	var settings []scenario.Setting
	for _, text := range f.settings {
		s, err := scenario.ParseSetting(text)
		if err != nil {
			return nil, fmt.Errorf("--set %w", err)
		}
		settings = append(settings, s)
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && !strings.ContainsAny(name, "/.") {
		if data, err = scenarios.Read(name); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("scenario %q: there is no such file, and none of that name ships with the program; these do: %s", name, strings.Join(scenarios.Names(), ", "))
		}
		name += ".yaml"
	}
	if err != nil {
		return nil, fmt.Errorf("scenario: %w", err)
	}
	s, err := sim.Parse(name, data, settings...)
	if err != nil {
		return nil, err
	}
	if cmd.Flags().Changed("seed") {
		s.Seed = f.seed
	}
	return s, nil
}
