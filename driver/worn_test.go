// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// worn is how a VG "vg1" came to be what it is, and the classes that are made from it.
type worn struct {
	commands [][]string // of lvm, in order; one that finds no room makes nothing
	pool     bool       // one of them made a thin pool vg1/pool
	classes  []wornClass
}

type wornClass struct {
	name    string
	options string // as in the file of classes
	granule int64  // bytes; a volume's size is a multiple of it
}

// kind is what a test counts it as.
func (c wornClass) kind(size int64) string {
	kind := strings.TrimRight(c.name, "0123456789")
	if size == 0 {
		kind += " none"
	}
	return kind
}

// wear makes up what a VG of some of these disks, of so many extents of 4 MiB each,
// went through: filled but for a little, so that this is soon in pieces, then up to so
// many volumes of all kinds that came and went.
func wear(r *rand.Rand, disks []string, extents, volumes int) worn {
	w := worn{}
	do := func(line string, args ...any) {
		w.commands = append(w.commands, strings.Fields(fmt.Sprintf(line, args...)))
	}
	create := "lvcreate --activate n --zero n --wipesignatures n --name %s --extents %d "
	r.Shuffle(len(disks), func(i, j int) { disks[i], disks[j] = disks[j], disks[i] })
	disks = disks[:1+r.IntN(len(disks))]
	one := func() string { return disks[r.IntN(len(disks))] }
	extent := 4 >> r.IntN(3) // MiB
	do("vgcreate --physicalextentsize %dm vg1 %s", extent, strings.Join(disks, " "))
	if w.pool = r.IntN(2) == 0; w.pool {
		do("lvcreate --yes --type thin-pool --name pool --extents %d vg1", 4+r.IntN(16))
		for i := range r.IntN(4) {
			do("lvcreate --thinpool vg1/pool --name %s --virtualsize %dm", fmt.Sprint("thin", i), 4+r.IntN(20))
		}
	}
	for i, d := range disks {
		do(create+"vg1 %s", fmt.Sprint("filler", i), extents*4/extent-1-r.IntN(60), d)
	}
	var made []string
	for i := range r.IntN(volumes) {
		name, size := fmt.Sprint("old", i), 1+r.IntN(8)
		switch r.IntN(8) {
		case 0:
			do(create+"--type striped --stripes 2 vg1", name, size)
		case 1:
			do(create+"--type raid1 --mirrors 1 --nosync vg1", name, size)
		case 2:
			do(create+"vg1", name, size)
		default:
			do(create+"vg1 %s", name, size, one())
		}
		made = append(made, name)
	}
	stay := r.IntN(4)
	for _, name := range made {
		if r.IntN(5) >= stay {
			do("lvremove --yes vg1/%s", name)
		}
	}
	if r.IntN(4) == 0 {
		do("pvchange --allocatable n %s", one())
	}
	add := func(name, options string, legs int64) {
		unit := int64(4 * mib << r.IntN(2))
		w.classes = append(w.classes, wornClass{name, fmt.Sprintf("%s, unit: %d", options, unit), max(1, legs) * unit})
	}
	add("linear", "layout: linear", 1)
	for legs := int64(2); legs <= max(3, int64(len(disks))); legs++ {
		add(fmt.Sprint("striped", legs), fmt.Sprint("layout: striped, stripes: ", legs), legs)
	}
	add("raid2", "layout: raid1, copies: 2", 1)
	add("raid3", "layout: raid1, copies: 3", 1)
	if w.pool {
		add("thin", fmt.Sprintf("overprovision: %.1f", 1+r.Float64()*2), 1)
	}
	r.Shuffle(len(w.classes), func(i, j int) { w.classes[i], w.classes[j] = w.classes[j], w.classes[i] })
	w.classes = w.classes[:3]
	return w
}

// text is the file of classes; reserve is in bytes.
func (w worn) text(reserve int64) string {
	kept := ""
	if reserve > 0 {
		kept = fmt.Sprintf(", reserve: %d", reserve)
	}
	text := "pools:\n- {name: thick, volumeGroup: vg1" + kept + "}\n"
	if w.pool {
		text += "- {name: thin, volumeGroup: vg1, thinPool: pool" + kept + "}\n"
	}
	text += "classes:\n"
	for i, c := range w.classes {
		pool := "thick"
		if c.name == "thin" {
			pool = "thin"
		}
		text += fmt.Sprintf("- {name: %s, pool: %s, %s, default: %v}\n", c.name, pool, c.options, i == 0)
	}
	return text
}
