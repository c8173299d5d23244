// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/lvm"
)

// lingerTime is how long the LV of a pod that has ended may stay before its bytes
// are no longer offered to other pods: kubelet unpublishes it within seconds.
const lingerTime = 60 * time.Second

// account is what a pool has for pods and owes them, in bytes.
type account struct {
	// allocatable is the pool's extended resource: what the requests of all pods that
	// are bound to the node may come to.
	allocatable int64
	// owed is what bound pods will still make, which no claim may take.
	owed int64
	// charged is what all bound pods take, made or not.
	charged int64
	// requested is the sum of the bound pods' requests. kubelet ends running pods when
	// it starts and allocatable is less (kubernetes 1.36, pkg/kubelet/lifecycle/predicate.go).
	requested int64
}

// ledger is all that the accounts follow from.
type ledger struct {
	classes *Classes
	groups  []lvm.VolumeGroup
	pods    []podCharge
	// covered says whether a generic ephemeral claim's pod, which is not bound yet, will
	// answer for the claim's LV.
	covered func(claim string) bool
	// lingers says whether an LV's pod has ended only now.
	lingers func(l lvm.LogicalVolume) bool
	// pending is what claims are about to take, by pool.
	pending map[string]int64
}

// accounts are those of the pools that pods are offered, and of others that pods request
// none the less: these keep what is requested.
func (l ledger) accounts() map[string]account {
	accounts := map[string]account{}
	for _, p := range l.pods {
		if p.ended {
			continue
		}
		for pool, bytes := range p.requested {
			a := accounts[pool]
			a.requested += bytes
			a.allocatable = a.requested
			accounts[pool] = a
		}
	}
	for _, pool := range l.classes.pools {
		if pool.Inline.mode == inlineNone {
			continue // nothing is offered to pods, nor owed to them
		}
		accounts[pool.Name] = l.account(pool, accounts[pool.Name].requested)
	}
	return accounts
}

func (l ledger) account(pool Pool, requested int64) account {
	a := account{requested: requested, allocatable: requested}
	g, err := lvm.Find(l.groups, pool.VolumeGroup)
	if err != nil {
		return a // it is not there: what was promised stands
	}
	made, passing := l.made(g, pool)
	var pods, beyond int64 // of what is made, what the living pods' charges cover; what these are beyond the requests
	for _, p := range l.pods {
		if p.ended {
			continue
		}
		pods += min(made[p.uid], p.of(pool.Name)) // a generic ephemeral volume may have grown
		a.charged += p.of(pool.Name)
		a.owed += max(0, p.of(pool.Name)-made[p.uid])
		beyond += p.of(pool.Name) - p.requested[pool.Name]
	}
	// The scheduler takes the requests off this, whatever is made of them: what is left
	// is to be what is free and not owed.
	room := requested + l.free(g, pool) - pool.Reserve - a.owed + passing
	switch pool.Inline.mode {
	case inlineReserved:
		a.owed = max(a.owed, pool.Inline.reserved-pods-passing)
		room = min(pool.Inline.reserved-beyond, room)
	default:
		room -= l.pending[pool.Name]
	}
	unit := int64(defaultUnit)
	for _, c := range l.classes.classes {
		if c.Pool.Name == pool.Name {
			unit = min(unit, c.Unit)
		}
	}
	a.allocatable = max(requested, min(lvm.RoundDown(max(room, 0), unit), MaxCharge))
	return a
}

// free is what LVs can still be made of, in bytes; of a thin pool, what can still be
// promised by the class that promises least.
func (l ledger) free(g lvm.VolumeGroup, pool Pool) int64 {
	if g.MissingPVs > 0 {
		return 0
	}
	if pool.ThinPool == "" {
		return allocatable(g)
	}
	least, found := int64(0), false
	for _, c := range l.classes.classes {
		if c.Pool.Name != pool.Name {
			continue
		}
		c.Pool.Reserve = 0 // it is taken off by the caller
		if n := thinFree(g, c); !found || n < least {
			least, found = n, true
		}
	}
	return least
}

// made is what the LVs of each pod take, and what those take that are on their way
// into a pod's account or out of it: of pods that have just ended, and of claims whose
// pod is not bound yet. Their bytes are a request's, or will be one's, or free, soon.
func (l ledger) made(g lvm.VolumeGroup, pool Pool) (made map[types.UID]int64, passing int64) {
	alive, claims := map[types.UID]bool{}, map[string]types.UID{}
	for _, p := range l.pods {
		if p.ended {
			continue
		}
		alive[p.uid] = true
		for _, c := range p.claims {
			claims[c] = p.uid
		}
	}
	made = map[types.UID]int64{}
	for _, lv := range g.LogicalVolumes {
		if lv.Pool != pool.ThinPool || lv.Name == pool.ThinPool {
			continue
		}
		size := taken(lv, g.ExtentSize)
		claim, _ := lv.TagValue(tagClaim)
		switch {
		case isInline(lv):
			p, _ := podOf(lv)
			if alive[types.UID(p.UID)] {
				made[types.UID(p.UID)] += size
			} else if l.lingers(lv) {
				passing += size
			}
		case isVolume(lv) && claims[claim] != "":
			made[claims[claim]] += size
		case isVolume(lv) && claim != "" && l.covered(claim):
			passing += size
		}
	}
	return made, passing
}

// taken is what an LV takes of its VG, in bytes; a thin one of what its pool may
// promise.
func taken(l lvm.LogicalVolume, extent int64) int64 {
	if l.Pool != "" {
		return l.Size
	}
	if n, err := lvm.Layout(l.Type).Allocation(l.Size, extent, l.Stripes); err == nil {
		return n
	}
	return l.Size
}
