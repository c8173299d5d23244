// SPDX-License-Identifier: Apache-2.0

package fakelvm

// growPoolMeta makes a pool's metadata large enough for data of size extents, and
// the VG's spare as large, before the data grows. That is a commit of its own, which
// stays when there is no room for the data then. LVM leaves it out when the command
// names PVs.
func (c *command) growPoolMeta(pool *logicalVolume, size int64) int {
	vg, meta := pool.vg, pool.pool.meta
	bytes := metaFor(size*vg.extent, pool.pool.chunk)
	old, want := meta.size, roundUp(bytes, vg.extent)/vg.extent
	if want <= old {
		return exitOK
	}
	if bytes%vg.extent != 0 {
		c.say("Rounding size to boundary between physical extents: %s.", humanSize(want*vg.extent))
	}
	r := c.extension(vg, meta, want-old)
	r.share = c.share()
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
	size = old + g.each
	c.grow(meta, g.segments(old, 0), size)
	c.say("Size of logical volume %s changed from %s (%d extents) to %s (%d extents).", meta.fullName(), humanSize(old*vg.extent), old, humanSize(size*vg.extent), size)
	spare := vg.spare()
	if code := c.growSpare(creation{vg: vg}, spare, size); code == exitOK && spare == nil && vg.spare() != nil {
		c.extra = 1
	}
	if !c.commit(vg) {
		return exitFailed
	}
	c.reload(pool)
	return exitOK
}
