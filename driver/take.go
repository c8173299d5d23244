// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"

	"github.com/podlv/podlv/lvm"
)

// take lets a claim take so many bytes of a pool with command, if pods that are bound
// to the node do not need them: fits says whether it does beside what they are owed.
// Calls for one pool must come one after the other.
//
// Of a shared pool the scheduler gives the same bytes to pods and to claims, so that
// allocatable is lowered first; then nobody new can come, and those that came meanwhile
// are counted. A pod that is bound cannot be moved, a claim can: it gives way. What is
// left is a pod that the scheduler has chosen this node for and that the API server
// does not have as bound yet: it waits for space, or fails at kubelet's admission.
//
// claim is its namespace/name. A generic ephemeral claim's pod has its request counted
// already, so that nothing is lowered for it.
func (p *publisher) take(ctx context.Context, pool Pool, claim string, need int64, fits func(g lvm.VolumeGroup, owed int64) error, command func() error) (err error) {
	classes := p.classes.Get()
	if pool.Inline.mode != inlineShared {
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
	pods, err := p.livePods(ctx, classes)
	if err != nil {
		return err
	}
	if err := p.checkNow(ctx, classes, pool, pods, fits); err != nil {
		return err
	}
	if claim == "" || !p.covered(claim, pods) {
		p.hold(pool.Name, need)
		// Made, it is in the VG; not made, it is free.
		defer func() { whenOver(err, func() { p.hold(pool.Name, -need) }) }()
		if err := p.tellNode(ctx, classes, pods); err != nil {
			return err
		}
		if pods, err = p.livePods(ctx, classes); err != nil {
			return err
		}
		if err := p.checkNow(ctx, classes, pool, pods, fits); err != nil {
			return err
		}
	}
	return command()
}

// checkNow is check by what the disks have now.
func (p *publisher) checkNow(ctx context.Context, classes *Classes, pool Pool, pods []podCharge, fits func(lvm.VolumeGroup, int64) error) error {
	groups, _, err := p.model.volumeGroups(ctx)
	if err != nil {
		return err
	}
	return p.check(classes, groups, pool, pods, 0, fits)
}

func (p *publisher) check(classes *Classes, groups []lvm.VolumeGroup, pool Pool, pods []podCharge, taken int64, fits func(lvm.VolumeGroup, int64) error) error {
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
