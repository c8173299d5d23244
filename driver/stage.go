// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// stageRequest is a NodeStageVolume, checked.
type stageRequest struct {
	handle  handle
	staging string
	use     use
	class   Class // zero when the node has it no more
}

// stage mounts a volume's filesystem at its staging path, and makes it first if
// nobody has. Of a block device it makes sure that it is there and clean.
func (p *persistent) stage(ctx context.Context, q stageRequest) error {
	h := q.handle
	_, active, err := p.devices.Device(h.device())
	if err != nil {
		return err
	}
	// Asked at most once, and not at all of what this process has just made or what
	// its own filesystem's UUID tells.
	look := sync.OnceValues(func() (persistentVolume, error) { return p.usable(ctx, h, q.use) })
	if !active || q.use.block && p.known(h) != hintBlock || p.doubtful(h) {
		v, err := look()
		if err != nil {
			return err
		}
		if !v.active {
			if err := p.lvm.Activate(ctx, h.VG, h.LV); err != nil {
				return err
			}
		}
	}
	if q.use.block {
		p.remember(h, hintBlock)
		return nil
	}
	if q.use.fsType == "" {
		v, err := look()
		if err != nil {
			return err
		}
		q.use.fsType = v.fs
	}
	return p.stageFilesystem(q, active, look)
}

func (p *persistent) stageFilesystem(q stageRequest, active bool, look func() (persistentVolume, error)) error {
	h := q.handle
	fs, err := filesystemNamed(q.use.fsType)
	if err != nil {
		return err
	}
	flags, err := fs.mountFlags(q.use.mountFlags)
	if err != nil {
		return err
	}
	m, err := mountedAt(p.mounts, q.staging)
	if err != nil {
		return err
	}
	if m != nil {
		return p.staged(q, *m)
	}
	fresh := active && p.known(h) == hintFresh
	if !fresh {
		f := formatter{filesystem: p.filesystem, log: p.log}
		fresh, err = f.examine(h.String(), h.device(), fs.name, func() (bool, error) {
			v, err := look()
			return v.isNew, err
		})
		if err != nil {
			return err
		}
	}
	mountOptions, mkfsOptions := q.class.options(fs)
	if fresh {
		format := Format{Type: fs.name, UUID: filesystemUUID(h.String()), Options: mkfsOptions}
		if err := p.filesystem.Make(h.device(), format); err != nil {
			return err
		}
	}
	if err := p.mounts.MakeTarget(q.staging); err != nil {
		return err
	}
	if err := p.mounts.Mount(h.device(), q.staging, fs.name, append(mountOptions, flags...)); err != nil {
		return err
	}
	p.remember(h, hintNone)
	p.settle.add(h.VG, h.LV)
	return nil
}

// usable is get for a volume that is to be used so.
func (p *persistent) usable(ctx context.Context, h handle, u use) (persistentVolume, error) {
	v, err := p.get(ctx, h)
	if err != nil {
		return v, err
	}
	if err := v.fits(u); err != nil {
		return v, err
	}
	if v.copying {
		return v, fmt.Errorf("volume %s: %w: it is not made yet, its bytes are still to be copied from %s", h, errBusy, v.source)
	}
	if v.zeroing {
		return v, fmt.Errorf("volume %s: %w: it is not made yet, its old bytes are still to be zeroed", h, errBusy)
	}
	return v, nil
}

// staged answers for a volume at whose staging path something is mounted already.
func (p *persistent) staged(q stageRequest, m Mount) error {
	switch {
	case !q.handle.isAt(m):
		return fmt.Errorf("%w: staging path %s is occupied: %s is mounted there", errCondition, q.staging, m.Source)
	case m.Type != q.use.fsType:
		return fmt.Errorf("%w: volume %s is staged as %s, asked for is %s", errDiffers, q.handle, m.Type, q.use.fsType)
	default:
		p.remember(q.handle, hintNone)
		p.settle.add(q.handle.VG, q.handle.LV)
		return nil
	}
}

// isAt says whether a mount is of the volume's filesystem.
func (h handle) isAt(m Mount) bool {
	vg, lv, ok := volumeOf(m)
	return ok && !m.Block && handle{vg, lv} == h
}

// unstage takes the volume off its staging path.
func (p *persistent) unstage(h handle, staging string) error {
	return p.takeOff("staging path", staging, h.isAt)
}

// takeOff unmounts all that is mounted at a path, if it is ours.
func (p *persistent) takeOff(what, path string, ours func(Mount) bool) error {
	for {
		m, err := mountedAt(p.mounts, path)
		if err != nil || m == nil {
			return err
		}
		if !ours(*m) {
			return fmt.Errorf("%w: %s %s is occupied: %s is mounted there, which is not this volume's", errCondition, what, path, m.Source)
		}
		if err := p.mounts.Unmount(path); err != nil {
			return err
		}
	}
}

// publishRequest is a NodePublishVolume of a persistent volume, checked.
type publishRequest struct {
	handle   handle
	staging  string
	target   string
	use      use
	readOnly bool
}

// publish gives a staged volume to a pod: a bind of its staging path, or of its
// device.
func (p *persistent) publish(ctx context.Context, q publishRequest) error {
	d, active, err := p.devices.Device(q.handle.device())
	if err != nil {
		return err
	}
	if !active {
		return fmt.Errorf("%w: volume %s is not staged: it has no device", errCondition, q.handle)
	}
	ours := q.handle.isAt
	if q.use.block {
		ours = func(m Mount) bool { return m.Block && m.Number == d.Number }
	}
	s, err := p.situation(q, ours)
	switch {
	case err != nil:
		return err
	case s.published:
		return nil
	case s.elsewhere != "" && q.use.mode == singleWriter:
		return fmt.Errorf("%w: volume %s is published at %s, and can be at one path only: its access mode is %s", errCondition, q.handle, s.elsewhere, singleWriter)
	case q.use.block:
		return p.publishDevice(ctx, q)
	case !s.staged:
		return fmt.Errorf("%w: volume %s is not staged at %s: NodeStageVolume comes first", errCondition, q.handle, q.staging)
	}
	if err := p.mounts.MakeTarget(q.target); err != nil {
		return err
	}
	return p.bind(q.staging, q)
}

// situation is what the mount table says of a volume.
type situation struct {
	published bool   // at the target
	staged    bool   // at the staging path
	elsewhere string // a path where it is published, too
}

func (p *persistent) situation(q publishRequest, ours func(Mount) bool) (situation, error) {
	var s situation
	mounts, err := p.mounts.Mounts()
	if err != nil {
		return s, err
	}
	for _, m := range mounts {
		switch {
		case m.Target == q.target && !ours(m):
			return s, fmt.Errorf("%w: target path %s is occupied: %s is mounted there", errCondition, q.target, m.Source)
		case m.Target == q.target && !q.use.block && m.ReadOnly && !q.readOnly:
			return s, fmt.Errorf("%w: volume %s is published read-only at %s, asked for is read-write", errDiffers, q.handle, q.target)
		case m.Target == q.target && !q.use.block && q.readOnly && !m.ReadOnly:
			// It is bound first and made read-only then: one that died in between goes
			// on here.
			if err := p.mounts.Unmount(q.target); err != nil {
				return s, err
			}
		case m.Target == q.target:
			s.published = true
		case m.Target == q.staging:
			s.staged = ours(m)
		case ours(m):
			s.elsewhere = m.Target
		}
	}
	return s, nil
}

func (p *persistent) publishDevice(ctx context.Context, q publishRequest) error {
	if p.known(q.handle) != hintBlock {
		if _, err := p.usable(ctx, q.handle, q.use); err != nil {
			return err
		}
		p.remember(q.handle, hintBlock)
	}
	if err := p.mounts.MakeTargetFile(q.target); err != nil {
		return err
	}
	return p.bind(q.handle.device(), q)
}

func (p *persistent) bind(source string, q publishRequest) error {
	options := []string{"bind"}
	if q.readOnly && !q.use.block {
		options = append(options, "ro")
	}
	if err := p.mounts.Mount(source, q.target, "", options); err != nil {
		return errors.Join(err, p.mounts.RemoveTarget(q.target))
	}
	return nil
}

// unpublish takes the volume from a pod.
func (p *persistent) unpublish(h handle, target string) error {
	d, there, err := p.devices.Device(h.device())
	if err != nil {
		return err
	}
	ours := func(m Mount) bool {
		// The number of a device that is gone is not known any more.
		return h.isAt(m) || m.Block && (!there || m.Number == d.Number)
	}
	if err := p.takeOff("target path", target, ours); err != nil {
		return err
	}
	return p.mounts.RemoveTarget(target)
}
