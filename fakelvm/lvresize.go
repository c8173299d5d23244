// SPDX-License-Identifier: Apache-2.0

package fakelvm

// lvresize serves lvextend, lvreduce and lvresize. As in lvm2's tools/lvresize.c
// the command line alone is looked at first, then the VG, then the LV.
func (c *command) lvresize() int {
	if !c.has("size") && !c.has("extents") && !c.has("poolmetadatasize") {
		return c.noSyntax()
	}
	if len(c.args2) == 0 && !c.has("size") && !c.has("extents") {
		return c.usage("lvextend --poolmetadatasize [+]Size[m|UNIT] LV", "Extend a pool metadata SubLV by a specified size.")
	}
	if len(c.args2) == 0 {
		return c.usage(c.name+" -L|--size [+]Size[m|UNIT] LV", map[string]string{"lvextend": "Extend an LV by a specified size."}[c.name])
	}
	if code := c.zeros("extents", "size", "poolmetadatasize"); code != exitOK {
		return code
	}
	if c.has("size") && c.has("extents") {
		return c.misused("Please specify either size or extents but not both.")
	}
	vgName, name, code := c.lvPath(c.args2[0])
	if code != exitOK {
		return code
	}
	if !validName(vgName) {
		c.fail("Volume group name %q has invalid characters.", vgName)
		return c.failed("Cannot process volume group %s", vgName)
	}
	vg, ok := c.vgNamed(vgName)
	if !ok {
		return exitFailed
	}
	if !c.whole(vg) {
		return exitFailed
	}
	l := vg.lv(name)
	if l == nil {
		return c.failed("Logical volume %s not found in volume group %s.", name, vg.name)
	}
	if l.kind == raidImage || l.kind == raidMeta {
		return c.failed("Cannot resize a RAID %s directly", map[kind]string{raidImage: "image", raidMeta: "metadata area"}[l.kind])
	}
	if !l.visible() {
		return c.failed("Operation not permitted on hidden LV %s.", l.fullName())
	}
	on, code := c.placesNamed(vg, c.args2[1:])
	if code != exitOK {
		return code
	}
	if c.has("poolmetadatasize") {
		return c.resizePool(l, on)
	}
	size, code := c.newSize(l)
	if code != exitOK {
		return code
	}
	if l.pool != nil && size > l.size && on == nil && c.name != "lvreduce" {
		if code := c.growPoolMeta(l, size); code != exitOK {
			return code
		}
	}
	return c.resizeTo(l, size, on)
}

// newSize is the size in extents that --size or --extents asks for.
func (c *command) newSize(l *logicalVolume) (size int64, code int) {
	vg := l.vg
	var n int64
	var sign byte
	if c.has("size") {
		n, sign, _ = parseSize(c.last("size"))
		if n%vg.extent != 0 {
			n = roundUp(n, vg.extent)
			c.say("Rounding size to boundary between physical extents: %s.", humanSize(n))
		}
		n /= vg.extent
	} else {
		var of string
		n, sign, of, _ = parseExtents(c.last("extents"))
		total, free := vg.extents()
		percent := n
		switch of {
		case "":
		case "FREE":
			n = (n*free + 99) / 100
		case "VG", "PVS":
			n = (n*total + 99) / 100
		case "LV":
			n = (n*l.size + 99) / 100
		case "ORIGIN":
			if l.snap == nil {
				return 0, c.failed("Specified ORIGIN is only valid for snapshots.")
			}
			n = (n*l.snap.origin.size + 99) / 100
		}
		if of == "FREE" || of == "VG" || of == "PVS" {
			if room := free + l.size; sign == 0 && n > room {
				c.say("Reducing %d%%%s to remaining free space %s in VG.", percent, of, humanSize(room*vg.extent))
				n = room
			}
			n = l.fromPhysical(n, sign)
		}
	}
	switch sign {
	case '+':
		n += l.size
	case '-':
		if n >= l.size {
			return 0, c.failed("Unable to reduce %s below 1 extent.", l.fullName())
		}
		n = l.size - n
	default:
		if n == 0 {
			return 0, c.failed("New size of 0 not permitted.")
		}
	}
	return n, exitOK
}

// fromPhysical turns extents of PVs, which is what a share of a VG is counted in,
// into extents of the LV: each of raid1 takes one on every leg, and what its legs'
// metadata has is a part of the share.
func (l *logicalVolume) fromPhysical(n int64, sign byte) int64 {
	legs := int64(len(l.images))
	if legs == 0 {
		return n
	}
	if has := (l.size + 1) * legs; sign == 0 && n > has {
		return l.size + (n-has)/legs
	}
	return n / legs
}

// resizeTo changes the LV's size: commits, then gives the active device its new size.
func (c *command) resizeTo(l *logicalVolume, size int64, on []place) int {
	vg := l.vg
	if l.snap != nil {
		if limit := maxCOW(l.snap.origin.bytes(), vg.extent) / vg.extent; size > limit {
			size = max(limit, l.size)
			c.say("Reached maximum COW size %s (%d extents).", humanSize(size*vg.extent), size)
			if size == l.size {
				return c.unchanged(l, l)
			}
		}
	}
	target := l
	if l.pool != nil {
		target = l.pool.data
	}
	legs := int64(1)
	if l.kind == striped && len(l.segs) > 0 {
		last := l.segs[len(l.segs)-1]
		legs = int64(len(last.stripes))
		if size > l.size {
			c.say("Using stripesize of last segment %s", humanSize(last.stripeSize))
		}
		if rest := size % legs; rest != 0 {
			up := size + legs - rest
			c.say("Rounding size (%d extents) up to stripe boundary size for segment (%d extents).", size, up)
			size = up
		}
	}
	if l.kind == raid1 && size > l.size {
		c.say("Extending %d mirror images.", len(l.images))
	}
	switch {
	case size == l.size:
		return c.failed("New size (%d extents) matches existing size (%d extents).", size, l.size)
	case size < l.size && c.name == "lvextend":
		return c.failed("New size given (%d extents) not larger than existing size (%d extents)", size, l.size)
	case size > l.size && c.name == "lvreduce":
		return c.failed("New size given (%d extents) not less than existing size (%d extents)", size, l.size)
	}
	if len(l.snaps) > 0 && l.active {
		return c.failed("Snapshot origin volumes can be resized only while inactive: try lvchange -an.")
	}
	if size < l.size {
		return c.reduce(l, size)
	}
	return c.extend(l, target, size, legs, on)
}

// unchanged is the end of a resize that LVM takes for done though it did nothing.
func (c *command) unchanged(l, target *logicalVolume) int {
	c.say("Size of logical volume %s unchanged from %s (%d extents).", target.fullName(), humanSize(l.bytes()), l.size)
	c.say("Logical volume %s successfully resized.", l.fullName())
	return exitOK
}

func (c *command) extend(l, target *logicalVolume, size, legs int64, on []place) int {
	vg, old := l.vg, l.size
	switch {
	case l.thin != nil:
		c.onUndo(func() { c.setSize(l, old) })
		c.setSize(l, size)
	case l.kind == raid1:
		each := size - old
		r := request{vg: vg, width: len(l.images), each: each, on: on, cling: c.clings(l), share: c.share()}
		for _, image := range l.images {
			pv, end := image.end()
			r.after, r.ends, r.have = append(r.after, pv), append(r.ends, end), append(r.have, image.segs[0].stripes[0].pv)
		}
		if code := c.usable(r); code != exitOK {
			return code
		}
		g, missing, ok := allocate(r)
		if !ok && r.share {
			return c.unchanged(l, target)
		}
		if !ok {
			return c.noRoom(l.name, missing, false)
		}
		size = old + g.each
		for i, image := range l.images {
			c.grow(image, grant{legs: g.legs[i : i+1]}.segments(old, 0), size)
		}
		c.onUndo(func() { c.setSize(l, old) })
		c.setSize(l, size)
	default:
		more := size - old
		r := c.extension(vg, target, more)
		r.on, r.cling, r.share = on, c.clings(l), c.share()
		if code := c.usable(r); code != exitOK {
			return code
		}
		g, missing, ok := allocate(r)
		if !ok && r.share {
			return c.unchanged(l, target)
		}
		if !ok {
			return c.noRoom(l.name, missing, false)
		}
		size = old + g.each*legs
		stripeSize := int64(0)
		if legs > 1 {
			stripeSize = target.segs[len(target.segs)-1].stripeSize
		}
		c.grow(target, g.segments(old, stripeSize), size)
		if target != l {
			c.onUndo(func() { c.setSize(l, old) })
			c.setSize(l, size)
		}
	}
	verb := l.fullName()
	if target != l {
		verb = target.fullName()
	}
	c.say("Size of logical volume %s changed from %s (%d extents) to %s (%d extents).", verb, humanSize(old*vg.extent), old, humanSize(size*vg.extent), size)
	if l.thin != nil {
		c.overprovisioned(vg, l.thin.pool, 0)
	} else if l.pool != nil {
		c.overprovisioned(vg, l, 0)
	}
	if l.pool != nil {
		l.pool.suspend(size)
	}
	if !c.commit(vg) {
		c.reload(l)
		return exitFailed
	}
	c.reload(l)
	if l.pool != nil {
		l.pool.outOfData = false
	}
	c.say("Logical volume %s successfully resized.", l.fullName())
	return exitOK
}

// clings says whether an LV may be only where it is, or, new (nil), where it begins.
func (c *command) clings(l *logicalVolume) bool {
	if policy := c.last("alloc"); policy != "" && policy != "inherit" {
		return policy == "cling"
	}
	return l != nil && l.cling
}

// reload gives the devices of an active LV their new sizes.
func (c *command) reload(l *logicalVolume) {
	if l.pool != nil {
		l.pool.reload()
		return
	}
	if l.active {
		l.table = l.size
	}
	for _, sub := range l.subs() {
		if sub.active {
			sub.table = sub.size
		}
	}
}

// setSize is a new size of an LV whose only segment maps to other LVs.
func (c *command) setSize(l *logicalVolume, size int64) {
	l.size, l.segs[0].count = size, size
	l.touch()
}

// extension is the request for more extents of an LV (nil: a new one).
func (c *command) extension(vg *volumeGroup, l *logicalVolume, more int64) request {
	if l == nil || len(l.segs) == 0 {
		return request{vg: vg, width: 1, each: more}
	}
	last := l.segs[len(l.segs)-1]
	legs := int64(len(last.stripes))
	r := request{vg: vg, width: len(last.stripes), each: more / legs}
	for _, a := range last.stripes {
		r.after = append(r.after, a.pv)
		r.ends = append(r.ends, a.start+last.count/legs)
	}
	for _, a := range l.segs[0].stripes {
		r.have = append(r.have, a.pv)
	}
	return r
}

// end is the PV on which an LV of one leg ends, and the extent behind it.
func (l *logicalVolume) end() (*physicalVolume, int64) {
	last := l.segs[len(l.segs)-1]
	return last.stripes[0].pv, last.stripes[0].start + last.count
}

// grow appends segments to an LV.
func (c *command) grow(l *logicalVolume, more []segment, size int64) {
	c.remap(l, mergeSegments(append(append([]segment(nil), l.segs...), more...)), size)
}

// remap gives an LV other segments.
func (c *command) remap(l *logicalVolume, segs []segment, size int64) {
	oldSegs, oldSize := l.segs, l.size
	apply := func(segs []segment, size int64) {
		for _, s := range l.segs {
			l.vacate(s)
		}
		l.segs, l.size = segs, size
		for _, s := range l.segs {
			l.occupy(s)
		}
		l.touch()
	}
	apply(segs, size)
	c.onUndo(func() { apply(oldSegs, oldSize) })
}

// reduce makes the LV smaller, from its end.
func (c *command) reduce(l *logicalVolume, size int64) int {
	vg, old := l.vg, l.size
	if l.pool != nil {
		return c.failed("Thin pool volumes %s cannot be reduced in size yet.", l.pool.data.fullName())
	}
	if l.active {
		c.fail("WARNING: Reducing active logical volume to %s.", humanSize(size*vg.extent))
	}
	c.fail("THIS MAY DESTROY YOUR DATA (filesystem etc.)")
	if !c.ask("Do you really want to reduce " + l.fullName() + "?") {
		return c.failed("Logical volume %s NOT reduced.", l.fullName())
	}
	parts := []*logicalVolume{l}
	if l.kind == raid1 {
		parts = l.images
	}
	for _, p := range parts {
		if p.hasArea() {
			c.remap(p, p.upTo(size), size)
		}
	}
	if !l.hasArea() {
		c.onUndo(func() { c.setSize(l, old) })
		c.setSize(l, size)
	}
	c.say("Size of logical volume %s changed from %s (%d extents) to %s (%d extents).", l.fullName(), humanSize(old*vg.extent), old, humanSize(size*vg.extent), size)
	if !c.commit(vg) {
		return exitFailed
	}
	if l.thin != nil {
		l.thin.discard(size*vg.extent, (old-size)*vg.extent)
	}
	c.reload(l)
	c.say("Logical volume %s successfully resized.", l.fullName())
	return exitOK
}

// upTo is the LV's segments up to a logical extent.
func (l *logicalVolume) upTo(size int64) []segment {
	var out []segment
	for _, s := range l.segs {
		if s.start >= size {
			break
		}
		s.count = min(s.count, size-s.start)
		out = append(out, s)
	}
	return out
}
