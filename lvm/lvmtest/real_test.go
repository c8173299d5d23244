// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package lvmtest_test

import (
	"flag"
	"strings"
	"testing"

	"github.com/podlv/podlv/lvm/lvmtest"
)

var disks = flag.String("lvm.disks", "", "empty disks, by commas; what is on them is lost")

func TestRealLVM(t *testing.T) {
	if *disks == "" {
		t.Fatal("no -lvm.disks: run this through make test-lvm")
	}
	lvmtest.Run(t, func(t *testing.T) lvmtest.Machine {
		return lvmtest.RealMachine(t, strings.Split(*disks, ","))
	})
}
