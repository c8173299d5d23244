// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"slices"
	"strings"
)

// version is what `lvm version` says first and what reports are formatted after.
const version = "2.03.16(2) (2022-05-18)"

// command is one lvm command while it runs, with Host.mu held.
type command struct {
	h    *Host
	s    *step
	name string
	args []string // all of it, the name included
	values
	args2    []string // positional
	out, err strings.Builder
	undo     []func()
	settle   func() // what a commit makes true beside the metadata
	going    *removal
	extra    int64                  // commits that LVM needs beside the one that the fake makes
	writes   map[*volumeGroup]int64 // how often the command wrote each VG's text
	missing  []string               // LVs that were named and are not there
	shown    map[*volumeGroup]bool  // the VGs whose missing PVs were complained of
}

// run parses and runs the command and returns its exit status.
func (c *command) run(args []string) int {
	if _, ok := commandOptions[c.name]; !ok {
		if slices.Contains(unmodelledCommands, c.name) {
			c.fail("fakelvm: %s is not modelled", c.name)
			return exitUnmodelled
		}
		c.fail("No such command.  Try 'lvm help'.")
		return exitNoCommand
	}
	if code := c.parse(args); code != exitOK {
		return code
	}
	c.values.args = c.args2
	if c.has("help") || c.has("longhelp") {
		c.say("%s - fakelvm", c.name)
		return exitOK
	}
	if c.has("version") {
		return c.version()
	}
	if c.name != "version" && c.name != "vgmknodes" {
		c.duplicates()
	}
	switch c.name {
	case "lvcreate":
		return c.lvcreate()
	case "lvremove":
		return c.lvremove()
	case "lvextend", "lvresize", "lvreduce":
		return c.lvresize()
	case "lvchange":
		return c.lvchange()
	case "lvrename":
		return c.lvrename()
	case "lvs", "vgs", "pvs", "fullreport":
		return c.report()
	case "pvcreate":
		return c.pvcreate()
	case "pvremove":
		return c.pvremove()
	case "pvchange":
		return c.pvchange()
	case "vgcreate":
		return c.vgcreate()
	case "vgextend":
		return c.vgextend()
	case "vgreduce":
		return c.vgreduce()
	case "vgremove":
		return c.vgremove()
	case "vgchange":
		return c.vgchange()
	case "vgrename":
		return c.vgrename()
	case "vgmknodes":
		return exitOK
	case "vgscan":
		for _, vg := range c.h.present() {
			c.say("Found volume group %q using metadata type lvm2", vg.name)
		}
		return exitOK
	case "pvscan":
		return c.pvscan()
	case "version":
		return c.version()
	case "lvmconfig", "dumpconfig", "config":
		return c.config()
	}
	c.fail("fakelvm: %s is not modelled", c.name)
	return exitUnmodelled
}

// unmodelledCommands is what lvm has and the fake does not.
var unmodelledCommands = []string{
	"devtypes", "formats", "help", "lastlog", "lvconvert", "lvdisplay", "lvmdevices", "lvmdiskscan", "lvmpolld",
	"lvmsadc", "lvmsar", "lvpoll", "lvscan", "pvck", "pvdata", "pvdisplay", "pvmove", "pvresize", "segtypes",
	"systemid", "tags", "vgcfgbackup", "vgcfgrestore", "vgck", "vgconvert", "vgdisplay", "vgexport", "vgimport",
	"vgimportclone", "vgimportdevices", "vgmerge", "vgsplit",
}

// say prints a line on standard output, fail on standard error, both with lvm's
// two spaces before it. -qq silences what is said.
func (c *command) say(format string, a ...any) {
	if len(c.set["quiet"]) > 1 {
		return
	}
	fmt.Fprintf(&c.out, "  "+format+"\n", a...)
}

func (c *command) fail(format string, a ...any) { fmt.Fprintf(&c.err, "  "+format+"\n", a...) }

// failed prints an error and is the status of a command that could not be done.
func (c *command) failed(format string, a ...any) int {
	c.fail(format, a...)
	return exitFailed
}

// misused prints an error and is the status of a command line that makes no sense.
func (c *command) misused(format string, a ...any) int {
	c.fail(format, a...)
	return c.seeHelp()
}

// seeHelp is the end of what is said of a command line that makes no sense.
func (c *command) seeHelp() int {
	c.fail("Run `%s --help' for more information.", c.name)
	return exitSyntax
}

// noSyntax is the answer to options that no form of the command has together.
func (c *command) noSyntax() int {
	c.fail("No command with matching syntax recognised.  Run '%s --help' for more information.", c.name)
	return exitSyntax
}

// usage is the answer to arguments that fit no form of the command, with the form
// that comes nearest.
func (c *command) usage(forms ...string) int {
	for _, f := range forms {
		c.out.WriteString("  " + f + "\n")
	}
	c.out.WriteString("\n")
	code := c.noSyntax()
	if len(forms) > 1 {
		c.fail("Nearest similar command has syntax:")
	} else {
		c.fail("Correct command syntax is:")
	}
	return code
}

// ask asks a question that only --yes answers: nobody is there.
func (c *command) ask(question string) bool {
	if c.has("yes") || len(c.set["force"]) > 0 {
		return true
	}
	fmt.Fprintf(&c.err, "%s [y/n]: [n]\n", question)
	return false
}

func (c *command) version() int {
	c.say("LVM version:     %s", version)
	c.say("Library version: 1.02.185 (2022-05-18)")
	c.say("Driver version:  4.47.0")
	return exitOK
}

func (c *command) config() int {
	for _, a := range c.args2 {
		switch a {
		case "activation/thin_pool_autoextend_threshold":
			c.out.WriteString("thin_pool_autoextend_threshold=100\n")
		case "global/system_id_source":
			c.out.WriteString("system_id_source=\"none\"\n")
		default:
			return c.failed("fakelvm: configuration node %s is not modelled", a)
		}
	}
	return exitOK
}

// onUndo keeps how to take a change back if the commit fails.
func (c *command) onUndo(f func()) { c.undo = append(c.undo, f) }

// rollback takes back all changes since the last commit.
func (c *command) rollback() {
	for _, f := range slices.Backward(c.undo) {
		f()
	}
	c.undo = nil
}

// commit writes the VG's metadata. It fails, with everything taken back, when
// the text is too long for a metadata area.
func (c *command) commit(vg *volumeGroup) bool { return c.commitUntil(vg, AfterCommit) }

// commitUntil is a commit after which that point of the step has come.
func (c *command) commitUntil(vg *volumeGroup, end Point) bool {
	defer func() { // a crash before the commit leaves the old metadata
		if r := recover(); r != nil {
			c.rollback()
			panic(r)
		}
	}()
	c.s.at(BeforeCommit)
	vg.seqno++
	at := c.h.now().Unix()
	description := c.description(c.writes[vg] + 1 + c.extra)
	description = description[:min(len(description), maxDescription)]
	size := vg.metadataSize(c.h, description, at)
	for _, p := range vg.pvs {
		if p.gone() {
			continue
		}
		if size > p.maxText() {
			c.fail("VG %s %d metadata on %s (%d bytes) exceeds maximum metadata size (%d bytes)", vg.name, vg.seqno, p.disk.path, size, p.maxText())
			if c.name != "lvcreate" {
				c.fail("WARNING: Failed to write an MDA of VG %s.", vg.name)
			}
			c.fail("Failed to write VG %s.", vg.name)
			vg.seqno--
			c.rollback()
			return false
		}
	}
	for _, p := range vg.pvs {
		if p.disk.absent && !p.missing {
			p.missing = true
		}
		if p.missing && !p.disk.absent && p.usedExtents() == 0 {
			p.missing = false // LVM takes an empty PV back without being asked
		}
		if p.missing {
			continue
		}
		p.ring = c.nextRing(p, vg.textSize)
		p.textSize = size
	}
	vg.textSize, vg.description, vg.written = size, description, at
	if c.writes == nil {
		c.writes = map[*volumeGroup]int64{}
	}
	c.writes[vg] += 1 + c.extra
	vg.seqno += c.extra
	c.extra = 0
	for _, p := range vg.pvs {
		if !p.missing {
			p.seqno = vg.seqno
		}
	}
	c.undo = nil
	if c.settle != nil {
		c.settle()
		c.settle = nil
	}
	c.s.at(end)
	return true
}

// description is what LVM notes of the command in the metadata, and which of its
// writes of the VG it is; its buffer is 2048 bytes.
func (c *command) description(write int64) string {
	words := make([]string, 0, len(c.args))
	for _, a := range c.args {
		if strings.Contains(a, " ") {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	s := "Write from " + strings.Join(words, " ") + "."
	if write > 1 {
		s = fmt.Sprintf("Write[%d]", write) + strings.TrimPrefix(s, "Write")
	}
	return s[:min(len(s), 2047)]
}

// nextRing is where the next text begins: on the sector behind the old one, round
// the buffer that follows the header.
func (c *command) nextRing(p *physicalVolume, old int64) int64 {
	if old == 0 || p.ring == 0 {
		return mdaHeaderSize
	}
	next := roundUp(p.ring+old, sectorSize)
	if next >= p.area {
		next -= p.area - mdaHeaderSize
	}
	return next
}

// vgNamed finds a VG for a command that works on it and complains when there is
// none, or more than one.
func (c *command) vgNamed(name string) (*volumeGroup, bool) {
	name = strings.TrimPrefix(name, "/dev/")
	vgs := c.h.namedVGs(name)
	if len(vgs) == 1 {
		vg := vgs[0]
		if vg.systemID != "" && !c.has("foreign") {
			c.foreign(vg)
			c.foreign(vg) // lvm looks twice
			return nil, false
		}
		c.complainMissing(vg)
		return vg, true
	}
	if len(vgs) > 1 {
		c.fail("Multiple VGs found with the same name: skipping %s", name)
		c.fail("Use --select vg_uuid=<uuid> in place of the VG name.")
		return nil, false
	}
	c.fail("Volume group %q not found", name)
	c.fail("Cannot process volume group %s", name)
	return nil, false
}

// foreign complains of a VG that belongs to another machine: the fake has no
// system ID, so every VG with one does.
func (c *command) foreign(vg *volumeGroup) {
	c.fail("Cannot access VG %s with system ID %s with unknown local system ID.", vg.name, vg.systemID)
}

// duplicates complains of VGs of one name, as every command does that reads VGs.
func (c *command) duplicates() {
	first := map[string]*volumeGroup{}
	for _, vg := range slices.Backward(c.h.present()) {
		if other := first[vg.name]; other != nil {
			c.fail("WARNING: VG name %s is used by VGs %s and %s.", vg.name, other.uuid, vg.uuid)
			c.fail("Fix duplicate VG names with vgrename uuid, a device filter, or system IDs.")
			continue
		}
		first[vg.name] = vg
	}
}

// complainMissing prints once what every command prints that reads a VG with a
// missing PV.
func (c *command) complainMissing(vg *volumeGroup) {
	if c.shown[vg] {
		return
	}
	if c.shown == nil {
		c.shown = map[*volumeGroup]bool{}
	}
	c.shown[vg] = true
	for _, p := range vg.pvs {
		if p.disk.absent {
			c.fail("WARNING: Couldn't find device with uuid %s.", p.uuid)
		}
	}
	var newest *physicalVolume
	for _, p := range vg.pvs {
		if !p.gone() {
			newest = p
			break
		}
	}
	for _, p := range vg.pvs {
		if p.missing && !p.disk.absent && newest != nil {
			c.fail("WARNING: ignoring metadata seqno %d on %s for seqno %d on %s for VG %s.", p.seqno, p.disk.path, vg.seqno, newest.disk.path, vg.name)
			c.fail("WARNING: Inconsistent metadata found for VG %s.", vg.name)
			c.fail("See vgck --updatemetadata to correct inconsistency.")
			c.fail("WARNING: VG %s was previously updated while PV %s was missing.", vg.name, p.disk.path)
			c.fail("WARNING: VG %s was missing PV %s %s.", vg.name, p.disk.path, p.uuid)
		}
	}
	for _, p := range vg.pvs {
		if p.disk.absent {
			last := p.disk.path
			if p.missing {
				last = "[unknown]"
			}
			c.fail("WARNING: VG %s is missing PV %s (last written to %s).", vg.name, p.uuid, last)
		}
	}
}

// whole refuses to change a VG whose PVs are not all there.
func (c *command) whole(vg *volumeGroup) bool {
	if !vg.partial() {
		return true
	}
	c.fail("Cannot change VG %s while PVs are missing.", vg.name)
	c.fail("See vgreduce --removemissing and vgextend --restoremissing.")
	c.fail("Cannot process volume group %s", vg.name)
	return false
}

// splitLV splits VG/LV as lvm accepts it: with or without /dev/.
func splitLV(s string) (vg, lv string) {
	s = strings.TrimPrefix(s, "/dev/mapper/")
	s = strings.TrimPrefix(s, "/dev/")
	vg, lv, _ = strings.Cut(s, "/")
	return vg, lv
}

// targets finds the LVs that a command's arguments and selection mean, VG by VG:
// names of LVs, of VGs, tags, or all VGs when there is only a selection. LVs come
// in the VG's order.
func (c *command) targets(args []string, selection string, selected bool) (lvs []*logicalVolume, code int) {
	var sel *selector
	if selected {
		var ok bool
		if sel, ok = c.parseSelection(selection, "lv"); !ok {
			return nil, exitFailed
		}
	}
	type wish struct {
		all   bool
		names map[string]bool
		tags  []string
	}
	wishes := map[*volumeGroup]*wish{}
	var order []*volumeGroup
	var missing []string
	want := func(vg *volumeGroup) *wish {
		if wishes[vg] == nil {
			wishes[vg] = &wish{names: map[string]bool{}}
			order = append(order, vg)
		}
		return wishes[vg]
	}
	for _, a := range args {
		if strings.HasPrefix(a, "@") {
			for _, vg := range c.h.present() {
				w := want(vg)
				w.tags = append(w.tags, a[1:])
			}
			continue
		}
		vgName, lvName := splitLV(a)
		vg, ok := c.vgNamed(vgName)
		if !ok {
			code = exitFailed
			continue
		}
		w := want(vg)
		if lvName == "" && !strings.HasSuffix(a, "/") { // a slash without a name is an LV without one
			w.all = true
			continue
		}
		w.names[lvName] = true
		if vg.lv(lvName) == nil {
			missing = append(missing, vg.name+"/"+lvName)
		}
	}
	if len(args) == 0 && selected {
		for _, vg := range c.h.present() {
			if vg.systemID != "" {
				c.foreign(vg)
				continue
			}
			want(vg).all = true
			c.complainMissing(vg)
		}
	}
	for _, vg := range order {
		w := wishes[vg]
		for _, l := range slices.Clone(vg.lvs) {
			named := w.names[l.name]
			if !named && (!l.visible() || !w.all && !anyTag(w.tags, l.tags) && !anyTag(w.tags, vg.tags)) {
				continue
			}
			if w.all && !named && l.snap != nil && c.has("activate") {
				continue // it goes with its origin (process_each_lv_in_vg in lvm2's tools/toollib.c)
			}
			if sel != nil && !sel.matches(c.h, row{vg: vg, lv: l}) {
				continue
			}
			lvs = append(lvs, l)
		}
	}
	c.missing = missing
	return lvs, code
}

// missingLVs complains of the LVs that were named and are not there.
func (c *command) missingLVs(code int) int {
	for _, m := range slices.Compact(c.missing) {
		c.fail("Failed to find logical volume %q", m)
		code = exitFailed
	}
	return code
}

func anyTag(wanted, have []string) bool {
	for _, t := range wanted {
		if slices.Contains(have, t) {
			return true
		}
	}
	return false
}

// humanSize is lvm's default display: two decimals, "<" before what was rounded up.
func humanSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	u, factor := 0, int64(1)
	for u < len(units)-1 && n >= factor*1024 {
		factor, u = factor*1024, u+1
	}
	if n > 1<<63-1-sectorSize {
		return "8.00 EiB" // as much as an int64 holds stands for more
	}
	if u == 0 {
		if n == 0 {
			return "0 "
		}
		return fmt.Sprintf("%d B", n)
	}
	hundredths := (n*100 + factor/2) / factor
	if factor > 1<<50 { // n*100 would overflow
		hundredths = int64(float64(n)/float64(factor)*100 + 0.5)
	}
	prefix := ""
	if float64(hundredths)*float64(factor) > float64(n)*100 {
		prefix = "<"
	}
	return fmt.Sprintf("%s%d.%02d %s", prefix, hundredths/100, hundredths%100, units[u])
}
