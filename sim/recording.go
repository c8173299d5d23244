// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"time"

	"github.com/podlv/podlv/sim/scenario"
	"github.com/podlv/podlv/sim/trace"
)

// newRecorder is a recorder of a scenario's run.
func newRecorder(s *scenario.Scenario, started time.Time) *trace.Recorder {
	var pools []trace.PoolClasses
	for _, p := range s.Storage.Pools() {
		of := trace.PoolClasses{Pool: p.Name}
		for _, c := range s.Storage.All() {
			if c.Pool.Name == p.Name {
				of.Classes = append(of.Classes, c.Name) // a StorageClass is named as its device class
			}
		}
		pools = append(pools, of)
	}
	nodes := 0
	s.Each(func(string, *scenario.NodeGroup) { nodes++ })
	return trace.New(s.Name, started, workloadLabel, pools, nodes)
}

// record lets the recorder see what happens, until ctx ends.
func (r *run) record(ctx context.Context) error {
	factory := r.Informers
	if err := r.trace.Watch(factory, r.Namespace, r.judge); err != nil {
		return err
	}
	warnings, err := r.trace.Warnings(r.Client, r.Namespace)
	if err != nil {
		return err
	}
	factory.Start(ctx.Done()) // what it has not started yet
	warnings.Start(ctx.Done())
	go func() {
		tick := time.NewTicker(watchPeriod)
		defer tick.Stop()
		for {
			r.trace.Sample()
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return nil
}

// event says that the scenario does something to the cluster.
func (r *run) event(format string, args ...any) {
	r.Progress("event: "+format, args...)
	r.trace.Mark(format, args...)
}

// published is how many volumes pods have had that came to be Running.
func (t *tracker) published() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.volumes
}
