// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What LVM itself says of these rules is tested in lvmtest, on real lvm2.
func TestValidateNameSaysWhichRuleIsBroken(t *testing.T) {
	for _, c := range []struct{ vg, lv, message string }{
		{"vg0", "", `LV name is empty`},
		{"", "a", `VG name is empty`},
		{"vg0", "-a", `LV name "-a" begins with a hyphen`},
		{"vg0", "..", `not a name`},
		{"vg0", "a b", `LV name "a b": only a-z A-Z 0-9 + _ . - are allowed`},
		{"vg0", "é", `only a-z`},
		{"vg/0", "a", `VG name "vg/0"`},
		{"vg0", "snapshot7", `names that begin with "snapshot" are lvm2's own`},
		{"vg0", "pvmove0", `names that begin with "pvmove"`},
		{"vg0", "x_tdata", `names with "_tdata" in them`},
		{"vg0", strings.Repeat("a", 128), `128 characters, at most 127`},
		{"vg0", strings.Repeat("a", 113), `together they have 126 characters with room for a suffix, at most 125`},
		{"vg0", strings.Repeat("a-", 40), `a hyphen counts twice`},
		{strings.Repeat("v", 127), "a", `together`},
	} {
		err := ValidateName(c.vg, c.lv)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, c.message)
	}
	for _, lv := range []string{"a", "csi-" + strings.Repeat("0", 64), strings.Repeat("a", 112), "snap", "mysnapshot", "a_b", "+a", ".a"} {
		require.NoError(t, ValidateName("vg0", lv))
	}
}

func TestValidateRAIDName(t *testing.T) {
	require.NoError(t, validateRAIDName("vg0", strings.Repeat("a", 93)))
	require.ErrorIs(t, validateRAIDName("vg0", strings.Repeat("a", 94)), ErrInvalid)
	require.ErrorIs(t, validateRAIDName("vg0", "a/b"), ErrInvalid)
}

func TestValidateTagSaysWhichRuleIsBroken(t *testing.T) {
	for tag, message := range map[string]string{
		"":                        "empty",
		"-a":                      "hyphen",
		"@a":                      "only a-z",
		"a b":                     "only a-z",
		"ü":                       "only a-z",
		strings.Repeat("t", 1025): "1025 characters, at most 1024",
	} {
		err := ValidateTag(tag)
		require.ErrorIs(t, err, ErrInvalid)
		require.ErrorContains(t, err, message)
		require.Less(t, len(err.Error()), 200, "the message does not repeat a long tag")
	}
	for _, tag := range []string{"a", "podlv.pod=ns/na-me/1-2", "!", "=", strings.Repeat("t", 1024)} {
		require.NoError(t, ValidateTag(tag))
	}
}

func TestDeviceName(t *testing.T) {
	for _, c := range []struct{ vg, lv, device string }{
		{"vg0", "a", "vg0-a"},
		{"vg0", "csi-abc", "vg0-csi--abc"},
		{"my-vg", "-a--b-", "my--vg---a----b--"},
	} {
		require.Equal(t, c.device, DeviceName(c.vg, c.lv))
	}
	for _, name := range []string{"", "-", "vg0", "vg0-", "-a", "vg0-a-tpool", "vg0-a-real", "vg0--a", "vg0-a_-b"} {
		_, _, ok := ParseDeviceName(name)
		require.False(t, ok, name)
	}
}

func FuzzDeviceName(f *testing.F) {
	for _, s := range [][2]string{{"vg0", "a"}, {"a-b", "c-"}, {"a--", "b"}, {".", "a"}, {"v", strings.Repeat("-", 60)}, {"v", "a-tpool"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, vg, lv string) {
		if ValidateName(vg, lv) != nil {
			return
		}
		device := DeviceName(vg, lv)
		require.LessOrEqual(t, len(device)+longestInner, 127)
		gotVG, gotLV, ok := ParseDeviceName(device)
		require.True(t, ok, device)
		require.Equal(t, []string{vg, lv}, []string{gotVG, gotLV})
		_, _, ok = ParseDeviceName(device + "-tpool")
		require.False(t, ok, "an inner layer is not the LV")
	})
}

func FuzzParseDeviceName(f *testing.F) {
	for _, s := range []string{"vg0-a", "a--b-c--d", "---", "vg0-a-real"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		vg, lv, ok := ParseDeviceName(name)
		if !ok {
			return
		}
		require.NotEmpty(t, vg)
		require.NotEmpty(t, lv)
		require.Equal(t, name, DeviceName(vg, lv), "the same device")
	})
}
