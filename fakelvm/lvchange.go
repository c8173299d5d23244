// SPDX-License-Identifier: Apache-2.0

package fakelvm

import "strings"

// lvchange changes properties or the activation of LVs, one commit each for the
// former.
func (c *command) lvchange() int {
	changes := c.has("addtag") || c.has("deltag") || c.has("setactivationskip") || c.has("permission") ||
		c.has("errorwhenfull") || c.has("setautoactivation") || c.has("zero")
	if !changes && !c.has("activate") && !c.has("refresh") || len(c.args2) == 0 && !c.has("select") {
		return c.noSyntax()
	}
	if changes && c.has("activate") {
		c.fail("WARNING: Combining activation change with other commands is not advised.")
	}
	lvs, code := c.targets(c.args2, c.last("select"), c.has("select"))
	for _, l := range lvs {
		if !l.visible() && (l.kind != poolData && l.kind != poolMeta || !changes) {
			c.fail("Operation not permitted on hidden LV %s.", l.fullName())
			code = exitFailed
			continue
		}
		if changes && !c.changeProperties(l) {
			code = exitFailed
			continue
		}
		if c.has("activate") && !c.changeActivation(l, c.last("activate")) {
			code = exitFailed
		}
		if c.has("refresh") && l.active && c.h.activate(l) != nil {
			c.fail("Failed to reactivate %s.", l.fullName())
			code = exitFailed
		}
	}
	return c.missingLVs(code)
}

func (c *command) changeProperties(l *logicalVolume) bool {
	tags, skip, readOnly, auto, errorWhenFull := l.tags, l.skipActivation, l.readOnly, l.noAuto, l.errorWhenFull
	c.onUndo(func() {
		l.tags, l.skipActivation, l.readOnly, l.noAuto, l.errorWhenFull = tags, skip, readOnly, auto, errorWhenFull
		l.touch()
	})
	l.tags = mergeTags(l.tags, c.set["addtag"], c.set["deltag"])
	if c.has("setactivationskip") {
		l.skipActivation = c.last("setactivationskip") == "y"
	}
	if c.has("permission") {
		l.readOnly = strings.HasPrefix(c.last("permission"), "r") && c.last("permission") != "rw"
	}
	if c.has("errorwhenfull") && l.pool != nil {
		l.errorWhenFull = c.last("errorwhenfull") == "y"
	}
	if c.has("zero") && l.pool != nil {
		zero := l.pool.zero
		c.onUndo(func() { l.pool.zero = zero })
		l.pool.zero = c.last("zero") == "y"
	}
	if c.has("setautoactivation") {
		l.noAuto = c.last("setautoactivation") == "n"
	}
	l.touch()
	ok := c.commit(l.vg)
	if !ok {
		c.fail("Failed to update metadata of %s on disk.", l.fullName())
	}
	c.say("Logical volume %s changed.", l.fullName()) // lvm says so even then
	return ok
}

// changeActivation activates or deactivates; it is no error that it is so already.
func (c *command) changeActivation(l *logicalVolume, how string) bool {
	off := how == "n" || how == "en" || how == "ln"
	if l.snap != nil { // a snapshot and its origin go together, whatever the change
		question := "Change of snapshot " + l.fullName() + " will also change its origin " + l.snap.origin.fullName()
		if n := len(l.snap.origin.snaps) - 1; n > 0 {
			question += " and " + decimal(int64(n)) + " other snapshot(s)"
		}
		if c.name == "lvchange" && !c.ask(question+". Proceed?") {
			c.fail("Logical volume %s not changed.", l.fullName())
			return false
		}
	}
	if off {
		if !l.active {
			return true
		}
		group := []*logicalVolume{l}
		if l.snap != nil {
			group = append([]*logicalVolume{l.snap.origin}, l.snap.origin.snaps...)
		}
		for _, x := range append(group, l.snaps...) {
			if c.inUse(x) {
				return false
			}
		}
		c.s.at(BeforeCommit)
		c.h.deactivate(l)
		return true
	}
	if l.skipActivation && !c.has("ignoreactivationskip") || how == "ay" && l.noAuto {
		return true
	}
	if !l.usable() {
		c.fail("Refusing activation of partial LV %s.  Use '--activationmode partial' to override.", l.fullName())
		return false
	}
	if dm := dmName(l.vg.name, l.name); len(dm) > maxDMNameLen {
		c.fail("Name %q too long.", dm)
		c.fail("Failed to set device name for %s", dm)
		return false
	}
	c.s.at(BeforeCommit)
	return c.h.activate(l) == nil
}

// lvrename renames an LV and the sub-LVs that are named after it.
func (c *command) lvrename() int {
	args := c.args2
	var vgName, from, to string
	switch len(args) {
	case 3:
		vgName, from, to = strings.TrimPrefix(args[0], "/dev/"), args[1], args[2]
	case 2:
		vgName, from = splitLV(args[0])
		to = args[1]
		if from == "" {
			c.fail("Path required for Logical Volume %q.", args[0])
			return c.misused("Please provide a valid volume group name")
		}
	default:
		return c.noSyntax()
	}
	if _, name := splitLV(from); name != "" {
		from = name
	}
	if a, b := splitLV(to); b != "" {
		if a != vgName {
			return c.misused("Logical volume names must have the same volume group (%q or %q)", vgName, a)
		}
		to = b
	}
	if most := maxNameLen - 2 - len(vgName); len(to) > most {
		return c.misused("New logical volume name %q may not exceed %d characters.", to, most)
	}
	if !validName(to) {
		return c.misused("New logical volume name %q is invalid", to)
	}
	if why, is := reserved(to); is {
		return c.misused("%s", why)
	}
	if from == to {
		return c.misused("Old and new logical volume names must differ")
	}
	vg, ok := c.vgNamed(vgName)
	if !ok {
		return exitFailed
	}
	if !c.whole(vg) {
		return exitFailed
	}
	l := vg.lv(from)
	if l == nil {
		return c.failed("Existing logical volume %q not found in volume group %q", from, vg.name)
	}
	if vg.lv(to) != nil {
		return c.failed("Logical Volume %q already exists in volume group %q", to, vg.name)
	}
	if !l.visible() {
		return c.failed("Cannot rename internal LV %q.", from)
	}
	if full := vg.name + "/" + to; len(full)+2 > maxNameLen {
		return c.failed("Internal error: LV name %q length %d is not supported.", full, len(full)+2)
	}
	c.rename(l, to)
	if !c.commit(vg) {
		return exitFailed
	}
	c.say("Renamed %q to %q in volume group %q", from, to, vg.name)
	return exitOK
}

func (c *command) rename(l *logicalVolume, to string) {
	vg, from := l.vg, l.name
	set := func(x *logicalVolume, name string) {
		delete(vg.byName, x.name)
		x.name = name
		vg.byName[name] = x
	}
	move := func(a, b string) {
		for _, x := range append([]*logicalVolume{l}, l.subs()...) {
			set(x, b+strings.TrimPrefix(x.name, a))
		}
		for _, x := range vg.lvs { // others name it in their text
			x.touch()
		}
	}
	move(from, to)
	c.onUndo(func() { move(to, from) })
}
