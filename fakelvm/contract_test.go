// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"fmt"
	"testing"

	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm/lvmtest"
)

// TestContract holds the fake to what real lvm2 does: the same suite runs on it
// in make test-lvm.
func TestContract(t *testing.T) {
	lvmtest.Run(t, func(*testing.T) lvmtest.Machine {
		disks := []string{"/dev/fake0", "/dev/fake1", "/dev/fake2"}
		h := fakelvm.New()
		for _, d := range disks {
			if err := h.AddDisk(fakelvm.Disk{Path: d, Size: 2 << 30}); err != nil {
				panic(fmt.Sprint(err))
			}
		}
		return lvmtest.Machine{
			Runner:     h,
			Disks:      disks,
			OpenDevice: func(path string) (lvmtest.Device, error) { return h.Open(path) },
			Features: lvmtest.Features{
				Striped: true, RAID1: true, Thin: true, Snapshots: true,
				HideDisk: func(disk string) (func() error, error) {
					return func() error { return h.ReturnDisk(disk) }, h.TakeDisk(disk)
				},
			},
		}
	})
}
