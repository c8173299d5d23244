// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"maps"
	"slices"
)

// Watcher is told what lies on a node's disks, whenever it was looked. It must not call
// the oracle, nor block.
type Watcher interface {
	Used(node string, uses []Use)
}

// Use is what lies in a pool of a node, in bytes.
type Use struct {
	Pool string
	// Total is what there is for LVs: of a thin pool what it may promise.
	Total int64
	// What LVs take of it, a thin volume its whole size: of inline volumes, of generic
	// ephemeral ones from when their pod is bound, of all others of podlv's, and of
	// everybody else.
	Inline, Ephemeral, Claims, Foreign int64
}

// Room is what a node has of a pool, bytes: for volumes of ours at all, without what is
// reserved and what others have; and free, of that, beside what is promised to pods.
type Room struct{ Size, Free int64 }

// Rooms is what the nodes have, by pool.
func (o *Oracle) Rooms() map[string][]Room {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := map[string][]Room{}
	for _, name := range slices.Sorted(maps.Keys(o.nodes)) {
		n := o.nodes[name]
		for _, u := range o.uses(n.seen) {
			pool, _, _ := o.pool(n.seen, u.Pool)
			free, _ := o.room(n, n.seen, u.Pool, "")
			all[u.Pool] = append(all[u.Pool], Room{Size: u.Total - pool.Reserve - u.Foreign, Free: max(free, 0)})
		}
	}
	return all
}

// uses is what lies in the pools, with mu held.
func (o *Oracle) uses(groups map[string]*group) (all []Use) {
	for _, p := range o.classes.Pools() {
		pool, g, ok := o.pool(groups, p.Name)
		if !ok {
			continue
		}
		u := Use{Pool: pool.Name, Total: o.size(pool, g)}
		for _, l := range g.lvs {
			if !inPool(l, pool) {
				continue
			}
			switch bytes := takes(l); {
			case !slices.Contains(l.tags, tagOwner):
				u.Foreign += bytes
			case l.tag(tagPod) != "":
				u.Inline += bytes
			case o.claims[l.tag(tagClaim)] != "":
				u.Ephemeral += bytes
			default:
				u.Claims += bytes
			}
		}
		all = append(all, u)
	}
	return all
}
