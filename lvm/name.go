// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"fmt"
	"strings"
)

const (
	// maxName is the longest VG or LV name (lvm2: NAME_LEN 128 with its end).
	maxName = 127
	// maxFullName is the longest "VG/LV" in characters, with two more that lvm2
	// counts (lib/metadata: "LV name … length … is not supported"); inner LVs count.
	maxFullName = 125
	// maxDeviceName is the longest device-mapper name (kernel: DM_NAME_LEN 128).
	// LVM joins VG and LV with a hyphen and doubles the hyphens inside either.
	maxDeviceName = 127
	// longestInner is the longest suffix that LVM appends for the inner LVs and
	// layers of what podlv makes: "_rimage_0", "_rmeta_0", "_tdata", "-real", "-cow".
	longestInner = len("_rimage_0")
	// longestRAIDDevice is the longest suffix of a device that lvm2 makes to take a
	// raid1 LV apart; the number is a logical extent. An LV whose name leaves no room
	// for it can be made and then never removed (seen on 2.03.16).
	longestRAIDDevice = len("_rimage_0-missing_4294967295_0")
	// maxTag is the longest tag (lvm(8), "TAGS").
	maxTag = 1024
)

// reserved are the name parts that lvm2 keeps for the inner LVs that it makes
// (lvm(8), "VALID NAMES").
var reserved = []string{
	"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_iorig", "_imeta", "_mimage", "_mlog",
	"_pmspare", "_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig",
}

// ValidateName checks a VG's and an LV's name against lvm(8), "VALID NAMES", and
// that both together fit into a device-mapper name. ErrInvalid says which rule
// is broken.
func ValidateName(vg, lv string) error {
	if err := validateWord("VG", vg); err != nil {
		return err
	}
	if err := validateWord("LV", lv); err != nil {
		return err
	}
	for _, prefix := range []string{"snapshot", "pvmove"} {
		if strings.HasPrefix(lv, prefix) {
			return fmt.Errorf("%w: LV name %q: names that begin with %q are lvm2's own", ErrInvalid, lv, prefix)
		}
	}
	for _, part := range reserved {
		if strings.Contains(lv, part) {
			return fmt.Errorf("%w: LV name %q: names with %q in them are lvm2's own", ErrInvalid, lv, part)
		}
	}
	if n := len(vg) + len("/") + len(lv) + longestInner; n > maxFullName {
		return fmt.Errorf("%w: VG %q and LV %q: together they have %d characters with room for a suffix, at most %d are allowed", ErrInvalid, vg, lv, n, maxFullName)
	}
	if n := len(DeviceName(vg, lv)) + longestInner; n > maxDeviceName {
		return fmt.Errorf("%w: VG %q and LV %q: their device name would have %d characters with room for a suffix, at most %d are allowed (a hyphen counts twice)", ErrInvalid, vg, lv, n, maxDeviceName)
	}
	return nil
}

// validateRAIDName is ValidateName for a raid1 LV.
func validateRAIDName(vg, lv string) error {
	if err := ValidateName(vg, lv); err != nil {
		return err
	}
	if n := len(DeviceName(vg, lv)) + longestRAIDDevice; n > maxDeviceName {
		return fmt.Errorf("%w: VG %q and LV %q: the device names of a raid1 LV would have %d characters, at most %d are allowed (a hyphen counts twice)", ErrInvalid, vg, lv, n, maxDeviceName)
	}
	return nil
}

func validateWord(kind, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: %s name is empty", ErrInvalid, kind)
	case len(name) > maxName:
		return fmt.Errorf("%w: %s name %q has %d characters, at most %d are allowed", ErrInvalid, kind, name, len(name), maxName)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %s name %q: not a name", ErrInvalid, kind, name)
	case name[0] == '-':
		return fmt.Errorf("%w: %s name %q begins with a hyphen", ErrInvalid, kind, name)
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return !letterOrDigit(r) && !strings.ContainsRune("+_.-", r) }); i >= 0 {
		return fmt.Errorf("%w: %s name %q: only a-z A-Z 0-9 + _ . - are allowed", ErrInvalid, kind, name)
	}
	return nil
}

// ValidateTag checks a tag against lvm(8), "TAGS". Stricter in three things: a
// leading hyphen, which lvm2 takes, reads like an option; a leading "@", which
// lvm2 drops, makes another tag than the one asked for; and lvm2 2.03.16 takes
// more than the 1,024 characters that it documents.
func ValidateTag(tag string) error {
	switch {
	case tag == "":
		return fmt.Errorf("%w: tag is empty", ErrInvalid)
	case len(tag) > maxTag:
		return fmt.Errorf("%w: tag %.40q… has %d characters, at most %d are allowed", ErrInvalid, tag, len(tag), maxTag)
	case tag[0] == '-':
		return fmt.Errorf("%w: tag %q begins with a hyphen", ErrInvalid, tag)
	}
	if i := strings.IndexFunc(tag, func(r rune) bool { return !letterOrDigit(r) && !strings.ContainsRune("_+.-/=!:&#", r) }); i >= 0 {
		return fmt.Errorf("%w: tag %q: only a-z A-Z 0-9 _ + . - / = ! : & # are allowed", ErrInvalid, tag)
	}
	return nil
}

func letterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// DeviceName is the device-mapper name of an LV: /dev/mapper has it, and so do
// the mount table and /sys/block/dm-*/dm/name.
func DeviceName(vg, lv string) string {
	return strings.ReplaceAll(vg, "-", "--") + "-" + strings.ReplaceAll(lv, "-", "--")
}

// ParseDeviceName is the reverse of DeviceName. ok is false for what is not the
// name of an LV's own device: no LVM name, or one of an inner layer.
func ParseDeviceName(name string) (vg, lv string, ok bool) {
	split := -1
	for i := 0; i < len(name); i++ {
		if name[i] != '-' {
			continue
		}
		if i+1 < len(name) && name[i+1] == '-' {
			i++ // a doubled hyphen stands for one inside a name
			continue
		}
		if split >= 0 {
			return "", "", false // a second separator: vg-lv-layer
		}
		split = i
	}
	if split <= 0 || split == len(name)-1 {
		return "", "", false
	}
	return strings.ReplaceAll(name[:split], "--", "-"), strings.ReplaceAll(name[split+1:], "--", "-"), true
}
