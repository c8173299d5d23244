// SPDX-License-Identifier: Apache-2.0

package fakelvm

import "slices"

const (
	thinChunk    = 64 << 10 // the default chunk of a small pool, bytes
	thinMetaMin  = 4 << 20  // the smallest metadata LV that lvcreate makes, with 4 MiB extents
	thinBlock    = 4096     // a block of the pool's metadata
	thinBaseline = 8        // blocks an empty pool has used of its metadata: seen on kernel 6.1
	thinReserve  = 4096     // blocks of its metadata that the kernel keeps back, or a tenth of them if that is less
	thinPerLeaf  = 252      // mappings in a leaf of the metadata's trees
)

// thinPoolState is what a thin pool has beside its extents.
type thinPoolState struct {
	lv          *logicalVolume
	data, meta  *logicalVolume
	chunk       int64 // bytes
	zero        bool  // new chunks are zeroed
	transaction int64
	thins       []*logicalVolume
	refs        map[int64]int32 // data chunk → how many thin volumes map it
	cursor      int64           // where the search for a free chunk begins
	// outOfData: a write found no free chunk. Only then does the kernel call the pool
	// so and LVM refuse new thin volumes; 100 % used is not enough.
	outOfData bool
	// suspended: a command died that was making the pool larger. loaded is how much data,
	// in extents, it had given the kernel then; 0: none.
	suspended bool
	loaded    int64
}

// thinState is what a thin volume has: chunks instead of extents.
type thinState struct {
	lv          *logicalVolume
	pool        *logicalVolume
	origin      *logicalVolume // nil, or removed since
	id          int64
	transaction int64
	chunks      map[int64]int64 // chunk of the volume → chunk of the pool's data
	shares      *logicalVolume  // the volume whose mappings it began with
	own         int             // how many it mapped itself since
}

// chunks is how many chunks the pool's data has: of one in use those that the kernel knows.
func (p *thinPoolState) chunks() int64 { return p.data.inUse() / p.chunk }

// inUse is the size in bytes that the kernel has of a part of a pool, or will have.
func (l *logicalVolume) inUse() int64 {
	if l.live() {
		return l.table * l.vg.extent
	}
	return l.bytes()
}

// nextID is the device id of the next thin volume: LVM takes the highest and one.
func (p *thinPoolState) nextID() int64 {
	var id int64
	for _, l := range p.thins {
		id = max(id, l.thin.id)
	}
	return id + 1
}

// full tells whether the pool has no free chunk.
func (p *thinPoolState) full() bool { return int64(len(p.refs)) >= p.chunks() }

// metaBlocks is how many blocks of its metadata the pool has used: what kernel
// 6.1 was seen to use, a tree of mappings for each volume included. A snapshot
// shares its origin's tree but for what was written since.
func (p *thinPoolState) metaBlocks() int64 {
	n := thinBaseline + min(thinReserve, p.metaTotal()/10) + (p.chunks()+16383)/16384
	for _, l := range p.thins {
		switch t := l.thin; {
		case t.shares != nil && t.own == 0:
		case t.shares != nil:
			n += 1 + int64((t.own+thinPerLeaf-1)/thinPerLeaf)
		case len(t.chunks) <= thinPerLeaf:
			n++
		default:
			n += 1 + int64((len(t.chunks)+thinPerLeaf-1)/thinPerLeaf)
		}
	}
	return n
}

func (p *thinPoolState) metaTotal() int64 { return p.meta.inUse() / thinBlock }

// take finds a free chunk of the pool's data.
func (p *thinPoolState) take() (int64, error) {
	total := p.chunks()
	if p.full() {
		p.outOfData = true
		return 0, errNoSpace
	}
	if p.metaBlocks() >= p.metaTotal() {
		return 0, errNoSpace
	}
	for p.refs[p.cursor%total] != 0 {
		p.cursor++
	}
	c := p.cursor % total
	p.cursor = c + 1
	if p.refs == nil {
		p.refs = map[int64]int32{}
	}
	p.refs[c] = 1
	return c, nil
}

func (p *thinPoolState) release(c int64) {
	if p.refs[c]--; p.refs[c] <= 0 {
		delete(p.refs, c)
		p.outOfData = false
	}
}

// each goes through a request chunk by chunk.
func (t *thinState) each(off, n int64, f func(chunk, in, done, part int64) error) error {
	if t.pool.pool.suspended {
		return errSuspended
	}
	size := t.pool.pool.chunk
	for done := int64(0); done < n; {
		at := off + done
		part := min(size-at%size, n-done)
		if err := f(at/size, at%size, done, part); err != nil {
			return err
		}
		done += part
	}
	return nil
}

func (t *thinState) read(h *Host, p []byte, off int64) error {
	pool := t.pool.pool
	return t.each(off, int64(len(p)), func(chunk, in, done, part int64) error {
		c, ok := t.chunks[chunk]
		if !ok {
			clear(p[done : done+part])
			return nil
		}
		return pool.data.read(h, p[done:done+part], c*pool.chunk+in)
	})
}

// mine makes the chunk the volume's own, to be written: a new one, or a copy of
// one that a snapshot shares. whole says that all of it will be overwritten.
func (t *thinState) mine(h *Host, chunk int64, whole bool) (int64, error) {
	pool := t.pool.pool
	old, mapped := t.chunks[chunk]
	if mapped && pool.refs[old] == 1 {
		return old, nil
	}
	c, err := pool.take()
	if err != nil {
		return 0, err
	}
	switch {
	case mapped && !whole:
		buf := make([]byte, pool.chunk)
		if err = pool.data.read(h, buf, old*pool.chunk); err == nil {
			err = pool.data.write(h, buf, c*pool.chunk)
		}
	case pool.zero && !whole:
		err = pool.data.zeroRange(h, c*pool.chunk, pool.chunk)
	}
	if err != nil {
		pool.release(c)
		return 0, err
	}
	if mapped {
		pool.release(old)
	}
	if t.chunks == nil {
		t.chunks = map[int64]int64{}
	}
	t.chunks[chunk] = c
	t.own++
	return c, nil
}

func (t *thinState) write(h *Host, p []byte, off int64) error {
	pool := t.pool.pool
	return t.each(off, int64(len(p)), func(chunk, in, done, part int64) error {
		c, err := t.mine(h, chunk, part == pool.chunk)
		if err != nil {
			return err
		}
		return pool.data.write(h, p[done:done+part], c*pool.chunk+in)
	})
}

// zeroRange writes zeroes, which takes chunks: a thin device cannot do better.
func (t *thinState) zeroRange(h *Host, off, n int64) error {
	pool := t.pool.pool
	return t.each(off, n, func(chunk, in, _, part int64) error {
		c, err := t.mine(h, chunk, part == pool.chunk)
		if err != nil {
			return err
		}
		return pool.data.zeroRange(h, c*pool.chunk+in, part)
	})
}

// discard gives the chunks that lie wholly in the range back to the pool.
func (t *thinState) discard(off, n int64) {
	pool := t.pool.pool
	first, last := roundUp(off, pool.chunk)/pool.chunk, (off+n)/pool.chunk
	for chunk, c := range t.chunks {
		if chunk >= first && chunk < last {
			pool.release(c)
			delete(t.chunks, chunk)
		}
	}
}

// shareFrom makes the volume a snapshot: it maps what the origin maps.
func (t *thinState) shareFrom(origin *thinState) {
	pool := t.pool.pool
	t.shares = origin.lv
	if len(origin.chunks) == 0 {
		return
	}
	t.chunks = make(map[int64]int64, len(origin.chunks))
	for chunk, c := range origin.chunks {
		t.chunks[chunk] = c
		pool.refs[c]++
	}
}

// leave takes the volume and its chunks out of the pool.
func (t *thinState) leave() {
	pool := t.pool.pool
	for _, c := range t.chunks {
		pool.release(c)
	}
	t.chunks = nil
	if i := slices.Index(pool.thins, t.lv); i >= 0 {
		pool.thins = slices.Delete(pool.thins, i, i+1)
	}
	t.bequeath()
	for _, other := range pool.thins { // who was made from it has no origin any more
		if other.thin.origin == t.lv {
			other.thin.origin = nil
			other.touch()
		}
	}
}

// bequeath leaves the mappings that others share to one of them: to one that has
// changed nothing, if there is one.
func (t *thinState) bequeath() {
	var heirs []*thinState
	for _, other := range t.pool.pool.thins {
		if other.thin.shares == t.lv {
			heirs = append(heirs, other.thin)
		}
	}
	slices.SortStableFunc(heirs, func(x, y *thinState) int { return min(x.own, 1) - min(y.own, 1) })
	for i, heir := range heirs {
		heir.shares = t.shares
		if i > 0 && t.shares == nil {
			heir.shares = heirs[0].lv
		}
	}
}
