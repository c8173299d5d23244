// SPDX-License-Identifier: Apache-2.0

package fit

import (
	"context"
	"fmt"
	"math"

	"github.com/podlv/podlv/sim/scenario"
)

// copies finds out how often the new pods fit, in one simulation. Of copies with one pod,
// all come at once, and those that run are counted; of others one comes when the one
// before it runs: pods of a copy that is not whole would take the room of another.
func (a *asking) copies(ctx context.Context, p *plan) error {
	one, free := ofAll(p.fresh, a.Cluster, len(p.nodes)), p.free()
	free.add(ofAll(p.moved, a.Cluster, len(p.nodes)), -1)
	most := min(times(free, one), int64(a.Most))
	n := int(max(most, 1))
	a.Progress("by sums alone, %d copies fit at most; trying %d", times(free, one), n)
	pods := 0
	for _, o := range p.fresh {
		pods += scenario.PodsOf(o, len(p.nodes))
	}
	all := p.once()
	for i := 2; i <= n; i++ {
		more := renamed(p.fresh, fmt.Sprintf("-%d", i))
		if pods == 1 {
			all = append(all, scenario.Workload{Name: copyName(2), Objects: more})
		} else {
			all = append(all, scenario.Workload{Name: copyName(i), Objects: more})
		}
	}
	if pods == 1 {
		all = merged(all)
	}
	o, err := a.run(ctx, p.scenario(nil, all))
	if err != nil {
		return err
	}
	if pods == 1 {
		c := o.counts[newName]
		a.answer.Copies = &Copies{Fit: c.Running}
		o.counts[newName] = Count{1, min(c.Running, 1)}
	} else {
		fit := 0
		for i := 1; i <= n; i++ {
			name := copyName(i)
			if i == 1 {
				name = newName
			}
			if c := o.counts[name]; c.Pods == 0 || !c.whole() {
				break
			}
			fit++
		}
		a.answer.Copies = &Copies{Fit: fit}
	}
	a.answer.Copies.AtLeast = a.answer.Copies.Fit == n && int(most) == a.Most
	a.take(p, o)
	if a.answer.Fits { // what waits are copies
		a.answer.Waiting = nil
	}
	return nil
}

// merged is one workload with the objects of all.
func merged(all []scenario.Workload) []scenario.Workload {
	one := scenario.Workload{Name: newName}
	for _, w := range all {
		one.Objects = append(one.Objects, w.Objects...)
	}
	return []scenario.Workload{one}
}

// mostNodes is the largest number of nodes that is tried: a simulation of more takes
// long.
const mostNodes = 1000

// nodes searches for the least number of nodes of the shape that makes everything fit:
// from what the sums ask for upwards, in steps that double, and back by halves.
func (a *asking) nodes(ctx context.Context, p *plan) error {
	bound, err := p.bound(a.Shape)
	if err != nil {
		return err
	}
	x := &Nodes{Shape: a.Shape.text, Needed: -1, Bound: bound}
	a.answer.Nodes = x
	try := func(n int) (*outcome, error) {
		a.Progress("trying %d nodes of the shape", n)
		x.Tried = max(x.Tried, n)
		var more []scenario.NodeGroup
		if n > 0 {
			g := a.Shape.Group
			g.Name, g.Count = a.Shape.name(p.nodes), n
			more = append(more, g)
		}
		return a.run(ctx, p.scenario(more, p.once()))
	}
	low, high := bound-1, bound // low does not do, by the sums or because it was tried
	if len(p.nodes) == 0 {
		high = max(high, 1)
	}
	var good *outcome
	before := math.MaxInt // pods that did not run with fewer nodes
	for step := 1; ; step *= 2 {
		o, err := try(high)
		if err != nil {
			return err
		}
		if o.whole() {
			good = o
			break
		}
		short := o.short()
		if low = high; high >= mostNodes || short >= before { // more of them change nothing
			a.take(p, o)
			return nil
		}
		before = short
		high = min(high+step, mostNodes)
	}
	for high-low > 1 {
		middle := (low + high) / 2
		o, err := try(middle)
		if err != nil {
			return err
		}
		if o.whole() {
			good, high = o, middle
		} else {
			low = middle
		}
	}
	x.Needed = high
	a.take(p, good)
	return nil
}
