// SPDX-License-Identifier: Apache-2.0

// Package fit answers whether something fits into a cluster, by letting the real scheduler
// try it in a simulation: more pods, how many more of them, the pods of a node that is
// drained or fails, and how many nodes of a shape would do.
//
// There are only a Question, Ask, and the Answer. The cluster is a scenario, most often an
// imported one, whose pods are placed where they are: those stay there, before anything
// else comes. Sums of requests only tell where to begin; what is answered was run.
package fit

import (
	"context"
	"errors"
	"fmt"

	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

// Question is what is asked.
type Question struct {
	Cluster *scenario.Scenario
	// New is what is to come, nil: nothing. ReadNew and ParseWorkload make it.
	New scenario.Objects
	// Copies: how often New would fit; at most Most are tried.
	Copies bool
	Most   int
	// Drain are nodes whose pods have to go, with their volumes left behind; Fail are
	// nodes or VGs that are gone, with all volumes.
	Drain []string
	Fail  []Failure
	// Shape, when set, is of nodes of which the least number is to be found that makes
	// everything fit: beside the cluster's, or, with Replace, in place of them.
	Shape   *Shape
	Replace bool
	// Run runs a scenario, as Simulate.
	Run func(context.Context, *scenario.Scenario) (*report.Report, error)
	// Progress is told what is tried.
	Progress func(format string, args ...any)
}

// Failure is a node that is gone, or a VG of one.
type Failure struct{ Node, VolumeGroup string }

// Answer is what came of it.
type Answer struct {
	// Fits: every pod runs, and none waits for a node to come back.
	Fits bool `json:"fits"`
	// Cluster are the pods that stay where they are, Moved those that must go elsewhere, New
	// those that are to come: of one copy.
	Cluster Count  `json:"cluster"`
	Moved   *Count `json:"moved,omitempty"`
	New     *Count `json:"new,omitempty"`
	// Stays are pods that cannot go elsewhere, because the volumes of their claims are on
	// the drained node: they wait until it is back.
	Stays []string `json:"stays,omitempty"`
	// NodeBound are pods that are on their node only, as those of DaemonSets: how many go
	// with it.
	NodeBound int `json:"nodeBound,omitempty"`
	// Waiting is why pods do not run, in the scheduler's words.
	Waiting []Waiting `json:"waiting,omitempty"`
	Copies  *Copies   `json:"copies,omitempty"`
	Nodes   *Nodes    `json:"nodes,omitempty"`
	// Runs is how many simulations it took.
	Runs int `json:"runs"`
}

// Count is how many of some pods run.
type Count struct {
	Pods    int `json:"pods"`
	Running int `json:"running"`
}

// Waiting is pods that do not run for the same reason.
type Waiting struct {
	Reason []string `json:"reason"`
	Pods   []string `json:"pods"`
}

// Copies is how often the new pods fit, beside what there is. AtLeast: no more were tried.
type Copies struct {
	Fit     int  `json:"fit"`
	AtLeast bool `json:"atLeast,omitempty"`
}

// Nodes is how many of a shape would do. Bound is how many the sums alone ask for.
type Nodes struct {
	Shape  string `json:"shape"`
	Needed int    `json:"needed"` // -1: Tried were not enough
	Bound  int    `json:"bound"`
	Tried  int    `json:"tried"` // the largest number
}

// ErrInterrupted: a simulation was ended before it was over.
var ErrInterrupted = errors.New("interrupted")

// asking is one question being answered.
type asking struct {
	Question
	answer *Answer
}

// Ask answers a question. The error says what is wrong with it, or with a simulation.
func Ask(ctx context.Context, q Question) (*Answer, error) {
	if q.Progress == nil {
		q.Progress = func(string, ...any) {}
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	a := &asking{Question: q, answer: &Answer{}}
	p := q.plan()
	if len(p.scenario(nil, p.once()).Workloads) == 0 {
		return nil, errors.New("the cluster's file has no pods, and none are to come: there is nothing to try")
	}
	a.answer.Stays, a.answer.NodeBound = p.stays, p.nodeBound
	var err error
	switch {
	case q.Shape != nil:
		err = a.nodes(ctx, p)
	case q.Copies:
		err = a.copies(ctx, p)
	default:
		var o *outcome
		if o, err = a.run(ctx, p.scenario(nil, p.once())); err == nil {
			a.take(p, o)
		}
	}
	return a.answer, err
}

func (q *Question) check() error {
	nodes := map[string]*scenario.NodeGroup{}
	q.Cluster.Each(func(name string, g *scenario.NodeGroup) { nodes[name] = g })
	for _, name := range q.Drain {
		if nodes[name] == nil {
			return unknownNode("--drain "+name, q.Cluster)
		}
	}
	left := len(nodes)
	for _, f := range q.Fail {
		switch g := nodes[f.Node]; {
		case g == nil:
			return unknownNode("--fail "+f.Node, q.Cluster)
		case f.VolumeGroup == "":
			left--
		case !hasGroup(g, f.VolumeGroup):
			return fmt.Errorf("--fail %s/%s: the node has no such VG; it has %s", f.Node, f.VolumeGroup, groupsOf(g))
		}
	}
	switch {
	case left == 0 && q.Shape == nil:
		return errors.New("--fail: no node is left")
	case q.Replace && q.Shape == nil:
		return errors.New("--replace needs --shape: which nodes are to come in place of the cluster's")
	case q.Copies && q.Shape != nil:
		return errors.New("--copies and --shape are two questions: ask them one after the other")
	case q.Copies && len(q.New) == 0:
		return errors.New("--copies needs --manifests or --workload: copies of what")
	case len(q.New) == 0 && len(q.Drain) == 0 && len(q.Fail) == 0 && q.Shape == nil:
		return errors.New("nothing is asked: give --manifests or --workload, --drain, --fail or --shape")
	}
	return nil
}

// run runs a scenario.
func (a *asking) run(ctx context.Context, s *scenario.Scenario) (*outcome, error) {
	a.answer.Runs++
	r, err := a.Run(ctx, s)
	if err != nil {
		return nil, err
	}
	if r.Interrupted {
		return nil, ErrInterrupted
	}
	return read(r), nil
}

// take makes an outcome the answer.
func (a *asking) take(p *plan, o *outcome) {
	x := a.answer
	x.Cluster = Count{}
	for name, c := range o.counts {
		switch {
		case name == movedName:
			x.Moved = &c
		case name == newName:
			x.New = &c
		case !isCopy(name):
			x.Cluster.Pods += c.Pods
			x.Cluster.Running += c.Running
		}
	}
	if len(p.moved) == 0 {
		x.Moved = nil
	}
	x.Waiting = o.waiting
	x.Fits = x.Cluster.whole() && (x.Moved == nil || x.Moved.whole()) && (x.New == nil || x.New.whole()) && len(x.Stays) == 0
}

func (c Count) whole() bool { return c.Running >= c.Pods }
