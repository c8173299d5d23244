// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// PoolSpec says what thin pool to make, or how large one is to become.
type PoolSpec struct {
	VG, Name string
	Size     int64  // bytes of data, rounded up to extents
	Metadata int64  // bytes, rounded up to extents; at least 2 MiB
	Tag      string // has it from its first commit on; not the owner tag: LVs of that are volumes
}

// growing begins the tag of a thin pool that is being made larger; behind it are the bytes
// of data and of metadata that it is to have.
func growing(tag string) string { return tag + ".grows=" }

// mark is the tag of a thin pool that is to become like s.
func (s PoolSpec) mark() string {
	return growing(s.Tag) + strconv.FormatInt(s.Size, 10) + "/" + strconv.FormatInt(s.Metadata, 10)
}

// marks are the pool's tags that say that it is being made larger.
func (l LogicalVolume) marks(tag string) []string {
	return slices.DeleteFunc(slices.Clone(l.Tags), func(t string) bool { return !strings.HasPrefix(t, growing(tag)) })
}

// Grows says whether an ExtendPool of the thin pool with that tag has begun and is not over.
func (l LogicalVolume) Grows(tag string) bool { return l.IsThinPool() && len(l.marks(tag)) > 0 }

// CreatePool makes a thin pool, active, which zeroes what it hands out. A process that
// dies in between may leave a linear LV of its name and tag: RemovePart removes it. LVM's
// spare for the repair of metadata is not made: it comes in a commit of its own, as an LV
// without a tag, which nobody would know again.
//
// ErrInvalid, ErrNotFound, ErrExists, ErrNoSpace, ErrMetadataFull, ErrUnavailable.
func (c *Client) CreatePool(ctx context.Context, s PoolSpec) error {
	if err := s.validate(); err != nil {
		return fmt.Errorf("create thin pool %s/%s: %w", s.VG, s.Name, err)
	}
	args := []string{
		"lvcreate", "--config", config, "--yes", "--type", "thin-pool", "--name", s.Name, "--size", sizeArg(s.Size),
		"--poolmetadatasize", sizeArg(s.Metadata), "--poolmetadataspare", "n", "--zero", "y", "--addtag", s.Tag, s.VG,
	}
	if err := c.change(ctx, s.VG, args); err != nil {
		why := func(g VolumeGroup) error {
			return whyNotCreated(g, Spec{VG: s.VG, Name: s.Name, Size: s.Size + s.Metadata, Layout: Linear, Tags: []string{s.Tag}})
		}
		return fmt.Errorf("create thin pool %s/%s: %w", s.VG, s.Name, c.explain(ctx, err, why, s.VG))
	}
	return nil
}

func (s PoolSpec) validate() error {
	if err := ValidateName(s.VG, s.Name); err != nil {
		return err
	}
	if s.Size <= 0 || s.Size > MaxSize || s.Metadata < MinPoolMetadata || s.Metadata > MaxPoolMetadata {
		return fmt.Errorf("%w: %d bytes with %d of metadata: must be more than none, metadata from %d to %d", ErrInvalid, s.Size, s.Metadata, int64(MinPoolMetadata), int64(MaxPoolMetadata))
	}
	return ValidateTag(s.Tag)
}

// What metadata a thin pool can have, in bytes (lvm2: DEFAULT_THIN_POOL_MIN_METADATA_SIZE,
// DM_THIN_MAX_METADATA_SIZE).
const (
	MinPoolMetadata = 2 << 20
	MaxPoolMetadata = 33292800 * sector
	// MaxGrownMetadata is what a pool's metadata can grow to, in bytes: with more LVM gives
	// the pool another format (thin_pool_crop_metadata in lvm.conf(5)).
	MaxGrownMetadata = 33161216 * sector
)

// RemovePart removes what a CreatePool left that died: an LV of the name and tag that is
// no thin pool yet. Anything else is left alone, and is no error.
//
// ErrInvalid, ErrNotFound (the VG), ErrInUse, ErrUnavailable.
func (c *Client) RemovePart(ctx context.Context, vg, name, tag string) error {
	if err := ValidateName(vg, name); err != nil {
		return fmt.Errorf("remove %s/%s: %w", vg, name, err)
	}
	if err := ValidateTag(tag); err != nil {
		return fmt.Errorf("remove %s/%s: %w", vg, name, err)
	}
	part := `lv_tags="` + tag + `" && lv_name="` + name + `" && lv_layout="linear"`
	args := []string{"lvremove", "--config", config, "--yes", "--select", part, vg}
	if err := c.change(ctx, vg, args); err != nil {
		return fmt.Errorf("remove %s/%s: %w", vg, name, c.explain(ctx, err, func(g VolumeGroup) error { return whyNotRemoved(g, name) }, vg))
	}
	return nil
}

// ExtendPool makes a thin pool of the VG larger, in use or not: its data at least s.Size
// bytes, its metadata at least s.Metadata. What is as large already is left so. The pool
// must carry s.Tag.
//
// While lvextend changes a pool its devices are suspended, and LVM has a commit for the
// metadata and one for the data. If it dies meanwhile, they may stay suspended, and whoever
// uses its volumes waits; or they stay smaller than LVM says. So the pool first gets a tag
// that says how large it becomes, and loses it when it is: FinishPool does the rest when
// there is one.
//
// LVM's spare for the repair of metadata is neither made nor made larger, as by CreatePool.
//
// ErrInvalid, ErrNotFound, ErrNoSpace, ErrMetadataFull, ErrUnavailable. Three commands.
func (c *Client) ExtendPool(ctx context.Context, g VolumeGroup, s PoolSpec) error {
	err := c.extendPool(ctx, g, s)
	if err != nil {
		return fmt.Errorf("extend thin pool %s/%s: %w", s.VG, s.Name, err)
	}
	return nil
}

func (c *Client) extendPool(ctx context.Context, g VolumeGroup, s PoolSpec) error {
	if err := s.validate(); err != nil {
		return err
	}
	if err := ValidateTag(s.mark()); err != nil {
		return err
	}
	l, ok := g.LogicalVolume(s.Name)
	if !ok || !l.HasTag(s.Tag) {
		return fmt.Errorf("LV %s/%s with tag %s: %w", s.VG, s.Name, s.Tag, ErrNotFound)
	}
	args, err := extendPoolArgs(g, l, s)
	if err != nil {
		return err
	}
	if err := c.markPool(ctx, s, "--addtag", s.mark()); err != nil {
		return err
	}
	err = c.growPool(ctx, s, args)
	if errors.Is(err, errAlready) {
		// It is so in LVM's metadata, and LVM could not tell the kernel.
		err = c.Refresh(ctx, s.VG, s.Name)
	} else if exit := (*ExitError)(nil); errors.As(err, &exit) && exit.Code > 0 {
		// It ended by itself, and left the devices as they were.
		return errors.Join(err, c.markPool(ctx, s, "--deltag", s.mark()))
	}
	if err != nil {
		return err
	}
	return c.markPool(ctx, s, "--deltag", s.mark())
}

// FinishPool finishes what an ExtendPool had begun that died: it does the same again, and
// has the pool's devices loaded anew. lvextend must come first: an lvchange --refresh where
// the kernel has a new, larger table already, and LVM's metadata not yet, fails, and leaves
// the pool suspended. If others have taken the extents meanwhile, it stays as large as it is.
// A thin pool without such a tag is left alone.
//
// ErrInvalid, ErrNotFound, ErrMetadataFull, ErrUnavailable. Three commands.
func (c *Client) FinishPool(ctx context.Context, g VolumeGroup, name, tag string) error {
	err := c.finishPool(ctx, g, name, tag)
	if err != nil {
		return fmt.Errorf("extend thin pool %s/%s, which was begun: %w", g.Name, name, err)
	}
	return nil
}

func (c *Client) finishPool(ctx context.Context, g VolumeGroup, name, tag string) error {
	l, ok := g.LogicalVolume(name)
	if !ok {
		return fmt.Errorf("LV %s/%s: %w", g.Name, name, ErrNotFound)
	}
	if !l.Grows(tag) {
		return nil
	}
	s := PoolSpec{VG: g.Name, Name: name, Tag: tag}
	var drop []string
	for _, mark := range l.marks(tag) {
		drop = append(drop, "--deltag", mark)
		size, metadata, _ := strings.Cut(strings.TrimPrefix(mark, growing(tag)), "/")
		begun := s
		begun.Size, _ = strconv.ParseInt(size, 10, 64)
		begun.Metadata, _ = strconv.ParseInt(metadata, 10, 64)
		if begun.validate() == nil { // else somebody else has written it
			s.Size, s.Metadata = max(s.Size, begun.Size), max(s.Metadata, begun.Metadata)
		}
	}
	if s.Size > l.Size || s.Metadata > l.MetadataSize {
		args, err := extendPoolArgs(g, l, s)
		if err == nil {
			err = c.growPool(ctx, s, args)
		}
		if err != nil && !errors.Is(err, ErrNoSpace) && !errors.Is(err, errAlready) {
			return err
		}
	}
	if err := c.Refresh(ctx, g.Name, name); err != nil {
		return err
	}
	return c.markPool(ctx, s, drop...)
}

// extendPoolArgs are those of lvextend. They name PVs: without any, lvextend makes the
// spare, as an LV that nobody would know again, and as much metadata as it likes. PVs with
// nothing free it would warn of. ErrNoSpace when there are no others.
func extendPoolArgs(g VolumeGroup, l LogicalVolume, s PoolSpec) ([]string, error) {
	args := []string{
		"lvextend", "--config", config, "--size", sizeArg(max(s.Size, l.Size)), "--poolmetadatasize", sizeArg(max(s.Metadata, l.MetadataSize)), s.VG + "/" + s.Name,
	}
	named := len(args)
	for _, p := range g.PhysicalVolumes {
		if p.Allocatable && !p.Missing && p.Free > 0 {
			args = append(args, p.Device)
		}
	}
	if len(args) == named {
		return nil, fmt.Errorf("%w: VG %s has nothing free", ErrNoSpace, s.VG)
	}
	return args, nil
}

// growPool runs that lvextend.
func (c *Client) growPool(ctx context.Context, s PoolSpec, args []string) error {
	if err := c.change(ctx, s.VG, args); err != nil {
		return c.explain(ctx, err, func(g VolumeGroup) error { return whyPoolNotExtended(g, s) }, s.VG)
	}
	return nil
}

// markPool changes tags of a thin pool that carries s.Tag; another LV is left alone.
func (c *Client) markPool(ctx context.Context, s PoolSpec, change ...string) error {
	args := append([]string{"lvchange", "--config", config}, change...)
	args = append(args, "--select", `lv_name="`+s.Name+`" && lv_tags="`+s.Tag+`"`, s.VG)
	if err := c.change(ctx, s.VG, args); err != nil {
		return c.explain(ctx, err, func(g VolumeGroup) error { return whyUnchanged(g, tagText(change)) }, s.VG)
	}
	return nil
}

func whyPoolNotExtended(g VolumeGroup, s PoolSpec) error {
	l, ok := g.LogicalVolume(s.Name)
	switch {
	case !ok:
		return fmt.Errorf("LV %s/%s %w", g.Name, s.Name, ErrNotFound)
	case !l.IsThinPool():
		return fmt.Errorf("%w: %s/%s is a %s LV, not a thin pool", ErrInvalid, g.Name, s.Name, l.Type)
	}
	more := max(s.Size-l.Size, 0) + max(s.Metadata-l.MetadataSize, 0)
	if more == 0 {
		return errAlready
	}
	if err := whyUnchanged(g, 2*textOfLeg); err != nil {
		return err
	}
	return whyNoMore(g, Linear, more, 1)
}
