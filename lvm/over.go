// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ExtendOver grows an LV to size bytes by the very extents of another LV of the VG,
// the spare, which is removed for it: so what appears behind the LV's end is what the
// caller has written there. The spare must carry the owner tag and all of tags, and be
// of the same layout, a raid1 also on the same disks; what it has beside the growth (a
// raid1's metadata) becomes free.
//
// No other change of this client comes in between. If another program takes the
// extents, or LVM cannot use them for this LV, the LV is as it was, the spare is gone,
// and the error is none of those below: make a new one. The same is true after a death.
//
// ErrInvalid, ErrNotFound (the VG, the LV or the spare), ErrInUse (the active origin of a
// thick snapshot, or the spare), ErrMetadataFull, ErrUnavailable. Three commands.
func (c *Client) ExtendOver(ctx context.Context, vg, name string, size int64, spare string, tags ...string) error {
	err := c.extendOver(ctx, vg, name, size, spare, tags)
	if err != nil {
		return fmt.Errorf("extend %s/%s over %s: %w", vg, name, spare, err)
	}
	return nil
}

func (c *Client) extendOver(ctx context.Context, vg, name string, size int64, spare string, tags []string) error {
	for _, n := range []string{name, spare} {
		if err := ValidateName(vg, n); err != nil {
			return err
		}
	}
	for _, t := range tags {
		if err := ValidateTag(t); err != nil {
			return err
		}
	}
	if size <= 0 || size > MaxSize {
		return fmt.Errorf("%w: size %d bytes: must be from 1 to %d", ErrInvalid, size, int64(MaxSize))
	}
	turn := overTurn{Runner: c.runner, vg: vg, spare: spare, selection: c.selection([]string{spare}, tags...) + notOrigin}
	_, err := c.queue.run(ctx, &turn, vg, []string{"lvextend", "--config", config, "--size", sizeArg(size), vg + "/" + name})
	if err == nil {
		return nil
	}
	err = c.explain(ctx, err, func(g VolumeGroup) error {
		if !turn.removed {
			return whyNotRemoved(g, spare)
		}
		if reason := whyNotExtended(g, name, size); !errors.Is(reason, ErrNoSpace) {
			return reason
		}
		return nil // there was room, in the spare
	}, vg)
	if errors.Is(err, errAlready) {
		return nil
	}
	return err
}

// overTurn is the Runner of the commands that must follow each other.
type overTurn struct {
	Runner
	vg, spare, selection string
	removed              bool // the spare
}

// Run finds out where the spare is, removes it, and runs the lvextend that it is given
// on those extents.
func (o *overTurn) Run(ctx context.Context, lvextend ...string) ([]byte, error) {
	extents, err := o.extents(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := o.Runner.Run(ctx, "lvremove", "--config", config, "--yes", "--select", o.selection, o.vg); err != nil {
		return nil, err
	}
	o.removed = true
	return o.Runner.Run(ctx, append(lvextend, extents...)...)
}

// extents are the spare's. ErrNotFound when there are none: an lvextend without any
// would take whatever is free.
func (o *overTurn) extents(ctx context.Context) ([]string, error) {
	stdout, err := o.Runner.Run(ctx, extentsArgs(o.vg, o.spare)...)
	if err != nil {
		return nil, err
	}
	return parseExtents(stdout, o.vg, o.spare)
}

// Disks are the PVs, "/dev/sdb", that an LV lies on, in the order of their names: of a
// raid1 those of its images. ErrInvalid, ErrNotFound. One command.
func (c *Client) Disks(ctx context.Context, vg, name string) ([]string, error) {
	if err := ValidateName(vg, name); err != nil {
		return nil, fmt.Errorf("disks of %s/%s: %w", vg, name, err)
	}
	stdout, err := c.queue.run(ctx, c.runner, "", extentsArgs(vg, name))
	if err != nil {
		return nil, fmt.Errorf("disks of %s/%s: %w", vg, name, c.explain(ctx, err, func(VolumeGroup) error { return nil }, vg))
	}
	extents, err := parseExtents(stdout, vg, name)
	if err != nil {
		return nil, fmt.Errorf("disks of %s/%s: %w", vg, name, err)
	}
	for i, e := range extents {
		extents[i] = e[:strings.LastIndex(e, ":")]
	}
	slices.Sort(extents)
	return slices.Compact(extents), nil
}

// extentsArgs asks for what parseExtents reads.
func extentsArgs(vg, name string) []string {
	return []string{
		"lvs", "--config", config, "--all", "--reportformat", "json",
		"-o", "lv_name,seg_pe_ranges", "--select", fmt.Sprintf(`lv_name="%s" || lv_parent="%s"`, name, name), vg,
	}
}

// parseExtents reads the extents of an LV, as lvextend takes them: "/dev/sdb:0-15". A
// raid1's are those of its images. ErrNotFound when there are none.
func parseExtents(stdout []byte, vg, name string) ([]string, error) {
	var doc struct {
		Report []struct {
			LV  []row `json:"lv"`
			Seg []row `json:"seg"`
		} `json:"report"`
	}
	if err := json.Unmarshal(stdout, &doc); err != nil {
		return nil, fmt.Errorf("read lvm's report: %w", err)
	}
	p := &parser{}
	var extents []string
	for _, part := range doc.Report {
		for _, r := range append(part.LV, part.Seg...) {
			if strings.Contains(p.text(r, "lv_name"), "_rmeta_") {
				continue
			}
			for _, e := range strings.FieldsFunc(p.text(r, "seg_pe_ranges"), func(c rune) bool { return c == ' ' || c == ',' }) {
				if strings.HasPrefix(e, "/") { // a raid1's own are names of its images
					extents = append(extents, e)
				}
			}
		}
	}
	if p.err != nil {
		return nil, fmt.Errorf("read lvm's report: %w", p.err)
	}
	if len(extents) == 0 {
		return nil, fmt.Errorf("LV %s/%s: %w", vg, name, ErrNotFound)
	}
	return extents, nil
}
