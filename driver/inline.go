// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/podlv/podlv/lvm"
)

// undoTime is how long a failed call may take to take back what it made. Its own
// context may be over by then.
const undoTime = 30 * time.Second

// inline makes and removes inline volumes.
type inline struct {
	lvm        *lvm.Client
	classes    *ClassSource
	places     *places
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
	mounted, err := mountedAt(v.mounts, q.Target)
	if err != nil {
		return err
	}
	if mounted != nil {
		return v.republish(q, *mounted)
	}
	// A volume that is there stays in its VG, wherever its class is now.
	at, there, err := v.places.find(ctx, q.ID)
	if err != nil {
		return err
	}
	if there {
		if err := v.bring(ctx, q, at.vg); !at.begun || !errors.Is(err, lvm.ErrNotFound) {
			return err
		}
	}
	if err := q.choose(v.classes.Get()); err != nil {
		return err
	}
	vg := q.Class.Pool.VolumeGroup
	created, err := v.create(ctx, q)
	if err != nil {
		return err
	}
	if !created {
		return v.bring(ctx, q, vg)
	}
	if err := v.mount(q, devicePath(vg, q.ID), true); err != nil {
		return v.undo(ctx, q, err)
	}
	v.settle.add(vg, q.ID)
	return nil
}

// bring publishes a volume that was there before this call. Whatever goes wrong,
// its LV stays, and the error must make kubelet unpublish it.
func (v *inline) bring(ctx context.Context, q inlineRequest, vg string) error {
	l, err := v.lvm.Lookup(ctx, vg, q.ID)
	if errors.Is(err, lvm.ErrNotFound) {
		v.places.forget(q.ID)
		return fmt.Errorf("%w: volume %s was in VG %s and is not there any more: %w", errCondition, q.ID, vg, err)
	}
	if err != nil {
		return err
	}
	v.places.sure(q.ID)
	if !isInline(l) {
		return fmt.Errorf("%w: LV %s/%s is not an inline volume of podlv (tags: %s); it is left alone", errCondition, l.VG, l.Name, list(l.Tags))
	}
	if made, _ := l.TagValue(tagFS); !isFilesystem(made) {
		return fmt.Errorf("%w: LV %s/%s has the filesystem %q by its tag %s, and podlv makes %s; it is left alone", errCondition, l.VG, l.Name, made, tagFS, list(filesystemNames()))
	}
	if err := q.follow(l, v.classes.Get()); err != nil {
		return err
	}
	fresh, err := v.adopt(ctx, q, l)
	if err == nil {
		err = v.mount(q, devicePath(vg, q.ID), fresh)
	}
	if err != nil {
		return fmt.Errorf("%w; %w", err, errStays)
	}
	v.settle.add(vg, q.ID)
	return nil
}

// republish answers for a volume that is mounted at its target, as after a
// restart of kubelet. It runs no command, and changes nothing. The class does not
// count: it may have changed, or be gone, since the volume was made.
func (v *inline) republish(q inlineRequest, m Mount) error {
	vg, lv, ok := volumeOf(m)
	if !ok || lv != q.ID {
		return fmt.Errorf("%w: target path %s is occupied: %s is mounted there", errCondition, q.Target, m.Source)
	}
	d, _, err := v.devices.Device(devicePath(vg, lv))
	if err != nil {
		return err
	}
	if at, known := v.places.now(q.ID); known && q.Asked.class != "" && q.Asked.class != at.class {
		return fmt.Errorf("%w: volume %s was made by class %q, asked for is %q", errDiffers, q.ID, at.class, q.Asked.class)
	}
	class, _ := v.classes.Get().Named(q.Asked.class) // its unit, for the rounding
	if err := q.sameSize(d.Size, class); err != nil {
		return err
	}
	if err := q.sameFilesystem(m.Type); err != nil {
		return err
	}
	if m.ReadOnly != q.ReadOnly {
		return fmt.Errorf("%w: volume %s is published with readOnly %t, asked for is %t", errDiffers, q.ID, m.ReadOnly, q.ReadOnly)
	}
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
	v.places.set(q.ID, place{vg: spec.VG, class: q.Class.Name, begun: true}) // before: an lvcreate may outlive this call
	err = v.space.create(ctx, q, spec)
	var hung *lvm.HungError
	switch {
	case err == nil, errors.Is(err, lvm.ErrExists):
		v.places.sure(q.ID)
	case !errors.As(err, &hung) || hung.Ended == nil:
		v.places.forget(q.ID)
	}
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
func (v *inline) adopt(ctx context.Context, q inlineRequest, l lvm.LogicalVolume) (fresh bool, err error) {
	if !l.Active {
		if err := v.lvm.Activate(ctx, l.VG, l.Name); err != nil {
			return false, err
		}
	}
	f := formatter{filesystem: v.filesystem, log: v.log}
	fresh, err = f.examine(q.ID, devicePath(l.VG, l.Name), q.Filesystem.name, func() (bool, error) { return l.HasTag(tagNew), nil })
	if errors.Is(err, errCondition) {
		err = fmt.Errorf("%w. Delete the pod to give the volume up", err)
	}
	return fresh, err
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
		return fmt.Errorf("%w; %w: %v", failed, errStays, err)
	}
	v.places.forget(q.ID)
	v.space.freed()
	return failed
}

// unpublish unmounts a volume and removes it. What is not there is done already;
// of a volume that no kubelet named, nothing is ours to touch.
func (v *inline) unpublish(ctx context.Context, id, target string) error {
	mounts, err := v.mounts.Mounts()
	if err != nil {
		return err
	}
	if !inlineHandle.MatchString(id) {
		return unoccupied(target, mounts)
	}
	groups, err := v.unmount(id, target, mounts)
	if err != nil {
		return err
	}
	if err := v.mounts.RemoveTarget(target); err != nil {
		return err
	}
	at, there, err := v.places.find(ctx, id)
	if err != nil {
		return err
	}
	if there && !slices.Contains(groups, at.vg) {
		groups = append(groups, at.vg)
	}
	if len(groups) == 0 {
		groups = v.classes.Get().VolumeGroups()
	}
	for _, vg := range groups {
		v.settle.drop(vg, id)
		if err := v.remove(ctx, vg, id); err != nil {
			return err
		}
	}
	v.places.forget(id)
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
// LV cannot be removed. It gives the VG that the mounts tell, if there are any.
func (v *inline) unmount(id, target string, mounts []Mount) (groups []string, err error) {
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

// remove removes the LV from a VG. What keeps it from being removed must not keep
// a pod from ending, if nothing of the volume is in use any more: a VG that is
// gone or misses a disk, an administrator's snapshot. The reaper finds the LV when
// that is over.
func (v *inline) remove(ctx context.Context, vg, id string) error {
	err := v.lvm.Remove(ctx, vg, id, tagInline)
	switch {
	case err == nil:
		if _, there, err := v.devices.Device(devicePath(vg, id)); err == nil && there {
			v.log.Warn("the LV is not podlv's, or has a snapshot, and was not removed", "volume", id, "vg", vg)
		}
		return nil
	case errors.Is(err, lvm.ErrNotFound), errors.Is(err, lvm.ErrUnavailable):
		v.log.Warn("cannot remove the LV now; the reaper will when its VG is whole again", "volume", id, "vg", vg, "error", err)
		return nil
	case errors.Is(err, lvm.ErrInUse):
		return fmt.Errorf("volume %s: %w: %w", id, errBusy, err)
	default:
		return err
	}
}
