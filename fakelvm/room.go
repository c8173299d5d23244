// SPDX-License-Identifier: Apache-2.0

package fakelvm

// sized turns --size, --virtualsize or --extents into extents.
func (c *command) sized(req *creation) int {
	vg := req.vg
	if req.kind == thinPool && req.name != "" && vg.lv(req.name) != nil {
		return c.failed("Logical volume %s already exists in Volume group %s.", req.name, vg.name)
	}
	which := "size"
	if req.kind == thinVolume {
		which = "virtualsize"
	}
	if c.has(which) {
		n, _, _ := parseSize(c.last(which))
		if n/vg.extent > maxExtents {
			return c.failed("Volume too large (%s) for extent size %s. Upper limit is less than %s.", humanSize(n), humanSize(vg.extent), humanSize(maxExtents*vg.extent))
		}
		if n%vg.extent != 0 {
			n = roundUp(n, vg.extent)
			c.say("Rounding up size to full physical extent %s", humanSize(n))
		}
		req.extents = n / vg.extent
		return exitOK
	}
	n, _, of, _ := parseExtents(c.last("extents"))
	total, free := vg.extents()
	if req.on != nil {
		total, free = 0, 0
		for _, p := range req.on {
			total, free = total+p.extents, free+p.extents-p.usedExtents()
		}
	}
	switch of {
	case "":
		req.extents = n
		return exitOK
	case "FREE":
		n = free * n / 100
	case "VG", "PVS":
		percent := n
		if n = total * n / 100; n > free {
			c.say("Reducing %d%%%s to remaining free space %s in VG.", percent, of, humanSize(free*vg.extent))
			n = free
		}
	case "ORIGIN":
		if req.kind != thickSnapshot {
			return c.failed("Please express size as %s or %%VG, %%PVS, %%FREE.", "number of extents")
		}
		n = (maxCOW(req.base.bytes(), vg.extent)/vg.extent*n + 99) / 100
	default:
		return c.failed("fakelvm: --extents %%%s is not modelled", of)
	}
	switch req.kind {
	case thinPool:
		if of == "FREE" {
			n -= 2 * c.poolMeta(vg, n) // its metadata and the spare one
		}
	case raid1:
		n /= int64(c.copies()) // what their metadata takes is not thought of
	}
	if n <= 0 {
		return c.failed("Calculated size of logical volume is 0 extents. Needs to be larger.")
	}
	req.extents = n
	return exitOK
}

// share tells whether --extents asks for a share of which LVM takes as much as there
// is: any for a new LV, one of what is free for an old one.
func (c *command) share() bool {
	_, _, of, _ := parseExtents(c.last("extents"))
	return of == "FREE" || of != "" && c.name == "lvcreate"
}

// allocate finds room or says why there is none.
func (c *command) allocate(req creation, r request, needed int64) (grant, int) {
	if _, free := req.vg.extents(); needed > free && !r.share {
		return grant{}, c.failed("Volume group %q has insufficient free space (%d extents): %d required.", req.vg.name, free, needed)
	}
	if code := c.usable(r); code != exitOK {
		return grant{}, code
	}
	g, missing, ok := allocate(r)
	if !ok {
		return grant{}, c.noRoom(req.name, missing, r.share)
	}
	return g, exitOK
}

// usable is enough, but not for a share, of which less will do.
func (c *command) usable(r request) int {
	if c.share() {
		return exitOK
	}
	return c.enough(r)
}

// enough refuses a request for more extents than there are on PVs that may be used.
func (c *command) enough(r request) int {
	var free int64
	for _, p := range r.vg.placesOn(r.on) {
		for _, a := range p.freeAreas() {
			free += a.count
		}
	}
	if n := r.each*int64(r.width) + r.meta; n > free {
		return c.failed("Insufficient free space: %d extents needed, but only %d available", n, free)
	}
	return exitOK
}

// noRoom says that free extents are not where they would have to be.
func (c *command) noRoom(name string, missing int64, share bool) int {
	if share {
		return c.failed("Insufficient suitable allocatable extents found for logical volume %s.", name)
	}
	return c.failed("Insufficient suitable allocatable extents for logical volume %s: %d more required", name, missing)
}
