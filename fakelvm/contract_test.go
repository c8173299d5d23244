// SPDX-License-Identifier: Apache-2.0

package fakelvm_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/lvm"
	"github.com/podlv/podlv/lvm/lvmtest"
)

var contractDisks = []string{"/dev/fake0", "/dev/fake1", "/dev/fake2"}

// TestContract holds the fake to what real lvm2 does: the same suite runs on it
// in make test-lvm.
func TestContract(t *testing.T) {
	t.Parallel()
	lvmtest.Run(t, func(t *testing.T) lvmtest.Machine {
		h := fakelvm.New()
		for _, d := range contractDisks {
			require.NoError(t, h.AddDisk(fakelvm.Disk{Path: d, Size: 2 << 30}))
		}
		return lvmtest.Machine{
			Runner:     h,
			Disks:      contractDisks,
			OpenDevice: func(path string) (lvmtest.Device, error) { return h.Open(path) },
			Features: lvmtest.Features{
				Striped: true, RAID1: true, Thin: true, Snapshots: true, Stamp: h.Stamp,
				HideDisk: func(disk string) (func() error, error) {
					return func() error { return h.ReturnDisk(disk) }, h.TakeDisk(disk)
				},
				DieCreating: func(vg, disk string) error {
					h.CrashDuring(h.Steps()+1, fakelvm.BeforeCommit)
					if _, err := h.Run(context.Background(), "vgcreate", vg, disk); !errors.Is(err, fakelvm.ErrCrashed) {
						return fmt.Errorf("vgcreate did not die: %w", err)
					}
					h.Restart()
					return nil
				},
			},
		}
	})
}

// TestContractOfTheExecutable holds the fake lvm program to the same. Its LVs have
// no devices here: those take root.
func TestContractOfTheExecutable(t *testing.T) {
	program := filepath.Join(t.TempDir(), "lvm")
	out, err := exec.Command("go", "build", "-o", program, "./lvm").CombinedOutput()
	require.NoError(t, err, "%s", out)
	lvmtest.Run(t, func(t *testing.T) lvmtest.Machine {
		t.Setenv("FAKELVM_DIR", t.TempDir())
		t.Setenv("FAKELVM_DISKS", "/dev/fake0=2g,/dev/fake1=2g,/dev/fake2=2g")
		run := lvm.Exec{Path: program}
		return lvmtest.Machine{
			Runner: run,
			Disks:  contractDisks,
			Features: lvmtest.Features{
				Striped: true, RAID1: true, Thin: true, Snapshots: true,
				HideDisk: func(disk string) (func() error, error) {
					_, err := run.Run(context.Background(), "fakelvm", "take", disk)
					return func() error {
						_, err := run.Run(context.Background(), "fakelvm", "return", disk)
						return err
					}, err
				},
			},
		}
	})
}
