// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/lvm"
)

// A claim takes of a pool only what pods that are bound to the node do not need. Of a
// pool that is split between the two, that is what the disks and the informer have at
// hand (take). Of a shared one the scheduler gives the same bytes to pods and to claims,
// so that allocatable is lowered first (announce); then nobody new can come, and those
// that came meanwhile are counted (takeShared). A pod that is bound cannot be moved, a
// claim can: it gives way. What is left is a pod that the scheduler has chosen this node
// for and that the API server does not have as bound yet: it waits for space, or fails
// at kubelet's admission.

// fitsFunc says whether a volume fits into its VG beside so many bytes that others are
// owed.
type fitsFunc func(g lvm.VolumeGroup, owed int64) error

// take makes a claim's volume with command, if it fits, in a pool that is not shared.
// Calls for one pool must come one after the other.
func (p *publisher) take(ctx context.Context, pool Pool, fits fitsFunc, command func() error) error {
	classes := p.classes.Get()
	pods, err := p.pods(classes)
	if err != nil {
		return err
	}
	err = p.model.allows(ctx, pool.Name, func(groups []lvm.VolumeGroup, taken int64) error {
		return p.check(classes, groups, pool, pods, taken, fits)
	})
	if err != nil {
		return err
	}
	return command()
}

// roomShare of a pool must be left for pods when claims are announced that wait for one
// another: an eighth.
const roomShare = 8

// roomy says whether so much is left of a shared pool beside what a claim needs, in bytes,
// that it may be announced before its turn. Where little is left claims are announced one
// by one: kubelet refuses a pod for good that was bound in the moment before allocatable
// was lowered and does not fit any more, and the more is taken off at once, the more pods
// that are.
func (p *publisher) roomy(ctx context.Context, pool Pool, need int64) bool {
	classes := p.classes.Get()
	groups, _, err := p.model.volumeGroups(ctx)
	if err != nil {
		return false // whoever asks next hears of it
	}
	g, err := lvm.Find(groups, pool.VolumeGroup)
	if err != nil {
		return false
	}
	pods, err := p.pods(classes)
	if err != nil {
		return false
	}
	size := g.Size
	if thin, ok := g.LogicalVolume(pool.ThinPool); ok {
		size = thin.Size
	}
	a := p.accounts(classes, groups, pods)[pool.Name]
	return a.allocatable-a.requested-need >= size/roomShare
}

// announcement is that a claim will take of a shared pool: the scheduler knows.
type announcement struct {
	classes *Classes
	// pods are those that the node had when allocatable had been lowered, or later.
	pods []podCharge
	// release is called when the claim has taken what it needs, or never will; also
	// after an error.
	release func()
}

// announce lowers allocatable by what a claim needs, in bytes, and gives the pods that
// are bound then. claim is its namespace/name; a generic ephemeral one's pod has its
// request counted already, so that nothing is lowered for it.
//
// Early, where there is room, claims that come at the same time share a write and a list.
// Else calls for one pool must come one after the other: nothing is lowered before the API
// server has been asked which pods are bound, and never below what these request.
func (p *publisher) announce(ctx context.Context, pool Pool, claim string, need int64, early bool, fits fitsFunc) (announcement, error) {
	a := announcement{classes: p.classes.Get(), release: func() {}}
	var err error
	if early {
		a.pods, err = p.pods(a.classes)
	} else {
		a.pods, err = p.livePods(ctx, a.classes)
	}
	if err != nil {
		return a, err
	}
	// What cannot be is not announced.
	if err := p.checkLive(ctx, &a, pool, fits); err != nil {
		return a, err
	}
	covered := claim != "" && p.covered(claim, a.pods)
	if !covered {
		p.hold(pool.Name, need)
		// Made, it is in the VG; not made, it is free.
		a.release = func() { p.hold(pool.Name, -need) }
	}
	switch {
	case early:
		a.pods, err = p.round(ctx)
	case !covered:
		if err = p.tellNode(ctx, a.classes, a.pods); err == nil {
			a.pods, err = p.livePods(ctx, a.classes)
		}
	}
	return a, err // its caller releases, also after an error
}

// takeShared makes the volume of a claim that was announced with command, if it fits.
// Calls for one pool must come one after the other. While a claim waits for its turn, pods
// are bound that were scheduled before the scheduler knew of it: the informer has them.
func (p *publisher) takeShared(ctx context.Context, a announcement, pool Pool, fits fitsFunc, command func() error) error {
	since, err := p.pods(a.classes)
	if err != nil {
		return err
	}
	a.pods = union(a.pods, since)
	if err := p.checkLive(ctx, &a, pool, fits); err != nil {
		return err
	}
	return command()
}

// union is pods, and those of since that are not among them.
func union(pods, since []podCharge) []podCharge {
	known := map[types.UID]bool{}
	for _, p := range pods {
		known[p.uid] = true
	}
	all := slices.Clone(pods)
	for _, p := range since {
		if !known[p.uid] {
			all = append(all, p)
		}
	}
	return all
}

// checkLive is check by what the disks have now. That there is no space is believed only
// of the pods that the API server has now: some may have gone.
func (p *publisher) checkLive(ctx context.Context, a *announcement, pool Pool, fits fitsFunc) error {
	err := p.checkNow(ctx, a.classes, pool, a.pods, fits)
	if !errors.Is(err, lvm.ErrNoSpace) {
		return err
	}
	if a.pods, err = p.livePods(ctx, a.classes); err != nil {
		return err
	}
	return p.checkNow(ctx, a.classes, pool, a.pods, fits)
}

// round is one write of the Node's resources and, after it, one list of its pods.
type round struct {
	over chan struct{} // closed when the others are set
	pods []podCharge
	err  error
}

// round gives the pods that are bound after everything that was held before the call is
// off what the scheduler is told. All that call while one round goes on wait for it, and
// share the next.
func (p *publisher) round(ctx context.Context) ([]podCharge, error) {
	p.mu.Lock()
	r := p.next
	if r == nil {
		r = &round{over: make(chan struct{})}
		p.next = r
		go p.goRound(context.WithoutCancel(ctx), r) // others wait for it, too
	}
	p.mu.Unlock()
	select {
	case <-r.over:
		return r.pods, r.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait until the scheduler is told what a claim takes: %w", ctx.Err())
	}
}

// checkNow is check by what the disks have now.
func (p *publisher) checkNow(ctx context.Context, classes *Classes, pool Pool, pods []podCharge, fits fitsFunc) error {
	groups, _, err := p.model.volumeGroups(ctx)
	if err != nil {
		return err
	}
	return p.check(classes, groups, pool, pods, 0, fits)
}

func (p *publisher) check(classes *Classes, groups []lvm.VolumeGroup, pool Pool, pods []podCharge, taken int64, fits fitsFunc) error {
	g, err := lvm.Find(groups, pool.VolumeGroup)
	if err != nil {
		return err
	}
	return fits(g, p.accounts(classes, groups, pods)[pool.Name].owed+taken)
}

// hold counts bytes as taken that are not in the VG yet.
func (p *publisher) hold(pool string, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending[pool] += bytes
	p.changes.Add(1)
}

// goRound is r, once the round before it is over.
func (p *publisher) goRound(ctx context.Context, r *round) {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	defer close(r.over)
	r.err = p.rounds.Acquire(ctx, 1)
	p.mu.Lock()
	p.next = nil // what is held from now on is told of by another
	p.mu.Unlock()
	if r.err != nil {
		return
	}
	defer p.rounds.Release(1)
	classes := p.classes.Get()
	pods, err := p.pods(classes)
	if err == nil {
		err = p.tellNode(ctx, classes, pods)
	}
	if err == nil {
		r.pods, err = p.livePods(ctx, classes)
	}
	r.err = err
}

// tellNode writes the Node's resources at once.
func (p *publisher) tellNode(ctx context.Context, classes *Classes, pods []podCharge) error {
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.writing.Release(1)
	if p.resources.have == nil {
		if err := p.resources.read(ctx); err != nil {
			return err
		}
	}
	groups, _, err := p.model.volumeGroups(ctx)
	if err != nil {
		return err
	}
	return p.resources.write(ctx, allocatableOf(p.accounts(classes, groups, pods)))
}
