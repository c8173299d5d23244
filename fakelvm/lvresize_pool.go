// SPDX-License-Identifier: Apache-2.0

package fakelvm

// growPoolMeta makes a pool's metadata large enough for data of size extents, and
// the VG's spare as large, before the data grows. That is a commit of its own, which
// stays when there is no room for the data then. LVM leaves it out when the command
// names PVs.
func (c *command) growPoolMeta(pool *logicalVolume, size int64) int {
	vg, meta := pool.vg, pool.pool.meta
	bytes := metaFor(size*vg.extent, pool.pool.chunk)
	want := roundUp(bytes, vg.extent) / vg.extent
	if want <= meta.size {
		return exitOK
	}
	if bytes%vg.extent != 0 {
		c.say("Rounding size to boundary between physical extents: %s.", humanSize(want*vg.extent))
	}
	return c.extendMeta(pool, want, nil, true)
}

// resizePool is lvextend with --poolmetadatasize: of the metadata, and then of the data
// when the command has a size for these, too, which may be the one that they have.
func (c *command) resizePool(pool *logicalVolume, on []place) int {
	if pool.pool == nil {
		return c.failed("--poolmetadatasize can be used only with thin pools.")
	}
	meta, data := pool.pool.meta, pool.pool.data
	size, both := pool.size, c.has("size") || c.has("extents")
	var code int
	if both {
		if size, code = c.newSize(pool); code != exitOK {
			return code
		}
		if size < pool.size {
			return c.failed("New size given (%d extents) not larger than existing size (%d extents)", size, pool.size)
		}
	}
	want, code := c.newMetaSize(meta)
	if code != exitOK {
		return code
	}
	if code := c.extendMeta(pool, want, on, size > pool.size); code != exitOK {
		return code
	}
	switch {
	case !both:
		c.say("Logical volume %s successfully resized.", meta.fullName())
		return exitOK
	case size == pool.size:
		return c.unchanged(pool, data)
	}
	return c.resizeTo(pool, size, on)
}

// What metadata LVM takes from --poolmetadatasize before it gives the pool a flag that the
// fake has not (DM_THIN_MAX_METADATA_SIZE).
const metaUncropped = (255*(1<<14)*8 - 256*1024) * sectorSize

// newMetaSize is the size in extents that --poolmetadatasize asks for.
func (c *command) newMetaSize(meta *logicalVolume) (size int64, code int) {
	vg := meta.vg
	n, sign, _ := parseSize(c.last("poolmetadatasize"))
	if n > metaUncropped {
		return 0, c.unmodelled("--poolmetadatasize of more than " + humanSize(metaUncropped))
	}
	if n%vg.extent != 0 {
		n = roundUp(n, vg.extent)
		c.say("Rounding size to boundary between physical extents: %s.", humanSize(n))
	}
	n /= vg.extent
	if sign == '+' {
		n += meta.size
	}
	if n < meta.size {
		return 0, c.failed("New size given (%d extents) not larger than existing size (%d extents)", n, meta.size)
	}
	return n, exitOK
}

// extendMeta makes a pool's metadata that many extents, and the VG's spare as large where
// no PVs are named, in a commit of its own. more: the data is next.
func (c *command) extendMeta(pool *logicalVolume, want int64, on []place, more bool) int {
	vg, meta := pool.vg, pool.pool.meta
	old := meta.size
	if want == old {
		c.say("Size of logical volume %s unchanged from %s (%d extents).", meta.fullName(), humanSize(meta.bytes()), old)
		return exitOK
	}
	r := c.extension(vg, meta, want-old)
	r.on, r.share = on, c.share()
	if code := c.usable(r); code != exitOK {
		return code
	}
	g, missing, ok := allocate(r)
	switch {
	case !ok && r.share:
		c.say("Size of logical volume %s unchanged from %s (%d extents).", meta.fullName(), humanSize(meta.bytes()), old)
		return exitOK
	case !ok:
		return c.noRoom(meta.name, missing, false)
	}
	size := old + g.each
	c.grow(meta, g.segments(old, 0), size)
	c.say("Size of logical volume %s changed from %s (%d extents) to %s (%d extents).", meta.fullName(), humanSize(old*vg.extent), old, humanSize(size*vg.extent), size)
	if on == nil {
		spare := vg.spare()
		if code := c.growSpare(creation{vg: vg}, spare, size); code == exitOK && spare == nil && vg.spare() != nil {
			c.extra = 1
		}
	}
	pool.pool.suspend(0)
	end := AfterCommit
	if more {
		end = BetweenCommits
	}
	ok = c.commitUntil(vg, end)
	c.reload(pool)
	if !ok {
		return exitFailed
	}
	return exitOK
}

// suspend is the state of a pool in use from before a commit that makes it larger until the
// kernel has the new sizes: nothing that is read or written comes back. size is the data
// that the kernel was given already, in extents; 0: as it was.
func (p *thinPoolState) suspend(size int64) {
	if p.lv.working() {
		p.suspended, p.loaded = true, size
	}
}

// resume gives a pool the sizes that LVM's metadata have. It does not come back when the
// kernel was given a larger one that was never committed: LVM loads the data's device anew,
// not the pool's above it, and the kernel finds that too small.
func (p *thinPoolState) resume() bool {
	if p.suspended && p.loaded > p.data.size {
		return false
	}
	if p.suspended {
		p.reload()
	}
	return true
}

// reload gives the devices of a pool in use the sizes that LVM's metadata have.
func (p *thinPoolState) reload() {
	p.suspended, p.loaded = false, 0
	for _, l := range []*logicalVolume{p.lv, p.data, p.meta} {
		if l.active {
			l.table = l.size
		}
	}
}

// poolOf is the pool that an LV is or is in; nil for others.
func (l *logicalVolume) poolOf() *thinPoolState {
	switch {
	case l.pool != nil:
		return l.pool
	case l.thin != nil:
		return l.thin.pool.pool
	}
	return nil
}
