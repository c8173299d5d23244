// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podlv/podlv/lvm"
)

// snapshot is a snapshot as its LV tells.
type snapshot struct {
	handle  handle
	volume  handle // what it was taken of, which may be gone
	size    int64  // bytes of that volume then
	fs      string // empty: a raw block device
	taken   time.Time
	thick   bool
	copying bool // it may not be whole
	empty   bool // nobody had used the volume: there is no filesystem on it
	broken  bool // its bytes are lost
}

// isSnapshot says whether an LV is a snapshot of ours.
func isSnapshot(l lvm.LogicalVolume) bool { return l.HasTag(Owner) && l.HasTag(tagSnapshot) }

// asSnapshot reads an LV of which isSnapshot is true, in its VG. A thick snapshot's
// own size is that of its store: it shows its origin's, which cannot change meanwhile.
func asSnapshot(g lvm.VolumeGroup, l lvm.LogicalVolume) snapshot {
	s := snapshot{
		handle: handle{VG: l.VG, LV: l.Name}, size: l.Size, taken: l.Created, thick: l.Pool == "",
		copying: l.HasTag(tagCopying), empty: l.HasTag(tagNew), broken: l.Invalid,
	}
	if of, ok := l.TagValue(tagSource); ok {
		s.volume.VG, s.volume.LV, _ = strings.Cut(of, "/")
	}
	s.fs, _ = l.TagValue(tagFS)
	if text, ok := l.TagValue(tagTaken); ok {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			s.taken = time.Unix(n, 0).UTC()
		}
	}
	if s.thick {
		origin, _ := g.LogicalVolume(l.Origin)
		s.size = origin.Size
	}
	return s
}

func (s snapshot) brokenError() error {
	return fmt.Errorf("%w: snapshot %s is broken: its volume changed more than the snapshot had space to keep (%s), and what it kept is lost; delete it", errCondition, s.handle, parameterSnapshotSize)
}

// takeSnapshot takes q's snapshot, or finds it taken. The caller holds the locks of
// both.
//
// lvm makes a snapshot in two commits and then loads it into the kernel; it has its
// origin's bytes of then only when all that is done. Until lvm said so the LV is tagged
// as copying, and one that is found so is removed and taken anew: nobody was told of it.
func (p *persistent) takeSnapshot(ctx context.Context, q snapshotRequest, classes *Classes) (snapshot, error) {
	groups, _, err := p.model.volumeGroups(ctx)
	if err != nil {
		return snapshot{}, err
	}
	for _, g := range groups {
		l, there := g.LogicalVolume(q.LV)
		if !there || !isSnapshot(l) || !slices.Contains(classes.VolumeGroups(), g.Name) {
			continue
		}
		s := asSnapshot(g, l)
		switch {
		case s.volume != q.Volume:
			return s, fmt.Errorf("%w: snapshot %s is of volume %s, asked for is one of %s", errDiffers, q.Name, s.volume, q.Volume)
		case !s.copying:
			return s, nil
		}
		if err := p.lvm.Remove(ctx, g.Name, l.Name, tagSnapshot, tagCopying); err != nil {
			return s, err
		}
	}
	v, err := p.sourceVolume(groups, q.Volume)
	if err != nil {
		return snapshot{}, err
	}
	class, err := classes.of(v.handle, v.class)
	if err != nil {
		return snapshot{}, err
	}
	empty, err := p.origin(ctx, v)
	if err != nil {
		return snapshot{}, err
	}
	if err := p.flush(v.handle); err != nil {
		return snapshot{}, err
	}
	s := snapshot{
		handle: handle{VG: v.handle.VG, LV: q.LV}, volume: v.handle, size: v.size, fs: v.fs, taken: p.clock.Now().UTC().Truncate(time.Second), thick: v.pool == "", empty: empty,
	}
	spec := lvm.SnapshotSpec{VG: s.handle.VG, Origin: v.handle.LV, Name: s.handle.LV, Tags: append(s.tags(q, v.class), tagCopying)}
	if s.thick {
		spec.Size = q.Size.of(v.size)
		p.keeper.look()
	}
	if err := p.space.snapshot(ctx, class, v.size, spec, claimant{}); err != nil {
		return s, err
	}
	return s, p.lvm.Tag(ctx, s.handle.VG, nil, []string{tagCopying}, s.handle.LV)
}

// sourceVolume is the volume that a snapshot is taken of.
func (p *persistent) sourceVolume(groups []lvm.VolumeGroup, h handle) (persistentVolume, error) {
	if _, l, ok := lookFor(groups, h); ok {
		if v, ours := asVolume(l); ours {
			return v, nil
		}
	}
	return persistentVolume{}, fmt.Errorf("volume %s: %w on this node", h, errNotThere)
}

// tags are those of a new snapshot.
func (s snapshot) tags(q snapshotRequest, class string) []string {
	tags := []string{tagSnapshot, tagClass + "=" + class, tagSource + "=" + s.volume.String(), tagTaken + "=" + strconv.FormatInt(s.taken.Unix(), 10)}
	if q.Object != "" && lvm.ValidateTag(tagObject+"="+q.Object) == nil {
		tags = append(tags, tagObject+"="+q.Object)
	}
	if s.fs == "" {
		tags = append(tags, tagMode+"="+modeBlock)
	} else {
		tags = append(tags, tagFS+"="+s.fs)
	}
	if s.empty {
		tags = append(tags, tagNew)
	}
	return tags
}

// deleteSnapshot removes a snapshot; one that is not there, or not ours, is left alone.
func (p *persistent) deleteSnapshot(ctx context.Context, h handle) error {
	err := p.lvm.Remove(ctx, h.VG, h.LV, tagSnapshot)
	switch {
	case errors.Is(err, lvm.ErrNotFound):
		return away(h)
	case errors.Is(err, lvm.ErrInUse):
		return fmt.Errorf("%w: snapshot %s is being copied to a volume: %w", errCondition, h, err)
	case err != nil:
		return err
	}
	p.space.freed()
	return nil
}

// snapshots are those of the node that can be used, sorted by handle.
func (p *persistent) snapshots(ctx context.Context, classes *Classes) ([]snapshot, error) {
	groups, err := p.lvm.VolumeGroups(ctx)
	if err != nil {
		return nil, err
	}
	var all []snapshot
	for _, g := range groups {
		if !slices.Contains(classes.VolumeGroups(), g.Name) {
			continue
		}
		for _, l := range g.LogicalVolumes {
			if !isSnapshot(l) {
				continue
			}
			if s := asSnapshot(g, l); !s.copying {
				all = append(all, s)
			}
		}
	}
	slices.SortFunc(all, func(a, b snapshot) int { return strings.Compare(a.handle.String(), b.handle.String()) })
	return all, nil
}
