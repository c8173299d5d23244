// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

const (
	// keeperInterval is how often the fill of thick snapshots is looked at, while
	// there are any. LVM itself would leave that to dmeventd, which cannot be in a
	// container.
	keeperInterval = 5 * time.Second
	// keeperThreshold is the fill, in percent, from which on a thick snapshot grows,
	// each time by half of what it has: one that fills up meanwhile is lost.
	keeperThreshold = 60
	// keeperTime is how long one look may take.
	keeperTime = time.Minute
)

// keeper keeps thick snapshots, those that volumes are copied from among them, from
// overflowing, and says so when one did.
type keeper struct {
	lvm     *lvm.Client
	classes *ClassSource
	space   *spaceWaiter
	events  events
	clock   clock.Clock
	log     *slog.Logger
	wake    chan struct{}
	said    map[string]string // UUID of an LV → the trouble that was logged
}

func newKeeper(client *lvm.Client, classes *ClassSource, space *spaceWaiter, e events, c clock.Clock, log *slog.Logger) *keeper {
	return &keeper{lvm: client, classes: classes, space: space, events: e, clock: c, log: log, wake: make(chan struct{}, 1), said: map[string]string{}}
}

// look says that there may be a thick snapshot from now on.
func (k *keeper) look() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// run looks at thick snapshots until ctx ends: at the start, and then for as long as
// there are any. Without one it costs nothing.
func (k *keeper) run(ctx context.Context) {
	for {
		some := k.pass(ctx)
		var again <-chan time.Time
		if some {
			again = k.clock.After(keeperInterval)
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-k.wake:
			// It is about to be made.
			select {
			case <-ctx.Done():
				return
			case <-k.clock.After(keeperInterval):
			}
		}
	}
}

// pass looks once, and says whether there are thick snapshots, as far as it knows.
func (k *keeper) pass(ctx context.Context) (some bool) {
	ctx, cancel := context.WithTimeout(ctx, keeperTime)
	defer cancel()
	groups, err := k.lvm.VolumeGroups(ctx)
	if err != nil {
		k.log.Warn("cannot look at thick snapshots; it is tried again", "error", err)
		return true
	}
	seen := map[string]string{}
	for _, g := range groups {
		for _, l := range g.LogicalVolumes {
			ours := isSnapshot(l) || l.HasTag(Owner) && l.HasTag(tagTemporary)
			if !ours || l.Pool != "" || l.Origin == "" {
				continue
			}
			some = true
			if trouble, err := k.keep(ctx, g, l); trouble != "" {
				seen[l.UUID] = trouble
				if k.said[l.UUID] != trouble {
					k.log.Error(trouble, "snapshot", g.Name+"/"+l.Name, "of", l.Origin, "full", l.DataPercent, "size", l.Size, "error", err)
					k.events.snapshotTrouble(l, trouble)
				}
			}
		}
	}
	k.said = seen
	return some
}

// keep grows a thick snapshot that is filling up. trouble is what an administrator
// should know.
func (k *keeper) keep(ctx context.Context, g lvm.VolumeGroup, l lvm.LogicalVolume) (trouble string, err error) {
	origin, _ := g.LogicalVolume(l.Origin)
	switch {
	case l.Invalid:
		return "a thick snapshot has overflowed: what it kept is lost, no volume can be made from it", nil
	case l.DataPercent < keeperThreshold || l.Size > origin.Size: // with so much it cannot overflow
		return "", nil
	}
	more := max(l.Size/2, g.ExtentSize)
	err = k.extend(ctx, g, l, more)
	switch {
	case err == nil:
		k.log.Info("grew a thick snapshot", "snapshot", g.Name+"/"+l.Name, "of", l.Origin, "full", l.DataPercent, "size", l.Size, "more", more)
		return "", nil
	case errors.Is(err, context.Canceled):
		return "", nil
	default:
		return "a thick snapshot is filling up and cannot grow: when it is full, what it keeps is lost", err
	}
}

// extend keeps to the reserve of the volume's pool. The store is linear whatever the
// volume is.
func (k *keeper) extend(ctx context.Context, g lvm.VolumeGroup, l lvm.LogicalVolume, more int64) error {
	name, _ := l.TagValue(tagClass)
	class, err := k.classes.Get().Named(name)
	if name == "" || err != nil || class.Pool.VolumeGroup != g.Name {
		return k.lvm.Extend(ctx, g.Name, l.Name, l.Size+more)
	}
	class.Layout, class.Legs = lvm.Linear, 0
	return k.space.extend(ctx, class, handle{VG: g.Name, LV: l.Name}, l.Size+more, more)
}
