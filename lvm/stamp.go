// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// ErrNoLabel is a disk that is no PV.
var ErrNoLabel = errors.New("has no label of LVM")

// Where LVM keeps things on a PV (lib/format_text/layout.h, lib/label/label.c of
// lvm2 2.03): the label is in one of the first four sectors; behind it is the list
// of data areas and, behind a zero, that of metadata areas. An area begins with a
// header of one sector that says where the current text is.
const (
	block        = 4096 // what every disk can read without the page cache
	labelSectors = 4
	labelWord    = "LABELONE"
	labelType    = "LVM2 001"
	uuidAndSize  = 32 + 8 // precede the lists
)

// Stamp reads what changes on a PV's disk with every commit of its VG's metadata,
// whoever made it, and with nothing else: the headers of its metadata areas. It runs
// no command and takes no lock. It is empty for a PV without a metadata area: such a
// VG has another PV with one.
func Stamp(device string) (string, error) {
	// Past the page cache, which another node or LVM itself writes behind.
	f, err := os.OpenFile(device, os.O_RDONLY|syscall.O_DIRECT|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }() // only read
	buf := alignedBlock()
	if _, err := f.ReadAt(buf, 0); err != nil {
		return "", fmt.Errorf("%s: %w", device, err)
	}
	areas, err := metadataAreas(buf)
	if err != nil {
		return "", fmt.Errorf("%s %w", device, err)
	}
	var stamp strings.Builder
	for _, offset := range areas {
		if _, err := f.ReadAt(buf, offset/block*block); err != nil {
			return "", fmt.Errorf("%s: metadata area at %d: %w", device, offset, err)
		}
		in := offset % block
		stamp.Write(buf[in : in+sector])
	}
	return stamp.String(), nil
}

// metadataAreas are the offsets in bytes of the metadata areas that the label in a
// PV's first block names.
func metadataAreas(first []byte) ([]int64, error) {
	for n := range labelSectors {
		label := first[n*sector : (n+1)*sector]
		if !bytes.HasPrefix(label, []byte(labelWord)) || !bytes.Equal(label[24:32], []byte(labelType)) {
			continue
		}
		at := int(binary.LittleEndian.Uint32(label[20:24])) + uuidAndSize
		var areas []int64
		for list := 0; list < 2; at += 16 {
			if at+16 > len(label) {
				return nil, errors.New("has a label of LVM that cannot be read")
			}
			offset := int64(binary.LittleEndian.Uint64(label[at : at+8]))
			switch {
			case offset == 0:
				list++
			case offset < 0 || offset%sector != 0:
				return nil, fmt.Errorf("has a label of LVM with an area at %d", offset)
			case list == 1:
				areas = append(areas, offset)
			}
		}
		return areas, nil
	}
	return nil, ErrNoLabel
}

// alignedBlock is a block of memory as O_DIRECT wants it.
func alignedBlock() []byte {
	b := make([]byte, 2*block)
	skip := 0
	if rest := int(uintptr(unsafe.Pointer(&b[0])) % block); rest != 0 { //nolint:gosec // an address is asked for, not kept
		skip = block - rest
	}
	return b[skip : skip+block : skip+block]
}
