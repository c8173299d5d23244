// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/klog/v2"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/fit"
	"github.com/podlv/podlv/sim/kube"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

// fitFlags are the flags of podlv-sim fit.
type fitFlags struct {
	manifests, workload, shape string
	drain, fail                []string
	copies, replace, asJSON    bool
	most                       int
	cache                      string
}

func fitCommand(cache string) *cobra.Command {
	f := &fitFlags{cache: cache}
	cmd := &cobra.Command{
		Use:   "fit CLUSTER.yaml",
		Short: "Say whether something fits into a cluster: more pods, those of a node that goes, how many nodes of a shape would do",
		Long: "fit lets the real scheduler try in a simulation of a cluster, which import has made, whether all pods find a place. " +
			"It ends with status 0 when they do, 1 when they do not, 2 when the question is wrong or the simulation failed.",
		Example: `  podlv-sim fit cluster.yaml --manifests app.yaml
  podlv-sim fit cluster.yaml --workload inline=5Gi,cpu=1 --copies
  podlv-sim fit cluster.yaml --drain worker-3
  podlv-sim fit cluster.yaml --fail worker-3/vg0
  podlv-sim fit cluster.yaml --manifests app.yaml --shape like=worker-3,size=2Ti`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.manifests, "manifests", "", "file of Kubernetes objects that are to come")
	flags.StringVar(&f.workload, "workload", "", "or pods that are alike: KEY=VALUE,… of pods, cpu, memory, class, and the volumes inline, ephemeral, claim, block")
	flags.BoolVar(&f.copies, "copies", false, "how many copies of that would fit")
	flags.IntVar(&f.most, "most", 500, "the most copies to try")
	flags.StringArrayVar(&f.drain, "drain", nil, "node whose pods have to go, the volumes of its claims staying there; once for each")
	flags.StringArrayVar(&f.fail, "fail", nil, "NODE or NODE/VG that is gone with all its volumes; once for each")
	flags.StringVar(&f.shape, "shape", "", "how many more nodes of this shape make it fit: KEY=VALUE,… of like=NODE, cpu, memory, pods, size, size/VG")
	flags.BoolVar(&f.replace, "replace", false, "with --shape: in place of the cluster's nodes, not beside them")
	flags.BoolVar(&f.asJSON, "json", false, "print the answer as JSON")
	cmd.MarkFlagsMutuallyExclusive("manifests", "workload")
	return cmd
}

// question reads what is asked.
func (f *fitFlags) question(name string) (fit.Question, error) {
	q := fit.Question{Copies: f.copies, Most: f.most, Drain: f.drain, Replace: f.replace}
	data, err := os.ReadFile(name)
	if err != nil {
		return q, fmt.Errorf("cluster: %w", err)
	}
	if q.Cluster, err = sim.Parse(name, data); err != nil {
		return q, err
	}
	switch {
	case f.manifests != "":
		q.New, err = fit.ReadNew(f.manifests, q.Cluster)
	case f.workload != "":
		q.New, err = fit.ParseWorkload(f.workload, q.Cluster)
	}
	if err != nil {
		return q, err
	}
	if f.most < 1 {
		return q, fmt.Errorf("--most %d: must be at least 1", f.most)
	}
	for _, text := range f.fail {
		node, vg, _ := strings.Cut(text, "/")
		q.Fail = append(q.Fail, fit.Failure{Node: node, VolumeGroup: vg})
	}
	if f.shape != "" {
		q.Shape, err = fit.ParseShape(f.shape, q.Cluster)
	}
	return q, err
}

func (f *fitFlags) run(cmd *cobra.Command, name string) error {
	q, err := f.question(name)
	if err != nil {
		return err
	}
	p := newProgress(cmd.ErrOrStderr())
	q.Progress = p.say
	q.Run = func(ctx context.Context, s *scenario.Scenario) (*report.Report, error) { return f.simulate(ctx, p, s) }
	a, err := fit.Ask(cmd.Context(), q)
	p.end()
	switch {
	case err != nil && cmd.Context().Err() != nil, errors.Is(err, fit.ErrInterrupted):
		return errInterrupted
	case err != nil:
		return err
	}
	if f.asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		err = e.Encode(a)
	} else {
		err = a.Write(cmd.OutOrStdout())
	}
	if err == nil && !a.Fits {
		return errNotHeld
	}
	return err
}

// simulate runs a scenario in a folder of its own, which is kept when it fails.
func (f *fitFlags) simulate(ctx context.Context, p *progress, s *scenario.Scenario) (r *report.Report, err error) {
	program, err := kube.Find(f.cache)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "podlv-sim-")
	if err != nil {
		return nil, err
	}
	logs, err := os.Create(filepath.Join(dir, "agents.log"))
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	log := slog.New(slog.NewTextHandler(logs, nil))
	klog.SetSlogLogger(log) // the provisioner's library has no other way to say anything
	state := filepath.Join(dir, "s")
	if err := os.Mkdir(state, 0o700); err != nil {
		return nil, err
	}
	r, err = fit.Simulate(ctx, sim.Config{Scenario: s, Target: sim.Embedded(program, state), Log: log, Progress: p.say, Counts: p.count})
	if err != nil {
		return nil, fmt.Errorf("%w (logs are in %s)", err, dir)
	}
	return r, os.RemoveAll(dir)
}
