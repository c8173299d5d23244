// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// figures are what the scheduler was told of a node, bytes: of pools and of classes.
type figures struct{ allocatable, capacity map[string]int64 }

// staleness is how long more was published than there was.
type staleness struct {
	since map[string]time.Time // that what is published of this has been too much
	took  []time.Duration      // of what is over
}

// anybody stands for a pod that is no node's yet: it may wait for the space of pods that
// have ended.
const anybody types.UID = "-"

// Allocatable takes up what a node's extended resource of a pool is, bytes.
func (o *Oracle) Allocatable(name, pool string, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := o.nodes[name]; n != nil {
		n.told.allocatable[pool] = bytes
		o.compare(name, n)
	}
}

// Capacity takes up what is published for claims of a StorageClass, bytes; -1: nothing.
func (o *Oracle) Capacity(name, class string, bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := o.nodes[name]; n != nil {
		n.told.capacity[class] = bytes
		o.compare(name, n)
	}
}

// Stale is for how long, each time, more was published of something than the disks had:
// from when a pod was bound or the disks were looked at (see Watch) to when less was
// published, or to now.
func (o *Oracle) Stale() []time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := slices.Clone(o.stale.took)
	for _, since := range o.stale.since {
		all = append(all, time.Since(since))
	}
	return all
}

// compare holds what is published of a node to the disks as they were read last, with mu
// held.
func (o *Oracle) compare(name string, n *node) {
	if n.seen == nil {
		return
	}
	for pool, said := range n.told.allocatable {
		var charged int64
		for _, c := range n.bound {
			charged += c[pool]
		}
		room, ok := o.room(n, n.seen, pool, anybody)
		o.stale.is("pool "+pool+" of "+name, ok && said > max(room, 0)+charged)
	}
	for class, said := range n.told.capacity {
		c, err := o.classes.Named(class)
		if err != nil {
			continue
		}
		room, ok := o.room(n, n.seen, c.Pool.Name, "")
		o.stale.is("class "+class+" of "+name, ok && said > max(room, 0)/c.Unit*c.Unit)
	}
}

// is takes up whether too much is published of something.
func (s *staleness) is(of string, stale bool) {
	since, was := s.since[of]
	switch {
	case stale && !was:
		s.since[of] = time.Now()
	case was && !stale:
		s.took = append(s.took, time.Since(since))
		delete(s.since, of)
	}
}
