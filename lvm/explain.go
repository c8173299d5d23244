// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"context"
	"errors"
	"fmt"
)

// errAlready: what was asked for is so already. Never leaves the package.
var errAlready = errors.New("already so")

// metadataReserve is how little room in the metadata area means "full": an LV
// with podlv's tags takes about 600 bytes of text, a raid1 one 2,000, and each
// commit needs room for the whole text beside the old one. The 512 is lvm2's
// rounding.
const metadataReserve = 4096

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
		return fmt.Errorf("%w (and the state could not be read to learn why: %v)", failed, err)
	}
	g, err := find(groups, vg)
	if err != nil {
		return &ExplainedError{Reason: err, Failed: failed}
	}
	if reason := why(g); reason != nil {
		return &ExplainedError{Reason: reason, Failed: failed}
	}
	return failed
}

// whyUnchanged is what keeps any change of a VG from being made.
func whyUnchanged(g VolumeGroup) error {
	if g.MissingPVs > 0 {
		return fmt.Errorf("%w: VG %s misses %d of its disks", ErrUnavailable, g.Name, g.MissingPVs)
	}
	if g.MetadataFree < metadataReserve {
		return fmt.Errorf("%w: VG %s has %d bytes left for the descriptions of LVs; remove LVs, or add a PV with a larger --metadatasize", ErrMetadataFull, g.Name, g.MetadataFree)
	}
	return nil
}

func whyNotCreated(g VolumeGroup, spec Spec) error {
	if _, ok := g.LogicalVolume(spec.Name); ok {
		return fmt.Errorf("LV %s/%s %w", g.Name, spec.Name, ErrExists)
	}
	if err := whyUnchanged(g); err != nil {
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
	case p.DataPercent >= poolFull || p.MetadataPercent >= poolMetadataFull:
		return fmt.Errorf("%w: thin pool %s/%s is full: data %.2f %%, metadata %.2f %%", ErrNoSpace, g.Name, pool, p.DataPercent, p.MetadataPercent)
	default:
		return nil
	}
}

const (
	poolFull         = 99.99 // percent; lvm2 rounds to hundredths
	poolMetadataFull = 75    // percent; see docs/lvm-behaviour.md
)

// whyNoRoom: striped and raid1 LVs need their legs on different PVs, so a VG
// with enough free space can have none for them.
func whyNoRoom(g VolumeGroup, layout Layout, size int64, legs int) error {
	need, err := layout.Allocation(size, g.ExtentSize, legs)
	if err != nil {
		return err
	}
	if need > g.Free {
		return fmt.Errorf("%w: VG %s has %d bytes free, %d are needed", ErrNoSpace, g.Name, g.Free, need)
	}
	if legs < 2 {
		return nil
	}
	wide := 0
	for _, p := range g.PhysicalVolumes {
		if !p.Missing && p.Allocatable && p.Free >= need/int64(legs) {
			wide++
		}
	}
	if wide < legs {
		return fmt.Errorf("%w: %s over %d PVs needs %d bytes on each, VG %s has %d such PVs", ErrNoSpace, layout, legs, need/int64(legs), g.Name, wide)
	}
	return nil
}

func whyNoSnapshot(g VolumeGroup, spec SnapshotSpec) error {
	origin, ok := g.LogicalVolume(spec.Origin)
	if !ok {
		return fmt.Errorf("origin %s/%s %w", g.Name, spec.Origin, ErrNotFound)
	}
	if spec.Size == 0 && origin.Pool == "" {
		return fmt.Errorf("%w: a snapshot of %s/%s needs a size: it is not a thin volume", ErrInvalid, g.Name, spec.Origin)
	}
	create := Spec{VG: spec.VG, Name: spec.Name, Size: spec.Size, Layout: Linear}
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
	if err := whyUnchanged(g); err != nil {
		return err
	}
	switch l.Type {
	case string(Thin):
		return whyNoThin(g, l.Pool)
	case string(Striped), string(RAID1):
		return whyNoRoom(g, Layout(l.Type), size-l.Size, l.Stripes)
	default:
		return whyNoRoom(g, Linear, size-l.Size, 1)
	}
}

func whyNotRemoved(g VolumeGroup, name string) error {
	if l, ok := g.LogicalVolume(name); ok && l.Open {
		return fmt.Errorf("LV %s/%s %w: its device is open", g.Name, name, ErrInUse)
	}
	return whyUnchanged(g)
}

func whyNotActivated(g VolumeGroup, name string) error {
	l, ok := g.LogicalVolume(name)
	switch {
	case !ok:
		return fmt.Errorf("LV %s/%s %w", g.Name, name, ErrNotFound)
	case l.Open:
		return fmt.Errorf("LV %s/%s %w: its device is open", g.Name, name, ErrInUse)
	default:
		return whyUnchanged(g)
	}
}
