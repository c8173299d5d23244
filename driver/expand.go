// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"

	"github.com/podlv/podlv/lvm"
)

// expandRequest is a NodeExpandVolume, checked.
type expandRequest struct {
	handle  handle
	path    string // where it is staged or published
	staging string // where it is staged, if told
	size    int64  // bytes, at least; 0: what the LV has
	limit   int64  // bytes, at most; 0: any
}

// expand grows a volume to at least the size asked for, and the filesystem on it.
// It gives the size that the volume has then. What is large enough already is left
// alone, so that a call can be repeated wherever the one before it ended.
func (p *persistent) expand(ctx context.Context, q expandRequest, classes *Classes) (int64, error) {
	job := p.jobs.running(q.handle) // before the report: its end changes the LV
	v, err := p.find(ctx, q.handle)
	if err != nil {
		return 0, err
	}
	if v.zeroing || v.copying {
		return 0, fmt.Errorf("volume %s: %w: it is not made yet", v.handle, errBusy)
	}
	if job != nil { // it is growing already, by as much as was asked for then
		if err := job.wait(ctx, q.handle); err != nil {
			return 0, err
		}
		if v, err = p.find(ctx, q.handle); err != nil {
			return 0, err
		}
	}
	at, err := p.growthPath(q, v)
	if err != nil {
		return 0, err
	}
	if err := p.load(ctx, v); err != nil {
		return 0, err
	}
	if v.size < q.size {
		if v, err = p.extend(ctx, q, v, classes); err != nil {
			return 0, err
		}
	}
	if q.limit > 0 && v.size > q.limit {
		return 0, fmt.Errorf("%w: volume %s has %s, which is above the limit, %s", errRange, v.handle, lvm.FormatSize(v.size), lvm.FormatSize(q.limit))
	}
	if v.fs == "" {
		return v.size, nil
	}
	return v.size, p.filesystem.Grow(v.handle.device(), at, v.fs)
}

// growthPath is where the filesystem of the volume is mounted: they grow only so.
func (p *persistent) growthPath(q expandRequest, v persistentVolume) (string, error) {
	if v.fs == "" {
		return "", nil
	}
	for _, path := range []string{q.path, q.staging} {
		m, err := mountedAt(p.mounts, path)
		if err != nil {
			return "", err
		}
		if m != nil && v.handle.isAt(*m) {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: volume %s is not mounted at %s: it can be expanded only while it is staged", errCondition, v.handle, q.path)
}

// extend grows the LV, and gives the volume as it is then. A VG that is full is
// out of range, not out of space: kubelet gives an expansion up only then, so that
// its user can ask for less (kubernetes 1.36, KEP-1790).
func (p *persistent) extend(ctx context.Context, q expandRequest, v persistentVolume, classes *Classes) (persistentVolume, error) {
	class, err := classes.of(v.handle, v.class)
	if err != nil {
		return v, err
	}
	size, err := class.roundUp(q.size, q.limit)
	if err != nil {
		return v, err
	}
	if fs := filesystems[v.fs]; v.fs != "" {
		if err := fs.canGrow(v.size, size); err != nil {
			return v, err
		}
	}
	if v.fs == "" && v.pool == "" && class.Wipe == wipeZero {
		return p.extendZeroed(ctx, v, class, size)
	}
	if err := p.space.extend(ctx, class, v.handle, size, size-v.size); err != nil {
		return v, v.cannotHave(size, err)
	}
	v.size = size
	return v, nil
}

// cannotHave is the error of an expansion for which there is no space.
func (v persistentVolume) cannotHave(size int64, err error) error {
	if errors.Is(err, lvm.ErrNoSpace) || errors.Is(err, lvm.ErrMetadataFull) {
		return fmt.Errorf("%w: volume %s cannot have %s: %w", errRange, v.handle, lvm.FormatSize(size), err)
	}
	return err
}

// extendZeroed grows a raw block volume in which nobody may ever see what its new
// extents held before. So they are zeroed before they are the volume's: as a temporary
// LV, over whose extents it is then extended. A process that dies over it leaves that
// LV, and whoever wants the volume to grow next begins again.
func (p *persistent) extendZeroed(ctx context.Context, v persistentVolume, class Class, size int64) (persistentVolume, error) {
	g, err := p.model.volumeGroup(ctx, v.handle.VG)
	if err != nil {
		return v, err
	}
	if s, ok := g.ThickSnapshot(v.handle.LV); ok && v.active {
		return v, fmt.Errorf("%w: volume %s cannot be expanded while it is in use and has the thick snapshot %s", errCondition, v.handle, s.Name)
	}
	if _, there := g.LogicalVolume(v.handle.temporary()); there {
		if err := p.lvm.Remove(ctx, v.handle.VG, v.handle.temporary(), tagTemporary); err != nil {
			return v, err
		}
	}
	spare := lvm.Spec{
		VG: v.handle.VG, Name: v.handle.temporary(), Size: size - v.size, Layout: v.layout, Legs: v.legs,
		Tags: []string{tagTemporary, tagSource + "=" + v.handle.String(), tagClass + "=" + class.Name},
	}
	if v.layout == lvm.RAID1 { // each of its copies stays on its disk
		if spare.On, err = p.lvm.Disks(ctx, v.handle.VG, v.handle.LV); err != nil {
			return v, err
		}
	}
	if err := p.space.try(ctx, class, spare, &claimant{}); err != nil {
		return v, v.cannotHave(size, err)
	}
	err = p.jobs.run(ctx, v.handle, "the space that it grows by is being zeroed", func(ctx context.Context) error {
		if err := p.devices.Zero(ctx, devicePath(spare.VG, spare.Name), 0, spare.Size); err != nil {
			return fmt.Errorf("%w: zero what volume %s is to grow by: %w", errStays, v.handle, err)
		}
		err := p.space.swap(ctx, class, spare.Size*class.Rate().Copies, func() error {
			return p.lvm.ExtendOver(ctx, v.handle.VG, v.handle.LV, size, spare.Name, tagTemporary)
		})
		if err != nil {
			return fmt.Errorf("%w: %w", errStays, err)
		}
		return nil
	})
	if err == nil {
		v.size = size
	}
	return v, err
}

// load makes the device as large as the metadata has it. It is smaller after an
// agent that died in the middle of an lvextend.
func (p *persistent) load(ctx context.Context, v persistentVolume) error {
	d, there, err := p.devices.Device(v.handle.device())
	if err != nil || !there || d.Size >= v.size {
		return err
	}
	return p.lvm.Refresh(ctx, v.handle.VG, v.handle.LV)
}
