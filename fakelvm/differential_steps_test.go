// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
	"github.com/podlv/podlv/lvm/lvmtest"
)

// step is one thing that a differential test does on both machines.
type step struct {
	// Do is "lvm" (a raw command), one of the client's verbs, or "write", "read",
	// "hold", "drop" (an open device), "hide", "show" (a disk).
	Do     string
	Args   []string `json:",omitempty"`
	Offset int64    `json:",omitempty"`
	Length int      `json:",omitempty"`
	Fill   byte     `json:",omitempty"`
}

func (s step) String() string {
	if s.Do == "lvm" {
		return "lvm " + strings.Join(s.Args, " ")
	}
	return fmt.Sprintf("%s %s offset=%d length=%d fill=%d", s.Do, strings.Join(s.Args, " "), s.Offset, s.Length, s.Fill)
}

// outcome is what a step did, as far as two machines must agree on it.
type outcome struct {
	Code   int    `json:",omitempty"` // exit status of a raw command
	Stdout string `json:",omitempty"`
	Stderr string `json:",omitempty"`
	Class  string `json:",omitempty"` // of the client's error, or whether an I/O failed
	Data   string `json:",omitempty"` // a digest of what was read
	Report string // all of LVM after the step
}

// side is one machine of a differential test.
type side struct {
	lvmtest.Machine
	client *lvm.Client
	held   map[string]lvmtest.Device
	hidden map[string]func() error
}

func newSide(m lvmtest.Machine) (*side, error) {
	c, err := lvm.NewClient(m.Runner, "podlv.dev")
	return &side{Machine: m, client: c, held: map[string]lvmtest.Device{}, hidden: map[string]func() error{}}, err
}

// newFake is the fake machine that stands beside the real one.
func newFake(disks []string, size int64) (*side, error) {
	h := fakelvm.New()
	h.SetName("microvm") // the metadata text, and so its length, has the host's name
	for _, d := range disks {
		if err := h.AddDisk(fakelvm.Disk{Path: d, Size: size}); err != nil {
			return nil, err
		}
	}
	return newSide(lvmtest.Machine{
		Runner:     h,
		Disks:      disks,
		OpenDevice: func(path string) (lvmtest.Device, error) { return h.Open(path) },
		Features: lvmtest.Features{HideDisk: func(disk string) (func() error, error) {
			return func() error { return h.ReturnDisk(disk) }, h.TakeDisk(disk)
		}},
	})
}

// commandConfig is what raw commands get: without udev, and without backups, for
// which the fake has no folder. It is not what the client gives: a recorded session has it
// in its metadata, where each command line stands.
const commandConfig = `activation{udev_sync=0 udev_rules=0 monitoring=0} backup{backup=0 archive=0}`

// run does a step and looks at everything after it.
func (s *side) run(st step) outcome {
	var o outcome
	ctx := context.Background()
	arg := func(i int) string { return st.Args[i] }
	switch st.Do {
	case "lvm":
		args := append([]string{st.Args[0], "--config", commandConfig}, st.Args[1:]...)
		stdout, err := s.Runner.Run(ctx, args...)
		var exit *lvm.ExitError
		if errors.As(err, &exit) {
			o.Code, o.Stderr = exit.Code, normal(exit.Stderr)
		} else if err != nil {
			o.Stderr = err.Error()
		}
		o.Stdout = normal(string(stdout))
	case "create":
		o.Class = class(s.client.Create(ctx, lvm.Spec{VG: arg(0), Name: arg(1), Layout: lvm.Layout(arg(2)), Pool: arg(3), Legs: int(st.Offset), Size: int64(st.Length), Tags: st.Args[4:]}))
	case "snapshot":
		o.Class = class(s.client.Snapshot(ctx, lvm.SnapshotSpec{VG: arg(0), Name: arg(1), Origin: arg(2), Size: int64(st.Length), Tags: st.Args[3:]}))
	case "extend":
		o.Class = class(s.client.Extend(ctx, arg(0), arg(1), int64(st.Length)))
	case "remove":
		o.Class = class(s.client.Remove(ctx, arg(0), arg(1)))
	case "tag":
		o.Class = class(s.client.Tag(ctx, arg(0), []string{arg(1)}, []string{arg(2)}, st.Args[3:]...))
	case "activate":
		o.Class = class(s.client.Activate(ctx, arg(0), arg(1)))
	case "deactivate":
		o.Class = class(s.client.Deactivate(ctx, arg(0), arg(1)))
	case "write", "read":
		o.Class, o.Data = s.access(st)
	case "hold":
		if s.held[arg(0)] == nil {
			d, err := s.OpenDevice(arg(0))
			if err == nil {
				s.held[arg(0)] = d
			}
			o.Class = failure(err)
		}
	case "drop":
		if d := s.held[arg(0)]; d != nil {
			delete(s.held, arg(0))
			o.Class = failure(d.Close())
		}
	case "hide":
		if s.hidden[arg(0)] == nil {
			show, err := s.Features.HideDisk(arg(0))
			o.Class = failure(err)
			s.hidden[arg(0)] = show
		}
	case "show":
		if show := s.hidden[arg(0)]; show != nil {
			delete(s.hidden, arg(0))
			o.Class = failure(show())
		}
	default:
		panic("no such step: " + st.Do)
	}
	o.Report = s.report()
	return o
}

// access writes or reads. Both close the device, so that a real one has seen all
// of it when LVM is asked for its use.
func (s *side) access(st step) (class, data string) {
	d, err := s.OpenDevice(st.Args[0])
	if err != nil {
		return "not opened", ""
	}
	b := bytes.Repeat([]byte{st.Fill}, st.Length)
	if st.Do == "write" {
		_, err = d.WriteAt(b, st.Offset)
	} else {
		_, err = d.ReadAt(b, st.Offset)
		if err == nil {
			data = digest(b)
		}
	}
	return failure(errors.Join(err, d.Close())), data
}

func failure(err error) string {
	if err != nil {
		return "failed"
	}
	return ""
}

// digest is short for bytes that are mostly alike: runs of one value.
func digest(b []byte) string {
	var runs []string
	for i := 0; i < len(b) && len(runs) < 20; {
		j := i
		for j < len(b) && b[j] == b[i] {
			j++
		}
		runs = append(runs, fmt.Sprintf("%d×%d", j-i, b[i]))
		i = j
	}
	return strings.Join(runs, " ")
}

// class is which of the client's errors it is.
func class(err error) string {
	for _, known := range []error{lvm.ErrInvalid, lvm.ErrNotFound, lvm.ErrExists, lvm.ErrNoSpace, lvm.ErrInUse, lvm.ErrMetadataFull, lvm.ErrUnavailable} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	var exit *lvm.ExitError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &exit):
		return fmt.Sprintf("unexplained: exit status %d: %s", exit.Code, normal(exit.Stderr))
	default:
		return "unexplained: " + normal(err.Error())
	}
}

// fieldHelp is a line of the list of all fields, which LVM prints after an unknown
// one: long, and not the point.
var fieldHelp = regexp.MustCompile(`^(-+|[a-z_?]+ +- .*|.* Fields|Selection (operands|operators).*)$`)

// unmodelled is what the fake leaves out on purpose: what LVM says, again and
// again, of a PV that is not there, or is back with old metadata, and that
// metadata is not backed up, which the settings of all our commands ask for, and
// when exactly it warns of pools that are promised too often.
var unmodelled = regexp.MustCompile(`^WARNING: (Sum of all thin volume sizes|You have not turned on protection|Set activation/thin_pool_auto|This metadata update is NOT backed up|Couldn't find device with uuid|VG \S+ is missing PV|ignoring metadata seqno|Inconsistent metadata|VG \S+ has unused reappeared PV|VG \S+ was previously updated|VG \S+ was missing PV|updating old metadata)|^See vgck --updatemetadata|^\[unselectable number\]$`)

// hiddenDisk is what LVM says of a disk that is not there: the real one's is
// hidden by a filter.
var hiddenDisk = regexp.MustCompile(`^(No device found for|Cannot use) (/dev/\w+)(: device is rejected by filter config|: device not found|\.)$`)

var uuidPattern = regexp.MustCompile(`[A-Za-z0-9]{6}-([A-Za-z0-9]{4}-){5}[A-Za-z0-9]{6}`)

// normal makes what LVM says comparable: columns have other widths, UUIDs differ, and so does the order in
// which LVM goes through VGs and PVs, which it sorts by UUID.
func normal(s string) string {
	s = uuidPattern.ReplaceAllString(s, "UUID")
	var lines []string
	for _, l := range strings.Split(s, "\n") {
		if l = strings.Join(strings.Fields(l), " "); l != "" && !fieldHelp.MatchString(l) && !unmodelled.MatchString(l) {
			lines = append(lines, hiddenDisk.ReplaceAllString(l, "no disk $2"))
		}
	}
	sort.Strings(lines)
	// How often it repeats a warning depends on how often it scans.
	return strings.Join(slices.Compact(lines), "\n")
}

// reportFields are what is compared after each step: all that LVM has to say and
// that does not differ by nature, inner LVs included.
var reportFields = []string{
	"vg", "vg_name,vg_attr,vg_size,vg_free,vg_extent_size,vg_extent_count,vg_free_count,vg_tags,vg_missing_pv_count,vg_mda_free,vg_seqno,vg_partial,pv_count,lv_count,snap_count",
	"pv", "pv_name,pv_size,pv_free,pv_pe_count,pv_pe_alloc_count,pv_missing,pv_allocatable,pv_mda_free,vg_name",
	"lv", "vg_name,lv_name,lv_size,lv_tags,lv_attr,lv_active,lv_device_open,lv_layout,lv_role,origin,pool_lv,data_percent,metadata_percent,snap_percent,lv_metadata_size,lv_health_status,lv_snapshot_invalid,lv_skip_activation,data_lv,metadata_lv,lv_permissions",
	"seg", "lv_name,segtype,stripes,data_copies,seg_size,seg_start_pe,seg_pe_ranges,devices,chunk_size,thin_count,zero,transaction_id,thin_id,discards",
	"pvseg", "pv_name,pvseg_start,pvseg_size,lv_name",
}

// report is all of LVM as one text, a row a line.
func (s *side) report() string {
	args := []string{"fullreport", "--all", "--reportformat", "json", "--units", "b", "--nosuffix", "--binary", "--config", commandConfig}
	for i := 0; i < len(reportFields); i += 2 {
		args = append(args, "--configreport", reportFields[i], "-o", reportFields[i+1])
	}
	stdout, err := s.Runner.Run(context.Background(), args...)
	if err != nil {
		return "report failed: " + normal(err.Error())
	}
	var doc struct {
		Report []map[string][]map[string]string `json:"report"`
	}
	if err := json.Unmarshal(stdout, &doc); err != nil {
		return "report is broken: " + err.Error()
	}
	var parts []string
	for _, part := range doc.Report {
		var lines []string
		for section, rows := range part {
			for _, r := range rows {
				if a := r["lv_attr"]; strings.HasPrefix(a, "I") { // a copy that is not in sync yet
					r["lv_attr"] = "i" + a[1:]
				}
				if r["metadata_percent"] != "" { // a block more or less: the kernel's trees are shadowed while in use
					r["metadata_percent"] = "known"
				}
				b, err := json.Marshal(r)
				if err != nil {
					panic(err)
				}
				lines = append(lines, section+" "+string(b))
			}
		}
		sort.Strings(lines)
		parts = append(parts, strings.Join(lines, "\n"))
	}
	sort.Strings(parts)
	return strings.Join(parts, "\n\n")
}

// difference says in what two outcomes differ: in what they did, and in their
// words. Empty when in nothing.
func difference(real, fake outcome) (deeds, words string) {
	var d, w strings.Builder
	compare := func(b *strings.Builder, what, real, fake string) {
		if real == fake {
			return
		}
		r, f := strings.Split(real, "\n"), strings.Split(fake, "\n")
		fmt.Fprintf(b, "%s:\n", what)
		for _, l := range only(r, f) {
			fmt.Fprintf(b, "  real: %s\n", l)
		}
		for _, l := range only(f, r) {
			fmt.Fprintf(b, "  fake: %s\n", l)
		}
	}
	compare(&d, "exit status", fmt.Sprint(real.Code), fmt.Sprint(fake.Code))
	compare(&d, "class", real.Class, fake.Class)
	compare(&d, "data", real.Data, fake.Data)
	compare(&w, "stdout", normal(real.Stdout), fake.Stdout)
	compare(&w, "stderr", normal(real.Stderr), fake.Stderr)
	compare(&d, "report", real.Report, fake.Report)
	return d.String(), w.String()
}

// only is the lines of a that are not in b.
func only(a, b []string) []string {
	in := map[string]int{}
	for _, l := range b {
		in[l]++
	}
	var out []string
	for _, l := range a {
		if in[l] > 0 {
			in[l]--
			continue
		}
		out = append(out, l)
	}
	return out
}
