// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/podlv/podlv/lvm"
)

// copying makes a volume's bytes those of its source: by a thin snapshot where both
// are in one thin pool, else by copying each byte.
type copying struct {
	*persistent
	volume persistentVolume
	class  Class
	claim  claimant // whose space it is
	source source
	thin   bool   // by a thin snapshot
	from   handle // what is read; the source, or a temporary snapshot of it
}

// begin makes the LVs, which says at once whether there is space. A volume is copied
// from a snapshot, because it may be in use, now or before the copy ends; the snapshot
// is made before the copy's LV, so that where that is active, the snapshot is, too.
func (c *copying) begin(ctx context.Context, spec lvm.Spec, classes *Classes) error {
	if !c.source.snapshot {
		if err := c.flush(c.source.handle); err != nil {
			return err
		}
	}
	if c.thin {
		return c.space.snapshot(ctx, c.class, c.volume.size, lvm.SnapshotSpec{
			VG: spec.VG, Origin: c.source.handle.LV, Name: spec.Name, Tags: spec.Tags,
		}, c.claim)
	}
	if !c.source.snapshot {
		if err := c.takeTemporary(ctx, classes); err != nil {
			return fmt.Errorf("the snapshot to copy from: %w", err)
		}
	}
	return noPool(c.class, c.space.try(ctx, c.class, spec, &c.claim))
}

// takeTemporary takes the snapshot that a volume is copied from.
func (c *copying) takeTemporary(ctx context.Context, classes *Classes) error {
	class, err := classes.of(c.source.handle, c.source.class)
	if err != nil {
		return err
	}
	c.from.LV = c.volume.handle.temporary()
	spec := lvm.SnapshotSpec{
		VG: c.from.VG, Origin: c.source.handle.LV, Name: c.from.LV, Tags: []string{tagTemporary, tagSource + "=" + c.volume.handle.String(), tagClass + "=" + class.Name},
	}
	if c.source.pool == "" {
		spec.Size = defaultSnapshotSize.of(c.source.size)
		c.keeper.look()
	}
	return c.space.snapshot(ctx, class, c.source.size, spec, claimant{})
}

// finish does what is left, and then takes off the tag that says so. A process that
// dies over it leaves the tag, and whoever wants the volume next begins again.
func (c copying) finish(ctx context.Context) error {
	err := c.fill(ctx)
	if err == nil && c.from != c.source.handle {
		err = c.lvm.Remove(ctx, c.from.VG, c.from.LV, tagTemporary)
	}
	if err == nil {
		err = c.lvm.Tag(ctx, c.volume.handle.VG, nil, []string{tagCopying}, c.volume.handle.LV)
	}
	switch {
	case err == nil:
		known := hintNone
		if c.volume.fs == "" {
			known = hintBlock
		}
		c.remember(c.volume.handle, known)
		return nil
	case errors.Is(err, errCondition):
		// It can never be finished, and its caller may not call again.
		return errors.Join(err, c.removeCopy(context.WithoutCancel(ctx), c.volume.handle, c.from.VG))
	default:
		return fmt.Errorf("%w: copy %s to volume %s: %w", errStays, c.source, c.volume.handle, err)
	}
}

func (c *copying) fill(ctx context.Context) error {
	h, size := c.volume.handle, c.volume.size
	if c.thin {
		if size > c.source.size {
			if err := c.lvm.Extend(ctx, h.VG, h.LV, size); err != nil {
				return err
			}
		}
	} else if err := c.copyBytes(ctx); err != nil {
		return err
	}
	if c.volume.fs == "" {
		return nil
	}
	// The filesystem that podlv made for the source is what is adopted, and nothing
	// else: a tenant can write what looks like another one's.
	want := Signature{Type: c.volume.fs, UUID: filesystemUUID(c.source.volume.String())}
	found, err := c.filesystem.Detect(h.device(), want.Type)
	if err != nil {
		return err
	}
	if found != want {
		return fmt.Errorf("%w: the filesystem that podlv made is not on %s: found %s, expected %s", errCondition, c.source, found.describe(), want.describe())
	}
	return c.filesystem.Adopt(ctx, h.device(), Format{Type: c.volume.fs, UUID: filesystemUUID(h.String())})
}

// copyBytes copies the source's bytes. Behind them is what the disk held before, which
// a raw block device shows: it is zeroed.
func (c *copying) copyBytes(ctx context.Context) error {
	if err := c.activate(ctx, c.from); err != nil {
		return err
	}
	to := c.volume.handle.device()
	// A new thin volume is zero already: what is zero in the source takes no space.
	if err := c.devices.Copy(ctx, c.from.device(), to, c.source.size, c.class.Layout == lvm.Thin && c.class.Wipe == wipeZero); err != nil {
		return errors.Join(err, c.lost(ctx))
	}
	if rest := c.volume.size - c.source.size; rest > 0 && c.volume.fs == "" && c.class.zeroes() {
		return c.devices.Zero(ctx, to, c.source.size, rest)
	}
	return nil
}

// lost says whether the snapshot that is read has overflowed: no copy can be made of
// it any more. A temporary one is made again with the next call.
func (c *copying) lost(ctx context.Context) error {
	l, err := c.lvm.Lookup(ctx, c.from.VG, c.from.LV)
	switch {
	case err != nil:
		return err
	case !l.Invalid:
		return nil
	case c.source.snapshot:
		return snapshot{handle: c.from}.brokenError()
	default:
		return fmt.Errorf("%s was written to faster than it was copied", c.source)
	}
}

// flush writes what a mounted filesystem holds in memory to its device, so that a
// snapshot that is taken now has it. LVM freezes ext4 and xfs while it takes one, and
// that takes less time then; btrfs it cannot freeze.
func (p *persistent) flush(h handle) error {
	mounts, err := p.mounts.Mounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if h.isAt(m) {
			return p.filesystem.Flush(m.Target)
		}
	}
	return nil
}
