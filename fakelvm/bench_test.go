// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/podlv/podlv/fakelvm"
	"github.com/stretchr/testify/require"
)

// BenchmarkCommands shows that a command of the fake costs microseconds, so that a
// thousand Hosts fit into a simulator.
func BenchmarkCommands(b *testing.B) {
	for _, lvs := range []int{0, 20, 200} {
		h := fakelvm.New(fakelvm.Disk{Path: "/dev/fake0", Size: 1 << 40})
		require.NoError(b, h.CreateVG("vg0", "/dev/fake0"))
		for i := range lvs {
			do(b, h, fmt.Sprintf("lvcreate --yes --name lv%d --size 1g --addtag podlv.dev --addtag podlv.id=%d vg0", i, i))
		}
		report := strings.Fields("fullreport --reportformat json --units b --nosuffix --binary --configreport vg -o vg_name,vg_uuid,vg_size,vg_free,vg_extent_size,vg_missing_pv_count,vg_tags,vg_mda_free --configreport pv -o pv_name,pv_uuid,pv_missing --configreport lv -o lv_name,lv_uuid,lv_size,lv_attr,lv_tags,lv_active,lv_device_open,origin,pool_lv,data_percent --configreport seg -o lv_name,segtype,stripes,devices --configreport pvseg -o pvseg_start,pvseg_size,lv_name")
		ctx := context.Background()
		b.Run(fmt.Sprintf("report of %d LVs", lvs), func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Run(ctx, report...); err != nil {
					b.Fatal(err)
				}
			}
		})
		create := strings.Fields("lvcreate --yes --wipesignatures y --zero y --name new --size 1g --addtag podlv.dev vg0")
		remove := strings.Fields("lvremove --yes vg0 --select lv_name=new&&lv_tags=podlv.dev")
		b.Run(fmt.Sprintf("create and remove beside %d LVs", lvs), func(b *testing.B) {
			for b.Loop() {
				if _, err := h.Run(ctx, create...); err != nil {
					b.Fatal(err)
				}
				if _, err := h.Run(ctx, remove...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNewHost(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		h := fakelvm.New(fakelvm.Disk{Path: "/dev/fake0", Size: 1 << 40})
		if err := h.CreateVG("vg0", "/dev/fake0"); err != nil {
			b.Fatal(err)
		}
	}
}
