// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

// ReaperConfig says what the reaper takes for an orphan and what it does then.
// The zero value is not safe; DefaultReaper is.
type ReaperConfig struct {
	// Interval between passes. 0 turns the reaper off.
	Interval time.Duration
	// MinAge is how old an LV must be.
	MinAge time.Duration
	// Passes is how many passes in a row must find an LV without a pod or claim before
	// it is removed; the ones before only report it. At least 2, so that the first
	// pass after a start never removes an orphan.
	Passes int
	// DryRun: report, never remove.
	DryRun bool
	// WithoutAPI: do without the API server's word, and trust kubelet's folders
	// alone. For nodes without Kubernetes, such as tests.
	WithoutAPI bool
}

// DefaultReaper is safe everywhere.
func DefaultReaper() ReaperConfig {
	return ReaperConfig{Interval: 5 * time.Minute, MinAge: 10 * time.Minute, Passes: 2}
}

// Validate names what is wrong with the configuration.
func (c ReaperConfig) Validate() error {
	p := &problems{}
	if c.Interval < 0 {
		p.add("reaper interval %s: must not be negative", c.Interval)
	}
	if c.MinAge < 0 {
		p.add("reaper minimum age %s: must not be negative", c.MinAge)
	}
	if c.Interval > 0 && c.Passes < 2 {
		p.add("reaper passes %d: must be at least 2, so that nothing is removed at first sight", c.Passes)
	}
	return p.join()
}

// Witness says which pods are alive. An LV is an orphan only if every witness
// can be asked and none knows its pod.
type Witness interface {
	// Alive gives the UIDs of all pods of the node that may use volumes.
	Alive(ctx context.Context) (map[string]bool, error)
}

// reaper removes inline LVs that nobody will ever unpublish: kubelet forgets a
// volume after a final error, when a pod is deleted by force, and when its own
// folders were lost (kubernetes#92299, #127229). What it does about the LVs of claims
// and snapshots is in orphans.go.
type reaper struct {
	config     ReaperConfig
	lvm        *lvm.Client
	mounts     Mounter
	witnesses  map[string]Witness
	cluster    *Cluster // nil: volumes and snapshots are not judged
	locks      *volumeLocks
	persistent *persistent
	classes    *ClassSource
	freed      func()
	metrics    *metrics
	clock      clock.Clock
	log        *slog.Logger

	seen map[string]map[string]int    // kind → LV's UUID → passes in a row as an orphan
	told map[string]map[string]string // kind → LV's UUID → what was said of it, once
}

// run makes a pass at once and then one each interval.
func (r *reaper) run(ctx context.Context) {
	if r.config.Interval == 0 {
		return
	}
	for {
		if err := r.pass(ctx); err != nil {
			r.log.Error("the reaper's pass failed; no orphan was removed that it is about", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.clock.After(r.config.Interval):
		}
	}
}

// pass looks at every LV of ours once. The LVs are read first and the witnesses and
// the API server asked after that: a pod or claim whose LV is in the report was there
// before it.
func (r *reaper) pass(ctx context.Context) error {
	groups, err := r.lvm.VolumeGroups(ctx)
	if err != nil {
		r.seen = nil
		return err
	}
	left := r.persistent.sweep(ctx, groups, r.classes.Get())
	r.metrics.saw(kindTemporary, ofKind(left, kindTemporary), r.ours(groups))
	mounted, err := mountedVolumes(r.mounts)
	if err != nil {
		r.seen = nil
		return err
	}
	return errors.Join(r.inlines(ctx, groups, mounted), r.recorded(ctx, groups, mounted, left))
}

// ours are the VGs of the node's pools that are there.
func (r *reaper) ours(groups []lvm.VolumeGroup) (names []string) {
	for _, g := range groups {
		if slices.Contains(r.classes.Get().VolumeGroups(), g.Name) {
			names = append(names, g.Name)
		}
	}
	return names
}

// count says by LV's UUID in how many passes in a row each of a kind's orphans was seen.
// A pass that fails forgets them: what was not seen twice in a row was not seen twice.
func (r *reaper) count(kind string, orphans []lvm.LogicalVolume) map[string]int {
	seen := map[string]int{}
	for _, l := range orphans {
		seen[l.UUID] = r.seen[kind][l.UUID] + 1
	}
	if r.seen == nil {
		r.seen = map[string]map[string]int{}
	}
	r.seen[kind] = seen
	return seen
}

// inlines looks at the inline LVs.
func (r *reaper) inlines(ctx context.Context, groups []lvm.VolumeGroup, mounted map[string]bool) error {
	alive, err := r.alive(ctx)
	if err != nil {
		delete(r.seen, kindInline)
		return err
	}
	var orphans []lvm.LogicalVolume
	why := map[string]string{}
	for _, g := range groups {
		for _, l := range g.LogicalVolumes {
			if w := r.orphan(l, alive, mounted); w != "" {
				orphans = append(orphans, l)
				why[l.UUID] = w
			}
		}
	}
	seen := r.count(kindInline, orphans)
	r.metrics.saw(kindInline, orphans, r.ours(groups))
	for _, l := range orphans {
		g, _ := lvm.Find(groups, l.VG)
		r.act(ctx, g, l, seen[l.UUID], why[l.UUID])
	}
	return nil
}

// orphan says why an LV is one, or nothing.
func (r *reaper) orphan(l lvm.LogicalVolume, alive map[string]bool, mounted map[string]bool) string {
	if !isInline(l) || !inlineHandle.MatchString(l.Name) {
		return ""
	}
	age := r.clock.Now().Sub(l.Created)
	if l.Open || mounted[l.VG+"/"+l.Name] || age < r.config.MinAge {
		return ""
	}
	pod, ok := podOf(l)
	if !ok || alive[pod.UID] {
		return "" // an inline LV without a pod's tag is not of our making
	}
	return fmt.Sprintf("no witness knows pod %s/%s (UID %s), not open, not mounted, %s old", pod.Namespace, pod.Name, pod.UID, age.Round(time.Second))
}

// act reports an orphan, and removes it when it was seen often enough.
func (r *reaper) act(ctx context.Context, g lvm.VolumeGroup, l lvm.LogicalVolume, passes int, why string) {
	log := r.log.With("volume", l.Name, "vg", l.VG, "size", l.Size, "why", why, "pass", passes)
	// A VG that is in no pool may be another machine's, such as a virtual machine's
	// that runs here: its pods are not this node's.
	if !slices.Contains(r.classes.Get().VolumeGroups(), l.VG) {
		log.Warn("orphan: reported, never removed, because its VG is in no pool of this node")
		return
	}
	if r.config.DryRun || passes < r.config.Passes {
		log.Info("orphan: reported, not removed")
		return
	}
	if s, ok := g.ThickSnapshot(l.Name); ok {
		log.Warn("orphan: cannot be removed, because LVM would remove its thick snapshot with it", "snapshot", s.Name)
		return
	}
	release, err := r.locks.acquire(l.Name)
	if err != nil {
		return // somebody publishes or unpublishes it: it is no orphan
	}
	defer release()
	err = r.lvm.Remove(ctx, l.VG, l.Name, tagInline)
	r.metrics.reap(l, err)
	if err != nil {
		log.Error("orphan: cannot be removed", "error", err)
		return
	}
	r.freed()
	log.Info("orphan: removed")
}

// alive joins what the witnesses say. All must answer.
func (r *reaper) alive(ctx context.Context) (map[string]bool, error) {
	all := map[string]bool{}
	for name, w := range r.witnesses {
		uids, err := w.Alive(ctx)
		if err != nil {
			return nil, fmt.Errorf("witness %s: %w", name, err)
		}
		for uid := range uids {
			all[uid] = true
		}
	}
	return all, nil
}
