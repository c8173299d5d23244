// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"slices"

	"github.com/podlv/podlv/sim/oracle"
)

// Columns of a pool's series; from capacityColumn on, one for each StorageClass.
const (
	totalColumn = iota
	inlineColumn
	ephemeralColumn
	claimsColumn
	foreignColumn
	allocatableColumn
	capacityColumn
)

// PoolClasses is a pool, with the StorageClasses whose volumes come from it.
type PoolClasses struct {
	Pool    string
	Classes []string
}

// nodeRecord is a node's pools, in the order of the recorder's.
type nodeRecord struct {
	now   [][]int64
	pools []series
}

// usage is the sum of what LVs take.
func usage(v []int64) int64 {
	return v[inlineColumn] + v[ephemeralColumn] + v[claimsColumn] + v[foreignColumn]
}

// node is the record of a node, with mu held.
func (r *Recorder) node(name string) *nodeRecord {
	n := r.nodes[name]
	if n == nil {
		n = &nodeRecord{now: make([][]int64, len(r.pools)), pools: make([]series, len(r.pools))}
		for i, p := range r.pools {
			n.now[i] = make([]int64, capacityColumn+len(p.Classes))
			for j := allocatableColumn; j < len(n.now[i]); j++ {
				n.now[i][j] = -1
			}
			n.pools[i] = series{most: r.samples, peak: usage}
		}
		r.nodes[name] = n
	}
	return n
}

// change sets columns of a node's pool, with mu held.
func (r *Recorder) change(name, pool string, set func(now []int64)) {
	i := slices.IndexFunc(r.pools, func(p PoolClasses) bool { return p.Pool == pool })
	if i < 0 {
		return
	}
	n := r.node(name)
	set(n.now[i])
	n.pools[i].add(r.now(), slices.Clone(n.now[i]))
}

// Used implements oracle.Watcher: it takes up what lies on a node's disks.
func (r *Recorder) Used(node string, uses []oracle.Use) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, u := range uses {
		r.change(node, u.Pool, func(now []int64) {
			now[totalColumn], now[inlineColumn], now[ephemeralColumn], now[claimsColumn], now[foreignColumn] = u.Total, u.Inline, u.Ephemeral, u.Claims, u.Foreign
		})
	}
}

// Allocatable implements Published.
func (r *Recorder) Allocatable(node, pool string, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.change(node, pool, func(now []int64) { now[allocatableColumn] = bytes })
}

// Capacity implements Published.
func (r *Recorder) Capacity(node, class string, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pools {
		if i := slices.Index(p.Classes, class); i >= 0 {
			r.change(node, p.Pool, func(now []int64) { now[capacityColumn+i] = bytes })
		}
	}
}

// pool is the trace of a pool.
func (s *series) pool(p PoolClasses) Pool {
	all := Pool{
		Name: p.Pool, At: s.times(), Total: s.column(totalColumn, 0),
		Inline: s.column(inlineColumn, 0), Ephemeral: s.column(ephemeralColumn, 0), Claims: s.column(claimsColumn, 0), Foreign: s.column(foreignColumn, 0),
		Allocatable: s.column(allocatableColumn, -1), Capacity: map[string][]int64{},
	}
	for i, class := range p.Classes {
		if c := s.column(capacityColumn+i, -1); c != nil {
			all.Capacity[class] = c
		}
	}
	return all
}
