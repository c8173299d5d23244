// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/podlv/podlv/lvm"
)

// Disks is the node's block devices as what VGs are made of. Nothing is changed through
// it. The contract: a question that cannot be answered is an error, never "nothing".
type Disks interface {
	// Glob gives the paths that match a pattern of path.Match.
	Glob(pattern string) ([]string, error)
	// Disk looks at what path leads to, through links. ok is false when nothing is there.
	Disk(path string) (d Disk, ok bool, err error)
	// Claim opens the device for reading, as its only holder. ErrClaimed when it is open
	// exclusively already: mounted, swap, part of a RAID, of device-mapper or of a VG
	// whose LVs are active.
	Claim(device string) (DiskContent, error)
	// Signatures are what libblkid knows of on the device, in its words, each with its
	// offset: "ext4 at 0x438".
	Signatures(device string) ([]string, error)
}

// ErrClaimed is a device that somebody else has open exclusively.
var ErrClaimed = errors.New("somebody has it open exclusively")

// DiskContent is the bytes of a claimed device. Close gives it up.
type DiskContent interface {
	io.ReaderAt
	io.Closer
}

// Disk is a block device, as the kernel describes it.
type Disk struct {
	Device     string // the kernel's own name, "/dev/sdb": every other path is a link to it
	Kind       DiskKind
	Size       int64 // bytes
	Rotational bool
	Removable  bool // its medium is
	ReadOnly   bool
	Partitions []string // names of the partitions on it
	Holders    []string // names of the devices that are made of it: "dm-0", "md0"
	Twins      []string // names of other devices that say they are the same disk: paths to it
}

// DiskKind is what a block device is.
type DiskKind string

// The kinds of Disk. All but a diskWhole and a diskLV must be named by a path of their
// own, not by a pattern.
const (
	diskWhole     DiskKind = "disk"
	diskPartition DiskKind = "partition"
	diskLV        DiskKind = "logical volume"
	diskLoop      DiskKind = "loop device"
	diskMapped    DiskKind = "device-mapper device"
	diskRAID      DiskKind = "RAID array"
	diskVirtual   DiskKind = "virtual device" // zram, nbd, a RAM disk
)

// Refusal is why a device is not taken. Its reason is that of the event; its words say what
// is there.
type Refusal struct {
	Reason string
	words  string
}

// The reasons of refusals.
const (
	refusedMissing   = "PodlvDeviceMissing"   // nothing is there
	refusedCount     = "PodlvDeviceCount"     // a pattern matches more or fewer
	refusedKind      = "PodlvDeviceKind"      // no block device, or one that must be named by itself
	refusedMedia     = "PodlvDeviceMedia"     // of another medium, or too small
	refusedInUse     = "PodlvDeviceInUse"     // mounted, swap, held, partitioned, read-only, shared
	refusedSignature = "PodlvDeviceSignature" // somebody's filesystem, RAID, partition table, PV
	refusedContent   = "PodlvDeviceContent"   // bytes that nobody knows
	refusedTwice     = "PodlvDeviceTwice"     // two VGs are to have it
	refusedError     = "PodlvDeviceError"     // it cannot be looked at
)

// Error implements error.
func (r *Refusal) Error() string { return r.words }

func refuse(reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, words: fmt.Sprintf(format, args...)}
}

// pvMark begins the UUID of every PV that podlv makes. LVM draws its own at random from
// 62^32: a PV without a VG that has the mark is one that podlv died over.
const pvMark = "podlv0-"

// found is a device that can be taken.
type found struct {
	Disk
	uuid  string // of the PV that it is already, of ours and in no VG; empty: it is blank
	renew bool   // LVM takes it only when it is made a PV again
}

// suits says whether the device is of the medium and size that a rule is for.
func (r DeviceRule) suits(d Disk) error {
	switch {
	case r.Media == mediaSSD && d.Rotational:
		return refuse(refusedMedia, "is rotational, not of media %s", mediaSSD)
	case r.Media == mediaHDD && !d.Rotational:
		return refuse(refusedMedia, "is not rotational, not of media %s", mediaHDD)
	case d.Size < r.MinSize:
		return refuse(refusedMedia, "has %s, less than minSize, %s", lvm.FormatSize(d.Size), lvm.FormatSize(r.MinSize))
	default:
		return nil
	}
}

// described is what speaks against a device by its description alone. named: by its own
// path, not by a pattern.
func described(d Disk, named bool) error {
	switch {
	case d.Kind == diskLV:
		return refuse(refusedKind, "is a logical volume of LVM")
	case d.Kind != diskWhole && !named:
		return refuse(refusedKind, "is a %s: it is taken only when it is named by its own path, not by a pattern", d.Kind)
	case d.Removable && !named:
		return refuse(refusedKind, "has a removable medium: it is taken only when it is named by its own path, not by a pattern")
	case d.Size == 0:
		return refuse(refusedInUse, "has a size of 0: no medium, or no file behind it")
	case d.ReadOnly:
		return refuse(refusedInUse, "is read-only")
	case len(d.Partitions) > 0:
		return refuse(refusedInUse, "has partitions: %s", strings.Join(d.Partitions, ", "))
	case len(d.Holders) > 0:
		return refuse(refusedInUse, "is part of %s", strings.Join(d.Holders, ", "))
	case len(d.Twins) > 0:
		return refuse(refusedInUse, "is the same disk as %s, by its WWID: name the multipath device instead", strings.Join(d.Twins, ", "))
	default:
		return nil
	}
}

const lvmSignature = "LVM2_member"

// inspect looks at a device itself, which is in no VG that LVM knows, and says whether it
// can be taken. Whatever cannot be found out is a refusal.
func inspect(disks Disks, d Disk) (found, error) {
	content, err := disks.Claim(d.Device)
	switch {
	case errors.Is(err, ErrClaimed):
		return found{}, refuse(refusedInUse, "is in use: mounted, swap, or open by a program that wants it alone")
	case err != nil:
		return found{}, refuse(refusedError, "cannot be opened: %v", err)
	}
	defer func() { _ = content.Close() }() // only read
	signatures, err := disks.Signatures(d.Device)
	if err != nil {
		return found{}, refuse(refusedError, "cannot be searched for signatures: %v", err)
	}
	label, err := lvm.ParseLabel(content)
	switch {
	case err == nil && len(signatures) == 1 && strings.HasPrefix(signatures[0], lvmSignature+" "):
		return ourPV(d, label)
	case err != nil && !errors.Is(err, lvm.ErrNoLabel):
		return found{}, refuse(refusedError, "cannot be read: %v", err)
	case len(signatures) > 0:
		return found{}, refuse(refusedSignature, "has a signature: %s", strings.Join(signatures, ", "))
	case err == nil:
		return found{}, refuse(refusedSignature, "has a label of LVM, and libblkid does not see it")
	}
	at, err := firstByte(content, d.Size)
	switch {
	case err != nil:
		return found{}, refuse(refusedError, "cannot be read: %v", err)
	case at >= 0:
		return found{}, refuse(refusedContent, "is not blank: bytes that are not zero at %d, and no signature that libblkid knows", at)
	default:
		return found{Disk: d}, nil
	}
}

// ourPV says whether a PV in no VG is one that podlv made and died over, and nothing was
// ever on it.
func ourPV(d Disk, l lvm.Label) (found, error) {
	switch {
	case !strings.HasPrefix(l.UUID, pvMark):
		return found{}, refuse(refusedSignature, "is a physical volume of LVM already (%s) that podlv did not make", l.UUID)
	case l.Committed:
		return found{}, refuse(refusedSignature, "is a physical volume of a VG that LVM does not show (%s)", l.UUID)
	case !l.Used && l.Written:
		return found{}, refuse(refusedSignature, "is a physical volume that was taken out of its VG (%s)", l.UUID)
	default:
		return found{Disk: d, uuid: l.UUID, renew: l.Used}, nil
	}
}

// edge is how much of each end of a device must be zero.
const edge = mib

// firstByte is where a device's first and last MiB have something that is not zero; -1 when
// nothing is. What a pvcreate leaves that died before the label does not count.
func firstByte(content io.ReaderAt, size int64) (int64, error) {
	const area = 4096 // where LVM's metadata area begins
	for _, from := range []int64{0, max(0, size-edge)} {
		buf := make([]byte, min(edge, size))
		if _, err := content.ReadAt(buf, from); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if from == 0 && len(buf) >= area+512 && lvm.EmptyArea(buf[area:area+512]) {
			clear(buf[area : area+512])
		}
		for i, b := range buf {
			if b != 0 {
				return from + int64(i), nil
			}
		}
	}
	return -1, nil
}
