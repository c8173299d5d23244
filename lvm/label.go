// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Label is what LVM wrote on a device to make a PV of it.
type Label struct {
	UUID string // as lvm2 prints it, in seven groups
	// Used: a command has begun to make the PV part of a VG, or it is part of one.
	Used bool
	// Committed: its metadata area has the description of a VG, or is set aside (pvchange
	// --metadataignore). No LV was ever on a PV that is not.
	Committed bool
	// Written: something was once written into its metadata area, if only by a command
	// that died before its commit.
	Written bool
}

// Beyond stamp.go, of lvm2's lib/format_text/layout.h: struct pv_header begins with the
// PV's UUID; struct pv_header_extension follows its lists; in struct mda_header the
// list of raw_locn, the first of which is the current text, stands at 40.
const (
	uuidLength = 32
	usedFlag   = 1
	locations  = 40
	location   = 24 // offset, size, checksum, flags
	headerSize = sector
	// areaMost is as much of a metadata area as is looked at: the default one is smaller.
	areaMost = 2 << 20
)

// magic of a metadata area's header, behind its checksum (FMTT_MAGIC).
const areaMagic = " LVM2 x[5A%r0N*>"

// ReadLabel reads the label of a device from the disk itself: no lvm.conf hides one.
// ErrNoLabel when there is none. It changes nothing.
func ReadLabel(device string) (Label, error) {
	f, err := os.Open(device)
	if err != nil {
		return Label{}, err
	}
	defer func() { _ = f.Close() }() // only read
	l, err := ParseLabel(f)
	if err != nil {
		return Label{}, fmt.Errorf("%s %w", device, err)
	}
	return l, nil
}

// ParseLabel is ReadLabel of an open device.
func ParseLabel(device io.ReaderAt) (Label, error) {
	first := make([]byte, block)
	if _, err := device.ReadAt(first, 0); err != nil {
		return Label{}, fmt.Errorf("cannot be read: %w", err)
	}
	areas, err := metadataAreas(first)
	if err != nil {
		return Label{}, err
	}
	header := pvHeader(first)
	l := Label{UUID: groupUUID(string(header[:uuidLength])), Used: extensionFlags(header)&usedFlag != 0}
	for _, offset := range areas {
		area := make([]byte, areaMost)
		n, err := device.ReadAt(area, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return Label{}, fmt.Errorf("has a metadata area that cannot be read: %w", err)
		}
		if n < headerSize {
			return Label{}, errors.New("has a metadata area behind its end")
		}
		size := int64(binary.LittleEndian.Uint64(area[32:40]))
		area = area[:min(int64(n), max(size, headerSize))]
		l.Committed = l.Committed || !allZero(area[locations:locations+location])
		l.Written = l.Written || !allZero(area[headerSize:])
	}
	return l, nil
}

// pvHeader is what follows the label of a first block that has one.
func pvHeader(first []byte) []byte {
	for n := range labelSectors {
		label := first[n*sector : (n+1)*sector]
		if bytes.HasPrefix(label, []byte(labelWord)) && bytes.Equal(label[24:32], []byte(labelType)) {
			return label[binary.LittleEndian.Uint32(label[20:24]):]
		}
	}
	return nil
}

// extensionFlags are those of the header's extension, 0 without one.
func extensionFlags(header []byte) uint32 {
	at := uuidAndSize
	for range 2 { // the lists of areas
		for at+16 <= len(header) && !allZero(header[at:at+8]) {
			at += 16
		}
		at += 16
	}
	if at+8 > len(header) || allZero(header[at:at+4]) {
		return 0
	}
	return binary.LittleEndian.Uint32(header[at+4 : at+8])
}

// EmptyArea says whether the sector at the offset 4096 of a device is the header of a
// metadata area that nothing was written into: what a pvcreate leaves that died before
// it wrote the label.
func EmptyArea(header []byte) bool {
	return len(header) >= headerSize && string(header[4:4+len(areaMagic)]) == areaMagic && allZero(header[locations:headerSize])
}

// groupUUID puts the hyphens into a UUID as it is on disk.
func groupUUID(u string) string {
	var groups []string
	for _, n := range []int{6, 4, 4, 4, 4, 4, 6} {
		groups = append(groups, u[:n])
		u = u[n:]
	}
	return strings.Join(groups, "-")
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
