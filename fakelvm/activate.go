// SPDX-License-Identifier: Apache-2.0

package fakelvm

// dmMajor is the major number of device-mapper's devices.
const dmMajor = 254

// partial tells whether a part of the LV lies on a PV that is not there.
func (l *logicalVolume) partial() bool {
	for _, s := range l.segs {
		for _, a := range s.stripes {
			if a.pv.gone() {
				return true
			}
		}
	}
	for _, sub := range l.subs() {
		if sub.partial() {
			return true
		}
	}
	return l.thin != nil && l.thin.pool.partial()
}

// subs is the hidden LVs that an LV is made of.
func (l *logicalVolume) subs() []*logicalVolume {
	switch {
	case l.kind == raid1:
		return append(append([]*logicalVolume(nil), l.metas...), l.images...)
	case l.pool != nil:
		return []*logicalVolume{l.pool.meta, l.pool.data}
	}
	return nil
}

// whole tells whether the LV can be activated: a raid1 LV can while one leg is left.
func (l *logicalVolume) usable() bool {
	if l.kind != raid1 {
		return !l.partial()
	}
	for _, image := range l.images {
		if !image.partial() {
			return true
		}
	}
	return false
}

// live tells whether the LV has a device now. Sub-LVs have one while their parent
// needs them.
func (l *logicalVolume) live() bool {
	if l.parent != nil {
		return l.parent.working()
	}
	return l.active
}

// working tells whether the LV or, for a pool, one of its volumes is active.
func (l *logicalVolume) working() bool { return l.active || l.held() }

// held tells whether another device of LVM's has the LV's device open.
func (l *logicalVolume) held() bool {
	switch {
	case l.parent != nil:
		return l.parent.working()
	case l.pool != nil:
		for _, t := range l.pool.thins {
			if t.active {
				return true
			}
		}
	}
	return false
}

// activate makes the LV's device, and those of an origin and its snapshots
// together. It does nothing to an active LV but give it its present size.
func (h *Host) activate(l *logicalVolume) error {
	if !l.usable() {
		return errIO
	}
	if l.snap != nil {
		return h.activate(l.snap.origin)
	}
	if p := l.poolOf(); p != nil && !p.resume() {
		return errSuspended
	}
	h.raise(l)
	for _, s := range l.snaps {
		h.raise(s)
	}
	return nil
}

func (h *Host) raise(l *logicalVolume) {
	for _, sub := range l.subs() {
		if !sub.active {
			sub.active, sub.minor = true, h.takeMinor()
			sub.stale = sub.partial()
		}
		sub.table = sub.size
	}
	if l.thin != nil && !l.thin.pool.working() {
		for _, sub := range l.thin.pool.subs() {
			sub.active, sub.minor, sub.table = true, h.takeMinor(), sub.size
		}
	}
	if !l.active {
		l.active, l.minor = true, h.takeMinor()
	}
	l.table = l.size
}

// deactivate removes the LV's device and those that only it used.
func (h *Host) deactivate(l *logicalVolume) {
	if l.snap != nil && l.snap.origin.active {
		l = l.snap.origin
	}
	h.lower(l)
	for _, s := range l.snaps {
		h.lower(s)
	}
}

func (h *Host) lower(l *logicalVolume) {
	if !l.active {
		return
	}
	l.active = false
	delete(h.minors, l.minor)
	top := l
	if l.thin != nil {
		top = l.thin.pool
	}
	if top.working() {
		return
	}
	if top.pool != nil {
		top.pool.suspended, top.pool.loaded = false, 0
	}
	for _, sub := range top.subs() {
		if sub.active {
			sub.active = false
			delete(h.minors, sub.minor)
		}
	}
}

// takeMinor is the lowest free minor number of device-mapper.
func (h *Host) takeMinor() int {
	for n := 0; ; n++ {
		if !h.minors[n] {
			h.minors[n] = true
			return n
		}
	}
}

// inUse tells why the LV's device cannot be removed.
func (c *command) inUse(l *logicalVolume) bool {
	for _, m := range c.h.mounts {
		if m.lv == l {
			c.fail("Logical volume %s contains a filesystem in use.", l.fullName())
			return true
		}
	}
	if l.opens > 0 {
		c.fail("Logical volume %s in use.", l.fullName())
		return true
	}
	return false
}
