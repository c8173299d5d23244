// SPDX-License-Identifier: Apache-2.0

package fakelvm

import "slices"

// removal is the LVs of one VG that a command is about to remove: LVM deactivates
// them one by one, then commits once. When one of them cannot be removed, nothing
// is committed and the others stay, deactivated.
type removal struct {
	after []func()
	names []string
	gone  []*logicalVolume // in the order in which they go
}

// commits is how many LVM needs (lv_remove_single in lvm2's lib/metadata/lv_manip.c):
// two for a thin volume, whose pool is told of it, one to part a thick snapshot from
// its origin, and one in the end for all that is not committed with the former.
func (r *removal) commits() int64 {
	n, pending := int64(0), false
	for _, l := range r.gone {
		switch {
		case l.leavesPool():
			n, pending = n+2, false
		case l.snap != nil:
			n, pending = n+1, true
		default:
			pending = true
		}
	}
	if pending {
		n++
	}
	return n
}

// leavesPool tells of a thin volume that is being removed whether its pool stays.
func (l *logicalVolume) leavesPool() bool {
	return l.thin != nil && l.vg.lv(l.thin.pool.name) == l.thin.pool
}

// lvremove removes LVs, VG by VG.
func (c *command) lvremove() int {
	if len(c.args2) == 0 && !c.has("select") {
		return c.usage("lvremove VG|LV|Tag|Select ...")
	}
	lvs, code := c.targets(c.args2, c.last("select"), c.has("select"))
	for len(lvs) > 0 {
		vg, n := lvs[0].vg, 0
		for n < len(lvs) && lvs[n].vg == vg {
			n++
		}
		if !c.removeAll(vg, lvs[:n]) {
			code = exitFailed
		}
		lvs = lvs[n:]
	}
	return c.missingLVs(code)
}

// removeAll removes LVs of one VG, all or none.
func (c *command) removeAll(vg *volumeGroup, lvs []*logicalVolume) bool {
	c.going = &removal{}
	ok := true
	for _, l := range lvs {
		if vg.lv(l.name) == l { // else it went with another one
			ok = c.remove(l) && ok
		}
	}
	if !ok {
		c.rollback()
		return false
	}
	c.extra = max(0, c.going.commits()-1)
	for _, l := range c.going.gone {
		if l.leavesPool() {
			c.nextTransaction(l.thin.pool)
		}
	}
	c.settle = func() {
		for _, f := range c.going.after {
			f()
		}
	}
	if !c.commit(vg) {
		return false
	}
	for _, name := range c.going.names {
		c.say("Logical volume %q successfully removed.", name)
	}
	return true
}

// nextTransaction counts a pool's transaction.
func (c *command) nextTransaction(pool *logicalVolume) {
	count := func(by int64) {
		pool.pool.transaction += by
		pool.touch()
	}
	count(1)
	c.onUndo(func() { count(-1) })
}

// remove removes an LV and all that cannot be without it.
func (c *command) remove(l *logicalVolume) bool {
	if l.parent != nil {
		return c.refuseHidden(l)
	}
	if len(l.snaps) > 0 && l.active {
		question := "Do you really want to remove active origin logical volume " + l.fullName() + " with " + decimal(int64(len(l.snaps))) + " snapshots(s)?"
		if !c.ask(question) {
			c.fail("Logical volume %s not removed.", l.fullName())
			return false
		}
		if c.inUse(l) {
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
			if l.active {
				c.fail("LV %s has open %d snapshot(s), not deactivating.", l.fullName(), openOnes(l.snaps))
			}
			c.fail("Logical volume %s not removed.", l.fullName())
			return false
		}
	}
	return c.removeOne(l)
}

func openOnes(lvs []*logicalVolume) int {
	n := 0
	for _, l := range lvs {
		if l.opens > 0 {
			n++
		}
	}
	return n
}

func (c *command) refuseHidden(l *logicalVolume) bool {
	if l.kind == raidImage || l.kind == raidMeta {
		c.fail("Can't remove logical volume %s used as RAID device.", l.fullName())
	} else {
		c.fail("Can't remove logical volume %s used by a pool.", l.fullName())
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

// removeOne deactivates one LV on which nothing depends and unlinks it.
func (c *command) removeOne(l *logicalVolume) bool {
	if c.inUse(l) {
		return false
	}
	if l.active && !c.ask("Do you really want to remove active logical volume "+l.fullName()+"?") {
		c.fail("Logical volume %s not removed.", l.fullName())
		return false
	}
	vg := l.vg
	if missing := dmName(vg.name, l.name) + "_rimage_0-missing_0_0"; l.kind == raid1 && l.active && len(missing) > maxDMNameLen {
		c.h.deactivate(l)
		c.fail("Name %q too long.", missing)
		c.fail("Failed to remove temporary SubLVs from %s", l.fullName())
		c.fail("Cannot deactivate logical volume %s.", l.fullName())
		return false
	}
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
	if l.visible() {
		c.going.names = append(c.going.names, l.name)
	}
	c.going.gone = append(c.going.gone, l)
	switch {
	case l.thin != nil:
		c.going.after = append(c.going.after, l.thin.leave)
	case l.snap != nil:
		c.going.after = append(c.going.after, func() {
			if snapshotOnly {
				c.h.lower(l)
			}
			l.snap.leave(l)
		})
	}
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
