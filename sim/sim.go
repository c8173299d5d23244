// SPDX-License-Identifier: Apache-2.0

// Package sim runs a scenario: a real control plane, with the unmodified scheduler, over
// fake nodes with real agents, and pods that arrive as the scenario says. What comes of
// it is a report.
//
// There are only Run, with its Config, and what it needs of the Cluster that a Target
// makes for it. The parts are packages of their own: scenario (what is to be simulated),
// embedded (the cluster, if there is no other Target), kubelet (a fake), router (who is
// told of what), oracle (the judge), trace (what happened)
// and report.
package sim

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/podlv/podlv/sim/oracle"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
	"github.com/podlv/podlv/sim/trace"
)

// Config is what a run is given.
type Config struct {
	Scenario *scenario.Scenario
	// Target makes the cluster. Default: Embedded(ControlPlane, Dir).
	Target Target
	// ControlPlane is the path of the control plane's program: kube.Find looks for it.
	ControlPlane string
	// Dir is a folder for state, which must exist, be empty and have a short
	// path: see embedded.Config. It is not removed.
	Dir string
	// Log, when set, is for what agents and kubelets log. What their libraries log goes to
	// klog, which is the process's.
	Log *slog.Logger
	// Progress, when set, is told what is done now, for a person. It may be called from
	// many goroutines.
	Progress func(format string, args ...any)
	// Counts, when set, is told four times a second how far the pods are.
	Counts func(Counts)
	// Keep, when set, is called when all has come to rest and before anything is removed,
	// with the report so far and the path of an administrator's kubeconfig. The run goes
	// on when it returns.
	Keep func(ctx context.Context, so *report.Report, kubeconfig string)
}

// Counts is how far the pods of a run are. Growing is how many volumes are to grow.
type Counts struct{ Pods, Made, Bound, Running, Done, Growing int }

// The times that parts of a run may take.
const (
	watchPeriod  = 100 * time.Millisecond // between two looks of the oracle
	countsPeriod = 250 * time.Millisecond
	restTime     = 10 * time.Second // until what is published is what the disks have
	teardownTime = 2 * time.Minute  // and for each pod
	teardownPod  = 30 * time.Millisecond
	failureTime  = time.Second // until what failed has said so itself
)

// Parse reads a scenario, as scenario.Parse, with the expectations of package report.
func Parse(name string, data []byte, settings ...scenario.Setting) (*scenario.Scenario, error) {
	return scenario.Parse(name, data, report.Compile, settings...)
}

// Run runs a scenario to its end and returns its report. When ctx ends before, the
// report is of what there was by then, and says so. An error is of the simulator: the
// cluster could not be started, or a part of it failed; there is a report even so, as
// soon as there were pods.
func Run(ctx context.Context, c Config) (*report.Report, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Progress == nil {
		c.Progress = func(string, ...any) {}
	}
	if c.Target == nil {
		c.Target = Embedded(c.ControlPlane, c.Dir)
	}
	r := &run{
		Config: c, tracker: newTracker(),
		report: &report.Report{Scenario: c.Scenario.Name, Description: c.Scenario.Description, Seed: c.Scenario.Seed, Started: time.Now()},
	}
	r.trace = newRecorder(c.Scenario, r.report.Started)
	r.tracker.trace, r.tracker.pack = r.trace, r.packed
	var err error
	if r.cluster, err = c.Target(ctx, Parts{Scenario: c.Scenario, Observer: r.tracker, Log: c.Log, Progress: c.Progress}); err != nil {
		return nil, fmt.Errorf("start the cluster: %w", err)
	}
	r.Access = r.cluster.Access()
	r.judge = oracle.New(c.Scenario.Storage.Classes, r.Machines)
	r.tracker.judge, r.tracker.namespace, r.judge.Watcher = r.judge, r.Namespace, r.trace // there are no pods before
	r.report.Target, r.report.Unknown, r.report.Phases = r.TargetName, r.Unknown, r.Phases
	err = r.simulate(ctx)
	r.report.Simulator = usage("self")
	if r.PID != 0 {
		r.report.ControlPlane = usage(fmt.Sprint(r.PID))
	}
	begin := time.Now()
	if stopped := r.cluster.Stop(); err == nil && stopped != nil {
		err = fmt.Errorf("stop the cluster: %w", stopped)
	}
	r.report.Add("stop", begin)
	return r.report, err
}

// run is one.
type run struct {
	Config
	Access
	cluster Cluster
	tracker *tracker
	judge   *oracle.Oracle
	report  *report.Report
	trace   *trace.Recorder
	making  atomic.Int32 // workloads whose pods are being made, not those that wait for others
	blocked atomic.Int32 // workloads that wait for others

	mu      sync.Mutex
	created []apiObject // beside pods and claims
}

// simulate makes the pods, lets them come to rest, judges, and removes them.
func (r *run) simulate(ctx context.Context) error {
	ctx, done := context.WithCancelCause(ctx)
	defer done(nil)
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		r.judge.Watch(watching, watchPeriod)
	}()
	defer func() { stopWatching(); <-watched }()
	go func() { // a part of the cluster that fails ends the run
		select {
		case <-r.cluster.Failed():
			done(r.cluster.Err())
		case <-watching.Done():
		}
	}()
	if err := r.tracker.watch(r.Informers); err != nil {
		return err
	}
	if err := r.record(watching); err != nil {
		return err
	}
	before := r.apiUse(ctx)
	begin := time.Now()
	err := r.load(ctx)
	r.report.Add("pods", begin)
	if err != nil { // of a call, perhaps because the other side is gone
		select {
		case <-r.cluster.Failed():
		case <-time.After(failureTime):
		}
	}
	if err == nil && ctx.Err() == nil {
		begin = time.Now()
		r.rest(ctx)
		r.report.Add("rest", begin)
	}
	interrupted := ctx.Err() != nil && r.cluster.Err() == nil
	r.measure()
	cost(r.report, before, r.apiUse(ctx), r.tracker.published())
	r.report.Metrics.Orphans = -1
	switch {
	case r.cluster.Err() != nil:
		err = fmt.Errorf("a part of the cluster failed: %w", r.cluster.Err())
	case interrupted:
		r.report.Interrupted, err = true, nil
	case err == nil:
		if r.Keep != nil {
			r.judgeExpectations()
			r.report.Trace = r.trace.Trace() // what waits may find a place while the others are removed
			r.Keep(ctx, r.report, r.Kubeconfig)
		}
		begin = time.Now()
		err = r.teardown(context.WithoutCancel(ctx))
		r.report.Add("removal", begin)
	}
	r.judgeExpectations()
	r.report.Trace = r.trace.Trace()
	return err
}

func (r *run) judgeExpectations() {
	r.report.Problems = append(r.judge.Problems(), r.tracker.problems()...)
	r.report.Metrics.OverAllocations = len(r.judge.Problems())
	r.report.Expectations = nil
	for _, e := range r.Scenario.Expectations {
		r.report.Expectations = append(r.report.Expectations, r.report.Evaluate(e.That, e.Message))
	}
}
