// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/podlv/podlv/lvm"
)

// recoverRetry is how long after a failure the start's look at LVM is repeated.
const recoverRetry = 5 * time.Second

// recoverUntilDone looks at what earlier agents left, until LVM answers. It is a
// task of its own: a hung LVM must not keep the agent from serving what is mounted.
func (d *Driver) recoverUntilDone(ctx context.Context) {
	for {
		err := d.recover(ctx)
		if err == nil {
			return
		}
		d.config.Log.Error("cannot look for volumes that are there already; it is tried again", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-d.config.Clock.After(recoverRetry):
		}
	}
}

// recover removes copies and snapshots that are not whole, which nobody was given: each
// is begun again by whoever asks for it. It finds every inline volume of the node, in
// whatever VG. And of volumes that are mounted it drops the tag that says that nobody
// was given them, if an agent died before it had: kubelet may never call again for
// them, and the tag would let a filesystem that is damaged later be made anew.
func (d *Driver) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	groups, _, err := d.model.volumeGroups(ctx)
	if err != nil {
		return err
	}
	if err := d.config.Classes.Get().Check(groups); err != nil {
		// Not fatal: a disk may come late, and what is mounted must stay served.
		d.config.Log.Error("not ready yet: volumes of the device classes named here cannot be made", "error", err)
	}
	mounted, err := mountedVolumes(d.config.Mounter)
	if err != nil {
		return err
	}
	for _, g := range groups {
		for _, l := range g.LogicalVolumes {
			if l.HasTag(Owner) && l.HasTag(tagNew) && mounted[l.VG+"/"+l.Name] {
				d.settle.add(l.VG, l.Name)
			}
		}
	}
	d.node.inline.places.learn(groups, mounted, d.config.Classes.Get().VolumeGroups())
	d.node.persistent.learn(groups)
	d.node.persistent.sweep(ctx, groups, d.config.Classes.Get())
	return nil
}

// prober says whether the node can serve its device classes, by the report that others
// use, too. However often it is asked, one waits for that: probes must not pile up before
// a hung LVM.
type prober struct {
	lvm     *lvm.Client
	model   *model
	classes *ClassSource
	flight  singleflight.Group
}

// ready says why the node cannot serve its device classes.
func (p *prober) ready(ctx context.Context) error {
	report := p.flight.DoChan("report", func() (any, error) {
		groups, _, err := p.model.volumeGroups(context.WithoutCancel(ctx))
		return groups, err
	})
	select {
	case r := <-report:
		if r.Err != nil {
			return fmt.Errorf("%w: LVM does not answer: %w", errCondition, r.Err)
		}
		if err := p.classes.Get().Check(r.Val.([]lvm.VolumeGroup)); err != nil {
			return fmt.Errorf("%w: %w", errCondition, err)
		}
		return nil
	case <-ctx.Done():
		age := time.Duration(0)
		for _, r := range p.lvm.Running() {
			age = max(age, time.Since(r.Since))
		}
		return fmt.Errorf("%w: LVM does not answer; its oldest command has been running for %s", errCondition, age.Round(time.Millisecond))
	}
}
