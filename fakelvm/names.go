// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"slices"
	"strings"
)

// reservedParts is what LVM keeps for its own LVs (apply_lvname_restrictions in
// lib/misc/lvm-string.c); reservedStarts is what no name may begin with.
var (
	reservedParts = []string{
		"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mimage", "_mlog", "_pmspare",
		"_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_imeta", "_iorig", "_vorigin",
	}
	reservedStarts = []string{"pvmove", "snapshot"}
)

// nameByte tells whether LVM allows the byte in a name of a VG or LV.
func nameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || strings.IndexByte("._-+", b) >= 0
}

// validName is LVM's rule for names (validate_name).
func validName(name string) bool {
	if name == "" || name == "." || name == ".." || name[0] == '-' || len(name) > maxNameLen {
		return false
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return false
		}
	}
	return true
}

// nameable refuses what cannot be the name of an LV.
func (c *command) nameable(name string) (code int) {
	if validName(name) {
		return exitOK
	}
	return c.misused("Logical volume name %q is invalid.", name)
}

// lvPath splits the path of an LV, from the command line alone
// (validate_lvname_param in lvm2's tools/toollib.c).
func (c *command) lvPath(path string) (vg, lv string, code int) {
	within := strings.TrimPrefix(path, "/dev/")
	if !strings.Contains(path, "/") {
		if code := c.nameable(path); code != exitOK {
			return "", "", code
		}
		return "", "", c.misused("Please specify a logical volume path.")
	}
	if strings.Count(within, "/") != 1 {
		return "", "", c.misused("%q: Invalid path for Logical Volume.", path)
	}
	vg, lv, _ = strings.Cut(within, "/")
	return vg, lv, c.nameable(lv)
}

// reserved tells why LVM refuses a name for an LV of the user's.
func reserved(name string) (why string, is bool) {
	for _, s := range reservedStarts {
		if strings.HasPrefix(name, s) {
			return "Names starting \"" + s + "\" are reserved. Please choose a different LV name.", true
		}
	}
	for _, s := range reservedParts {
		if strings.Contains(name, s) {
			return "Names including \"" + s + "\" are reserved. Please choose a different LV name.", true
		}
	}
	return "", false
}

// dmName is the device-mapper name of an LV: hyphens are doubled, so that the one
// between VG and LV stands out.
func dmName(vg, lv string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return double(vg) + "-" + double(lv)
}

// autoName is the name that lvcreate invents.
func (v *volumeGroup) autoName() string {
	high := -1
	for _, l := range v.lvs {
		if n, ok := leadingNumber(l.name, "lvol"); ok {
			high = max(high, n)
		}
	}
	return "lvol" + decimal(int64(high+1))
}

// leadingNumber reads the number behind a prefix as sscanf does, whatever follows.
func leadingNumber(s, prefix string) (n int, ok bool) {
	rest, found := strings.CutPrefix(s, prefix)
	if !found {
		return 0, false
	}
	for i := 0; i < len(rest) && rest[i] >= '0' && rest[i] <= '9' && i < 9; i++ {
		n, ok = n*10+int(rest[i]-'0'), true
	}
	return n, ok
}

// mergeTags adds and removes tags as lvchange does: first what is added, then
// what is removed. The result is sorted.
func mergeTags(tags, add, remove []string) []string {
	out := slices.Clone(tags)
	for _, t := range add {
		t = strings.TrimPrefix(t, "@")
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	for _, t := range remove {
		t = strings.TrimPrefix(t, "@")
		if i := slices.Index(out, t); i >= 0 {
			out = slices.Delete(out, i, i+1)
		}
	}
	return out
}
