// SPDX-License-Identifier: Apache-2.0

package fakelvm

import "slices"

// snapChunk is the default chunk of a thick snapshot, bytes.
const snapChunk = 4096

// snapPerArea is how many exceptions one chunk of a snapshot's metadata holds:
// 16 bytes each (drivers/md/dm-snap-persistent.c).
const snapPerArea = snapChunk / 16

// snapState is a thick snapshot: the chunks of its origin that were overwritten
// since, kept in the extents of the snapshot LV.
type snapState struct {
	origin     *logicalVolume
	uuid       string          // of the hidden LV that ties the two together
	exceptions map[int64]int64 // chunk of the origin → chunk of the snapshot's extents
	invalid    bool            // it was full once: nothing can be read any more
}

// usedChunks is what the store has used: a header, the areas of exceptions, the data.
func (s *snapState) usedChunks() int64 {
	n := int64(len(s.exceptions))
	return 1 + (n/snapPerArea + 1) + n
}

// maxCOW is the largest useful store for an origin, bytes: each chunk of it once.
func maxCOW(origin, extent int64) int64 {
	n := (origin + snapChunk - 1) / snapChunk
	return roundUp((1+n/snapPerArea+1+n)*snapChunk, extent)
}

// noOrigin tells what kind of LV it is when it can have no thick snapshots
// (validate_snapshot_origin in lvm2's lib/metadata/snapshot_manip.c).
func (l *logicalVolume) noOrigin() (what string, is bool) {
	switch {
	case l.snap != nil:
		return "snapshots", true
	case !l.visible():
		return "hidden volumes", true
	case l.kind == thinPool:
		return "thin pool type volumes", true
	}
	return "", false
}

// take keeps room for one more chunk; the snapshot is lost when there is none.
func (s *snapState) take(l *logicalVolume, chunk int64) (int64, bool) {
	if (s.usedChunks()+1)*snapChunk > l.bytes() {
		s.invalid = true
		return 0, false
	}
	if s.exceptions == nil {
		s.exceptions = map[int64]int64{}
	}
	at := s.usedChunks()
	s.exceptions[chunk] = at
	return at, true
}

// preserve keeps what the origin is about to lose.
func (s *snapState) preserve(h *Host, l *logicalVolume, off, n int64) {
	buf := make([]byte, snapChunk)
	for chunk := off / snapChunk; chunk*snapChunk < off+n && !s.invalid; chunk++ {
		if _, kept := s.exceptions[chunk]; kept {
			continue
		}
		if s.origin.read(h, buf, chunk*snapChunk) != nil {
			s.invalid = true
			return
		}
		s.store(h, l, chunk, buf)
	}
}

// store writes one whole chunk of the snapshot.
func (s *snapState) store(h *Host, l *logicalVolume, chunk int64, data []byte) bool {
	at, kept := s.exceptions[chunk]
	if !kept {
		if at, kept = s.take(l, chunk); !kept {
			return false
		}
	}
	err := l.eachRun(at*snapChunk, snapChunk, func(d *disk, to, done, n int64) error {
		return d.write(data[done:done+n], to)
	})
	if err != nil {
		s.invalid = true
	}
	return err == nil
}

// load reads one whole chunk of the snapshot.
func (s *snapState) load(h *Host, l *logicalVolume, chunk int64, buf []byte) error {
	at, kept := s.exceptions[chunk]
	if !kept {
		return s.origin.read(h, buf, chunk*snapChunk)
	}
	return l.eachRun(at*snapChunk, snapChunk, func(d *disk, from, done, n int64) error {
		return d.read(h, buf[done:done+n], from)
	})
}

func (s *snapState) read(h *Host, l *logicalVolume, p []byte, off int64) error {
	buf := make([]byte, snapChunk)
	for done := int64(0); done < int64(len(p)); {
		if s.invalid {
			return errIO
		}
		chunk, in := (off+done)/snapChunk, (off+done)%snapChunk
		if err := s.load(h, l, chunk, buf); err != nil {
			return err
		}
		done += int64(copy(p[done:], buf[in:]))
	}
	return nil
}

func (s *snapState) write(h *Host, l *logicalVolume, p []byte, off int64) error {
	buf := make([]byte, snapChunk)
	for done := int64(0); done < int64(len(p)); {
		chunk, in := (off+done)/snapChunk, (off+done)%snapChunk
		if s.invalid {
			return errIO
		}
		if err := s.load(h, l, chunk, buf); err != nil {
			return err
		}
		done += int64(copy(buf[in:], p[done:]))
		if !s.store(h, l, chunk, buf) {
			return errIO
		}
	}
	return nil
}

// leave unties the snapshot from its origin.
func (s *snapState) leave(l *logicalVolume) {
	if i := slices.Index(s.origin.snaps, l); i >= 0 {
		s.origin.snaps = slices.Delete(s.origin.snaps, i, i+1)
	}
}
