// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"math"
	"strings"
)

// printer writes reports in lvm's JSON, byte for byte, or as aligned text.
type printer struct {
	c      *command
	groups int
	tables int
}

func (p *printer) json() bool { return p.c.last("reportformat") == "json" }

func (p *printer) open() {
	if p.json() {
		p.c.out.WriteString("  {\n      \"report\": [\n")
	}
}

func (p *printer) close() {
	if p.json() {
		p.c.out.WriteString("      ]\n  }\n")
	}
}

// begin starts a group of tables: one for each VG of a full report.
func (p *printer) begin() {
	p.tables = 0
	if !p.json() {
		return
	}
	if p.groups > 0 {
		p.c.out.WriteString("          ,\n")
	}
	p.groups++
	p.c.out.WriteString("          {\n")
}

func (p *printer) end() {
	if p.json() {
		p.c.out.WriteString("          }\n")
	}
}

// table writes one report.
func (p *printer) table(name string, cols []field, rows []row) {
	if !p.json() {
		p.text(cols, rows)
		return
	}
	w := &p.c.out
	if p.tables > 0 {
		w.WriteString("              ,\n")
	}
	p.tables++
	fmt.Fprintf(w, "              %q: [\n", name)
	for i, r := range rows {
		w.WriteString("                  {")
		for j, f := range cols {
			if j > 0 {
				w.WriteString(", ")
			}
			w.WriteByte('"')
			w.WriteString(f.name)
			w.WriteString(`":"`)
			writeEscaped(w, p.display(f, r))
			w.WriteByte('"')
		}
		w.WriteByte('}')
		if i < len(rows)-1 {
			w.WriteByte(',')
		}
		w.WriteByte('\n')
	}
	w.WriteString("              ]\n")
}

func writeEscaped(w *strings.Builder, s string) {
	if strings.ContainsAny(s, "\"\\") {
		s = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s)
	}
	w.WriteString(s)
}

// display is a value as it is printed.
func (p *printer) display(f field, r row) string {
	v := f.get(p.c.h, r)
	switch f.typ {
	case typeBinary:
		switch {
		case p.c.has("binary") && v.undef:
			return "-1"
		case p.c.has("binary"):
			return decimal(int64(v.num))
		case v.undef:
			return "unknown"
		case v.num == 0:
			return ""
		}
		return f.word
	case typeSize:
		if v.undef || v.text == "" {
			return v.text
		}
		return p.size(int64(v.num))
	case typeTime: // of report/time_format the fake knows the default and epoch seconds
		if v.text != "" && strings.Contains(p.c.last("config"), `time_format="%s"`) {
			return decimal(int64(v.num))
		}
	}
	return v.text
}

// size is a size in the units asked for.
func (p *printer) size(n int64) string {
	unit := p.c.last("units")
	if unit == "" {
		unit = "r"
	}
	suffix := strings.ToLower(unit[len(unit)-1:])
	if p.c.has("nosuffix") {
		suffix = ""
	}
	switch unit {
	case "b", "B":
		return decimal(n) + strings.ToUpper(suffix)
	case "s", "S":
		return decimal(n/sectorSize) + strings.ToUpper(suffix)
	}
	if i := strings.Index("kmgtpe", strings.ToLower(unit)); i >= 0 {
		base := 1024.0
		if strings.ToUpper(unit) == unit { // capital letters are powers of 1000
			base, suffix = 1000, strings.ToUpper(suffix)
		}
		return fmt.Sprintf("%.2f%s", float64(n)/math.Pow(base, float64(i+1)), suffix)
	}
	text := humanSize(n)
	if unit == "h" || unit == "H" {
		text = strings.TrimPrefix(text, "<")
	}
	if n == 0 {
		return "0 "
	}
	number, unitName, _ := strings.Cut(text, " ")
	if p.c.has("nosuffix") {
		return number
	}
	return number + strings.ToLower(unitName[:1])
}

// text writes one report as aligned columns.
func (p *printer) text(cols []field, rows []row) {
	var table [][]string
	if !p.c.has("noheadings") && len(rows) > 0 {
		var heads []string
		for _, f := range cols {
			heads = append(heads, heading(f.name))
		}
		table = append(table, heads)
	}
	for _, r := range rows {
		var line []string
		for _, f := range cols {
			line = append(line, p.display(f, r))
		}
		table = append(table, line)
	}
	widths := make([]int, len(cols))
	for _, line := range table {
		for i, s := range line {
			widths[i] = max(widths[i], len(s))
		}
	}
	separator, aligned := " ", true
	if p.c.has("separator") {
		separator, aligned = p.c.last("separator"), p.c.has("aligned")
	}
	for _, line := range table {
		p.c.out.WriteString("  ")
		for i, s := range line {
			if i > 0 {
				p.c.out.WriteString(separator)
			}
			pad := strings.Repeat(" ", widths[i]-len(s))
			switch {
			case !aligned:
				p.c.out.WriteString(s)
			case cols[i].typ == typeNumber || cols[i].typ == typeSize:
				p.c.out.WriteString(pad + s)
			default:
				p.c.out.WriteString(s + pad)
			}
		}
		p.c.out.WriteByte('\n')
	}
}

// headings is the column titles of the default reports; others show their names.
var headings = map[string]string{
	"lv_name": "LV", "vg_name": "VG", "lv_attr": "Attr", "lv_size": "LSize", "pool_lv": "Pool", "origin": "Origin",
	"data_percent": "Data%", "metadata_percent": "Meta%", "move_pv": "Move", "mirror_log": "Log", "copy_percent": "Cpy%Sync",
	"convert_lv": "Convert", "pv_count": "#PV", "lv_count": "#LV", "snap_count": "#SN", "vg_attr": "Attr", "vg_size": "VSize",
	"vg_free": "VFree", "pv_name": "PV", "pv_fmt": "Fmt", "pv_attr": "Attr", "pv_size": "PSize", "pv_free": "PFree",
	"lv_tags": "LV Tags", "vg_tags": "VG Tags", "devices": "Devices", "seg_pe_ranges": "PE Ranges", "lv_uuid": "LV UUID",
	"vg_uuid": "VG UUID", "pv_uuid": "PV UUID", "segtype": "Type", "stripes": "#Str", "seg_size": "SSize",
	"pvseg_start": "Start", "pvseg_size": "SSize", "vg_missing_pv_count": "#PV Missing", "lv_role": "Role", "lv_layout": "Layout",
	"chunk_size": "Chunk", "lv_path": "Path", "lv_active": "Active", "lv_health_status": "Health", "vg_extent_size": "Ext",
}

func heading(name string) string {
	if h, ok := headings[name]; ok {
		return h
	}
	return name
}
