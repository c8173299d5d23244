// SPDX-License-Identifier: Apache-2.0

package fakelvm

import "slices"

// pvchange goes through the VGs, then through the PVs of none, until it has met all
// the PVs that it is to change (process_each_pv in lvm2's tools/toollib.c). A VG that
// may not be changed fails it only when it comes to that VG.
func (c *command) pvchange() int {
	if len(c.args2) == 0 {
		return c.noSyntax()
	}
	code := exitOK
	var wanted []*physicalVolume
	var strays []string // disks without a PV
	for _, path := range c.args2 {
		d := c.h.disk(path)
		switch {
		case d == nil || d.absent:
			code = c.failed("Cannot use %s: device not found", path)
		case d.pv == nil:
			strays = append(strays, path)
		case !slices.Contains(wanted, d.pv):
			wanted = append(wanted, d.pv)
		}
	}
	var changed, unchanged int64
	change := func(p *physicalVolume) {
		wanted = slices.DeleteFunc(wanted, func(x *physicalVolume) bool { return x == p })
		switch done, err := c.changePV(p); {
		case err != exitOK:
			code = err
			unchanged++
		case done:
			changed++
		default:
			unchanged++
		}
	}
	for _, vg := range c.h.present() {
		c.complainMissing(vg)
		if !c.whole(vg) {
			code = exitFailed
		} else {
			for _, p := range vg.pvs {
				if slices.Contains(wanted, p) {
					change(p)
				}
			}
		}
		if len(wanted)+len(strays) == 0 {
			break
		}
	}
	for _, p := range slices.Clone(wanted) {
		if p.vg == nil {
			change(p)
		}
	}
	for _, p := range wanted {
		strays = append(strays, p.disk.path)
	}
	for _, path := range strays {
		code = c.failed("Failed to find physical volume %q.", path)
	}
	plural := func(n int64) string { return decimal(n) + " physical volume" + map[bool]string{true: "s"}[n != 1] }
	c.say("%s changed / %s not changed", plural(changed), plural(unchanged))
	return code
}

// changePV makes one PV's change and tells whether there was any.
func (c *command) changePV(p *physicalVolume) (done bool, code int) {
	path := p.disk.path
	tagged := c.has("addtag") || c.has("deltag")
	if p.vg == nil {
		if c.has("allocatable") {
			c.fail("Allocatability not supported by orphan lvm2 format PV %s", path)
		} else {
			c.fail("Can't change tag on Physical Volume %s not in volume group", path)
		}
		return false, c.failed("Physical volume %s not changed", path)
	}
	tags, blocked := p.tags, p.blocked
	if c.has("allocatable") {
		block := c.last("allocatable") == "n"
		if p.blocked == block {
			c.fail("Physical volume %q is already %s.", path, map[bool]string{true: "unallocatable", false: "allocatable"}[block])
			if !tagged {
				c.say("Physical volume %s not changed", path)
				return false, exitOK
			}
		}
		p.blocked = block
	}
	c.onUndo(func() { p.tags, p.blocked = tags, blocked })
	p.tags = mergeTags(p.tags, c.set["addtag"], c.set["deltag"])
	if !c.commit(p.vg) {
		return false, exitFailed
	}
	c.say("Physical volume %q changed", path)
	return true, exitOK
}
