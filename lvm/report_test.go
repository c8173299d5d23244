// SPDX-License-Identifier: Apache-2.0

package lvm

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// captured reads a report that real lvm2 2.03.16 printed for reportArgs, in a
// microVM with disks of 2 GiB.
func captured(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + "-2.03.16.json")
	require.NoError(t, err)
	return b
}

func TestParseReportOfAMachineWithoutVGs(t *testing.T) {
	groups, err := parseReport(captured(t, "report-empty"))
	require.NoError(t, err)
	require.Empty(t, groups)
}

func TestParseReportOfEveryKindOfLV(t *testing.T) {
	groups, err := parseReport(captured(t, "report-all"))
	require.NoError(t, err)
	require.Len(t, groups, 1)
	g := groups[0]
	require.Equal(t, "vg0", g.Name)
	require.Equal(t, []string{"fast", "rack=7"}, g.Tags)
	require.Equal(t, 4*mib, g.ExtentSize)
	require.Equal(t, 1022*4*mib, g.Size)
	require.Zero(t, g.MissingPVs)
	require.Len(t, g.PhysicalVolumes, 2)
	require.Equal(t, g.Free, g.PhysicalVolumes[0].Free+g.PhysicalVolumes[1].Free)
	require.True(t, g.PhysicalVolumes[0].Allocatable)
	for _, p := range g.PhysicalVolumes {
		require.Equal(t, []int64{p.Free}, p.FreeAreas, p.Device)
	}

	// One line an LV: what a reader of the report must see at a glance.
	var lines []string
	for _, l := range g.LogicalVolumes {
		require.Equal(t, "vg0", l.VG)
		require.Equal(t, 2026, l.Created.Year())
		lines = append(lines, fmt.Sprintf("%s %s %d size=%d active=%v open=%v origin=%q pool=%q data=%.2f meta=%.2f invalid=%v tags=%v",
			l.Name, l.Type, l.Stripes, l.Size/mib, l.Active, l.Open, l.Origin, l.Pool, l.DataPercent, l.MetadataPercent, l.Invalid, l.Tags))
	}
	require.Equal(t, []string{
		`filler linear 1 size=4 active=true open=true origin="" pool="" data=-1.00 meta=-1.00 invalid=false tags=[]`,
		`linear linear 1 size=64 active=true open=false origin="" pool="" data=-1.00 meta=-1.00 invalid=false tags=[podlv.dev podlv.pod=ns/na-me/1-2 podlv.state=new]`,
		`off linear 1 size=8 active=false open=false origin="" pool="" data=-1.00 meta=-1.00 invalid=false tags=[]`,
		`overflown linear 1 size=4 active=true open=false origin="linear" pool="" data=100.00 meta=-1.00 invalid=true tags=[]`,
		`pool thin-pool 1 size=128 active=true open=true origin="" pool="" data=7.81 meta=10.94 invalid=false tags=[]`,
		`raid raid1 2 size=16 active=true open=false origin="" pool="" data=-1.00 meta=-1.00 invalid=false tags=[podlv.dev]`,
		`striped striped 2 size=72 active=true open=false origin="" pool="" data=-1.00 meta=-1.00 invalid=false tags=[podlv.dev]`,
		`thicksnap linear 1 size=16 active=true open=false origin="linear" pool="" data=50.24 meta=-1.00 invalid=false tags=[]`,
		`thin thin 0 size=1024 active=true open=false origin="" pool="pool" data=0.98 meta=-1.00 invalid=false tags=[podlv.dev]`,
		`thinsnap thin 0 size=1024 active=true open=false origin="thin" pool="pool" data=0.98 meta=-1.00 invalid=false tags=[]`,
	}, lines)

	pool, _ := g.LogicalVolume("pool")
	require.Equal(t, []int64{4 * mib, 64 << 10}, []int64{pool.MetadataSize, pool.ChunkSize})
	snapshot, _ := g.LogicalVolume("thicksnap") // it has chunks of its own, which are nobody's business
	require.Equal(t, []int64{0, 0}, []int64{snapshot.MetadataSize, snapshot.ChunkSize})

	striped, ok := g.LogicalVolume("striped")
	require.True(t, ok)
	require.NotEmpty(t, striped.Segments)
	var sum int64
	for _, s := range striped.Segments {
		sum += s.Size
		require.Equal(t, 2, s.Legs)
		require.Contains(t, s.Ranges, "/dev/ubdb:")
		require.Contains(t, s.Ranges, "/dev/ubdc:")
	}
	require.Equal(t, striped.Size, sum)
	linear, _ := g.LogicalVolume("linear")
	pod, ok := linear.TagValue("podlv.pod")
	require.True(t, ok)
	require.Equal(t, "ns/na-me/1-2", pod)
	_, ok = linear.TagValue("podlv.po")
	require.False(t, ok)
	require.True(t, linear.HasTag("podlv.dev"))
	require.False(t, linear.HasTag("podlv"))
	_, ok = g.LogicalVolume("none")
	require.False(t, ok)
}

func TestParseReportOfAMissingPV(t *testing.T) {
	groups, err := parseReport(captured(t, "report-missing"))
	require.NoError(t, err)
	require.Len(t, groups, 2)
	require.Equal(t, "vg0", groups[0].Name)
	require.Equal(t, "vg1", groups[1].Name)
	require.Equal(t, 1, groups[0].MissingPVs)
	missing := groups[0].PhysicalVolumes[1]
	require.Equal(t, "[unknown]", missing.Device)
	require.True(t, missing.Missing)
	off, _ := groups[0].LogicalVolume("raid")
	require.Equal(t, "partial", off.Health)
	require.Equal(t, -1.0, off.DataPercent)
	require.False(t, off.Active)
	require.Empty(t, groups[1].LogicalVolumes)
}

// A field that is missing or strange is an error: nothing may be decided on a
// report that is half understood.
func TestParseReportRefusesWhatItDoesNotUnderstand(t *testing.T) {
	good := string(captured(t, "report-all"))
	for _, c := range []struct{ name, old, new, message string }{
		{"cut off", good[len(good)/2:], "", "unexpected end of JSON"},
		{"no size", `"vg_size":`, `"vg_sise":`, "field vg_size is missing"},
		{"size with a unit", `"lv_size":"67108864"`, `"lv_size":"64.00m"`, `field lv_size: "64.00m" is not a whole number`},
		{"no name", `"lv_name":"filler", `, ``, "field lv_name is missing"},
		{"words for numbers", `"pv_missing":"0"`, `"pv_missing":""`, "field pv_missing"},
		{"local time", `"lv_time":"`, `"lv_time":"2026-01-01 00:00:00 +0000`, "field lv_time"},
		{"strange percentage", `"data_percent":"7.81"`, `"data_percent":"many"`, `field data_percent: "many" is not a percentage`},
		{"no size of what is free", `"pvseg_size":`, `"x":`, "field pvseg_size is missing"},
		{"no size of metadata", `"lv_metadata_size":"4194304"`, `"lv_metadata_sise":"4194304"`, "field lv_metadata_size is missing"},
		{"metadata with a unit", `"lv_metadata_size":"4194304"`, `"lv_metadata_size":"4.00m"`, `field lv_metadata_size: "4.00m" is not a whole number`},
		{"no segment type", `"segtype":"raid1", `, ``, "field segtype is missing"},
		{"numbers for strings", `"vg_seqno":"`, `"vg_seqno":1, "x":"`, "cannot unmarshal number"},
		{"two VGs in one part", `"vg": [`, `"vg": [ {},`, "2 VGs in one part"},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		require.NotEqual(t, good, text, c.name)
		_, err := parseReport([]byte(text))
		require.ErrorContains(t, err, c.message, c.name)
		require.ErrorContains(t, err, "read lvm's report", c.name)
	}
	for _, text := range []string{"", "null x", "[]", `"report"`, "  WARNING: something\n{}"} {
		_, err := parseReport([]byte(text))
		require.Error(t, err, text)
	}
}

func TestReportArgsAskForAllThatIsRead(t *testing.T) {
	asked := strings.Join(reportArgs(), " ")
	var doc struct {
		Report []map[string][]map[string]string
	}
	require.NoError(t, json.Unmarshal(captured(t, "report-all"), &doc))
	for section, rows := range doc.Report[0] {
		for field := range rows[0] {
			require.Contains(t, asked, field, section)
		}
	}
	require.Contains(t, asked, "--units b --nosuffix --binary")
}

func FuzzParseReport(f *testing.F) {
	for _, name := range []string{"report-empty", "report-all", "report-missing"} {
		f.Add(captured(f, name))
	}
	f.Add([]byte(`{"report":[{"vg":[{}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		groups, err := parseReport(text)
		if err != nil {
			require.Nil(t, groups, "an error comes with no half of an answer")
			return
		}
		for _, g := range groups {
			for _, l := range g.LogicalVolumes {
				require.Equal(t, g.Name, l.VG)
			}
		}
	})
}
