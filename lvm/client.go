// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// config is what every command gets with --config, so that it does the same
// whatever the machine's lvm.conf says; docs/lvm-behaviour.md has the evidence.
//
//   - udev_sync 0: lvm is done when it returns; inside a container udev's answer never
//     comes. verify_udev_operations 1: it makes and removes the device nodes itself
//     meanwhile. udev_rules 1: a udev of the host's does so, too. With 0 it takes its own
//     links away from an LV that the host has activated, as soon as that is changed here.
//   - monitoring 0: lvm must not start dmeventd inside our container.
//   - backup, archive 0: copies in /etc/lvm slow each command down as they pile
//     up, and inside a container nobody finds them.
//   - issue_discards 0: an lvremove that discards takes as long as it likes, with the
//     VG locked, and may bring back bytes that ExtendOver's caller has zeroed.
//   - log and report settings: what parseReport expects. With report/prefixes the
//     JSON is broken, with log/prefix it has something before each line.
const config = `activation{udev_sync=0 udev_rules=1 verify_udev_operations=1 monitoring=0} backup{backup=0 archive=0} ` +
	`devices{issue_discards=0} ` +
	`log{command_names=0 prefix="  " report_command_log=0} ` +
	`report{prefixes=0 time_format="%s" list_item_separator="," compact_output=0 binary_values_as_numeric=1}`

// Client turns verbs into lvm commands. It is safe for concurrent use.
//
// It owns the LVs that carry its owner tag: Create, Snapshot and Own add the tag, and
// Remove and Tag touch no LV without it, whatever its name.
type Client struct {
	runner Runner
	owner  string
	queue  *queue
}

// NewClient is a client over runner that owns the LVs tagged owner.
func NewClient(runner Runner, owner string) (*Client, error) {
	if err := ValidateTag(owner); err != nil {
		return nil, fmt.Errorf("owner: %w", err)
	}
	return &Client{runner: runner, owner: owner, queue: newQueue()}, nil
}

// sector is what a size must be a multiple of: lvm2 refuses a command line with
// any other ("Size is not a multiple of 512", exit status 3).
const sector = 512

// sizeArg is size bytes, rounded up to sectors, as an argument. size must have
// been checked: MaxSize is far enough from the end of int64.
func sizeArg(size int64) string {
	return strconv.FormatInt((size+sector-1)/sector*sector, 10) + "b"
}

// Spec says what LV to create.
type Spec struct {
	VG   string
	Name string
	// Size in bytes, any number; it is rounded up to whole extents (in every
	// stripe). For a thin volume it is what the volume shows, its virtual size.
	Size   int64
	Layout Layout   // empty means Linear
	Legs   int      // stripes of Striped, copies of RAID1; else 0
	Pool   string   // the thin pool of Thin; else empty
	On     []string // PVs, "/dev/sdb", of which it takes extents; none: any of the VG
	Tags   []string // beside the owner tag; put on in the same metadata commit
}

// VolumeGroups reports every VG of the machine with all in it, in one command,
// VGs and LVs in the order of their names.
// A VG twice in the answer is two VGs of one name: LVM refuses to work on them.
func (c *Client) VolumeGroups(ctx context.Context) ([]VolumeGroup, error) {
	stdout, err := c.queue.run(ctx, c.runner, "", append(reportArgs(), "--config", config))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	return parseReport(stdout)
}

// VolumeGroup reports the VG of that name. ErrNotFound when there is none,
// ErrUnavailable when there are several.
func (c *Client) VolumeGroup(ctx context.Context, name string) (VolumeGroup, error) {
	groups, err := c.VolumeGroups(ctx)
	if err != nil {
		return VolumeGroup{}, err
	}
	return Find(groups, name)
}

// Find is the VG of that name in a report. ErrNotFound when there is none,
// ErrUnavailable when there are several.
func Find(groups []VolumeGroup, name string) (VolumeGroup, error) {
	var found []VolumeGroup
	for _, g := range groups {
		if g.Name == name {
			found = append(found, g)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return VolumeGroup{}, fmt.Errorf("VG %s: %w", name, ErrNotFound)
	default:
		return VolumeGroup{}, fmt.Errorf("VG %s: %w: %d VGs have that name", name, ErrUnavailable, len(found))
	}
}

// Lookup reports one LV. ErrNotFound when it or its VG is not there.
func (c *Client) Lookup(ctx context.Context, vg, name string) (LogicalVolume, error) {
	g, err := c.VolumeGroup(ctx, vg)
	if err != nil {
		return LogicalVolume{}, err
	}
	l, ok := g.LogicalVolume(name)
	if !ok {
		return LogicalVolume{}, fmt.Errorf("LV %s/%s: %w", vg, name, ErrNotFound)
	}
	return l, nil
}

// Create makes an LV, active, its first 4 KiB zeroed and old signatures wiped;
// name, size and all tags are one metadata commit. A process that dies in between
// may leave the LV committed but not wiped.
//
// ErrInvalid, ErrNotFound (VG or pool), ErrExists, ErrNoSpace, ErrMetadataFull,
// ErrUnavailable (a PV is missing). One command; another when it failed.
func (c *Client) Create(ctx context.Context, spec Spec) error {
	args, err := c.createArgs(spec)
	if err != nil {
		return fmt.Errorf("create %s/%s: %w", spec.VG, spec.Name, err)
	}
	if err := c.change(ctx, spec.VG, args); err != nil {
		return fmt.Errorf("create %s/%s: %w", spec.VG, spec.Name, c.explain(ctx, err, func(g VolumeGroup) error { return whyNotCreated(g, spec) }, spec.VG))
	}
	return nil
}

func (c *Client) createArgs(spec Spec) ([]string, error) {
	if err := ValidateName(spec.VG, spec.Name); err != nil {
		return nil, err
	}
	if spec.Size <= 0 || spec.Size > MaxSize {
		return nil, fmt.Errorf("%w: size %d bytes: must be from 1 to %d", ErrInvalid, spec.Size, int64(MaxSize))
	}
	args := []string{"lvcreate", "--config", config, "--yes", "--name", spec.Name}
	size := sizeArg(spec.Size)
	switch spec.Layout {
	case Linear, "":
		args = append(args, "--type", "linear", "--size", size)
	case Striped:
		args = append(args, "--type", "striped", "--stripes", strconv.Itoa(spec.Legs), "--size", size)
	case RAID1:
		if err := validateRAIDName(spec.VG, spec.Name); err != nil {
			return nil, err
		}
		// With the policy normal LVM keeps the copies apart piece by piece only: a disk
		// may get a piece of one and another piece of another, and be the end of both.
		args = append(args, "--type", "raid1", "--mirrors", strconv.Itoa(spec.Legs-1), "--size", size, "--alloc", "cling")
	case Thin:
		if err := validateWord("thin pool", spec.Pool); err != nil {
			return nil, err
		}
		args = append(args, "--type", "thin", "--thinpool", spec.Pool, "--virtualsize", size)
	}
	if _, err := spec.layout().Allocation(spec.Size, sector, spec.Legs); err != nil {
		return nil, err
	}
	if spec.Layout != Thin { // the pool zeroes what it hands out, lvm2 takes no such flags there
		args = append(args, "--wipesignatures", "y", "--zero", "y")
	}
	args, err := c.withTags(args, spec.Tags)
	if err != nil {
		return nil, err
	}
	for _, pv := range spec.On {
		if !strings.HasPrefix(pv, "/") {
			return nil, fmt.Errorf("%w: PV %q: must be a path", ErrInvalid, pv)
		}
	}
	return append(append(args, spec.VG), spec.On...), nil
}

// layout is the Spec's, with its default.
func (s Spec) layout() Layout {
	if s.Layout == "" {
		return Linear
	}
	return s.Layout
}

func (c *Client) withTags(args, tags []string) ([]string, error) {
	args = append(args, "--addtag", c.owner)
	for _, t := range tags {
		if err := ValidateTag(t); err != nil {
			return nil, err
		}
		args = append(args, "--addtag", t)
	}
	return args, nil
}

// SnapshotSpec says what snapshot to make of an LV.
type SnapshotSpec struct {
	VG     string
	Origin string
	Name   string
	// Size in bytes of the space for what changes, for a thick snapshot; LVM makes
	// it smaller when that is all that could ever change. 0 for a thin one, which
	// takes its pool's space: the origin must then be a thin volume.
	Size int64
	Tags []string // beside the owner tag
}

// Snapshot makes a snapshot of an LV, active and writable.
//
// ErrInvalid, ErrNotFound (VG or origin), ErrExists, ErrNoSpace, ErrMetadataFull,
// ErrUnavailable. One command; another when it failed.
func (c *Client) Snapshot(ctx context.Context, spec SnapshotSpec) error {
	args, err := c.snapshotArgs(spec)
	if err != nil {
		return fmt.Errorf("snapshot %s/%s: %w", spec.VG, spec.Name, err)
	}
	if err := c.change(ctx, spec.VG, args); err != nil {
		why := func(g VolumeGroup) error { return whyNoSnapshot(g, spec) }
		return fmt.Errorf("snapshot %s/%s of %s: %w", spec.VG, spec.Name, spec.Origin, c.explain(ctx, err, why, spec.VG))
	}
	return nil
}

func (c *Client) snapshotArgs(spec SnapshotSpec) ([]string, error) {
	if err := ValidateName(spec.VG, spec.Name); err != nil {
		return nil, err
	}
	if err := ValidateName(spec.VG, spec.Origin); err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	if spec.Size < 0 || spec.Size > MaxSize {
		return nil, fmt.Errorf("%w: size %d bytes: must be from 0 to %d", ErrInvalid, spec.Size, int64(MaxSize))
	}
	// A thin snapshot is not activated by default (lvmthin(7)).
	args := []string{"lvcreate", "--config", config, "--yes", "--snapshot", "--name", spec.Name, "--setactivationskip", "n"}
	if spec.Size > 0 {
		args = append(args, "--size", sizeArg(spec.Size))
	}
	args, err := c.withTags(args, spec.Tags)
	if err != nil {
		return nil, err
	}
	return append(args, spec.VG+"/"+spec.Origin), nil
}

// Extend grows an LV to at least size bytes, rounded up to whole extents; an LV
// that is as large already is left alone. What the new extents hold are the bytes
// of whoever had them before.
//
// ErrInvalid, ErrNotFound, ErrNoSpace, ErrInUse (the active origin of a thick
// snapshot), ErrMetadataFull, ErrUnavailable.
func (c *Client) Extend(ctx context.Context, vg, name string, size int64) error {
	if err := ValidateName(vg, name); err != nil {
		return fmt.Errorf("extend %s/%s: %w", vg, name, err)
	}
	if size <= 0 || size > MaxSize {
		return fmt.Errorf("extend %s/%s: %w: size %d bytes: must be from 1 to %d", vg, name, ErrInvalid, size, int64(MaxSize))
	}
	args := []string{"lvextend", "--config", config, "--size", sizeArg(size), vg + "/" + name}
	err := c.change(ctx, vg, args)
	if err == nil {
		return nil
	}
	if e := c.explain(ctx, err, func(g VolumeGroup) error { return whyNotExtended(g, name, size) }, vg); !errors.Is(e, errAlready) {
		return fmt.Errorf("extend %s/%s: %w", vg, name, e)
	}
	return nil
}

// Remove removes an LV that carries the owner tag and all of tags. An LV that is not
// there, or lacks a tag, is left alone, and so is the origin of a thick snapshot,
// because LVM would remove the snapshot with it, whoever made that. None of these is
// an error: one command does it, whatever is there.
//
// ErrInvalid, ErrNotFound (the VG), ErrInUse, ErrUnavailable.
func (c *Client) Remove(ctx context.Context, vg, name string, tags ...string) error {
	if err := ValidateName(vg, name); err != nil {
		return fmt.Errorf("remove %s/%s: %w", vg, name, err)
	}
	for _, t := range tags {
		if err := ValidateTag(t); err != nil {
			return fmt.Errorf("remove %s/%s: %w", vg, name, err)
		}
	}
	args := []string{"lvremove", "--config", config, "--yes", "--select", c.selection([]string{name}, tags...) + notOrigin, vg}
	if err := c.change(ctx, vg, args); err != nil {
		return fmt.Errorf("remove %s/%s: %w", vg, name, c.explain(ctx, err, func(g VolumeGroup) error { return whyNotRemoved(g, name) }, vg))
	}
	return nil
}

// Activate makes an LV's device, /dev/VG/NAME; it is no error when it is there.
// With a thick snapshot come its origin and the origin's other snapshots.
//
// ErrInvalid, ErrNotFound, ErrUnavailable.
func (c *Client) Activate(ctx context.Context, vg, name string) error {
	return c.setActive(ctx, vg, name, "y")
}

// Deactivate removes an LV's device, and those of its thick snapshots; it is no
// error when there is none. A thick snapshot cannot be deactivated alone.
//
// ErrInvalid (a thick snapshot too), ErrNotFound, ErrInUse, ErrUnavailable.
func (c *Client) Deactivate(ctx context.Context, vg, name string) error {
	return c.setActive(ctx, vg, name, "n")
}

func (c *Client) setActive(ctx context.Context, vg, name, value string) error {
	if err := ValidateName(vg, name); err != nil {
		return fmt.Errorf("activate=%s %s/%s: %w", value, vg, name, err)
	}
	args := []string{"lvchange", "--config", config, "--activate", value, "--ignoreactivationskip", vg + "/" + name}
	if value == "y" {
		args = append(args, "--yes") // else lvm asks whether the origin of a thick snapshot may come too
	}
	if err := c.change(ctx, vg, args); err != nil {
		return fmt.Errorf("activate=%s %s/%s: %w", value, vg, name, c.explain(ctx, err, func(g VolumeGroup) error { return whyNotActivated(g, name) }, vg))
	}
	return nil
}

// Refresh loads an active LV's device anew from the metadata: after an Extend that
// died between its commit and its end the device is still as small as before. An
// LV that is not active is left alone.
//
// ErrInvalid, ErrNotFound, ErrUnavailable.
func (c *Client) Refresh(ctx context.Context, vg, name string) error {
	if err := ValidateName(vg, name); err != nil {
		return fmt.Errorf("refresh %s/%s: %w", vg, name, err)
	}
	args := []string{"lvchange", "--config", config, "--refresh", vg + "/" + name}
	if err := c.change(ctx, vg, args); err != nil {
		return fmt.Errorf("refresh %s/%s: %w", vg, name, c.explain(ctx, err, func(g VolumeGroup) error { return whyNotActivated(g, name) }, vg))
	}
	return nil
}

// tagBatch is how many LVs one Tag command names: the selection is one argument,
// of which Linux takes 128 KiB.
const tagBatch = 500

// Tag adds and removes tags on LVs of one VG that carry the owner tag, in one
// command (for each 500). LVs that are not there, or not the owner's, are passed
// over. The owner tag itself cannot be removed.
//
// ErrInvalid, ErrNotFound (the VG), ErrMetadataFull, ErrUnavailable.
func (c *Client) Tag(ctx context.Context, vg string, add, remove []string, names ...string) error {
	if len(names) == 0 || len(add)+len(remove) == 0 {
		return nil
	}
	base := []string{"lvchange", "--config", config}
	for _, t := range add {
		if err := ValidateTag(t); err != nil {
			return fmt.Errorf("tag %s: %w", vg, err)
		}
		base = append(base, "--addtag", t)
	}
	for _, t := range remove {
		if err := ValidateTag(t); err != nil {
			return fmt.Errorf("tag %s: %w", vg, err)
		}
		if t == c.owner {
			return fmt.Errorf("tag %s: %w: the owner tag %s cannot be removed", vg, ErrInvalid, t)
		}
		base = append(base, "--deltag", t)
	}
	for _, n := range names {
		if err := ValidateName(vg, n); err != nil {
			return fmt.Errorf("tag %s: %w", vg, err)
		}
	}
	for len(names) > 0 {
		batch := names[:min(tagBatch, len(names))]
		names = names[len(batch):]
		args := append(base[:len(base):len(base)], "--select", c.selection(batch), vg)
		if err := c.change(ctx, vg, args); err != nil {
			why := func(g VolumeGroup) error { return whyUnchanged(g, len(batch)*tagText(add)) }
			return fmt.Errorf("tag %d LVs of %s: %w", len(batch), vg, c.explain(ctx, err, why, vg))
		}
	}
	return nil
}

// Own makes an LV that is nobody's the owner's: it gets the owner tag and tags, in one
// commit. uuid is the LV's as a report has it: another one that has come to its name
// since is left alone. One that is the owner's already gets the tags.
//
// ErrInvalid, ErrNotFound, ErrMetadataFull, ErrUnavailable. Two commands.
func (c *Client) Own(ctx context.Context, vg, name, uuid string, tags ...string) error {
	if err := ValidateName(vg, name); err != nil {
		return fmt.Errorf("own %s/%s: %w", vg, name, err)
	}
	if !lvUUID.MatchString(uuid) {
		return fmt.Errorf("own %s/%s: %w: %q is no LV's UUID", vg, name, ErrInvalid, uuid)
	}
	args, err := c.withTags([]string{"lvchange", "--config", config}, tags)
	if err != nil {
		return fmt.Errorf("own %s/%s: %w", vg, name, err)
	}
	args = append(args, "--select", `lv_name="`+name+`" && lv_uuid="`+uuid+`"`, vg)
	if err := c.change(ctx, vg, args); err != nil {
		why := func(g VolumeGroup) error { return whyUnchanged(g, tagText(append(tags, c.owner))) }
		return fmt.Errorf("own %s/%s: %w", vg, name, c.explain(ctx, err, why, vg))
	}
	l, err := c.Lookup(ctx, vg, name)
	if err == nil && (l.UUID != uuid || !l.HasTag(c.owner)) {
		err = fmt.Errorf("LV %s/%s with UUID %s: %w", vg, name, uuid, ErrNotFound)
	}
	return err
}

// lvUUID is how lvm2 writes an LV's UUID.
var lvUUID = regexp.MustCompile(`^[0-9A-Za-z]{6}(-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6}$`)

// selection picks the owner's LVs of these names that carry all of tags. Names
// and tags were validated: no quote can be in them.
func (c *Client) selection(names []string, tags ...string) string {
	terms := make([]string, len(names))
	for i, n := range names {
		terms[i] = `lv_name="` + n + `"`
	}
	var s strings.Builder
	for _, t := range append([]string{c.owner}, tags...) {
		s.WriteString(`lv_tags="` + t + `" && `)
	}
	return s.String() + `(` + strings.Join(terms, " || ") + `)`
}

// notOrigin ends a selection that passes over the origins of thick snapshots.
const notOrigin = ` && lv_role!="thickorigin"`

// Running lists the commands that are running now, the oldest first.
func (c *Client) Running() []Running { return c.queue.running() }

func (c *Client) change(ctx context.Context, vg string, args []string) error {
	_, err := c.queue.run(ctx, c.runner, vg, args)
	return err
}
