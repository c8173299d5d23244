// SPDX-License-Identifier: Apache-2.0

package fakelvm

import "slices"

// lvremove removes LVs one by one, each with its own commit, and goes on after
// one that cannot be removed.
func (c *command) lvremove() int {
	if len(c.args2) == 0 && !c.has("select") {
		c.out.WriteString("  lvremove VG|LV|Tag|Select ...\n\n")
		c.fail("No command with matching syntax recognised.  Run 'lvremove --help' for more information.")
		c.fail("Correct command syntax is:")
		return exitSyntax
	}
	lvs, code := c.targets(c.args2, c.last("select"), c.has("select"))
	for _, l := range lvs {
		if l.vg.lv(l.name) != l {
			continue // went with another one
		}
		if !c.remove(l) {
			code = exitFailed
		}
	}
	return c.missingLVs(code)
}

// remove removes an LV and all that cannot be without it.
func (c *command) remove(l *logicalVolume) bool {
	if l.parent != nil || l.kind == poolSpare {
		return c.refuseHidden(l)
	}
	if len(l.snaps) > 0 && l.active {
		question := "Do you really want to remove active origin logical volume " + l.fullName() + " with " + decimal(int64(len(l.snaps))) + " snapshots(s)?"
		if !c.ask(question) {
			c.fail("Logical volume %s not removed.", l.fullName())
			return false
		}
	}
	if l.pool != nil && len(l.pool.thins) > 0 {
		question := "Removing pool " + l.fullName() + " will remove " + decimal(int64(len(l.pool.thins))) + " dependent volume(s). Proceed?"
		if !c.ask(question) {
			c.fail("Logical volume %s not removed.", l.fullName())
			return false
		}
		for _, t := range l.vg.inOrder(l.pool.thins) {
			if !c.remove(t) {
				return false
			}
		}
	}
	for _, s := range l.vg.inOrder(l.snaps) {
		if !c.removeOne(s) {
			return false
		}
	}
	return c.removeOne(l)
}

func (c *command) refuseHidden(l *logicalVolume) bool {
	switch l.kind {
	case raidImage, raidMeta:
		c.fail("Can't remove logical volume %s used as RAID device.", l.fullName())
	case poolData, poolMeta:
		c.fail("Can't remove logical volume %s used by a pool.", l.fullName())
	default:
		c.fail("Can't remove logical volume %s.", l.fullName())
	}
	return false
}

// inOrder is some of the VG's LVs in the VG's order.
func (v *volumeGroup) inOrder(some []*logicalVolume) []*logicalVolume {
	var out []*logicalVolume
	for _, l := range v.lvs {
		if slices.Contains(some, l) {
			out = append(out, l)
		}
	}
	return out
}

// removeOne removes one LV on which nothing depends: deactivates it, then commits.
func (c *command) removeOne(l *logicalVolume) bool {
	if c.inUse(l) {
		return false
	}
	if l.active && !c.ask("Do you really want to remove active logical volume "+l.fullName()+"?") {
		c.fail("Logical volume %s not removed.", l.fullName())
		return false
	}
	vg := l.vg
	snapshotOnly := l.snap != nil && l.snap.origin.active
	if !snapshotOnly { // the device of an origin stays when its snapshot goes
		c.h.deactivate(l)
	}
	gone := []*logicalVolume{l}
	gone = append(gone, l.subs()...)
	if l.pool != nil && vg.pools() == 1 {
		for _, s := range vg.lvs {
			if s.kind == poolSpare {
				gone = append(gone, s)
			}
		}
	}
	for _, x := range gone {
		i := vg.unlink(x)
		c.onUndo(func() { vg.relink(i, x) })
	}
	if l.thin != nil {
		l.thin.pool.pool.transaction++
		l.thin.pool.touch()
	}
	if !c.commit(vg) {
		return false
	}
	switch {
	case l.thin != nil:
		l.thin.leave()
	case l.snap != nil:
		if snapshotOnly {
			c.h.lower(l)
		}
		l.snap.leave(l)
	}
	c.say("Logical volume %q successfully removed.", l.name)
	return true
}

func (v *volumeGroup) pools() int {
	n := 0
	for _, l := range v.lvs {
		if l.pool != nil {
			n++
		}
	}
	return n
}
