// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

const (
	// setupPeriod is how often devices are looked at again: disks come late, and what was
	// refused is wiped.
	setupPeriod = 30 * time.Second
	// setupLook is how often it is seen that the device classes have changed.
	setupLook = 5 * time.Second
	// setupTime is how long one pass may take. A command that runs is never killed.
	setupTime = 5 * time.Minute
	// tagPool is on the thin pools that podlv made. It is not the owner tag: that is on
	// volumes.
	tagPool = "podlv.pool"
)

// setup makes the VGs and thin pools of the pools that name devices, lets VGs grow by
// devices that come, and the thin pools that it made with them, and activates thin pools.
// It never takes a device that anything is on, and never makes anything smaller or removes
// it. What it makes in several steps can end after each: the next pass, of whatever process,
// goes on from what is there.
type setup struct {
	lvm     *lvm.Client
	model   *model
	classes *ClassSource
	disks   Disks // nil: none can be looked at
	events  events
	metrics *metrics
	space   *spaceWaiter
	publish *publisher   // nil without a Kubernetes API
	tell    func(health) // nil without a Kubernetes API
	clock   clock.Clock
	log     *slog.Logger

	told    map[trouble]bool         // troubles that were said, and still are
	refused map[string]refusedGrowth // by pool
}

// trouble is one thing that keeps a pool from being as it should.
type trouble struct {
	pool   string
	path   string // of the device as the pool names it; empty: it is the pool's
	reason string // of the event
	words  string
}

// Reasons of troubles beside those of refusals.
const (
	reasonVG     = "PodlvVolumeGroup" // it is not there, or cannot be used
	reasonPool   = "PodlvThinPool"
	reasonLVM    = "PodlvLVMFailed" // a command failed, or LVM does not answer
	reasonConfig = "PodlvConfiguration"
)

// run sets the node up until ctx ends.
func (s *setup) run(ctx context.Context) {
	var last *Classes
	var at time.Time
	for {
		if now := s.classes.Get(); now != last || s.clock.Since(at) >= setupPeriod {
			s.pass(ctx)
			last, at = now, s.clock.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-s.clock.After(setupLook):
		}
	}
}

// pass makes what can be made, and says what keeps it from more.
func (s *setup) pass(ctx context.Context) {
	classes := s.classes.Get()
	if classes.unknown {
		return // the node's labels are being read
	}
	inTime, cancel := context.WithTimeout(ctx, setupTime)
	defer cancel()
	troubles := s.make(inTime, classes)
	if ctx.Err() != nil {
		return // what failed did so because the agent ends
	}
	if r := s.classes.refused(); r != "" {
		troubles = append(troubles, trouble{reason: reasonConfig, words: "the device classes have changed and cannot be taken up; the old ones hold: " + r})
	}
	s.say(classes, troubles)
}

func (s *setup) make(ctx context.Context, classes *Classes) []trouble {
	if classes.makes() {
		s.model.forget() // of VGs that others made meanwhile no stamp tells
	}
	groups, _, err := s.model.volumeGroups(ctx)
	if err != nil {
		return []trouble{{reason: reasonLVM, words: err.Error()}}
	}
	if !whole(classes, groups) {
		if err := s.lvm.Rescan(ctx); err != nil {
			s.log.Warn("LVM cannot look at all disks", "error", err)
		}
		s.model.forget()
		if groups, _, err = s.model.volumeGroups(ctx); err != nil {
			return []trouble{{reason: reasonLVM, words: err.Error()}}
		}
	}
	done, begun := s.finishGrowth(ctx, classes, groups)
	if done {
		if groups, _, err = s.model.volumeGroups(ctx); err != nil {
			return append(begun, trouble{reason: reasonLVM, words: err.Error()})
		}
	}
	matches, troubles := s.match(classes, groups)
	troubles = append(begun, troubles...)
	pending := map[string]bool{} // VGs that are not as their devices say
	for _, t := range troubles {
		pending[classes.groupOf(t.pool)] = true
	}
	for _, vg := range classes.VolumeGroups() {
		found, more := s.take(vg, matches, groups)
		pending[vg] = pending[vg] || len(more) > 0
		more = append(more, s.group(ctx, classes, vg, found, groups, pending[vg])...)
		pending[vg] = pending[vg] || len(more) > 0
		troubles = append(troubles, more...)
	}
	for _, pool := range classes.pools {
		if pool.ThinPool == "" {
			continue
		}
		if groups, _, err = s.model.volumeGroups(ctx); err != nil { // another thin pool of the VG has taken of it
			return append(troubles, trouble{reason: reasonLVM, words: err.Error()})
		}
		troubles = append(troubles, s.thinPool(ctx, classes, pool, groups, pending[pool.VolumeGroup])...)
	}
	if groups, _, err = s.model.volumeGroups(ctx); err != nil {
		return append(troubles, trouble{reason: reasonLVM, words: err.Error()})
	}
	for _, t := range classes.troubles(groups) {
		if !slices.ContainsFunc(troubles, func(x trouble) bool { return x.pool == t.pool && x.path == "" }) {
			troubles = append(troubles, t) // else it is said why
		}
	}
	return troubles
}

// whole says whether the VGs of all pools are there, with all their disks.
func whole(classes *Classes, groups []lvm.VolumeGroup) bool {
	return !slices.ContainsFunc(classes.VolumeGroups(), func(vg string) bool {
		g, err := lvm.Find(groups, vg)
		return errors.Is(err, lvm.ErrNotFound) || err == nil && g.MissingPVs > 0
	})
}

// match is a device that a pool names.
type match struct {
	pool, vg, path string
	named          bool // by its own path
	disk           Disk
	member         string // the VG that it is a PV of
}

// match finds the devices that the pools name. A rule that does not get what it names
// gets nothing.
func (s *setup) match(classes *Classes, groups []lvm.VolumeGroup) (matches []match, troubles []trouble) {
	members := map[string]string{} // by device
	for _, pool := range classes.pools {
		for _, rule := range pool.Devices {
			if len(members) == 0 {
				members = s.members(groups)
			}
			disks, err := s.matching(rule)
			if err != nil {
				troubles = append(troubles, refused(pool.Name, rule.Path, err))
				continue
			}
			for _, d := range disks {
				matches = append(matches, match{
					pool: pool.Name, vg: pool.VolumeGroup, path: rule.Path, named: rule.Count == 0, disk: d, member: members[d.Device],
				})
			}
		}
	}
	return matches, troubles
}

// members are the devices that are PVs, with their VGs.
func (s *setup) members(groups []lvm.VolumeGroup) map[string]string {
	members := map[string]string{}
	for _, g := range groups {
		for _, p := range g.PhysicalVolumes {
			if p.Missing || s.disks == nil {
				continue
			}
			if d, ok, err := s.disks.Disk(p.Device); err == nil && ok {
				members[d.Device] = g.Name
			}
		}
	}
	return members
}

// matching are the devices that a rule names, each once, whatever names it has. The error
// is a Refusal.
func (s *setup) matching(rule DeviceRule) ([]Disk, error) {
	paths := []string{rule.Path}
	switch {
	case s.disks == nil:
		return nil, refuse(refusedError, "cannot be looked at by this agent")
	case rule.Count > 0:
		var err error
		if paths, err = s.disks.Glob(rule.Path); err != nil {
			return nil, refuse(refusedError, "cannot be looked for: %v", err)
		}
	}
	var disks []Disk
	var names []string
	for _, path := range paths {
		d, ok, err := s.disks.Disk(path)
		var why *Refusal
		switch {
		case errors.As(err, &why):
			return nil, refuse(why.Reason, "%s%v", prefixed(path, rule.Path), err)
		case err != nil:
			return nil, refuse(refusedError, "cannot be looked at: %v", err)
		case !ok && rule.Count == 0:
			return nil, refuse(refusedMissing, "is not there")
		case !ok, slices.ContainsFunc(disks, func(x Disk) bool { return x.Device == d.Device }):
			continue // another name of it; one that went meanwhile
		}
		if err := rule.suits(d); err != nil && rule.Count == 0 {
			return nil, err
		} else if err != nil {
			continue
		}
		disks, names = append(disks, d), append(names, path+" ("+d.Device+")")
	}
	if rule.Count > 0 && len(disks) != rule.Count {
		return nil, refuse(refusedCount, "matches %d devices, not %d, so that none is taken: %s", len(disks), rule.Count, list(names))
	}
	return disks, nil
}

// prefixed is a path for a sentence about what a pattern matches.
func prefixed(path, pattern string) string {
	if path == pattern {
		return ""
	}
	return path + " "
}

// take finds out which of a VG's devices are to be taken, and can be.
func (s *setup) take(vg string, matches []match, groups []lvm.VolumeGroup) (take []found, troubles []trouble) {
	done := map[string]bool{}
	for _, m := range matches {
		if m.vg != vg || m.member == vg || done[m.disk.Device] {
			continue
		}
		done[m.disk.Device] = true
		f, err := s.examine(m, matches)
		if err != nil {
			t := refused(m.pool, m.path, err)
			t.words = fmt.Sprintf("%s: %s", m.disk.Device, t.words)
			troubles = append(troubles, t)
			continue
		}
		take = append(take, f)
	}
	return take, troubles
}

func (s *setup) examine(m match, matches []match) (found, error) {
	if m.member != "" {
		return found{}, refuse(refusedSignature, "is a physical volume of VG %q", m.member)
	}
	for _, other := range matches {
		if other.disk.Device == m.disk.Device && other.vg != m.vg {
			return found{}, refuse(refusedTwice, "is named for VG %q, too, by pool %q", other.vg, other.pool)
		}
	}
	if err := described(m.disk, m.named); err != nil {
		return found{}, err
	}
	return inspect(s.disks, m.disk)
}

// refused is the trouble of a device that is refused.
func refused(pool, path string, err error) trouble {
	t := trouble{pool: pool, path: path, reason: refusedError, words: err.Error()}
	var why *Refusal
	if errors.As(err, &why) {
		t.reason = why.Reason
	}
	return t
}

// group makes a VG of devices, or extends it by them. A VG that is not there is made only
// when all its devices can be taken: it might be there, on one that is late.
func (s *setup) group(ctx context.Context, classes *Classes, vg string, take []found, groups []lvm.VolumeGroup, pending bool) []trouble {
	pool := classes.firstPool(vg)
	g, err := lvm.Find(groups, vg)
	there := err == nil
	switch {
	case len(take) == 0, errors.Is(err, lvm.ErrUnavailable): // several VGs of the name: that is said already
		return nil
	case !there && pending:
		return []trouble{{pool: pool, reason: reasonVG, words: fmt.Sprintf("VG %q is made when all its devices are there and can be taken", vg)}}
	case there && g.MissingPVs > 0:
		return []trouble{{pool: pool, reason: reasonVG, words: fmt.Sprintf("VG %q is not extended while it misses %d of its disks: LVM would mark them as missing for good", vg, g.MissingPVs)}}
	}
	var devices []string
	for _, f := range take {
		devices = append(devices, f.Device)
		if f.uuid == "" || f.renew {
			if err := s.lvm.InitPV(ctx, vg, f.Device, cmp.Or(f.uuid, newPVUUID()), f.renew); err != nil {
				return []trouble{{pool: pool, reason: reasonLVM, words: err.Error()}}
			}
		}
	}
	verb := "extended by"
	if there {
		err = s.lvm.ExtendGroup(ctx, vg, devices...)
	} else {
		verb = "made of"
		err = s.lvm.CreateGroup(ctx, vg, classes.extent(vg), devices...)
	}
	s.model.forget()
	if err != nil {
		return []trouble{{pool: pool, reason: reasonLVM, words: err.Error()}}
	}
	s.log.Info("the VG was "+verb+" devices", "vg", vg, "pool", pool, "devices", devices)
	s.events.setUp("PodlvVolumeGroupMade", fmt.Sprintf("pool %q: VG %q was %s %s", pool, vg, verb, list(devices)))
	return nil
}

// say tells what is new, to those who want to be told and to those who ask.
func (s *setup) say(classes *Classes, troubles []trouble) {
	now := map[trouble]bool{}
	for _, t := range troubles {
		if now[t] {
			continue
		}
		now[t] = true
		if !s.told[t] {
			s.log.Warn("a pool of this node is not as it should be", "pool", t.pool, "device", t.path, "reason", t.reason, "problem", t.words)
			s.events.trouble(t)
		}
	}
	s.told = now
	s.metrics.pools(classes, troubles)
	if s.tell != nil {
		s.tell(healthOf(troubles))
	}
}
