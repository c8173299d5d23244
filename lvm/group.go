// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// None of these commands gets --yes, except where it says so: lvm asks before it wipes
// a signature, nobody answers, and it changes nothing.

// plainUUID is a PV's UUID as lvm2 takes one.
var plainUUID = regexp.MustCompile(`^[0-9A-Za-z!#]{6}(-[0-9A-Za-z!#]{4}){5}-[0-9A-Za-z!#]{6}$`)

// InitPV makes a device a PV of that UUID, for a VG that is to be made or extended. A
// PV without a VG may have the UUID already, and keeps it. A device with a signature, or
// in use, is refused and left as it is.
//
// renew is for a PV of that UUID that a vgcreate or vgextend died over: LVM has marked
// it as used, knows no VG with it, and refuses it without force. The caller knows that
// nothing is on it (Label.Committed).
//
// ErrInvalid; what LVM says in all other cases.
func (c *Client) InitPV(ctx context.Context, vg, device, uuid string, renew bool) error {
	if err := validateDevices(vg, device); err != nil {
		return fmt.Errorf("init PV %s: %w", device, err)
	}
	if !plainUUID.MatchString(uuid) {
		return fmt.Errorf("init PV %s: %w: UUID %q", device, ErrInvalid, uuid)
	}
	args := []string{"pvcreate", "--config", config, "--norestorefile", "--uuid", uuid}
	if renew {
		args = append(args, "--force", "--force", "--yes")
	}
	if err := c.change(ctx, vg, append(args, device)); err != nil {
		return fmt.Errorf("init PV %s: %w", device, err)
	}
	return nil
}

// CreateGroup makes a VG of PVs that are in none, with extents of so many bytes, a power
// of two from 1 KiB.
//
// ErrInvalid, ErrExists.
func (c *Client) CreateGroup(ctx context.Context, vg string, extent int64, devices ...string) error {
	if err := validateDevices(vg, devices...); err != nil {
		return fmt.Errorf("create VG %s: %w", vg, err)
	}
	if extent < 1024 || extent&(extent-1) != 0 {
		return fmt.Errorf("create VG %s: %w: extents of %d bytes: must be a power of two from 1024", vg, ErrInvalid, extent)
	}
	args := []string{"vgcreate", "--config", config, "--physicalextentsize", strconv.FormatInt(extent, 10) + "b", vg}
	err := c.change(ctx, vg, append(args, devices...))
	if err == nil {
		return nil
	}
	why := func(g VolumeGroup) error { return fmt.Errorf("VG %s %w", g.Name, ErrExists) }
	return fmt.Errorf("create VG %s: %w", vg, c.explainAbsent(ctx, err, why, vg))
}

// ExtendGroup adds PVs that are in no VG to one.
//
// LVM does so in a VG that misses a PV, too, and marks that as missing for good.
//
// ErrInvalid, ErrNotFound, ErrMetadataFull, ErrUnavailable.
func (c *Client) ExtendGroup(ctx context.Context, vg string, devices ...string) error {
	if err := validateDevices(vg, devices...); err != nil {
		return fmt.Errorf("extend VG %s: %w", vg, err)
	}
	args := append([]string{"vgextend", "--config", config, vg}, devices...)
	if err := c.change(ctx, vg, args); err != nil {
		why := func(g VolumeGroup) error { return whyUnchanged(g, len(devices)*textOfLeg) }
		return fmt.Errorf("extend VG %s: %w", vg, c.explain(ctx, err, why, vg))
	}
	return nil
}

// Rescan has LVM look at all devices again. LVM remembers which ones have PVs (its hints):
// a disk that once could not be read is not among them, and its VG is not found, for any
// command, until a disk comes or goes, though it can be read again (docs/lvm-behaviour.md).
func (c *Client) Rescan(ctx context.Context) error {
	if _, err := c.queue.run(ctx, c.runner, "", []string{"pvscan", "--config", config, "--cache"}); err != nil {
		return fmt.Errorf("look for PVs: %w", err)
	}
	return nil
}

// explainAbsent is explain of a command whose VG was not to be there.
func (c *Client) explainAbsent(ctx context.Context, failed error, why func(VolumeGroup) error, vg string) error {
	if g, err := c.VolumeGroup(ctx, vg); err == nil {
		return &ExplainedError{Reason: why(g), Failed: failed}
	}
	return failed
}

func validateDevices(vg string, devices ...string) error {
	if err := ValidateName(vg, "x"); err != nil {
		return err
	}
	if len(devices) == 0 {
		return fmt.Errorf("%w: no device", ErrInvalid)
	}
	for _, d := range devices {
		if !strings.HasPrefix(d, "/") {
			return fmt.Errorf("%w: device %q: must be a path", ErrInvalid, d)
		}
	}
	return nil
}
