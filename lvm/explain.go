// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"context"
	"errors"
	"fmt"
)

// errAlready: what was asked for is so already. Never leaves the package.
var errAlready = errors.New("already so")

// Bytes of metadata text, generously: what an LV and each of its legs is described
// with (seen: 430 for a linear LV, 1,900 for a raid1 one of two legs, without tags),
// and the little that any change adds. They decide only whether a command that
// failed, failed for want of room. The tags of a raid1 LV are on the metadata of
// each of its legs as well.
const (
	textOfChange = 1024
	textOfLV     = 1024
	textOfLeg    = 1024
)

// tagText is how many bytes tags take in the metadata text of one LV.
func tagText(tags []string) int {
	n := 0
	for _, t := range tags {
		n += len(t) + len(`"", `)
	}
	return n
}

// explain joins a failed command's error with what the state, read again, says
// was the matter. Only a command that ran and failed is explained; any other
// error is passed on.
func (c *Client) explain(ctx context.Context, failed error, why func(VolumeGroup) error, vg string) error {
	var exit *ExitError
	if !errors.As(failed, &exit) {
		return failed
	}
	groups, err := c.VolumeGroups(ctx)
	if err != nil {
		// What the command did is not known: no error may look final.
		return fmt.Errorf("%w; %w: the state could not be read to learn why: %w", failed, ErrUnavailable, err)
	}
	g, err := Find(groups, vg)
	if err != nil {
		return &ExplainedError{Reason: err, Failed: failed}
	}
	if reason := why(g); reason != nil {
		return &ExplainedError{Reason: reason, Failed: failed}
	}
	return failed
}

// whyUnchanged is what keeps a change of a VG from being made that adds so many
// bytes to its metadata text.
func whyUnchanged(g VolumeGroup, text int) error {
	if err := whyIncomplete(g); err != nil {
		return err
	}
	if g.MetadataFree < int64(text+textOfChange) {
		return fmt.Errorf("%w: VG %s has %d bytes left for the descriptions of LVs; remove LVs, or add a PV with a larger --metadatasize", ErrMetadataFull, g.Name, g.MetadataFree)
	}
	return nil
}

// whyIncomplete: lvm2 makes and extends no LV in a VG that misses a PV, and
// activates none that lies on it. It does remove LVs and tag them.
func whyIncomplete(g VolumeGroup) error {
	if g.MissingPVs > 0 {
		return fmt.Errorf("%w: VG %s misses %d of its disks", ErrUnavailable, g.Name, g.MissingPVs)
	}
	return nil
}

func whyNotCreated(g VolumeGroup, spec Spec) error {
	if _, ok := g.LogicalVolume(spec.Name); ok {
		return fmt.Errorf("LV %s/%s %w", g.Name, spec.Name, ErrExists)
	}
	if err := whyUnchanged(g, textOfLV+spec.Legs*textOfLeg+(1+spec.Legs)*tagText(spec.Tags)); err != nil {
		return err
	}
	if spec.Layout == Thin {
		return whyNoThin(g, spec.Pool)
	}
	return whyNoRoom(g, spec.layout(), spec.Size, spec.Legs)
}

// whyNoThin: lvm2 refuses a new thin volume when the pool's data or metadata
// are at the threshold (100 % unless lvm.conf lowers it; metadata sooner).
func whyNoThin(g VolumeGroup, pool string) error {
	p, ok := g.LogicalVolume(pool)
	switch {
	case !ok:
		return fmt.Errorf("thin pool %s/%s %w", g.Name, pool, ErrNotFound)
	case !p.IsThinPool():
		return fmt.Errorf("%w: %s/%s is a %s LV, not a thin pool", ErrInvalid, g.Name, pool, p.Type)
	case p.IsFull():
		return fmt.Errorf("%w: thin pool %s/%s is full: data %.2f %%, metadata %.2f %%", ErrNoSpace, g.Name, pool, p.DataPercent, p.MetadataPercent)
	default:
		return nil
	}
}

// whyNoRoom: what counts is the space of the PVs that may be used (pvchange -xn),
// and striped and raid1 LVs need their legs on different ones, so a VG with enough
// free space can have none for them.
func whyNoRoom(g VolumeGroup, layout Layout, size int64, legs int) error {
	if _, err := totalNeed(g, layout, size, legs); err != nil {
		return err
	}
	if room, err := g.HasRoom(layout, size, legs); err != nil || room {
		return err
	}
	return fmt.Errorf("%w: %s of %s over %d PVs: VG %s has not as much free on so many PVs beside each other", ErrNoSpace, layout, FormatSize(size), legs, g.Name)
}

// whyNoMore is whyNoRoom for what is added to an LV.
func whyNoMore(g VolumeGroup, layout Layout, more int64, legs int) error {
	need, err := totalNeed(g, layout, more, legs)
	if err != nil || legs < 2 {
		return err
	}
	each, wide := need/int64(legs), 0
	for _, p := range g.PhysicalVolumes {
		if !p.Missing && p.Allocatable && p.Free >= each {
			wide++
		}
	}
	if wide < legs {
		return fmt.Errorf("%w: %s over %d PVs needs %s on each, VG %s has %d such PVs", ErrNoSpace, layout, legs, FormatSize(each), g.Name, wide)
	}
	return nil
}

// totalNeed is what an LV takes of its VG, in bytes. ErrNoSpace when less is free.
func totalNeed(g VolumeGroup, layout Layout, size int64, legs int) (int64, error) {
	need, err := layout.Allocation(size, g.ExtentSize, legs)
	if err != nil {
		return 0, err
	}
	var free int64
	for _, p := range g.PhysicalVolumes {
		if !p.Missing && p.Allocatable {
			free += p.Free
		}
	}
	if need > free {
		return 0, fmt.Errorf("%w: VG %s has %s free, %s are needed", ErrNoSpace, g.Name, FormatSize(free), FormatSize(need))
	}
	return need, nil
}

func whyNoSnapshot(g VolumeGroup, spec SnapshotSpec) error {
	origin, ok := g.LogicalVolume(spec.Origin)
	if !ok {
		return fmt.Errorf("origin %s/%s %w", g.Name, spec.Origin, ErrNotFound)
	}
	if spec.Size == 0 && origin.Pool == "" {
		return fmt.Errorf("%w: a snapshot of %s/%s needs a size: it is not a thin volume", ErrInvalid, g.Name, spec.Origin)
	}
	if spec.Size > 0 && origin.isThickSnapshot() {
		return fmt.Errorf("%w: %s/%s is a thick snapshot, LVM makes none of those", ErrInvalid, g.Name, spec.Origin)
	}
	create := Spec{VG: spec.VG, Name: spec.Name, Size: spec.Size, Layout: Linear, Tags: spec.Tags}
	if spec.Size == 0 {
		create.Layout, create.Pool = Thin, origin.Pool
	}
	return whyNotCreated(g, create)
}

func whyNotExtended(g VolumeGroup, name string, size int64) error {
	l, ok := g.LogicalVolume(name)
	if !ok {
		return fmt.Errorf("LV %s/%s %w", g.Name, name, ErrNotFound)
	}
	if l.Size >= size {
		return errAlready
	}
	if err := whyUnchanged(g, textOfLeg); err != nil {
		return err
	}
	if s, ok := g.ThickSnapshot(name); ok && l.Active {
		return fmt.Errorf("LV %s/%s %w: it is the origin of the thick snapshot %s and can be extended only while it is inactive", g.Name, name, ErrInUse, s.Name)
	}
	switch l.Type {
	case string(Thin):
		return whyNoThin(g, l.Pool)
	case string(Striped):
		return whyNoMore(g, Striped, size-l.Size, l.Stripes)
	case string(RAID1):
		if err := whyNoMore(g, RAID1, size-l.Size, l.Stripes); err != nil {
			return err
		}
		return fmt.Errorf("%w: a copy of %s/%s grows only on the disks that it is on, so that no disk has two; %s more are not free on them", ErrNoSpace, g.Name, name, FormatSize(size-l.Size))
	default:
		return whyNoMore(g, Linear, size-l.Size, 1)
	}
}

func whyNotRemoved(g VolumeGroup, name string) error {
	if l, ok := g.LogicalVolume(name); ok && l.Open {
		return fmt.Errorf("LV %s/%s %w: its device is open", g.Name, name, ErrInUse)
	}
	if s, ok := g.thickSnapshot(name, func(s LogicalVolume) bool { return s.Open }); ok {
		return fmt.Errorf("LV %s/%s %w: the device of its thick snapshot %s is open", g.Name, name, ErrInUse, s.Name)
	}
	return whyUnchanged(g, 0)
}

func whyNotActivated(g VolumeGroup, name string) error {
	l, ok := g.LogicalVolume(name)
	switch {
	case !ok:
		return fmt.Errorf("LV %s/%s %w", g.Name, name, ErrNotFound)
	case l.Open:
		return fmt.Errorf("LV %s/%s %w: its device is open", g.Name, name, ErrInUse)
	case l.isThickSnapshot() && l.Active:
		return fmt.Errorf("%w: the thick snapshot %s/%s goes with its origin %s: deactivate that", ErrInvalid, g.Name, name, l.Origin)
	default:
		return whyIncomplete(g)
	}
}

// isThickSnapshot: a thin one has a pool.
func (l LogicalVolume) isThickSnapshot() bool { return l.Origin != "" && l.Pool == "" }

// ThickSnapshot finds a thick snapshot of an LV.
func (v VolumeGroup) ThickSnapshot(origin string) (LogicalVolume, bool) {
	return v.thickSnapshot(origin, func(LogicalVolume) bool { return true })
}

// thickSnapshot finds one of those.
func (v VolumeGroup) thickSnapshot(origin string, which func(LogicalVolume) bool) (LogicalVolume, bool) {
	for _, l := range v.LogicalVolumes {
		if l.isThickSnapshot() && l.Origin == origin && which(l) {
			return l, true
		}
	}
	return LogicalVolume{}, false
}
