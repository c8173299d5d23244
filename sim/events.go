// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/podlv/podlv/sim/embedded"
	"github.com/podlv/podlv/sim/scenario"
)

// happen makes the scenario's events happen, each at its time.
func (r *run) happen(ctx context.Context) error {
	start := time.Now()
	events := slices.SortedStableFunc(slices.Values(r.Scenario.Events), func(a, b scenario.Event) int { return cmp.Compare(a.At, b.At) })
	for i, e := range events {
		select {
		case <-time.After(time.Until(start.Add(time.Duration(e.At)))):
		case <-ctx.Done():
			return nil
		}
		at := slices.IndexFunc(r.cluster.Nodes, func(n *embedded.Node) bool { return n.Name == e.Node })
		lv := e.LVCreate
		r.Progress("event: somebody makes an LV of %d MiB in %s of %s", lv.Size>>20, lv.VolumeGroup, e.Node)
		_, err := r.cluster.Nodes[at].Host.Run(ctx, "lvcreate", "--yes", "--name", fmt.Sprintf("foreign%d", i), "--size", fmt.Sprintf("%db", lv.Size), lv.VolumeGroup)
		if err != nil { // as an administrator would see it: there was no room for it
			r.tracker.keep([]string{fmt.Sprintf("event on node %s: %v", e.Node, err)})
		}
	}
	return nil
}
