// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Exit statuses of lvm (lib/commands/errors.h).
const (
	exitOK         = 0
	exitNoCommand  = 2 // ENO_SUCH_CMD
	exitSyntax     = 3 // EINVALID_CMD_LINE
	exitUnmodelled = 4 // EINIT_FAILED; here: lvm has it, the fake does not
	exitFailed     = 5 // ECMD_FAILED
)

// option is one option of a command: its long name, its letter (0: none) and the
// kind of its value. A kind of "-" is an option that lvm has and the fake refuses.
type option struct {
	name  string
	short byte
	kind  string
}

// Kinds of values: "" none, str anything, size, ext extents, num a number, yn y or
// n, act a word of --activate, tag, ignore (accepted and without effect here).
const commonOptions = "config:ignore devices:ignore devicesfile:ignore commandprofile:ignore profile:ignore " +
	"driverloaded:ignore lockopt:ignore journal:ignore nolocking: nohints: quiet/q: verbose/v: debug/d: " +
	"yes/y: help/h: longhelp: version: test/t:-"

const reportOptions = "all/a: options/o:str select/S:str sort/O:str binary: configreport:str nosuffix: units:str " +
	"reportformat:str segments: noheadings: aligned: nameprefixes: rows: separator:str unbuffered: unquoted: " +
	"foreign: shared: readonly: ignorelockingfailure: logonly:- history/H:-"

// commandOptions is what each command accepts, as lvm 2.03.16's command-lines.in.
var commandOptions = map[string]string{
	"lvcreate": "name/n:str size/L:size extents/l:ext virtualsize/V:size thin/T: thinpool:str type:type stripes/i:num " +
		"stripesize/I:size mirrors/m:num nosync: snapshot/s: addtag:tag zero/Z:yn wipesignatures/W:yn activate/a:act " +
		"setactivationskip/k:yn ignoreactivationskip/K: chunksize/c:size poolmetadatasize:size permission/p:str " +
		"poolmetadataspare:yn errorwhenfull:yn discards:- alloc:alloc autobackup/A:yn contiguous/C:- readahead/r:ignore " +
		"regionsize/R:- setautoactivation:yn noudevsync: ignoremonitoring: monitor:ignore reportformat:- " +
		"cache/H:- cachepool:- mirrorlog:- major:- minor/j:- persistent/M:- virtualoriginsize:- vdo:- raidintegrity:-",
	"lvremove":   "select/S:str force/f: autobackup/A:yn noudevsync: nohistory: reportformat:-",
	"lvextend":   resizeOptions + "use-policies:- poolmetadatasize:size",
	"lvresize":   resizeOptions + "poolmetadatasize:-",
	"lvreduce":   resizeOptions,
	"lvchange":   "addtag:tag deltag:tag activate/a:act select/S:str ignoreactivationskip/K: setactivationskip/k:yn permission/p:str force/f: errorwhenfull:yn setautoactivation:yn autobackup/A:yn noudevsync: ignoremonitoring: monitor:ignore sysinit: activationmode:- refresh: partial/P:- alloc:- discards:- zero/Z:yn resync:- rebuild:-",
	"lvrename":   "autobackup/A:yn noudevsync: reportformat:-",
	"lvs":        reportOptions,
	"vgs":        reportOptions,
	"pvs":        reportOptions + " trustcache:-",
	"fullreport": reportOptions + " trustcache:-",
	"pvcreate":   "force/f: metadatasize:size dataalignment:- metadatacopies:- uuid/u:uuid norestorefile: zero/Z:yn labelsector:- bootloaderareasize:- restorefile:- setphysicalvolumesize:- pvmetadatacopies:- reportformat:-",
	"pvremove":   "force/f: reportformat:-",
	"pvchange":   "addtag:tag deltag:tag allocatable/x:yn select/S:str autobackup/A:yn uuid/u:- metadataignore:-",
	"vgcreate":   "addtag:tag physicalextentsize/s:size metadatasize:size dataalignment:- systemid:str force/f: autobackup/A:yn alloc:alloc maxlogicalvolumes/l:- maxphysicalvolumes/p:- metadatacopies:- vgmetadatacopies:- zero/Z:yn setautoactivation:yn shared:- clustered/c:- labelsector:- pvmetadatacopies:- reportformat:-",
	"vgextend":   "force/f: metadatasize:size dataalignment:- restoremissing: autobackup/A:yn zero/Z:yn reportformat:-",
	"vgreduce":   "removemissing: force/f: all/a:- mirrorsonly:- autobackup/A:yn reportformat:-",
	"vgremove":   "select/S:str force/f: noudevsync: autobackup/A:yn reportformat:-",
	"vgchange":   "addtag:tag deltag:tag activate/a:act select/S:str ignoreactivationskip/K: sysinit: noudevsync: setautoactivation:yn autobackup/A:yn activationmode:- ignoremonitoring: monitor:ignore systemid:- uuid/u:- physicalextentsize/s:- alloc:- resizeable/x:-",
	"vgrename":   "autobackup/A:yn reportformat:-",
	"vgmknodes":  "refresh: reportformat:-",
	"pvscan":     "cache:",
	"vgscan":     "mknodes: ignorelockingfailure: notifydbus: reportformat:-",
	"version":    "",
	"lvmconfig":  "type:str",
	"dumpconfig": "type:str",
	"config":     "type:str",
}

const resizeOptions = "size/L:size extents/l:ext force/f: resizefs/r:- nofsck/n: stripes/i:- stripesize/I:- mirrors/m:- type:- alloc:alloc autobackup/A:yn noudevsync: nosync: reportformat:- "

// lookOption finds a command's option by long name or letter.
func lookOption(command, name string, short byte) (option, bool) {
	for _, specs := range []string{commandOptions[command], commonOptions} {
		for spec := range strings.FieldsSeq(specs) {
			long, kind, _ := strings.Cut(spec, ":")
			o := option{kind: kind}
			if i := strings.IndexByte(long, '/'); i >= 0 {
				o.short, long = long[i+1], long[:i]
			}
			o.name = long
			if name != "" && name == o.name || name == "" && short != 0 && short == o.short {
				return o, true
			}
		}
	}
	return option{}, false
}

// values is a parsed command line.
type values struct {
	set    map[string][]string // option → its values in order; one empty one for a flag
	args   []string            // positional
	groups []reportGroup       // --configreport … -o …, in order
}

// reportGroup is one --configreport of fullreport and what follows it.
type reportGroup struct {
	name string
	set  map[string][]string
}

func (v *values) has(name string) bool { return len(v.set[name]) > 0 }

// last is the value given last, or none.
func (v *values) last(name string) string {
	if vs := v.set[name]; len(vs) > 0 {
		return vs[len(vs)-1]
	}
	return ""
}

// parse reads a command line as getopt_long does: letters may be bundled, a value
// may stick to its option, options and arguments may be mixed.
func (c *command) parse(args []string) int {
	c.set = map[string][]string{}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			c.args2 = append(c.args2, args[i+1:]...)
			return exitOK
		case strings.HasPrefix(arg, "--"):
			name, value, glued := strings.Cut(arg[2:], "=")
			o, ok := lookOption(c.name, name, 0)
			if !ok {
				fmt.Fprintf(&c.err, "%s: unrecognized option '%s'\n", c.name, "--"+name)
				return c.badLine()
			}
			if !o.takesValue() && glued {
				fmt.Fprintf(&c.err, "%s: option '--%s' doesn't allow an argument\n", c.name, name)
				return c.badLine()
			}
			if o.takesValue() && !glued {
				if i++; i >= len(args) {
					fmt.Fprintf(&c.err, "%s: option '--%s' requires an argument\n", c.name, name)
					return c.badLine()
				}
				value = args[i]
			}
			if code := c.option(o, value); code != exitOK {
				return code
			}
		case len(arg) > 1 && arg[0] == '-':
			for j := 1; j < len(arg); j++ {
				o, ok := lookOption(c.name, "", arg[j])
				if !ok {
					fmt.Fprintf(&c.err, "%s: invalid option -- '%c'\n", c.name, arg[j])
					return c.badLine()
				}
				value := ""
				if o.takesValue() {
					if value = arg[j+1:]; value == "" {
						if i++; i >= len(args) {
							fmt.Fprintf(&c.err, "%s: option requires an argument -- '%c'\n", c.name, arg[j])
							return c.badLine()
						}
						value = args[i]
					}
					j = len(arg)
				}
				if code := c.option(o, value); code != exitOK {
					return code
				}
			}
		default:
			c.args2 = append(c.args2, arg)
		}
	}
	return exitOK
}

func (o option) takesValue() bool { return o.kind != "" && o.kind != "-" }

// badLine is how lvm ends after an option that it cannot parse.
func (c *command) badLine() int {
	c.fail("Error during parsing of command line.")
	return exitSyntax
}

// repeatable options may be given more than once (ARG_COUNTABLE and ARG_GROUPABLE
// in lvm2's tools/args.h).
var repeatable = []string{"addtag", "deltag", "configreport", "options", "select", "sort", "force", "verbose", "debug", "quiet"}

// option stores one option, its value checked.
func (c *command) option(o option, value string) int {
	bad := func() int {
		c.fail("Invalid argument for --%s: %s", o.name, value)
		return c.badLine()
	}
	if len(c.set[o.name]) > 0 && !slices.Contains(repeatable, o.name) {
		long := " --" + o.name
		if o.short != 0 {
			long = " -" + string(o.short) + "/--" + o.name
		}
		c.fail("Option%s may not be repeated.", long)
		return c.badLine()
	}
	switch o.kind {
	case "-":
		return c.unmodelled("--" + o.name)
	case "size":
		_, sign, problem := parseSize(value)
		if problem == "" && sign == '-' && c.name != "lvresize" && c.name != "lvreduce" {
			problem = "Size may not be negative."
			if o.name == "virtualsize" {
				problem = "Size may not be relative/signed."
			}
		}
		if problem != "" {
			c.fail("%s", problem)
			return bad()
		}
	case "ext":
		_, sign, _, ok := parseExtents(value)
		if ok && sign == '-' && c.name != "lvresize" && c.name != "lvreduce" {
			c.fail("Extents may not be negative.")
			ok = false
		}
		if !ok {
			return bad()
		}
	case "num":
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < 0 {
			return bad()
		}
	case "yn":
		if value != "y" && value != "n" {
			return bad()
		}
	case "act":
		switch value {
		case "y", "n", "ay", "ey", "sy", "ly", "en", "ln", "e", "ae":
		default:
			return bad()
		}
	case "tag":
		if value = strings.TrimPrefix(value, "@"); !validTag(value) {
			return bad()
		}
	case "type":
		switch value {
		case "linear", "striped", "raid1", "thin", "thin-pool", "snapshot":
		case "mirror", "raid0", "raid0_meta", "raid4", "raid5", "raid6", "raid10", "cache", "cache-pool", "error", "zero", "vdo", "vdo-pool", "writecache":
			return c.unmodelled("--type " + value)
		default:
			c.fail("WARNING: Unrecognised segment type %s", value)
			return bad()
		}
	case "alloc":
		switch value {
		case "normal", "inherit", "cling":
		case "contiguous", "cling_by_tags", "anywhere":
			return c.unmodelled("--alloc " + value)
		default:
			return bad()
		}
	}
	if o.name == "configreport" {
		switch value {
		case "log", "vg", "lv", "pv", "pvseg", "seg":
		default:
			return bad()
		}
		c.groups = append(c.groups, reportGroup{name: value, set: map[string][]string{}})
	}
	if n := len(c.groups); n > 0 {
		switch o.name {
		case "options", "select", "sort":
			c.groups[n-1].set[o.name] = append(c.groups[n-1].set[o.name], value)
			return exitOK
		}
	}
	c.set[o.name] = append(c.set[o.name], value)
	return exitOK
}

func (c *command) unmodelled(what string) int {
	c.fail("fakelvm: %s of %s is not modelled", what, c.name)
	return exitUnmodelled
}

// zeros refuses each of these options that is 0, be it with a sign or a share of
// something (arg_from_list_is_zero in lvm2's tools/toollib.c).
func (c *command) zeros(names ...string) (code int) {
	for _, name := range names {
		if !c.has(name) {
			continue
		}
		var n int64
		switch name {
		case "extents":
			n, _, _, _ = parseExtents(c.last(name))
		case "stripes":
			n, _ = strconv.ParseInt(c.last(name), 10, 64)
		default:
			n, _, _ = parseSize(c.last(name))
		}
		if n == 0 {
			c.fail("--%s may not be zero.", name)
			code = exitSyntax
		}
	}
	if code != exitOK {
		c.seeHelp()
	}
	return code
}

// validTag is the rule that lvm2 2.03.16 was seen to have. Its manual speaks of
// 1024 characters at most; 5000 were accepted.
func validTag(tag string) bool {
	if tag == "" {
		return false
	}
	for i := range len(tag) {
		if !nameByte(tag[i]) && !strings.ContainsRune("/=!:&#", rune(tag[i])) {
			return false
		}
	}
	return true
}

// parseSize reads a size in bytes with its sign. Units are powers of 1024,
// whatever their case; a bare number is MiB (man lvm, SIZE).
func parseSize(s string) (n int64, sign byte, problem string) {
	rest := s
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		sign, rest = rest[0], rest[1:]
		if rest != "" && (rest[0] == '+' || rest[0] == '-') {
			return 0, sign, "Multiple sign symbols detected."
		}
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	digits, unit := rest, ""
	if end >= 0 {
		digits, unit = rest[:end], rest[end:]
	}
	if digits == "" || strings.Count(digits, ".") > 1 || digits == "." {
		return 0, sign, "Size requires number argument."
	}
	value, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, sign, "Size requires number argument."
	}
	factor := int64(1 << 20)
	switch strings.ToLower(unit) {
	case "":
	case "b":
		factor = 1
	case "s":
		factor = sectorSize
	case "k", "m", "g", "t", "p", "e":
		factor = 1 << (10 * (1 + strings.Index("kmgtpe", strings.ToLower(unit))))
	default:
		return 0, sign, "Can't parse size argument."
	}
	switch bytes := value * float64(factor); {
	case bytes >= 1<<64:
		return 0, sign, "Size is too big (>=16EiB)."
	case bytes >= 1<<63-1:
		return math.MaxInt64, sign, ""
	}
	if strings.Contains(digits, ".") {
		n = int64(value * float64(factor))
	} else {
		whole, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return 0, sign, "Size is too big (>=16EiB)."
		}
		n = whole * factor
	}
	if n%sectorSize != 0 {
		if factor > 1 { // a fraction of a larger unit is cut to sectors
			return n / sectorSize * sectorSize, sign, ""
		}
		low := n / sectorSize * sectorSize
		return 0, sign, fmt.Sprintf("Size is not a multiple of 512. Try using %d or %d.", low, low+sectorSize)
	}
	return n, sign, ""
}

// parseExtents reads a number of extents, or a percentage of something.
func parseExtents(s string) (n int64, sign byte, of string, ok bool) {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		sign, s = s[0], s[1:]
	}
	digits, of, percent := strings.Cut(s, "%")
	count, err := strconv.ParseUint(digits, 10, 63) // no second sign
	if err != nil {
		return 0, sign, "", false
	}
	n = int64(count)
	if !percent {
		return n, sign, "", true
	}
	switch of = strings.ToUpper(of); of {
	case "VG", "FREE", "PVS", "ORIGIN", "LV":
		return n, sign, of, true
	case "V", "F", "P", "O", "L": // LVM takes any beginning of the word
		return n, sign, map[string]string{"V": "VG", "F": "FREE", "P": "PVS", "O": "ORIGIN", "L": "LV"}[of], true
	}
	return 0, sign, "", false
}
