// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"slices"
	"strings"
)

// vgcreate makes a VG of disks, of which it makes PVs where they are none.
func (c *command) vgcreate() int {
	if len(c.args2) < 2 {
		return c.usage("vgcreate VG_new PV ...")
	}
	name := strings.TrimPrefix(c.args2[0], "/dev/")
	if !validName(name) {
		if name != "" && len(name) <= maxNameLen && name[0] != '-' {
			c.fail("Name contains invalid character, valid set includes: [a-zA-Z0-9.-_+].")
		}
		return c.misused("New volume group name %q is invalid.", name)
	}
	if c.h.hasFolder(name) {
		c.err.Reset() // lvm looks at /dev before it reads VGs
		return c.misused("/dev/%s: already exists in filesystem", name)
	}
	extent := int64(defaultExtent)
	if c.has("physicalextentsize") {
		extent, _, _ = parseSize(c.last("physicalextentsize"))
		if extent == 0 {
			return c.misused("Physical extent size may not be zero")
		}
		if extent < 1024 || extent&(extent-1) != 0 && extent%(128<<10) != 0 {
			return c.misused("Physical extent size must be power of 2 or multiple of 128 KiB.")
		}
	}
	if len(c.h.namedVGs(name)) > 0 {
		return c.failed("A volume group called %s already exists.", name)
	}
	vg := &volumeGroup{name: name, uuid: c.h.newUUID(), extent: extent, systemID: c.last("systemid"), noAuto: c.last("setautoactivation") == "n"}
	vg.tags = mergeTags(nil, c.set["addtag"], nil)
	pvs, code := c.join(vg, c.args2[1:])
	if code != exitOK {
		return code
	}
	c.h.vgs = append(c.h.vgs, vg)
	c.onUndo(func() {
		c.abandon(pvs)
		c.h.vgs = slices.DeleteFunc(c.h.vgs, func(x *volumeGroup) bool { return x == vg })
	})
	if !c.commit(vg) {
		return exitFailed
	}
	if vg.systemID != "" {
		c.say("Volume group %q successfully created with system ID %s", name, vg.systemID)
		return exitOK
	}
	c.say("Volume group %q successfully created", name)
	return exitOK
}

// join makes PVs of the disks and puts them into the VG.
func (c *command) join(vg *volumeGroup, paths []string) ([]*physicalVolume, int) {
	var pvs []*physicalVolume
	var disks []*disk
	if !c.devicesFound(paths) || !c.unused(paths) {
		return nil, exitFailed
	}
	for _, path := range paths {
		d := c.h.disk(path)
		if code := c.canBePV(d); code != exitOK {
			return nil, code
		}
		disks = append(disks, d)
	}
	for _, d := range disks {
		if d.pv == nil {
			c.makePV(d)
		}
		p := d.pv
		p.vg, p.extents = vg, (d.size-p.start)/vg.extent
		vg.pvs = append(vg.pvs, p)
		pvs = append(pvs, p)
		if p.extents == 0 {
			c.leave(pvs)
			return nil, c.failed("Physical volume %s is too small for one extent.", d.path)
		}
	}
	return pvs, exitOK
}

// devicesFound complains of paths without a disk. A disk that was taken away is
// one that LVM knows of and may not use.
func (c *command) devicesFound(paths []string) bool {
	missing, known := false, false
	for _, path := range paths {
		d := c.h.disk(path)
		known = known || d != nil
		if d == nil || d.absent {
			c.fail("No device found for %s.", path)
			missing = true
		}
	}
	if missing && known {
		c.fail("Command requires all devices to be found.")
	}
	return !missing
}

// unused complains of disks that are in a VG already.
func (c *command) unused(paths []string) bool {
	for _, path := range paths {
		if d := c.h.disk(path); d.pv != nil && d.pv.vg != nil {
			c.fail("Physical volume '%s' is already in volume group '%s'", path, d.pv.vg.name)
			c.fail("Unable to add physical volume '%s' to volume group '%s'", path, d.pv.vg.name)
			c.fail("%s: physical volume not initialized.", path)
			return false
		}
	}
	return true
}

// abandon is leave by a command that did not come to its commit. One that died had
// marked the PVs already (seen: lvm2 writes their labels before the metadata).
func (c *command) abandon(pvs []*physicalVolume) {
	c.leave(pvs)
	for _, p := range pvs {
		p.claimed, p.written = c.s.crash, p.written || c.s.crash
	}
}

// leave takes PVs out of their VG; they stay PVs.
func (c *command) leave(pvs []*physicalVolume) {
	for _, p := range pvs {
		if i := slices.Index(p.vg.pvs, p); i >= 0 {
			p.vg.pvs = slices.Delete(p.vg.pvs, i, i+1)
		}
		p.orphan()
	}
}

// orphan makes the PV one of no VG. What stood in the VG's metadata is lost.
func (p *physicalVolume) orphan() {
	p.written = p.written || p.textSize > 0
	p.vg, p.extents, p.used, p.missing, p.ring, p.textSize = nil, 0, nil, false, 0, 0
	p.tags, p.blocked = nil, false
}

func (c *command) canBePV(d *disk) int {
	if d.pv != nil && d.pv.claimed && len(c.set["force"]) < 2 {
		c.fail("PV %s is used by a VG but its metadata is missing.", d.path)
		c.fail("Can't initialize PV '%s' without -ff.", d.path)
		return c.failed("%s: physical volume not initialized.", d.path)
	}
	if d.size < minDeviceSize {
		return c.failed("Cannot use %s: device is too small (pv_min_size)", d.path)
	}
	for _, m := range c.h.mounts {
		if m.disk == d {
			c.fail("Can't open %s exclusively.  Mounted filesystem?", d.path)
			return exitFailed
		}
	}
	if d.opens > 0 {
		return c.failed("Can't open %s exclusively.  Mounted filesystem?", d.path)
	}
	for _, sig := range findSignatures(c.h, d) {
		if !c.has("yes") {
			c.err.WriteString("WARNING: " + sig.fstype + " signature detected on " + d.path + " at offset " + decimal(sig.offset) + ". Wipe it? [y/n]: [n]\n")
			c.fail("Aborted wiping of %s.", sig.fstype)
			return c.failed("1 existing signature left on the device.")
		}
		c.say("Wiping %s signature on %s.", sig.fstype, d.path)
		if d.write(make([]byte, sig.length), sig.offset) != nil {
			return exitFailed
		}
	}
	return exitOK
}

func (c *command) makePV(d *disk) {
	p := &physicalVolume{disk: d, start: dataOffset, area: mdaSize}
	if p.uuid = c.last("uuid"); p.uuid == "" {
		p.uuid = c.h.newUUID()
	}
	if c.has("metadatasize") {
		n, _, _ := parseSize(c.last("metadatasize"))
		p.area = n
		p.start = roundUp(mdaOffset+n, dataOffset)
		p.area = p.start - mdaOffset // lvm gives the area all up to the first extent
	}
	d.pv = p
	c.say("Physical volume %q successfully created.", d.path)
}

func (c *command) pvcreate() int {
	if len(c.args2) == 0 {
		return c.usage("pvcreate PV ...")
	}
	if c.has("uuid") {
		if code := c.ownUUID(); code != exitOK {
			return code
		}
	}
	code := exitOK
	for _, path := range c.args2 {
		d := c.h.disk(path)
		switch {
		case d == nil || d.absent:
			code = c.failed("No device found for %s.", path)
		case d.pv != nil && d.pv.vg != nil:
			c.fail("Can't initialize physical volume %q of volume group %q without -ff", path, d.pv.vg.name)
			code = c.failed("%s: physical volume not initialized.", path)
		default:
			if bad := c.canBePV(d); bad != exitOK {
				code = bad
				continue
			}
			c.s.at(BeforeCommit)
			c.makePV(d)
			c.s.at(AfterCommit)
		}
	}
	return code
}

// ownUUID checks a pvcreate that says which UUID the PV gets.
func (c *command) ownUUID() int {
	switch {
	case !c.has("norestorefile"):
		return c.misused("--restorefile is required with --uuid")
	case len(c.args2) != 1:
		return c.misused("Can only set uuid on one volume at once")
	}
	for _, d := range c.h.disks {
		if d.pv != nil && !d.absent && d.pv.uuid == c.last("uuid") && d.path != c.args2[0] {
			return c.failed("UUID %s already in use on %q.", c.last("uuid"), d.path)
		}
	}
	return exitOK
}

func (c *command) pvremove() int {
	if len(c.args2) == 0 {
		return c.noSyntax()
	}
	code := exitOK
	for _, path := range c.args2 {
		d := c.h.disk(path)
		switch {
		case d == nil || d.absent:
			code = c.failed("No device found for %s.", path)
		case d.pv == nil:
			code = c.failed("No PV found on device %s.", path)
		case d.pv.vg != nil:
			c.fail("PV %s is used by VG %s so please use vgreduce first.", path, d.pv.vg.name)
			c.fail("(If you are certain you need pvremove, then confirm by using --force twice.)")
			code = c.failed("%s: physical volume label not removed.", path)
		default:
			c.s.commit(func() { d.pv = nil })
			c.say("Labels on physical volume %q successfully wiped.", path)
		}
	}
	return code
}

func (c *command) vgextend() int {
	if len(c.args2) < 2 {
		return c.noSyntax()
	}
	if !c.has("restoremissing") && (!c.devicesFound(c.args2[1:]) || !c.unused(c.args2[1:])) {
		return exitFailed
	}
	vg, ok := c.vgNamed(c.args2[0])
	if !ok {
		for _, path := range c.args2[1:] { // lvm makes the PVs before it looks for the VG
			if d := c.h.disk(path); d != nil && !d.absent && d.pv == nil && c.canBePV(d) == exitOK {
				c.makePV(d)
			}
		}
		return exitFailed
	}
	if c.has("restoremissing") {
		restored := 0
		for _, path := range c.args2[1:] {
			i := slices.IndexFunc(vg.pvs, func(p *physicalVolume) bool { return p.disk.path == path && !p.disk.absent })
			switch {
			case i < 0:
				c.fail("WARNING: PV %s not found in VG %s", path, vg.name)
			case !vg.pvs[i].missing:
				c.fail("WARNING: PV %s was not missing in VG %s", path, vg.name)
			default:
				p := vg.pvs[i]
				p.missing = false
				c.onUndo(func() { p.missing = true })
				restored++
			}
		}
		if restored == 0 {
			return c.failed("No PV has been restored.")
		}
	} else {
		pvs, code := c.join(vg, c.args2[1:])
		if code != exitOK {
			return code
		}
		c.onUndo(func() { c.abandon(pvs) })
	}
	if !c.commit(vg) {
		return exitFailed
	}
	c.say("Volume group %q successfully extended", vg.name)
	return exitOK
}

func (c *command) vgreduce() int {
	if len(c.args2) == 0 || len(c.args2) == 1 && !c.has("removemissing") {
		return c.noSyntax()
	}
	vg, ok := c.vgNamed(c.args2[0])
	if !ok {
		return c.notReached(c.args2[1:])
	}
	if c.has("removemissing") {
		return c.removeMissing(vg)
	}
	if !c.whole(vg) {
		return c.notReached(c.args2[1:])
	}
	for _, path := range c.args2[1:] {
		i := slices.IndexFunc(vg.pvs, func(p *physicalVolume) bool { return p.disk.path == path })
		switch {
		case i < 0:
			return c.notReached([]string{path})
		case len(vg.pvs) == 1:
			return c.failed("Can't remove final physical volume %q from volume group %q", path, vg.name)
		case len(vg.pvs[i].used) > 0:
			return c.failed("Physical volume %q still in use", path)
		}
		p := vg.pvs[i]
		vg.pvs = slices.Delete(vg.pvs, i, i+1)
		c.onUndo(func() { vg.pvs = slices.Insert(vg.pvs, i, p) })
		if !c.commit(vg) {
			return exitFailed
		}
		p.orphan()
		c.say("Removed %q from volume group %q", path, vg.name)
	}
	return exitOK
}

// notReached complains of PVs that a command was to work on and did not come to.
func (c *command) notReached(paths []string) int {
	for _, path := range paths {
		if d := c.h.disk(path); d == nil || d.absent {
			c.fail("Cannot use %s: device not found", path)
		} else {
			c.fail("Failed to find physical volume %q.", path)
		}
	}
	return exitFailed
}

// removeMissing drops the missing PVs, with --force the LVs on them too.
func (c *command) removeMissing(vg *volumeGroup) int {
	if !vg.partial() {
		c.say("Volume group %q is already consistent.", vg.name)
		return exitOK
	}
	var broken []*logicalVolume
	for _, l := range vg.lvs {
		if l.partial() {
			broken = append(broken, l)
		}
	}
	slices.SortStableFunc(broken, func(a, b *logicalVolume) int { return digit(!a.visible()) - digit(!b.visible()) })
	if len(broken) > 0 && !c.has("force") {
		for _, l := range broken {
			c.fail("WARNING: Partial LV %s needs to be repaired or removed. ", l.name)
		}
		c.fail("There are still partial LVs in VG %s.", vg.name)
		c.fail("To remove them unconditionally use: vgreduce --removemissing --force.")
		c.fail("To remove them unconditionally from mirror LVs use: vgreduce --removemissing --mirrorsonly --force.")
		c.fail("WARNING: Proceeding to remove empty missing PVs.")
		c.commit(vg)
		return exitFailed
	}
	if slices.ContainsFunc(broken, func(l *logicalVolume) bool { return l.kind == raid1 }) {
		return c.unmodelled("--removemissing --force with a raid1 LV that has lost a leg")
	}
	broken = slices.DeleteFunc(broken, func(l *logicalVolume) bool { return !l.visible() })
	if len(broken) > 0 && !c.removeAll(vg, broken) {
		return exitFailed
	}
	var dropped []*physicalVolume
	for _, p := range slices.Clone(vg.pvs) {
		if p.gone() {
			dropped = append(dropped, p)
		}
	}
	c.leave(dropped)
	for _, p := range dropped {
		p.disk.pv = nil // the disk, should it come back, belongs to nobody
	}
	if !c.commit(vg) {
		return exitFailed
	}
	c.say("Wrote out consistent volume group %s.", vg.name)
	return exitOK
}

// vgOpen refuses to deactivate a VG of which an LV is open.
func (c *command) vgOpen(vg *volumeGroup) bool {
	if !slices.Contains([]string{"n", "en", "ln"}, c.last("activate")) {
		return false
	}
	open := 0
	for _, l := range vg.lvs {
		if l.visible() && l.opens > 0 {
			if open == 0 {
				c.inUse(l)
			}
			open++
		}
	}
	if open > 0 {
		c.fail("Can't deactivate volume group %q with %d open logical volume(s)", vg.name, open)
	}
	return open > 0
}

func (c *command) vgremove() int {
	if len(c.args2) == 0 && !c.has("select") {
		return c.noSyntax()
	}
	vgs, code := c.vgTargets()
	for _, vg := range vgs {
		forced := c.has("yes") || c.has("force")
		if len(vg.lvs) > 0 {
			if gone := vg.gonePVs(); gone > 0 && !forced {
				c.fail("WARNING: %d physical volumes are currently missing from the system.", gone)
			}
			visible := 0
			for _, l := range vg.lvs {
				if l.visible() {
					visible++
				}
			}
			if !c.ask("Do you really want to remove volume group \"" + vg.name + "\" containing " + decimal(int64(visible)) + " logical volumes?") {
				code = c.failed("Volume group %q not removed", vg.name)
				continue
			}
		}
		lvs := slices.DeleteFunc(slices.Clone(vg.lvs), func(l *logicalVolume) bool { return !l.visible() })
		if len(lvs) > 0 && !c.removeAll(vg, lvs) {
			code = exitFailed
			continue
		}
		if vg.partial() && !forced {
			c.fail("Volume group %q not found, is inconsistent or has PVs missing.", vg.name)
			code = c.failed("Consider vgreduce --removemissing if metadata is inconsistent.")
			continue
		}
		c.s.at(BeforeCommit)
		c.leave(slices.Clone(vg.pvs))
		c.h.vgs = slices.DeleteFunc(c.h.vgs, func(x *volumeGroup) bool { return x == vg })
		c.say("Volume group %q successfully removed", vg.name)
		c.s.at(AfterCommit)
	}
	return code
}

// gonePVs is how many of the VG's PVs cannot be used.
func (v *volumeGroup) gonePVs() int {
	n := 0
	for _, p := range v.pvs {
		if p.gone() {
			n++
		}
	}
	return n
}

// vgTargets is the VGs that the arguments and the selection mean.
func (c *command) vgTargets() (vgs []*volumeGroup, code int) {
	var sel *selector
	if c.has("select") {
		var ok bool
		if sel, ok = c.parseSelection(c.last("select"), "vg"); !ok {
			return nil, exitFailed
		}
	}
	if len(c.args2) == 0 {
		vgs = c.h.present()
	}
	for _, name := range c.args2 {
		vg, ok := c.vgNamed(name)
		if !ok {
			code = exitFailed
			continue
		}
		vgs = append(vgs, vg)
	}
	if sel != nil {
		vgs = slices.DeleteFunc(vgs, func(vg *volumeGroup) bool { return !sel.matches(c.h, row{vg: vg}) })
	}
	return vgs, code
}

func (c *command) vgchange() int {
	changes := c.has("addtag") || c.has("deltag") || c.has("setautoactivation")
	if !changes && !c.has("activate") {
		return c.noSyntax()
	}
	vgs, code := c.vgTargets()
	for _, vg := range vgs {
		if changes {
			tags, noAuto := vg.tags, vg.noAuto
			c.onUndo(func() { vg.tags, vg.noAuto = tags, noAuto })
			vg.tags = mergeTags(vg.tags, c.set["addtag"], c.set["deltag"])
			if c.has("setautoactivation") {
				vg.noAuto = c.last("setautoactivation") == "n"
			}
			if !c.commit(vg) {
				code = exitFailed
				continue
			}
			c.say("Volume group %q successfully changed", vg.name)
		}
		if c.has("activate") && c.vgOpen(vg) {
			code = exitFailed
			continue
		}
		if c.has("activate") {
			active := 0
			for _, l := range vg.lvs {
				if !l.visible() {
					continue
				}
				if l.snap == nil && !c.changeActivation(l, c.last("activate")) { // snapshots go with their origins
					code = exitFailed
				}
				if l.active {
					active++
				}
			}
			c.say("%d logical volume(s) in volume group %q now active", active, vg.name)
		}
	}
	return code
}

func (c *command) vgrename() int {
	if len(c.args2) != 2 {
		return c.noSyntax()
	}
	to := strings.TrimPrefix(c.args2[1], "/dev/")
	vg, ok := c.vgNamed(c.args2[0])
	if !ok {
		return exitFailed
	}
	if !validName(to) {
		return c.misused("New volume group name %q is invalid.", to)
	}
	if len(c.h.namedVGs(to)) > 0 {
		return c.failed("New volume group %q already exists", to)
	}
	from := vg.name
	vg.name = to
	c.onUndo(func() { vg.name = from })
	if !c.commit(vg) {
		return exitFailed
	}
	c.say("Volume group %q successfully renamed to %q", from, to)
	return exitOK
}

// pvscan is modelled as far as it has LVM look at all disks: the fake always does.
func (c *command) pvscan() int {
	if !c.has("cache") {
		c.fail("fakelvm: pvscan without --cache is not modelled")
		return exitUnmodelled
	}
	for _, d := range c.h.disks {
		if d.pv != nil && !d.absent {
			c.say("pvscan[1] PV %s online.", d.path)
		}
	}
	return exitOK
}
