// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// row is one line of a report: a VG and, as far as the report goes, one of its
// PVs, LVs or segments. An orphan PV has no VG.
type row struct {
	vg   *volumeGroup
	pv   *physicalVolume
	lv   *logicalVolume
	seg  *segment // in LV order; nil for an LV without
	used *usage   // a run of extents of pv; lv nil: free
}

// value is what a field has in a row. Text is what is printed; lists, binary and
// undefined values print in more than one way.
type value struct {
	text  string
	num   float64 // of numbers, sizes (bytes) and percentages
	undef bool    // a number that there is none of
	list  []string
}

// Types of fields, as `lvs -S help` lists them.
const (
	typeString  = 's'
	typeNumber  = 'n'
	typeSize    = 'z'
	typePercent = 'p'
	typeList    = 'l'
	typeBinary  = 'b' // a number to select by; a word to read, unless --binary
	typeTime    = 't'
)

// field is one column. Its section is the report that it belongs to.
type field struct {
	name    string
	section string // lv, pv, vg, seg, pvseg
	typ     byte
	word    string // what a set binary field prints without --binary
	get     func(h *Host, r row) value
}

// reportKind is one of the reports: its JSON name, its columns and its order when
// none are asked for.
type reportKind struct {
	json, section string
	columns       string
	sort          string
}

var reportKinds = map[string]reportKind{
	"lvs":     {"lv", "lv", "lv_name,vg_name,lv_attr,lv_size,pool_lv,origin,data_percent,metadata_percent,move_pv,mirror_log,copy_percent,convert_lv", "vg_name,lv_name"},
	"lvs-seg": {"seg", "seg", "lv_name,vg_name,lv_attr,stripes,segtype,seg_size", "vg_name,lv_name,seg_start"},
	"vgs":     {"vg", "vg", "vg_name,pv_count,lv_count,snap_count,vg_attr,vg_size,vg_free", "vg_name"},
	"pvs":     {"pv", "pv", "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free", "pv_name"},
	"pvs-seg": {"pvseg", "pvseg", "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,pvseg_start,pvseg_size", "pv_name,pvseg_start"},
	"vg":      {"vg", "vg", "vg_all", "vg_name"},
	"pv":      {"pv", "pv", "pv_all", "pv_name"},
	"lv":      {"lv", "lv", "lv_all", "vg_name,lv_name"},
	"pvseg":   {"pvseg", "pvseg", "pvseg_all,pv_uuid,lv_uuid", "pv_uuid,pvseg_start"},
	"seg":     {"seg", "seg", "seg_all,lv_uuid", "lv_uuid,seg_start"},
}

// fullReports is the order of the parts of a full report.
var fullReports = []string{"vg", "pv", "lv", "pvseg", "seg"}

// lookField finds a field as a user may name it: without underscores, without the
// prefix of the report's own section.
func lookField(name, section string) (field, bool) {
	for _, table := range fieldTables {
		for _, f := range table {
			if f.name == name {
				return f, true
			}
		}
	}
	for _, prefix := range []string{"", section} {
		for _, table := range fieldTables {
			for _, f := range table {
				if rest, ok := strings.CutPrefix(f.name, prefix); ok && sameName(rest, name) {
					return f, true
				}
			}
		}
	}
	return field{}, false
}

// sameName compares two names without their underscores.
func sameName(a, b string) bool {
	for {
		a, b = strings.TrimLeft(a, "_"), strings.TrimLeft(b, "_")
		if a == "" || b == "" {
			return a == b
		}
		if a[0] != b[0] {
			return false
		}
		a, b = a[1:], b[1:]
	}
}

// columns resolves -o: names, SECTION_all, all, and a leading + or -.
func (c *command) columns(kind reportKind, options []string) (cols []field, ok bool) {
	spec := kind.columns
	var minus string
	for _, o := range options {
		switch {
		case strings.HasPrefix(o, "+"):
			spec += "," + o[1:]
		case strings.HasPrefix(o, "-"):
			minus += "," + o[1:]
		case strings.HasPrefix(o, "#"): // compacting changes text output only
		default:
			spec = o
		}
	}
	for _, name := range strings.Split(spec, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		if section, all := strings.CutSuffix(name, "_all"); all || name == "all" {
			if name == "all" {
				section = kind.section
			}
			found := false
			for _, table := range fieldTables {
				for _, f := range table {
					if f.section == section || name == "all" && section == "lv" && f.section == "vg" {
						cols, found = append(cols, f), true
					}
				}
			}
			if !found {
				return nil, c.unknownField(name)
			}
			continue
		}
		f, known := lookField(name, kind.section)
		if !known {
			return nil, c.unknownField(name)
		}
		cols = append(cols, f)
	}
	for _, name := range strings.Split(minus, ",") {
		if f, known := lookField(strings.TrimSpace(name), kind.section); known {
			cols = slices.DeleteFunc(cols, func(x field) bool { return x.name == f.name })
		}
	}
	return cols, true
}

func (c *command) unknownField(name string) bool {
	c.fail("Unrecognised field: %s", name)
	return false
}

// report serves lvs, vgs, pvs and fullreport.
func (c *command) report() int {
	switch c.last("reportformat") {
	case "", "basic", "json":
	default: // json_std, with numbers, null and lists, came with lvm2 2.03.17
		c.fail("Invalid argument for --reportformat: %s", c.last("reportformat"))
		return c.badLine()
	}
	if u := c.last("units"); u != "" && (len(u) > 1 || !strings.Contains("rhbskmgtpe", strings.ToLower(u))) {
		return c.misused("Invalid units specification")
	}
	before := c.out.Len()
	code := c.fullreport
	if c.name != "fullreport" {
		code = c.singleReport
	}
	status := code()
	if c.out.Len() == before { // fields or a selection that cannot be: an empty report
		p := &printer{c: c}
		p.open()
		p.close()
	}
	return status
}

// singleReport serves lvs, vgs and pvs.
func (c *command) singleReport() int {
	kind := reportKinds[c.name]
	if c.has("segments") && c.name != "vgs" {
		kind = reportKinds[c.name+"-seg"]
	}
	options := c.set["options"]
	selection, selected := c.last("select"), c.has("select")
	for _, g := range c.groups { // lvs --configreport lv -o … is the same report
		if g.name == kind.json {
			options = append(options, g.set["options"]...)
		}
	}
	cols, ok := c.columns(kind, options)
	if !ok {
		return exitFailed
	}
	var sel *selector
	if selected {
		if sel, ok = c.parseSelection(selection, kind.section); !ok {
			return exitFailed
		}
	}
	depth, ok := c.depth(kind.section, cols, sel)
	if !ok {
		return exitFailed
	}
	rows, code := c.rows(depth)
	p := &printer{c: c}
	p.open()
	p.begin()
	p.table(kind.json, cols, c.arrange(rows, sel, kind))
	p.end()
	p.close()
	return code
}

// arrange selects and sorts rows.
func (c *command) arrange(rows []row, sel *selector, kind reportKind) []row {
	if sel != nil {
		rows = slices.DeleteFunc(rows, func(r row) bool { return !sel.matches(c.h, r) })
	}
	order := kind.sort
	if c.has("sort") && c.name != "fullreport" {
		order = c.last("sort")
	}
	type key struct {
		f    field
		down bool
	}
	var keys []key
	for _, name := range strings.Split(order, ",") {
		k := key{down: strings.HasPrefix(name, "-")}
		var ok bool
		if k.f, ok = lookField(strings.TrimLeft(name, "+-"), kind.section); ok {
			keys = append(keys, k)
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		for _, k := range keys {
			x, y := k.f.get(c.h, a), k.f.get(c.h, b)
			d := strings.Compare(strings.Trim(x.text, "[]"), strings.Trim(y.text, "[]"))
			if k.f.typ != typeString && k.f.typ != typeList && k.f.typ != typeTime {
				d = cmp.Compare(x.num, y.num)
			}
			if k.down {
				d = -d
			}
			if d != 0 {
				return d
			}
		}
		return 0
	})
	return rows
}

// depth is what a row of the report must be for its columns and selection.
func (c *command) depth(base string, cols []field, sel *selector) (string, bool) {
	need := map[string]bool{base: true}
	for _, f := range cols {
		need[f.section] = true
	}
	if sel != nil {
		for s := range sel.sections {
			need[s] = true
		}
	}
	switch base {
	case "vg":
		if (need["lv"] || need["seg"]) && (need["pv"] || need["pvseg"]) {
			c.fail("Can't report LV and PV fields at the same time in report type \"vg\".")
			return "", false
		}
	case "lv", "seg":
		if need["pv"] || need["pvseg"] {
			c.fail("Can't report LV and PV fields at the same time in report type %q.", base)
			return "", false
		}
	case "pv", "pvseg":
		if need["lv"] || need["seg"] || need["pvseg"] {
			return "pvseg", true
		}
		return "pv", true
	}
	switch {
	case need["pvseg"]:
		return "pvseg", true
	case need["pv"]:
		return "pv", true
	case need["seg"]:
		return "seg", true
	case need["lv"]:
		return "lv", true
	}
	return "vg", true
}

// rows is all lines of a report that the positional arguments leave.
func (c *command) rows(depth string) (rows []row, code int) {
	if c.name == "pvs" {
		return c.pvRows(depth)
	}
	if len(c.args2) == 0 {
		for _, vg := range c.h.present() {
			if vg.systemID != "" && !c.has("foreign") {
				c.foreign(vg)
				continue
			}
			c.complainReport(vg)
			rows = append(rows, c.vgRows(vg, depth, nil)...)
		}
		return rows, exitOK
	}
	if c.name == "vgs" {
		for _, a := range c.args2 {
			if vg, ok := c.vgNamed(a); ok {
				c.complainReport(vg)
				rows = append(rows, c.vgRows(vg, depth, nil)...)
			} else {
				code = exitFailed
			}
		}
		return rows, code
	}
	args := map[*volumeGroup][]string{}
	whole := map[*volumeGroup]bool{}
	var order []*volumeGroup
	for _, a := range c.args2 {
		vgName, lvName := splitLV(a)
		if strings.HasPrefix(a, "@") {
			for _, vg := range c.h.present() {
				for _, l := range vg.lvs {
					if anyTag([]string{a[1:]}, l.tags) || anyTag([]string{a[1:]}, vg.tags) {
						rows = append(rows, c.lvRows(l, depth)...)
					}
				}
			}
			continue
		}
		vg, ok := c.vgNamed(vgName)
		if !ok {
			code = exitFailed
			continue
		}
		c.complainReport(vg)
		if _, seen := args[vg]; !seen {
			order = append(order, vg)
			args[vg] = []string{}
		}
		if lvName == "" && !strings.HasSuffix(a, "/") {
			whole[vg] = true
		} else if vg.lv(lvName) == nil {
			c.fail("Failed to find logical volume %q", vg.name+"/"+lvName)
			code = exitFailed
		} else {
			args[vg] = append(args[vg], lvName)
		}
	}
	for _, vg := range order {
		if whole[vg] {
			rows = append(rows, c.vgRows(vg, depth, nil)...)
			continue
		}
		rows = append(rows, c.vgRows(vg, depth, args[vg])...)
	}
	return rows, code
}

// complainReport prints what a report prints of a VG with missing PVs.
func (c *command) complainReport(vg *volumeGroup) {
	if c.shown[vg] && !vg.partial() {
		return
	}
	c.complainMissing(vg)
	for _, l := range vg.lvs {
		if l.hasArea() && l.partial() && l.live() {
			c.fail("WARNING: Couldn't find all devices for LV %s while checking used and assumed devices.", l.fullName())
		}
	}
}

// vgRows is a VG's lines; named, if not nil, are the only LVs wanted.
func (c *command) vgRows(vg *volumeGroup, depth string, named []string) []row {
	switch depth {
	case "vg":
		return []row{{vg: vg}}
	case "pv", "pvseg":
		var rows []row
		for _, p := range vg.reportOrder() {
			rows = append(rows, pvRow(p, depth)...)
		}
		return rows
	}
	var rows []row
	for _, l := range vg.lvs {
		if named != nil {
			if !slices.Contains(named, l.name) {
				continue
			}
		} else if !l.visible() && !c.has("all") {
			continue
		}
		rows = append(rows, c.lvRows(l, depth)...)
	}
	return rows
}

func (c *command) lvRows(l *logicalVolume, depth string) []row {
	if depth != "seg" {
		return []row{{vg: l.vg, lv: l}}
	}
	var rows []row
	for i := range l.segs {
		rows = append(rows, row{vg: l.vg, lv: l, seg: &l.segs[i]})
	}
	return rows
}

// reportOrder is the VG's PVs as reports list them unsorted.
func (v *volumeGroup) reportOrder() []*physicalVolume { return v.pvs }

// pvRow is the lines of a PV: one, or one for each run of its extents.
func pvRow(p *physicalVolume, depth string) []row {
	base := row{vg: p.vg, pv: p}
	if depth == "pv" {
		return []row{base}
	}
	if p.extents == 0 {
		base.used = &usage{}
		return []row{base}
	}
	var rows []row
	add := func(u usage) {
		r := base
		r.used = &u
		if u.lv != nil {
			r.lv = u.lv
			r.seg = u.lv.segmentOn(p, u.start)
		}
		rows = append(rows, r)
	}
	next := int64(0)
	for _, u := range p.used {
		if u.start > next {
			add(usage{start: next, count: u.start - next})
		}
		add(u)
		next = u.start + u.count
	}
	if next < p.extents {
		add(usage{start: next, count: p.extents - next})
	}
	return rows
}

// segmentOn is the LV's segment that has the extent of the PV.
func (l *logicalVolume) segmentOn(p *physicalVolume, extent int64) *segment {
	for i := range l.segs {
		for _, a := range l.segs[i].stripes {
			if a.pv == p && a.start == extent {
				return &l.segs[i]
			}
		}
	}
	return nil
}

// pvRows is the lines of pvs: the PVs of all VGs, also missing ones, and orphans.
func (c *command) pvRows(depth string) (rows []row, code int) {
	if len(c.args2) > 0 {
		for _, a := range c.args2 {
			d := c.h.disk(a)
			if d == nil || d.absent {
				code = c.failed("Cannot use %s: device not found", a)
				continue
			}
			if d.pv == nil {
				code = c.failed("Failed to find physical volume %q.", a)
				continue
			}
			rows = append(rows, pvRow(d.pv, depth)...)
		}
		return rows, code
	}
	for _, vg := range c.h.present() {
		if vg.systemID != "" && !c.has("foreign") {
			c.foreign(vg)
			continue
		}
		c.complainReport(vg)
		for _, p := range vg.reportOrder() {
			rows = append(rows, pvRow(p, depth)...)
		}
	}
	return append(rows, c.orphanRows(depth)...), exitOK
}

func (c *command) orphanRows(depth string) (rows []row) {
	for _, d := range c.h.disks {
		if d.pv != nil && d.pv.vg == nil && !d.absent {
			rows = append(rows, pvRow(d.pv, depth)...)
		}
	}
	return rows
}

// fullreport prints all reports of each VG and then of the orphans.
func (c *command) fullreport() int {
	type part struct {
		kind reportKind
		cols []field
		sel  *selector
	}
	var parts []part
	for _, name := range fullReports {
		kind := reportKinds[name]
		var options []string
		var sel *selector
		for _, g := range c.groups {
			if g.name != name {
				continue
			}
			options = append(options, g.set["options"]...)
			for _, s := range g.set["select"] {
				var ok bool
				if sel, ok = c.parseSelection(s, kind.section); !ok {
					return exitFailed
				}
			}
			for _, s := range g.set["sort"] {
				kind.sort = s
			}
		}
		cols, ok := c.columns(kind, options)
		if !ok {
			return exitFailed
		}
		parts = append(parts, part{kind, cols, sel})
	}
	code := exitOK
	vgs := c.h.present()
	if len(c.args2) > 0 {
		vgs = nil
		for _, a := range c.args2 {
			vg, ok := c.vgNamed(a)
			if !ok {
				code = exitFailed
				continue
			}
			vgs = append(vgs, vg)
		}
	}
	p := &printer{c: c}
	p.open()
	for _, vg := range vgs {
		if vg.systemID != "" && !c.has("foreign") {
			c.foreign(vg)
			continue
		}
		c.complainReport(vg)
		p.begin()
		for _, pt := range parts {
			depth, _ := c.depth(pt.kind.section, pt.cols, pt.sel)
			if depth != pt.kind.section {
				code = c.failed("Subreport of type %q for VG %s contains columns which lead to change of report type. Add these columns to proper subreport type.", pt.kind.json, vg.name)
				break
			}
			p.table(pt.kind.json, pt.cols, c.arrange(c.vgRows(vg, depth, nil), pt.sel, pt.kind))
		}
		p.end()
	}
	if orphans := c.orphanRows("pv"); len(orphans) > 0 && len(c.args2) == 0 {
		p.begin()
		for _, pt := range parts {
			if pt.kind.json == "pv" || pt.kind.json == "pvseg" {
				p.table(pt.kind.json, pt.cols, c.arrange(c.orphanRows(pt.kind.section), pt.sel, pt.kind))
			}
		}
		p.end()
	}
	p.close()
	return code
}

func formatNumber(n int64) value { return value{text: strconv.FormatInt(n, 10), num: float64(n)} }
