// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"strconv"
)

// createRaid makes a raid1 LV: images with an extent of metadata before each, all
// on different PVs.
func (c *command) createRaid(req creation) int {
	vg, copies := req.vg, c.copies()
	_, free := vg.extents()
	if req.extents > free {
		return c.failed("Volume group %q has insufficient free space (%d extents): %d required.", vg.name, free, req.extents)
	}
	if c.has("nosync") {
		c.fail("WARNING: New raid1 won't be synchronised. Don't read what you didn't write!")
	}
	share := c.share()
	each := req.extents + 1
	if n := each * int64(copies); n > free && !share {
		return c.failed("Insufficient free space: %d extents needed, but only %d available", n, free)
	}
	if code := c.usable(request{vg: vg, width: copies, each: each}); code != exitOK {
		return code
	}
	g, missing, ok := allocate(request{vg: vg, width: copies, each: each, front: 1, on: req.on, cling: c.clings(nil), share: share})
	if req.extents = g.each - 1; ok && req.extents < 1 {
		ok, missing = false, int64(copies)
	}
	if !ok {
		return c.noRoom(req.name, missing, share)
	}
	var parts []string
	for i := range copies {
		parts = append(parts, fmt.Sprintf("_rimage_%d", i), fmt.Sprintf("_rmeta_%d", i))
	}
	if code := c.fits(req, parts...); code != exitOK {
		return code
	}
	l := c.newLV(req, raid1, req.name)
	l.notSynced = c.has("nosync")
	l.segs = []segment{{count: req.extents}}
	lvs := []*logicalVolume{l}
	for i, leg := range g.legs {
		meta := c.newLV(req, raidMeta, fmt.Sprintf("%s_rmeta_%d", l.name, i))
		meta.size, meta.parent = 1, l
		meta.segs = []segment{{count: 1, stripes: []stripe{{leg[0].pv, leg[0].start}}}}
		image := c.newLV(req, raidImage, fmt.Sprintf("%s_rimage_%d", l.name, i))
		image.parent = l
		at := int64(0)
		for j, a := range leg {
			if j == 0 {
				a.start, a.count = a.start+1, a.count-1
			}
			if a.count > 0 {
				image.segs = append(image.segs, segment{start: at, count: a.count, stripes: []stripe{{a.pv, a.start}}})
				at += a.count
			}
		}
		image.segs = mergeSegments(image.segs)
		l.metas, l.images = append(l.metas, meta), append(l.images, image)
		lvs = append(lvs, image, meta)
	}
	c.extra = 1
	return c.place(lvs, l, true)
}

// What lvm's defaults for pools come from: 64 bytes of metadata a chunk; a chunk
// that keeps the metadata at 128 MiB or below; metadata of at most what the
// kernel can use.
const (
	metaPerChunk  = 64
	metaEnough    = 128 << 20
	metaLeast     = 2 << 20
	metaMost      = 33292800 * sectorSize
	thinMostChunk = metaMost / metaPerChunk
)

// poolChunk is the chunk of a new pool of n bytes: with metadata of a given size one of
// which they have 64 bytes each (_estimate_chunk_size in lvm2's lib/metadata/thin_manip.c).
func (c *command) poolChunk(vg *volumeGroup, n int64) int64 {
	if c.has("chunksize") {
		chunk, _, _ := parseSize(c.last("chunksize"))
		return chunk
	}
	if c.has("poolmetadatasize") && n > 0 {
		meta, _, _ := parseSize(c.last("poolmetadatasize"))
		meta = roundUp(min(meta, metaMost), vg.extent)
		sectors := n / sectorSize / (meta / metaPerChunk)
		const large = 1 << 20 / sectorSize
		if sectors >= large {
			sectors = roundUp(sectors, large)
		} else {
			for p := int64(1); ; p *= 2 {
				if p >= sectors {
					sectors = p
					break
				}
			}
		}
		return min(max(sectors*sectorSize, thinChunk), 1<<30)
	}
	chunk := int64(thinChunk)
	for n/chunk*metaPerChunk > metaEnough {
		chunk *= 2
	}
	return chunk
}

// checkChunk refuses a chunk size that device-mapper does not have.
func (c *command) checkChunk() int {
	n := c.poolChunk(nil, 0)
	code := exitOK
	if n < 64<<10 || n > 1<<30 {
		c.fail("Thin pool chunk size %s is not in the range 64.00 KiB to 1.00 GiB.", humanSize(n))
		code = exitSyntax
	}
	if n%(64<<10) != 0 {
		c.fail("Thin pool chunk size %s must be a multiple of 64.00 KiB.", humanSize(n))
		code = exitSyntax
	}
	if code != exitOK {
		c.fail("Run `%s --help' for more information.", c.name)
	}
	return code
}

// poolMeta is how many extents the metadata of a pool of n extents gets: 64
// bytes a chunk, at least 2 MiB.
func (c *command) poolMeta(vg *volumeGroup, n int64) int64 {
	size := metaFor(n*vg.extent, c.poolChunk(vg, n*vg.extent))
	if c.has("poolmetadatasize") {
		size, _, _ = parseSize(c.last("poolmetadatasize"))
		size = min(max(size, metaLeast), metaMost)
	}
	return roundUp(size, vg.extent) / vg.extent
}

// metaFor is the bytes of metadata that a pool gets for its data.
func metaFor(data, chunk int64) int64 {
	return min(max(data/chunk*metaPerChunk, metaLeast), metaMost)
}

// createPool makes a thin pool: data, metadata, and for the VG's first pool a
// spare metadata LV to repair with.
func (c *command) createPool(req creation) int {
	vg := req.vg
	chunk := c.poolChunk(vg, req.extents*vg.extent)
	if chunk > 512<<10 && c.last("zero") != "n" {
		c.fail("WARNING: Pool zeroing and %s large chunk size slows down thin provisioning.", humanSize(chunk))
		c.fail("WARNING: Consider disabling zeroing (-Zn) or using smaller chunk size (<512.00 KiB).")
	}
	if asked, _, _ := parseSize(c.last("poolmetadatasize")); c.has("poolmetadatasize") {
		if up := roundUp(asked, vg.extent); up != asked {
			c.say("Rounding up size to full physical extent %s", humanSize(up))
		}
		if asked > metaMost {
			c.say("Reducing pool metadata size %s to maximum usable size %s.", humanSize(asked), humanSize(roundUp(metaMost, vg.extent)))
		}
	}
	meta := c.poolMeta(vg, req.extents)
	c.say("Thin pool volume with chunk size %s can address at most %s of data.", humanSize(chunk), humanSize(chunk*thinMostChunk))
	spare := vg.spare()
	if code := c.growSpare(req, spare, meta); code != exitOK {
		return code
	}
	g, code := c.allocate(req, request{vg: vg, width: 1, each: req.extents, meta: meta, on: req.on, cling: c.clings(nil), share: c.share()}, req.extents)
	if code == exitOK {
		code = c.fits(req, "_tmeta", "_tdata")
	}
	if code != exitOK {
		made := spare == nil && vg.spare() != nil
		c.rollback()
		if made { // LVM commits the spare first, and its removal then
			vg.seqno += 2
		}
		return code
	}
	req.extents = g.each
	l := c.newLV(req, thinPool, req.name)
	data := c.newLV(req, poolData, l.name+"_tdata")
	data.parent, data.segs = l, mergeSegments(g.segments(0, 0))
	md := c.newLV(req, poolMeta, l.name+"_tmeta")
	md.parent, md.size = l, meta
	md.segs = []segment{{count: meta, stripes: []stripe{{g.log.pv, g.log.start}}}}
	l.segs = []segment{{count: req.extents}}
	l.pool = &thinPoolState{lv: l, data: data, meta: md, chunk: chunk, zero: c.last("zero") != "n"}
	c.partOfPool(req, l, md)
	c.extra = 1
	if spare == nil && vg.spare() != nil { // a new spare is a commit of its own
		c.extra = 2
	}
	return c.place([]*logicalVolume{l, md, data}, l, false)
}

// partOfPool is the first commit of a new pool, if the command is to die after it: the
// metadata, so that it can be zeroed, as an LV of the pool's name and tags.
func (c *command) partOfPool(req creation, pool, meta *logicalVolume) {
	if !c.s.crash || c.s.point != BetweenCommits {
		return
	}
	part := c.newLV(req, linear, pool.name)
	part.size, part.segs = meta.size, meta.segs
	req.vg.link(part)
	c.commit(req.vg)
	c.s.at(BetweenCommits)
}

// spare is the VG's spare metadata LV, or nil.
func (v *volumeGroup) spare() *logicalVolume {
	for _, l := range v.lvs {
		if l.kind == poolSpare {
			return l
		}
	}
	return nil
}

// growSpare makes the VG's spare metadata LV, or makes it as large as the largest
// metadata LV. It takes extents at once, so that the pool is allocated behind it.
func (c *command) growSpare(req creation, spare *logicalVolume, meta int64) int {
	if c.last("poolmetadataspare") == "n" {
		return exitOK
	}
	vg := req.vg
	have := int64(0)
	if spare != nil {
		have = spare.size
	}
	if have >= meta {
		return exitOK
	}
	r := c.extension(vg, spare, meta-have)
	if code := c.enough(r); code != exitOK {
		return code
	}
	g, missing, ok := allocate(r)
	if !ok {
		return c.noRoom("", missing, false)
	}
	if spare == nil {
		spare = c.newLV(req, poolSpare, "lvol0_pmspare")
		spare.size = meta
		spare.segs = mergeSegments(g.segments(0, 0))
		vg.link(spare)
		c.onUndo(func() { vg.unlink(spare) })
		return exitOK
	}
	c.grow(spare, g.segments(have, 0), meta)
	return exitOK
}

// createThin makes a thin volume or a thin snapshot.
func (c *command) createThin(req creation) int {
	vg, pool := req.vg, req.base
	var origin *logicalVolume
	if pool.kind == thinVolume {
		origin, pool = req.base, req.base.thin.pool
	}
	p := pool.pool
	if code := c.fits(req); code != exitOK {
		_ = c.h.activate(pool) // LVM has asked it for its use, and leaves it so
		return code
	}
	if !p.resume() {
		return c.failed("Aborting. Failed to locally activate thin pool %s.", pool.fullName())
	}
	if p.outOfData {
		c.fail("WARNING: Thin pool %s is out of data space.", pool.fullName())
		return c.failed("Cannot create new thin volume, free space in thin pool %s reached threshold.", pool.fullName())
	}
	if p.metaBlocks()*100 >= p.metaTotal()*99 {
		return c.failed("Cannot create new thin volume, free space in thin pool %s reached threshold.", pool.fullName())
	}
	l := c.newLV(req, thinVolume, req.name)
	l.segs = []segment{{count: req.extents}}
	if origin != nil && c.last("setactivationskip") != "n" {
		l.skipActivation = true
	}
	l.thin = &thinState{lv: l, pool: pool, origin: origin, id: p.nextID(), transaction: p.transaction}
	p.transaction++
	p.thins = append(p.thins, l)
	pool.touch()
	if origin != nil {
		l.thin.shareFrom(origin.thin)
	}
	c.onUndo(func() {
		l.thin.leave()
		p.transaction--
		pool.touch()
	})
	c.overprovisioned(vg, pool, req.extents)
	c.extra = 1
	return c.place([]*logicalVolume{l}, l, false)
}

// overprovisioned prints LVM's warnings about thin volumes larger than the pools;
// more is what is about to be added, in extents.
func (c *command) overprovisioned(vg *volumeGroup, pool *logicalVolume, more int64) {
	var thins, pools, others int64
	for _, l := range vg.lvs {
		switch l.kind {
		case thinVolume:
			thins += l.size
		case thinPool:
			pools += l.size
			if l != pool {
				others++
			}
		}
	}
	thins += more
	total, free := vg.extents()
	if thins <= pools {
		return
	}
	where := "thin pools"
	if pool != nil && others == 0 {
		where = "thin pool " + pool.fullName()
	}
	text := fmt.Sprintf("WARNING: Sum of all thin volume sizes (%s) exceeds the size of %s", humanSize(thins*vg.extent), where)
	switch {
	case thins > total:
		text += fmt.Sprintf(" and the size of whole volume group (%s).", humanSize(total*vg.extent))
	case thins > pools+free:
		text += fmt.Sprintf(" and the amount of free space in volume group (%s).", humanSize(free*vg.extent))
	default:
		text += fmt.Sprintf(" (%s).", humanSize(pools*vg.extent))
	}
	c.fail("%s", text)
	c.say("WARNING: You have not turned on protection against thin pools running out of space.")
	c.say("WARNING: Set activation/thin_pool_autoextend_threshold below 100 to trigger automatic extension of thin pools before they get full.")
}

// createSnapshot makes a thick snapshot: a store for what the origin loses.
func (c *command) createSnapshot(req creation) int {
	vg, origin := req.vg, req.base
	if limit := maxCOW(origin.bytes(), vg.extent) / vg.extent; req.extents > limit {
		c.say("Reducing COW size %s down to maximum usable size %s.", humanSize(req.extents*vg.extent), humanSize(limit*vg.extent))
		req.extents = limit
	}
	if vg.lv(req.name) != nil {
		return c.failed("Logical Volume %q already exists in volume group %q", req.name, vg.name)
	}
	if what, is := origin.noOrigin(); is {
		return c.failed("Snapshots of %s are not supported.", what)
	}
	g, code := c.allocate(req, request{vg: vg, width: 1, each: req.extents, on: req.on, cling: c.clings(nil), share: c.share()}, req.extents)
	if code == exitOK {
		code = c.fits(req)
	}
	if code != exitOK {
		return code
	}
	req.extents = g.each
	if origin.active {
		for _, layer := range []string{dmName(vg.name, req.name) + "-cow", dmName(vg.name, origin.name) + "-real"} {
			if len(layer) > maxDMNameLen {
				c.fail("Name %q too long.", layer)
				c.fail("Failed to set device name for %s", layer)
				c.fail("Failed to suspend logical volume %s.", origin.fullName())
				return c.failed("Aborting. Manual intervention required.")
			}
		}
	}
	l := c.newLV(req, thickSnapshot, req.name)
	l.segs = mergeSegments(g.segments(0, 0))
	l.snap = &snapState{origin: origin, uuid: c.h.newUUID()}
	origin.snaps = append(origin.snaps, l)
	c.onUndo(func() { l.snap.leave(l) })
	if origin.thin != nil {
		c.overprovisioned(vg, nil, 0)
	}
	c.extra = 1
	if !origin.active {
		vg.link(l)
		c.onUndo(func() { vg.unlink(l) })
		if !c.commit(vg) {
			return exitFailed
		}
		c.say("Logical volume %q created.", l.name)
		return exitOK
	}
	return c.place([]*logicalVolume{l}, l, false)
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
