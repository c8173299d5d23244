// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sync/semaphore"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

const (
	// modelAge is how old a report may be although no metadata has changed: thin
	// pools fill, disks vanish and VGs of other disks come without a commit here.
	modelAge = 30 * time.Second
	// blindAge is how old it may be while a PV's disk cannot be read.
	blindAge = 2 * time.Second
	// takingAge is how old a report may be that volumes of this agent have followed.
	takingAge = 500 * time.Millisecond
	// modelTries is how often a report is made again because it showed PVs that were
	// not known before it.
	modelTries = 3
)

// model is the VGs of the node, as their metadata is on disk now. It asks LVM only
// when the disks say that something was committed since it did last, or when that
// is long ago: how full thin pools are and which LVs are active or open is as old as
// the report. A VG's sizes, LVs and tags are never older than the call.
type model struct {
	lvm   *lvm.Client
	stamp func(device string) (string, error) // lvm.Stamp
	clock clock.Clock
	turn  *semaphore.Weighted // of one: what follows is its holder's

	groups  []lvm.VolumeGroup
	stamps  map[string]string // PV → what it had before the report was made
	blind   bool              // a PV could not be read
	stale   bool              // something was changed that no stamp tells of
	at      time.Time
	version int64
	taken   map[string]int64 // pool → bytes that volumes have taken since the report
}

func newModel(client *lvm.Client, stamp func(string) (string, error), c clock.Clock) *model {
	return &model{lvm: client, stamp: stamp, clock: c, turn: semaphore.NewWeighted(1)}
}

// volumeGroups gives the VGs, which the caller must not change, and the number of
// the report that they are from: it goes up with every report.
func (m *model) volumeGroups(ctx context.Context) ([]lvm.VolumeGroup, int64, error) {
	if err := m.lock(ctx); err != nil {
		return nil, 0, err
	}
	defer m.turn.Release(1)
	return m.fresh(ctx)
}

// taking is volumeGroups for whoever makes a volume in a pool. Of volumes that come one
// after the other each changes the metadata, so that each would wait for a report of the
// one before it: where that is so, the report from before them serves, for a while, with
// what they have taken of the pool since. That may show less as free than is, and more
// only by what others have taken within that while.
func (m *model) taking(ctx context.Context, pool string) (groups []lvm.VolumeGroup, taken int64, err error) {
	if err := m.lock(ctx); err != nil {
		return nil, 0, err
	}
	defer m.turn.Release(1)
	if n := m.taken[pool]; n > 0 && !m.blind && m.clock.Since(m.at) < takingAge {
		return m.groups, n, nil
	}
	groups, _, err = m.fresh(ctx)
	return groups, m.taken[pool], err
}

// allows asks check, by such a report, whether a volume can be made in a pool, and by a
// new one before it believes that it cannot.
func (m *model) allows(ctx context.Context, pool string, check func(groups []lvm.VolumeGroup, taken int64) error) error {
	groups, taken, err := m.taking(ctx, pool)
	if err != nil {
		return err
	}
	if err := check(groups, taken); err == nil || taken == 0 {
		return err
	}
	if err := m.lock(ctx); err != nil {
		return err
	}
	m.stamps = nil
	groups, _, err = m.fresh(ctx)
	m.turn.Release(1)
	if err != nil {
		return err
	}
	return check(groups, 0)
}

// took says that a volume has taken so many bytes of a pool, or may have.
func (m *model) took(pool string, bytes int64) {
	if m.turn.Acquire(context.Background(), 1) != nil {
		return // never: the context cannot end
	}
	defer m.turn.Release(1)
	if m.taken == nil {
		m.taken = map[string]int64{}
	}
	m.taken[pool] += bytes
}

// recent gives the VGs as they were not longer ago than age, if that is known.
func (m *model) recent(ctx context.Context, age time.Duration) ([]lvm.VolumeGroup, error) {
	if err := m.lock(ctx); err != nil {
		return nil, err
	}
	defer m.turn.Release(1)
	if m.version > 0 && m.clock.Since(m.at) < age {
		return m.groups, nil
	}
	groups, _, err := m.fresh(ctx)
	return groups, err
}

// forget makes the next report a new one: a VG that was made is on disks that no report
// has.
func (m *model) forget() {
	if m.turn.Acquire(context.Background(), 1) != nil {
		return // never: the context cannot end
	}
	defer m.turn.Release(1)
	m.stale = true
}

func (m *model) lock(ctx context.Context) error {
	if err := m.turn.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for a report of the VGs: %w", err)
	}
	return nil
}

// fresh is volumeGroups with the token taken.
func (m *model) fresh(ctx context.Context) ([]lvm.VolumeGroup, int64, error) {
	// Of disks that are read before the report a later commit is seen next time.
	stamps := m.read(m.groups)
	age := modelAge
	if m.blind {
		age = blindAge
	}
	if m.version > 0 && !m.stale && m.clock.Since(m.at) < age && maps.Equal(stamps, m.stamps) {
		return m.groups, m.version, nil
	}
	for range modelTries {
		at := m.clock.Now()
		groups, err := m.lvm.VolumeGroups(ctx)
		if err != nil {
			return nil, 0, err
		}
		m.groups, m.stamps, m.at, m.taken, m.stale = groups, stamps, at, nil, false
		m.version++
		if stamps = m.read(groups); maps.Equal(stamps, m.stamps) {
			break
		}
	}
	return m.groups, m.version, nil
}

// volumeGroup gives one VG. lvm.ErrNotFound, lvm.ErrUnavailable.
func (m *model) volumeGroup(ctx context.Context, name string) (lvm.VolumeGroup, error) {
	groups, _, err := m.volumeGroups(ctx)
	if err != nil {
		return lvm.VolumeGroup{}, err
	}
	return lvm.Find(groups, name)
}

// read is the stamps of the VGs' PVs. One that cannot be read has a stamp, too: as
// long as the error is the same nothing has changed.
func (m *model) read(groups []lvm.VolumeGroup) map[string]string {
	stamps := map[string]string{}
	m.blind = false
	for _, g := range groups {
		for _, p := range g.PhysicalVolumes {
			if p.Missing {
				continue
			}
			s, err := m.stamp(p.Device)
			if err != nil {
				s, m.blind = "error: "+err.Error(), true
			}
			stamps[p.Device] = s
		}
	}
	return stamps
}
