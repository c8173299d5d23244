// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// generator makes up steps. It looks at the last report, so that most of them
// make sense, and remembers what was written, so that it reads only bytes that
// both machines must agree on.
type generator struct {
	*rand.Rand
	disks   []string
	seen    map[string][]map[string]string // the last report's rows by section
	written map[string][]step              // device → writes since it was made
	held    map[string]bool
	hidden  map[string]bool
}

func newGenerator(seed uint64, disks []string) *generator {
	return &generator{
		Rand: rand.New(rand.NewPCG(seed, 0)), disks: disks, //nolint:gosec // it must be repeatable
		written: map[string][]step{}, held: map[string]bool{}, hidden: map[string]bool{},
	}
}

// look reads a report as outcome has it.
func (g *generator) look(report string) {
	g.seen = map[string][]map[string]string{}
	for _, line := range strings.Split(report, "\n") {
		section, row, ok := strings.Cut(line, " ")
		if !ok {
			continue
		}
		fields := map[string]string{}
		if json.Unmarshal([]byte(row), &fields) == nil {
			g.seen[section] = append(g.seen[section], fields)
		}
	}
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// vg is mostly one that is there.
func (g *generator) vg() string {
	if rows := g.seen["vg"]; len(rows) > 0 && g.IntN(25) > 0 {
		return pick(g, rows...)["vg_name"]
	}
	return pick(g, "vga", "vgb", "nope")
}

func (g *generator) fresh() string {
	if g.IntN(30) == 0 {
		return pick(g, "", ".", "-x", "a b", "snapshot1", "pvmove0", "x_tdata", "y_rimage_1", strings.Repeat("n", 128), strings.Repeat("n", 123), "a@b", "all")
	}
	return pick(g, "a", "b", "c-1", "d", "e.e", "f", "g_g", "h", "i+i")
}

// lv is mostly one that is there and shown, of a kind when there is one.
func (g *generator) lv(kinds ...string) string {
	_, lv := g.both(kinds...)
	return lv
}

// both is lv and its VG.
func (g *generator) both(kinds ...string) (vg, lv string) {
	var rows []map[string]string
	for _, r := range g.seen["lv"] {
		if strings.HasPrefix(r["lv_name"], "[") {
			continue
		}
		is := len(kinds) == 0
		for _, k := range kinds {
			is = is || strings.Contains(","+r["lv_layout"]+","+r["lv_role"]+",", ","+k+",")
		}
		if is {
			rows = append(rows, r)
		}
	}
	if len(rows) > 0 && g.IntN(20) > 0 {
		r := pick(g, rows...)
		return r["vg_name"], r["lv_name"]
	}
	return g.vg(), g.fresh()
}

func (g *generator) tag() string {
	if g.IntN(15) == 0 {
		return pick(g, "", "a b", "x@y", "@at", "-m", "a,b", "ä", strings.Repeat("t", 1100))
	}
	return pick(g, "podlv.dev", "podlv.state=new", "podlv.pod=ns/na-me/1-2", "k=v", "x", "y", "z/1", "q#1")
}

// size is small: the VGs have a few hundred extents.
func (g *generator) size() string {
	switch g.IntN(12) {
	case 0:
		return pick(g, "0", "1b", "513b", "100t", "20g", "1.5m", "x", "-4m", "12345678b", "9999999999999999999999b")
	case 1:
		return fmt.Sprintf("%ds", 1+g.IntN(100000))
	default:
		return fmt.Sprintf("%dm", 1+g.IntN(60))
	}
}

func (g *generator) extents() string {
	return pick(g, "1", "3", "10", "50%FREE", "100%FREE", "10%VG", "1000000", "33%FREE", "0")
}

// step makes up the next one.
func (g *generator) step() step {
	free := g.freeDisks()
	switch n := g.IntN(100); {
	case len(g.seen["vg"]) == 0 || n < 4 && len(free) > 0:
		return g.makeVG(free)
	case n < 12:
		return g.changeVG(free)
	case n < 38:
		return g.create()
	case n < 48:
		return g.client()
	case n < 56:
		return g.extend()
	case n < 66:
		return g.change()
	case n < 76:
		return g.remove()
	case n < 80:
		return g.look1()
	case n < 92:
		return g.device()
	case n < 94:
		return g.disk()
	case n < 96:
		vg, lv := g.both()
		return step{Do: "lvm", Args: []string{"lvrename", vg, lv, g.fresh()}}
	default:
		return g.nonsense()
	}
}

func (g *generator) freeDisks() []string {
	used := map[string]bool{}
	for _, r := range g.seen["pv"] {
		if r["vg_name"] != "" {
			used[r["pv_name"]] = true
		}
	}
	var free []string
	for _, d := range g.disks {
		if !used[d] && !g.hidden[d] {
			free = append(free, d)
		}
	}
	return free
}

func (g *generator) makeVG(free []string) step {
	if len(free) == 0 {
		free = g.disks
	}
	args := []string{"vgcreate", "--yes"}
	if g.IntN(4) == 0 {
		args = append(args, "--physicalextentsize", pick(g, "1m", "16m", "8m", "3m", "512k", "0", "x"))
	}
	args = append(args, pick(g, "vga", "vgb"))
	return step{Do: "lvm", Args: append(args, free[:1+g.IntN(min(2, len(free)))]...)}
}

func (g *generator) changeVG(free []string) step {
	vg, disk := g.vg(), pick(g, g.disks...)
	if len(free) > 0 && g.IntN(2) == 0 {
		disk = pick(g, free...)
	}
	return step{Do: "lvm", Args: pick(g,
		[]string{"vgextend", "--yes", vg, disk},
		[]string{"vgextend", "--yes", vg, disk},
		[]string{"vgreduce", "--yes", vg, disk},
		[]string{"vgremove", vg},
		[]string{"vgchange", "--addtag", g.tag(), vg},
		[]string{"vgchange", "--deltag", g.tag(), vg},
		[]string{"vgchange", "--activate", pick(g, "y", "n"), vg},
		[]string{"vgchange", "--activate", pick(g, "y", "n"), vg},
		[]string{"pvcreate", "--yes", disk},
		[]string{"pvremove", "--yes", disk},
		[]string{"pvchange", "--allocatable", pick(g, "y", "n"), disk},
		[]string{"vgextend", "--restoremissing", vg, disk},
	)}
}

func (g *generator) create() step {
	args := []string{"lvcreate", "--yes", "--name", g.fresh()}
	for range g.IntN(3) {
		args = append(args, "--addtag", g.tag())
	}
	space := func() { // how large
		if g.IntN(4) == 0 {
			args = append(args, "--extents", g.extents())
		} else {
			args = append(args, "--size", g.size())
		}
	}
	target := g.vg()
	switch n := g.IntN(20); {
	case n < 7:
		args = append(args, "--type", "linear")
		space()
		if g.IntN(5) == 0 {
			args = append(args, pick(g, "--zero", "--wipesignatures"), pick(g, "y", "n"))
		}
		if g.IntN(8) == 0 {
			args = append(args, "--activate", pick(g, "y", "n"), "--zero", "n")
		}
	case n < 9:
		args = append(args, "--type", "striped", "--stripes", pick(g, "1", "2", "2", "3", "4", "0", "200"))
		space()
	case n < 11:
		args = append(args, "--type", "raid1", "--mirrors", pick(g, "1", "1", "2", "0", "11"))
		space()
	case n < 13:
		args = append(args, "--type", "thin-pool")
		space()
		if g.IntN(3) == 0 {
			args = append(args, "--poolmetadataspare", pick(g, "n", "n", "y"))
		}
		if g.IntN(3) == 0 {
			args = append(args, "--poolmetadatasize", pick(g, "1m", "2m", "3m", "4m", "9m", "40m"))
		}
	case n < 16:
		vg, pool := g.both("pool")
		target = vg
		args = append(args, "--type", "thin", "--virtualsize", g.size(), "--thinpool", pool)
	case n < 18: // thin snapshot
		args = append(args, "--snapshot")
		vg, origin := g.both("sparse")
		target = vg + "/" + origin
		if g.IntN(2) == 0 {
			args = append(args, "--setactivationskip", pick(g, "y", "n"))
		}
	default: // thick snapshot
		args = append(args, "--snapshot")
		space()
		vg, origin := g.both()
		target = vg + "/" + origin
	}
	return step{Do: "lvm", Args: append(args, target)}
}

// client goes through the client's verbs, which must come to the same class.
func (g *generator) client() step {
	vg, lv := g.both()
	size := (1 + g.IntN(60)) << 20
	if g.IntN(4) == 0 {
		size = 1 + g.IntN(1<<33)
	}
	switch g.IntN(9) {
	case 0, 1:
		layout := pick(g, "linear", "linear", "striped", "raid1", "thin")
		pool, legs := "", 0
		switch layout {
		case "thin":
			vg, pool = g.both("pool")
		case "striped", "raid1":
			legs = 2 + g.IntN(2)
		}
		return step{Do: "create", Args: []string{vg, g.fresh(), layout, pool, g.tag()}, Offset: int64(legs), Length: size}
	case 2:
		return step{Do: "snapshot", Args: []string{vg, g.fresh(), lv, g.tag()}, Length: pick(g, 0, size)}
	case 3, 4:
		return step{Do: "extend", Args: []string{vg, lv}, Length: size}
	case 5:
		return step{Do: "remove", Args: []string{vg, lv}}
	case 6:
		return step{Do: "tag", Args: []string{vg, g.tag(), g.tag(), lv, g.lv()}}
	case 7:
		return step{Do: "activate", Args: []string{vg, lv}}
	default:
		return step{Do: "deactivate", Args: []string{vg, lv}}
	}
}

func (g *generator) extend() step {
	if g.IntN(4) == 0 {
		return g.extendPool()
	}
	vg, lv := g.both()
	name := vg + "/" + lv
	return step{Do: "lvm", Args: pick(g,
		[]string{"lvextend", "--size", g.size(), name},
		[]string{"lvextend", "--size", "+" + g.size(), name},
		[]string{"lvextend", "--extents", "+" + g.extents(), name},
		[]string{"lvresize", "--yes", "--size", "+" + g.size(), name},
	)}
}

// extendPool makes a thin pool's data larger, or its metadata, or both, anywhere or on some PVs.
func (g *generator) extendPool() step {
	vg, pool := g.both("pool")
	args := []string{"lvextend"}
	if g.IntN(4) > 0 {
		args = append(args, "--size", pick(g, g.size(), "+"+g.size()))
	}
	if len(args) == 1 || g.IntN(3) > 0 {
		args = append(args, "--poolmetadatasize", pick(g, "+4m", "4m", "8m", "12m", "33m", "0", "+1g"))
	}
	args = append(args, vg+"/"+pool)
	for range g.IntN(3) {
		args = append(args, pick(g, g.disks...))
	}
	return step{Do: "lvm", Args: args}
}

func (g *generator) selection() string {
	return pick(g,
		`lv_name="`+g.lv()+`"`,
		`lv_tags="podlv.dev" && (lv_name="`+g.lv()+`" || lv_name="`+g.lv()+`")`,
		`lv_tags="x"`, `lv_tags={"x","y"}`, `lv_tags!="podlv.dev"`, `lv_name=~"^[ab]"`, `lv_size>20m`, `origin="a"`,
		`lv_active="active"`, `vg_name=vga && lv_tags=y`, `segtype=thin`, `lv_name=`, `nofield=1`, `(lv_name=a`,
	)
}

func (g *generator) change() step {
	vg, lv := g.both()
	args := pick(g,
		[]string{"lvchange", "--addtag", g.tag()},
		[]string{"lvchange", "--deltag", g.tag(), "--addtag", g.tag()},
		[]string{"lvchange", "--activate", pick(g, "y", "n", "ay", "maybe")},
		[]string{"lvchange", "--activate", "y", "--ignoreactivationskip"},
		[]string{"lvchange", "--setactivationskip", pick(g, "y", "n")},
	)
	switch g.IntN(4) {
	case 0:
		return step{Do: "lvm", Args: append(args, "--select", g.selection(), vg)}
	case 1:
		return step{Do: "lvm", Args: append(args, vg+"/"+lv, vg+"/"+g.lv())}
	default:
		return step{Do: "lvm", Args: append(args, vg+"/"+lv)}
	}
}

func (g *generator) remove() step {
	vg, lv := g.both()
	n := g.IntN(5)
	if len(g.held) > 0 {
		// A command that removes many and fails at an open one leaves thick snapshots
		// that it got to inactive; the fake leaves them as they were.
		n = 4
	}
	switch n {
	case 0:
		return step{Do: "lvm", Args: []string{"lvremove", "--yes", "--select", g.selection(), vg}}
	case 1:
		return step{Do: "lvm", Args: []string{"lvremove", "--yes", vg + "/" + lv, vg + "/" + g.lv()}}
	default:
		return step{Do: "lvm", Args: []string{"lvremove", "--yes", vg + "/" + lv}}
	}
}

// look1 is a report of one kind.
func (g *generator) look1() step {
	json := []string{"--reportformat", "json", "--units", "b", "--nosuffix", "--binary"}
	return step{Do: "lvm", Args: append(pick(g,
		[]string{"lvs", "-o", "lv_name,lv_size,lv_tags", "--select", g.selection()},
		[]string{"lvs", "-o", "lv_name,lv_attr", g.vg() + "/" + g.lv()},
		[]string{"lvs", "-a", "-o", "lv_name,segtype", g.vg()},
		[]string{"vgs", "-o", "vg_name,vg_size,vg_free", g.vg()},
		[]string{"vgs", "--select", `vg_free>100m`, "-o", "vg_name"},
		[]string{"pvs", "-o", "pv_name,pv_size,vg_name", pick(g, g.disks...)},
	), json...)}
}

// device writes, reads, holds or lets go of an LV's device.
func (g *generator) device() step {
	var rows []map[string]string
	for _, r := range g.seen["lv"] {
		if r["lv_active"] == "active" && !strings.HasPrefix(r["lv_name"], "[") && !strings.Contains(r["lv_role"], "private") {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return g.look1()
	}
	r := pick(g, rows...)
	path := "/dev/" + r["vg_name"] + "/" + r["lv_name"]
	size, _ := strconv.ParseInt(r["lv_size"], 10, 64)
	switch n := g.IntN(10); {
	case n == 0:
		return step{Do: "hold", Args: []string{path}}
	case n < 3 && len(g.held) > 0:
		return step{Do: "drop", Args: slices.Sorted(maps.Keys(g.held))[:1]}
	case n < 7 && len(g.written) > 0:
		path := pick(g, slices.Sorted(maps.Keys(g.written))...)
		last := pick(g, g.written[path]...)
		return step{Do: "read", Args: []string{path}, Offset: last.Offset, Length: last.Length}
	}
	length := 4096 * (1 + g.IntN(64))
	if int64(length) > size/2 || strings.Contains(r["lv_role"], "thicksnapshot") {
		length = 4096
	}
	return step{Do: "write", Args: []string{path}, Offset: 4096 * g.Int64N(min(size, 4<<20)/8192), Length: length, Fill: byte(1 + g.IntN(250))}
}

// done remembers what a step wrote; anything that may have made or changed an LV
// forgets it.
func (g *generator) done(st step, o outcome) {
	switch {
	case st.Do == "write" && o.Class == "":
		g.written[st.Args[0]] = append(g.written[st.Args[0]], st)
	case st.Do == "hold" && o.Class == "":
		g.held[st.Args[0]] = true
	case st.Do == "drop":
		delete(g.held, st.Args[0])
	case st.Do == "write" || st.Do == "read" || st.Do == "hold":
	case st.Do == "hide":
		g.hidden[st.Args[0]] = true
	case st.Do == "show":
		delete(g.hidden, st.Args[0])
	case st.Do == "tag" || st.Do == "extend" || st.Do == "lvm" && (st.Args[0] == "lvs" || st.Args[0] == "vgs"):
	default:
		clear(g.written)
	}
}

// disk takes a disk away, when nothing on it is active, and brings it back soon.
func (g *generator) disk() step {
	if len(g.hidden) > 0 {
		return step{Do: "show", Args: slices.Sorted(maps.Keys(g.hidden))[:1]}
	}
	for _, r := range g.seen["lv"] {
		if r["lv_active"] == "active" {
			return step{Do: "lvm", Args: []string{"vgchange", "--activate", "n", g.vg()}}
		}
	}
	return step{Do: "hide", Args: []string{pick(g, g.disks...)}}
}

func (g *generator) nonsense() step {
	return step{Do: "lvm", Args: pick(g,
		[]string{"lvcreate"},
		[]string{"lvcreate", "--bogus", g.vg()},
		[]string{"bogus", g.vg()},
		[]string{"lvremove"},
		[]string{"lvremove", "--yes", "/dev/nothing/here"},
		[]string{"lvextend", g.vg() + "/" + g.lv()},
		[]string{"lvcreate", "--type", "nonsense", "--size", "4m", "--name", "x", g.vg()},
		[]string{"lvcreate", "--name", g.fresh(), "--size"},
		[]string{"vgcreate", "vgc"},
		[]string{"vgremove", "nope"},
		[]string{"lvs", g.vg() + "/" + g.fresh()},
		[]string{"lvchange", g.vg() + "/" + g.lv()},
		[]string{"lvrename", g.vg(), g.lv()},
		[]string{"pvcreate", "--yes", "/dev/nothing"},
	)}
}
