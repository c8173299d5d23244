// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"fmt"
	"math"
	"strconv"
)

// MaxSize is the largest LV that LVM can describe: 8 EiB less one extent of the
// largest useful size, kept well inside int64 so that rounding cannot overflow.
const MaxSize = math.MaxInt64 - (1<<32 - 1)

// RoundUp is size rounded up to a multiple of unit, in bytes.
// ErrInvalid when size is negative or above MaxSize, or unit is not positive or
// above 4 GiB.
func RoundUp(size, unit int64) (int64, error) {
	if unit <= 0 || unit > 1<<32 {
		return 0, fmt.Errorf("%w: unit %d bytes: must be from 1 to 4 GiB", ErrInvalid, unit)
	}
	if size < 0 || size > MaxSize {
		return 0, fmt.Errorf("%w: size %d bytes: must be from 0 to %d", ErrInvalid, size, int64(MaxSize))
	}
	if rest := size % unit; rest != 0 {
		if size > math.MaxInt64-(unit-rest) {
			return 0, fmt.Errorf("%w: size %d bytes: too large to round up to %d", ErrInvalid, size, unit)
		}
		size += unit - rest
	}
	return size, nil
}

// RoundDown is size rounded down to a multiple of unit; 0 for a negative size.
// unit must be positive.
func RoundDown(size, unit int64) int64 {
	if size < 0 {
		return 0
	}
	return size - size%unit
}

// FormatSize is a size for a person, as a quantity in the notation that users
// write: 1020Mi, 8Gi. It is exact: what is no whole number of KiB stays bytes.
func FormatSize(size int64) string {
	units := []string{"", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"}
	i := 0
	for size != 0 && size%1024 == 0 && i < len(units)-1 {
		size /= 1024
		i++
	}
	return strconv.FormatInt(size, 10) + units[i]
}

// Layout is how an LV's bytes lie on its VG.
type Layout string

// The layouts that podlv makes. The words are lvm2's segment types.
const (
	Linear  Layout = "linear"  // extents of any PV, one after the other
	Striped Layout = "striped" // spread over several PVs for throughput
	RAID1   Layout = "raid1"   // the same bytes on several PVs
	Thin    Layout = "thin"    // space of a thin pool, taken when written
)

// Allocation is what an LV of size bytes takes from its VG's free space, in
// bytes: size rounded up to whole extents in every stripe, times the copies,
// plus one extent of metadata for every RAID image. A thin volume takes nothing
// from its VG (its pool did). legs is the number of stripes or of copies; it
// counts for Striped and RAID1 only.
//
// Rounding of stripes: lvcreate(8), "--stripes"; RAID metadata: one extent per
// image as long as the extent is at least 4 MiB and the LV under 4 TiB or so
// (lvmraid(7)).
func (l Layout) Allocation(size, extent int64, legs int) (int64, error) {
	switch l {
	case Linear:
		return RoundUp(size, extent)
	case Striped:
		if legs < 2 || legs > 128 {
			return 0, fmt.Errorf("%w: %d stripes: must be from 2 to 128", ErrInvalid, legs)
		}
		if size > MaxSize/int64(legs) { // keeps unit*legs in range below
			return 0, fmt.Errorf("%w: size %d bytes in %d stripes: too large", ErrInvalid, size, legs)
		}
		extents, err := RoundUp(size, extent)
		if err != nil {
			return 0, err
		}
		n := int64(legs)
		return (extents/extent + n - 1) / n * n * extent, nil
	case RAID1:
		if legs < 2 || legs > 10 {
			return 0, fmt.Errorf("%w: %d copies: must be from 2 to 10", ErrInvalid, legs)
		}
		data, err := RoundUp(size, extent)
		if err != nil {
			return 0, err
		}
		if data > (MaxSize-int64(legs)*extent)/int64(legs) {
			return 0, fmt.Errorf("%w: size %d bytes in %d copies: too large", ErrInvalid, size, legs)
		}
		return (data + extent) * int64(legs), nil
	case Thin:
		return 0, nil
	default:
		return 0, fmt.Errorf("%w: layout %q: must be linear, striped, raid1 or thin", ErrInvalid, l)
	}
}
