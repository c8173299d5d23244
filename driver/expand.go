// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"strconv"

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
	v, err := p.find(ctx, q.handle)
	if err != nil {
		return 0, err
	}
	if v.zeroing || v.copying {
		return 0, fmt.Errorf("volume %s: %w: it is not made yet", v.handle, errBusy)
	}
	at, err := p.growthPath(q, v)
	if err != nil {
		return 0, err
	}
	if err := p.load(ctx, v); err != nil {
		return 0, err
	}
	if v.grownAt > 0 {
		if err := p.finishGrowth(ctx, v); err != nil {
			return 0, err
		}
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
	zero := v.fs == "" && class.zeroes()
	if zero {
		// Said before the new extents can be seen, so that an agent that dies over
		// the lvextend leaves word of where the old bytes begin.
		v.grownAt = v.size
		if err := p.lvm.Tag(ctx, v.handle.VG, []string{v.growTag()}, nil, v.handle.LV); err != nil {
			return v, err
		}
		p.remember(v.handle, hintNone)
	}
	err = p.space.extend(ctx, class, v.handle, size, size-v.size, claimant{v.claim})
	if errors.Is(err, lvm.ErrNoSpace) || errors.Is(err, lvm.ErrMetadataFull) {
		err = fmt.Errorf("%w: volume %s cannot have %s: %w", errRange, v.handle, lvm.FormatSize(size), err)
	}
	if err == nil {
		v.size = size
	}
	// After any other error the lvextend may still be under way: the tag stays, and
	// the next call goes on by it.
	if zero && (err == nil || errors.Is(err, errRange)) {
		err = errors.Join(err, p.finishGrowth(ctx, v))
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

// growTag says where the old bytes of an expansion begin.
func (v persistentVolume) growTag() string { return tagGrow + "=" + strconv.FormatInt(v.grownAt, 10) }

// finishGrowth zeroes what an expansion appended to a raw block volume, if it did
// append anything.
func (p *persistent) finishGrowth(ctx context.Context, v persistentVolume) error {
	if err := p.zero(ctx, v, min(v.grownAt, v.size), v.growTag()); err != nil {
		return err
	}
	p.remember(v.handle, hintBlock)
	return nil
}
