// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/podlv/podlv/lvm"
)

// undoTime is how long a failed call may take to take back what it made. Its own
// context may be over by then.
const undoTime = 30 * time.Second

// inline makes and removes inline volumes.
type inline struct {
	lvm        *lvm.Client
	mounts     Mounter
	devices    Devices
	filesystem Filesystem
	settle     *settler
	space      *spaceWaiter
	events     events
	log        *slog.Logger
}

// publish makes q's volume, if it is not there yet, and mounts it at the target.
func (v *inline) publish(ctx context.Context, q inlineRequest) error {
	device := devicePath(q.Class.Pool.VolumeGroup, q.ID)
	d, active, err := v.devices.Device(device)
	if err != nil {
		return err
	}
	mounted, err := mountedAt(v.mounts, q.Target)
	if err != nil {
		return err
	}
	if mounted != nil {
		return v.republish(q, *mounted, d, active)
	}
	created := false
	if !active {
		if created, err = v.create(ctx, q); err != nil {
			return err
		}
	}
	fresh := created
	if !created {
		if fresh, err = v.adopt(ctx, q, device); err != nil {
			return err
		}
	}
	if err := v.mount(q, device, fresh); err != nil {
		if created {
			err = v.undo(ctx, q, err)
		}
		return err
	}
	v.settle.add(q.Class.Pool.VolumeGroup, q.ID)
	return nil
}

// republish answers for a volume that is mounted at its target, as after a
// restart of kubelet. It runs no command, and changes nothing.
func (v *inline) republish(q inlineRequest, m Mount, d Device, active bool) error {
	if _, lv, ok := volumeOf(m); !ok || lv != q.ID {
		return fmt.Errorf("%w: target path %s is occupied: %s is mounted there", errCondition, q.Target, m.Source)
	}
	if !active || m.Number != d.Number {
		return fmt.Errorf("%w: volume %s is published from another pool than that of class %q, by %s", errDiffers, q.ID, q.Class.Name, m.Source)
	}
	if err := sameSize(q, d.Size); err != nil {
		return err
	}
	if m.Type != q.Filesystem.name {
		return fmt.Errorf("%w: volume %s is published as %s, asked for is %s", errDiffers, q.ID, m.Type, q.Filesystem.name)
	}
	if m.ReadOnly != q.ReadOnly {
		return fmt.Errorf("%w: volume %s is published with readOnly %t, asked for is %t", errDiffers, q.ID, m.ReadOnly, q.ReadOnly)
	}
	v.settle.add(q.Class.Pool.VolumeGroup, q.ID)
	return nil
}

// create makes the LV. created is false when one of the name is there already.
func (v *inline) create(ctx context.Context, q inlineRequest) (created bool, err error) {
	spec := lvm.Spec{
		VG: q.Class.Pool.VolumeGroup, Name: q.ID, Size: q.Size,
		Layout: q.Class.Layout, Legs: q.Class.Legs, Pool: q.Class.Pool.ThinPool,
		Tags: []string{
			tagInline, tagNew, q.Pod.tag(),
			tagClass + "=" + q.Class.Name, tagFS + "=" + q.Filesystem.name,
		},
	}
	err = v.space.create(ctx, q, spec)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, lvm.ErrExists):
		return false, nil
	case errors.Is(err, lvm.ErrNotFound):
		return false, fmt.Errorf("%w: class %q: %w", errCondition, q.Class.Name, err)
	case errors.Is(err, lvm.ErrNoSpace), errors.Is(err, lvm.ErrMetadataFull):
		v.events.noSpace(q, err)
		return false, err
	default:
		return false, err
	}
}

// adopt goes on with an LV that was there before this call: one that a publish
// before it left, or one that is inactive since a reboot. fresh says that there
// is no filesystem of ours on it, and that there need not be.
func (v *inline) adopt(ctx context.Context, q inlineRequest, device string) (fresh bool, err error) {
	l, err := v.lvm.Lookup(ctx, q.Class.Pool.VolumeGroup, q.ID)
	if err != nil {
		return false, err
	}
	if !isInline(l) {
		return false, fmt.Errorf("%w: LV %s/%s is not an inline volume of podlv (tags: %s); it is left alone", errCondition, l.VG, l.Name, list(l.Tags))
	}
	if err := sameSize(q, l.Size); err != nil {
		return false, err
	}
	if fs, _ := l.TagValue(tagFS); fs != q.Filesystem.name {
		return false, fmt.Errorf("%w: volume %s was made as %s, asked for is %s", errDiffers, q.ID, fs, q.Filesystem.name)
	}
	if !l.Active {
		if err := v.lvm.Activate(ctx, l.VG, l.Name); err != nil {
			return false, err
		}
	}
	f := formatter{filesystem: v.filesystem, log: v.log}
	fresh, err = f.examine(q.ID, device, q.Filesystem.name, func() (bool, error) { return l.HasTag(tagNew), nil })
	if errors.Is(err, errCondition) {
		err = fmt.Errorf("%w. Delete the pod to give the volume up", err)
	}
	return fresh, err
}

// sameSize compares what is there with what is asked for. A striped LV may be
// larger, by less than a unit in every stripe.
func sameSize(q inlineRequest, size int64) error {
	slack := q.Class.Unit * int64(max(q.Class.Legs, 1))
	if size < q.Size || size >= q.Size+slack {
		return fmt.Errorf("%w: volume %s has %s, asked for are %s", errDiffers, q.ID, lvm.FormatSize(size), lvm.FormatSize(q.Size))
	}
	return nil
}

// mount makes the filesystem, if fresh, and mounts it. What it made of the
// target folder it takes back.
func (v *inline) mount(q inlineRequest, device string, fresh bool) error {
	if fresh {
		format := Format{Type: q.Filesystem.name, UUID: filesystemUUID(q.ID), Options: q.MkfsOptions}
		if err := v.filesystem.Make(device, format); err != nil {
			return err
		}
	}
	if err := v.mounts.MakeTarget(q.Target); err != nil {
		return err
	}
	options := q.MountOptions
	if q.ReadOnly {
		options = append(options[:len(options):len(options)], "ro")
	}
	if err := v.mounts.Mount(device, q.Target, q.Filesystem.name, options); err != nil {
		return errors.Join(err, v.mounts.RemoveTarget(q.Target))
	}
	return nil
}

// undo removes the LV that a failing call made. If it can't, the error says so,
// in a way that makes kubelet call unpublish.
func (v *inline) undo(ctx context.Context, q inlineRequest, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if err := v.lvm.Remove(ctx, q.Class.Pool.VolumeGroup, q.ID, tagInline); err != nil {
		return fmt.Errorf("%w; %w: %v", failed, errUnsettled, err)
	}
	v.space.freed()
	return failed
}

// unpublish unmounts a volume and removes it. What is not there is done already.
func (v *inline) unpublish(ctx context.Context, id, target string, groups []string) error {
	mounts, err := v.mounts.Mounts()
	if err != nil {
		return err
	}
	if inlineHandle.MatchString(id) {
		groups, err = v.unmount(id, target, mounts, groups)
	} else {
		err = unoccupied(target, mounts)
	}
	if err != nil {
		return err
	}
	if err := v.mounts.RemoveTarget(target); err != nil {
		return err
	}
	if !inlineHandle.MatchString(id) {
		return nil
	}
	for _, vg := range groups {
		v.settle.drop(vg, id)
		if err := v.remove(ctx, vg, id); err != nil {
			return err
		}
	}
	v.space.freed()
	return nil
}

// unoccupied refuses to unpublish an unknown volume from a path at which
// something is mounted.
func unoccupied(target string, mounts []Mount) error {
	for _, m := range mounts {
		if m.Target == target {
			return fmt.Errorf("%w: target path %s is occupied: %s is mounted there, which is not podlv's to unmount", errCondition, target, m.Source)
		}
	}
	return nil
}

// unmount takes every mount of the volume away, wherever it is, since a mounted
// LV cannot be removed. It gives the VGs that the LV can be in: the mounts tell,
// else any of the node's.
func (v *inline) unmount(id, target string, mounts []Mount, groups []string) ([]string, error) {
	var ours []Mount
	for _, m := range mounts {
		if vg, lv, ok := volumeOf(m); ok && lv == id {
			ours = append(ours, m)
			groups = []string{vg}
		} else if m.Target == target {
			return nil, unoccupied(target, []Mount{m})
		}
	}
	for i := len(ours) - 1; i >= 0; i-- {
		if err := v.mounts.Unmount(ours[i].Target); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// remove removes the LV from a VG. A VG that is gone or misses a disk must not
// keep a pod from ending: nothing of the volume is in use any more, and if the
// VG comes back, the reaper finds the LV.
func (v *inline) remove(ctx context.Context, vg, id string) error {
	err := v.lvm.Remove(ctx, vg, id, tagInline)
	switch {
	case errors.Is(err, lvm.ErrNotFound), errors.Is(err, lvm.ErrUnavailable):
		v.log.Warn("cannot remove the LV now; the reaper will when its VG is whole again", "volume", id, "vg", vg, "error", err)
		return nil
	case errors.Is(err, lvm.ErrInUse):
		return fmt.Errorf("volume %s: %w: %w", id, errBusy, err)
	default:
		return err
	}
}
