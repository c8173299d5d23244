// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
)

// Where things are on a PV (lvm2 2.03, lib/label/label.h and lib/format_text/layout.h):
// the label in the second sector, its list of areas behind the PV's UUID and size, the
// header of the metadata area at 4 KiB.
const (
	sector       = 512
	labelAt      = sector
	listsIn      = 32 // where the label's own content begins
	uuidAndSize  = 32 + 8
	areaEntry    = 16 // offset and size
	metadataAt   = 4096
	metadataSize = 1 << 20
	firstBlocks  = 2 * metadataAt
)

// stamp writes the first blocks of the disks that are files in the machine's folder. What
// follows the label is the fake's own: who reads it may only ask whether it is another.
func (p *program) stamp(h *fakelvm.Host) error {
	for _, disk := range h.Disks() {
		if in, err := filepath.Rel(p.dir, disk); err != nil || strings.HasPrefix(in, "..") {
			continue
		}
		stamp, err := h.Stamp(disk)
		switch {
		case errors.Is(err, fs.ErrNotExist): // taken away
			if err := os.Remove(disk); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		case err != nil && !errors.Is(err, lvm.ErrNoLabel):
			return err
		}
		if err := writeDisk(disk, blocks(stamp, err == nil)); err != nil {
			return fmt.Errorf("disk %s: %w", disk, err)
		}
	}
	return nil
}

// blocks are the first of a disk, blank when it is no PV.
func blocks(stamp string, isPV bool) []byte {
	b := make([]byte, firstBlocks)
	if !isPV {
		return b
	}
	label := b[labelAt : labelAt+sector]
	copy(label, "LABELONE")
	binary.LittleEndian.PutUint32(label[20:], listsIn)
	copy(label[24:], "LVM2 001")
	lists := label[listsIn+uuidAndSize:]
	binary.LittleEndian.PutUint64(lists, metadataAt+metadataSize) // data, and a zero behind it
	binary.LittleEndian.PutUint64(lists[2*areaEntry:], metadataAt)
	binary.LittleEndian.PutUint64(lists[2*areaEntry+8:], metadataSize)
	copy(b[metadataAt:metadataAt+sector], stamp)
	return b
}

// writeDisk writes in place what is another: a reader never finds less than a block.
func writeDisk(path string, content []byte) error {
	if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, content) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	return errors.Join(err, f.Close())
}
