// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"slices"
	"strconv"
	"strings"
)

const (
	defaultStripe = 64 << 10 // bytes
	raidRegion    = 2 << 20  // default region of a raid1 LV, bytes
)

// exitNothing stands for an lvcreate that makes nothing and exits with 0, as real
// lvm does when it is to zero a volume that it is not to activate.
const exitNothing = -1

// creation is what an lvcreate is asked to make.
type creation struct {
	kind    kind
	vg      *volumeGroup
	name    string
	base    *logicalVolume // origin of a snapshot, pool of a thin volume
	extents int64
	stripes int
	stripe  int64 // bytes
	on      []place
}

// lvcreate makes one LV. It commits once; what LVM does in several commits (the
// sub-LVs of raid1 and pools) is one here.
func (c *command) lvcreate() int {
	req, code := c.creation()
	switch code {
	case exitOK:
	case exitNothing:
		return exitOK
	default:
		return code
	}
	switch req.kind {
	case thinVolume:
		return c.createThin(req)
	case thinPool:
		return c.createPool(req)
	case thickSnapshot:
		return c.createSnapshot(req)
	case raid1:
		return c.createRaid(req)
	}
	return c.createLinear(req)
}

// layout finds out what kind of LV the options ask for.
func (c *command) layout() (k kind, code int) {
	sized := c.has("size") || c.has("extents")
	if c.has("size") && c.has("extents") {
		return 0, c.misused("Please specify either size or extents (not both).")
	}
	legs, _ := strconv.Atoi(c.last("stripes"))
	copies, _ := strconv.Atoi(c.last("mirrors"))
	switch t := c.last("type"); {
	case c.has("snapshot") || t == "snapshot":
		k = thickSnapshot
		if t == "thin" || !sized {
			k = thinVolume
		}
	case t == "thin-pool":
		k = thinPool
	case t == "thin" || c.has("virtualsize"):
		k = thinVolume
		if sized && c.has("virtualsize") {
			return 0, c.unmodelled("a pool and a thin volume at once")
		}
		if t == "thin" && c.has("size") && !c.has("virtualsize") {
			c.fail("Command does not accept option: --size %s.", c.last("size"))
			return 0, exitSyntax
		}
	case c.has("thin") || c.has("thinpool"):
		k = thinPool
		if !sized {
			k = thinVolume
		}
	case t == "raid1" || t == "" && copies > 0:
		k = raid1
	case t == "striped" || t == "" && legs > 1:
		k = striped
	case t == "linear" && legs > 1:
		c.fail("Command does not accept option: --stripes %s.", c.last("stripes"))
		return 0, exitSyntax
	default:
		k = linear
	}
	if k != thinVolume && k != thickSnapshot && !sized || k == thinVolume && !c.has("virtualsize") && !c.has("snapshot") {
		return 0, c.noSyntax()
	}
	if k == thinVolume && c.has("zero") {
		return 0, c.misused("--zero is supported only with thin pool creation.")
	}
	return k, exitOK
}

// creation decides what is to be made from the options alone and then from the VG.
func (c *command) creation() (req creation, code int) {
	if req.kind, code = c.layout(); code != exitOK {
		return req, code
	}
	if code := c.zeros("extents", "size", "stripes", "virtualsize"); code != exitOK {
		return req, code
	}
	if n, err := strconv.Atoi(c.last("stripes")); req.kind == striped && (err != nil && c.has("stripes") || n > 128) {
		return req, c.misused("Number of stripes (%d) must be between 1 and 128.", n)
	}
	if req.kind == thinPool {
		if code := c.checkChunk(); code != exitOK {
			return req, code
		}
	}
	if len(c.args2) == 0 { // the VG may stand before the pool
		vgName, _, found := strings.Cut(c.last("thinpool"), "/")
		if !found {
			return req, c.noSyntax()
		}
		c.args2 = []string{vgName}
	}
	vgName, second := splitLV(c.args2[0])
	if second != "" && !c.has("thin") && !c.has("snapshot") && c.last("type") != "snapshot" && !c.has("virtualsize") && c.last("type") != "thin-pool" {
		return req, c.misused("Volume group name expected (no slash)")
	}
	pool := c.last("thinpool")
	if a, b, found := strings.Cut(pool, "/"); found {
		if a != vgName {
			return req, c.misused("Inconsistent volume group names given: %q and %q", a, vgName)
		}
		pool = b
	}
	req.name = c.last("name")
	if a, b, found := strings.Cut(req.name, "/"); found {
		if a != vgName {
			return req, c.misused("Inconsistent volume group names given: %q and %q", a, vgName)
		}
		req.name = b
	}
	if req.kind == thinPool && req.name == "" {
		req.name = second
		if req.name == "" {
			req.name = pool
		}
	}
	if c.has("name") {
		if why, is := reserved(req.name); is {
			return req, c.misused("%s", why)
		}
		if code := c.nameable(req.name); code != exitOK {
			return req, code
		}
	}
	if c.has("thinpool") {
		if code := c.nameable(pool); code != exitOK {
			return req, code
		}
	}
	if strings.Contains(strings.TrimPrefix(c.args2[0], "/dev/"), "/") { // an origin or a pool
		if code := c.nameable(second); code != exitOK {
			return req, code
		}
	}
	if n, _ := strconv.Atoi(c.last("stripes")); req.kind == striped && n > 1 && !c.has("stripesize") {
		c.say("Using default stripesize %s.", humanSize(defaultStripe))
	}
	if req.name != "" && req.name == pool && req.kind == thinVolume {
		return req, c.misused("Logical volume name %s and pool name must be different.", req.name)
	}
	if req.kind == raid1 && c.copies() < 2 {
		return req, c.misused("--mirrors must be at least 1 with segment type raid1.")
	}
	if c.has("stripesize") {
		n, _, _ := parseSize(c.last("stripesize"))
		if n < 4096 || n&(n-1) != 0 || n > 1<<31 {
			return req, c.misused("Invalid stripe size %s.", humanSize(n))
		}
		req.stripe = n
	}
	vg, ok := c.vgNamed(vgName)
	if !ok {
		return req, exitFailed
	}
	if !c.whole(vg) {
		return req, exitFailed
	}
	if req.kind != thinPool && c.zeroesInactive() {
		c.fail("Cannot zero inactive logical volume with option -Zy or -Wy.")
		return req, exitNothing
	}
	req.vg = vg
	if req.on, code = c.placesNamed(vg, c.args2[1:]); code != exitOK {
		return req, code
	}
	if pool == "" {
		pool = second
	}
	code = c.resolve(&req, second, pool)
	return req, code
}

// zeroesInactive tells of options that cannot be had together, one of which lvm2
// does not think of: wiping of signatures alone, without zeroing.
func (c *command) zeroesInactive() bool {
	switch c.last("activate") {
	case "n", "ln", "en":
		return c.last("zero") == "y" || c.last("wipesignatures") == "y" && c.last("zero") != "n"
	}
	return false
}

// resolve finds the origin or pool in the VG and fixes the size.
func (c *command) resolve(req *creation, origin, pool string) int {
	vg := req.vg
	if req.kind == thinVolume && !c.has("snapshot") && vg.lv(pool) == nil {
		return c.failed("Pool %s not found in Volume group %s.", pool, vg.name)
	}
	if c.has("snapshot") || c.last("type") == "snapshot" {
		if origin == "" {
			return c.misused("The origin name should include the volume group.")
		}
		req.base = vg.lv(origin)
		switch {
		case req.base == nil:
			return c.failed("Snapshot origin LV %s not found in Volume group %s.", origin, vg.name)
		case req.kind == thinVolume && req.base.kind != thinVolume:
			return c.failed("Please specify either size or extents with snapshots.")
		}
		if req.kind == thinVolume {
			req.extents = req.base.size
			return c.checkName(req)
		}
	} else if req.kind == thinVolume {
		req.base = vg.lv(pool)
		if req.base != nil && req.base.kind != thinPool {
			return c.failed("Logical volume %s is not a thin pool.", req.base.fullName())
		}
	}
	if code := c.sized(req); code != exitOK {
		return code
	}
	if code := c.wholeStripes(req); code != exitOK {
		return code
	}
	return c.checkName(req)
}

// wholeStripes rounds a share of what is free down, so that every stripe has as
// many extents; all else is rounded up, but not before the name was looked at.
func (c *command) wholeStripes(req *creation) int {
	req.stripes = 1
	if n, err := strconv.Atoi(c.last("stripes")); err == nil && req.kind == striped {
		req.stripes = max(n, 1)
	}
	width := int64(req.stripes)
	_, free := req.vg.extents()
	if req.extents%width == 0 || !strings.Contains(c.last("extents"), "%") || roundUp(req.extents, width) <= free {
		return exitOK
	}
	down := req.extents / width * width
	if down == 0 {
		return c.failed("Calculated size of logical volume is 0 extents. Needs to be larger.")
	}
	c.say("Rounding size (%d extents) down to stripe boundary size (%d extents)", req.extents, down)
	req.extents = down
	return exitOK
}

func (c *command) copies() int {
	n, err := strconv.Atoi(c.last("mirrors"))
	if err != nil {
		n = 1
	}
	return n + 1
}

// checkName refuses a name that is taken and invents one that was not given.
func (c *command) checkName(req *creation) int {
	if req.name == "" {
		req.name = req.vg.autoName()
	}
	if req.vg.lv(req.name) != nil && req.kind != thickSnapshot { // of that later: see createSnapshot
		return c.failed("Logical Volume %q already exists in volume group %q", req.name, req.vg.name)
	}
	return exitOK
}

// newLV is an LV with what the options say of any kind.
func (c *command) newLV(req creation, k kind, name string) *logicalVolume {
	l := &logicalVolume{
		vg: req.vg, name: name, uuid: c.h.newUUID(), kind: k, size: req.extents,
		created: c.h.now(), host: c.h.name, cling: c.clings(nil),
	}
	if name == req.name || k == raidMeta { // LVM makes the latter as LVs of their own, to clear them
		l.tags = mergeTags(nil, c.set["addtag"], nil)
	}
	if name == req.name {
		l.skipActivation = c.last("setactivationskip") == "y"
		l.readOnly = c.last("permission") == "r"
		l.errorWhenFull = c.last("errorwhenfull") == "y"
		l.noAuto = c.last("setautoactivation") == "n"
	}
	return l
}

// fits checks the whole path of a name: LVM keeps VG/LV in 128 bytes, also for the
// parts that the LV will have.
func (c *command) fits(req creation, parts ...string) int {
	code := exitOK
	for _, part := range append([]string{""}, parts...) {
		full := req.vg.name + "/" + req.name + part
		if n := len(full) + 2; n > maxNameLen {
			code = c.failed("Internal error: LV name %q length %d is not supported.", full, n)
		}
	}
	return code
}

// createLinear makes linear and striped LVs.
func (c *command) createLinear(req creation) int {
	vg := req.vg
	if req.stripes > 1 {
		if req.stripe > vg.extent {
			c.say("Reducing requested stripe size %s to maximum, physical extent size %s.", humanSize(req.stripe), humanSize(vg.extent))
			req.stripe = vg.extent
		}
		if req.stripe == 0 {
			req.stripe = defaultStripe
		}
		if up := roundUp(req.extents, int64(req.stripes)); up != req.extents {
			c.say("Rounding size %s (%d extents) up to stripe boundary size %s (%d extents).",
				humanSize(req.extents*vg.extent), req.extents, humanSize(up*vg.extent), up)
			req.extents = up
		}
		pvs := len(vg.pvs)
		if req.on != nil {
			pvs = len(req.on)
		}
		if req.stripes > pvs {
			return c.failed("Number of stripes (%d) must not exceed number of physical volumes (%d)", req.stripes, pvs)
		}
	}
	r := request{vg: vg, width: req.stripes, each: req.extents / int64(req.stripes), on: req.on, cling: c.clings(nil), share: c.share()}
	g, code := c.allocate(req, r, req.extents)
	if code != exitOK {
		return code
	}
	req.extents = g.each * int64(req.stripes)
	if code := c.fits(req); code != exitOK {
		return code
	}
	l := c.newLV(req, linear, req.name)
	if req.stripes > 1 {
		l.kind = striped
	}
	l.segs = mergeSegments(g.segments(0, req.stripe))
	return c.place([]*logicalVolume{l}, l, true)
}

// place commits new LVs, the last of them the one that was asked for, and then
// activates it, wipes and zeroes it.
func (c *command) place(lvs []*logicalVolume, main *logicalVolume, wipe bool) int {
	vg := main.vg
	for _, l := range lvs {
		vg.link(l)
		c.onUndo(func() { vg.unlink(l) })
	}
	if !c.commit(vg) {
		return exitFailed
	}
	off := c.last("activate")
	active := off != "n" && off != "en" && off != "ln" && (!main.skipActivation || c.has("ignoreactivationskip"))
	if active {
		if code := c.bringUp(main); code != exitOK {
			c.discard(lvs)
			return code
		}
	}
	if wipe {
		if code := c.wipe(main, active); code != exitOK {
			c.discard(lvs)
			return code
		}
	}
	c.say("Logical volume %q created.", main.name)
	return exitOK
}

// bringUp activates a new LV.
func (c *command) bringUp(l *logicalVolume) int {
	if dm := dmName(l.vg.name, l.name); len(dm) > maxDMNameLen {
		c.fail("Name %q too long.", dm)
		c.fail("Failed to set device name for %s", dm)
		return c.failed("Failed to activate new LV %s.", l.fullName())
	}
	if err := c.h.activate(l); err != nil {
		return c.failed("Failed to activate new LV %s.", l.fullName())
	}
	return exitOK
}

// discard takes LVs away again that were committed.
func (c *command) discard(lvs []*logicalVolume) {
	for _, l := range slices.Backward(lvs) {
		c.h.deactivate(l)
		l.vg.unlink(l)
	}
	c.commit(lvs[0].vg)
}

// wipe destroys what the new LV's extents show of their past: signatures and the
// first 4 KiB, as asked for.
func (c *command) wipe(l *logicalVolume, active bool) int {
	zero := c.last("zero") != "n"
	signatures := c.last("wipesignatures") == "y" || zero && c.last("wipesignatures") != "n"
	if !active || !zero {
		c.fail("WARNING: Logical volume %s not zeroed.", l.fullName())
		if !active {
			return exitOK
		}
	}
	if signatures {
		path := "/dev/" + l.fullName()
		for _, sig := range findSignatures(c.h, l) {
			if !c.has("yes") {
				c.err.WriteString("WARNING: " + sig.fstype + " signature detected on " + path + " at offset " + decimal(sig.offset) + ". Wipe it? [y/n]: [n]\n")
				c.fail("Aborted wiping of %s.", sig.fstype)
				c.fail("1 existing signature left on the device.")
				c.fail("Failed to wipe signatures on logical volume %s.", l.fullName())
				return c.failed("Aborting. Failed to wipe start of new LV.")
			}
			c.say("Wiping %s signature on %s.", sig.fstype, path)
			if l.write(c.h, make([]byte, sig.length), sig.offset) != nil {
				return c.failed("Aborting. Failed to wipe start of new LV.")
			}
		}
	}
	if zero {
		if l.zeroRange(c.h, 0, 4096) != nil {
			return c.failed("Aborting. Failed to wipe start of new LV.")
		}
	}
	return exitOK
}

// mergeSegments joins segments that continue each other on the same PVs.
func mergeSegments(segs []segment) []segment {
	var out []segment
	for _, s := range segs {
		if n := len(out); n > 0 && continues(out[n-1], s) {
			out[n-1].count += s.count
			continue
		}
		out = append(out, s)
	}
	return out
}

func continues(a, b segment) bool {
	if len(a.stripes) != len(b.stripes) || a.stripeSize != b.stripeSize {
		return false
	}
	each := a.count / int64(max(1, len(a.stripes)))
	for i := range a.stripes {
		if a.stripes[i].pv != b.stripes[i].pv || a.stripes[i].start+each != b.stripes[i].start {
			return false
		}
	}
	return true
}
