// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Boot is the number of this boot of the machine, from 1; 0 outside a machine.
func Boot() int {
	n, err := strconv.Atoi(os.Getenv(bootVariable))
	if err != nil {
		return 0
	}
	return n
}

// Share is the folder that the guest and the host both see, at the same path. It
// outlives a crash. Empty outside a machine.
func Share() string { return os.Getenv(shareVariable) }

// Disks are the paths of the machine's disks, in the order of Config.Disks.
func Disks() []string {
	v := os.Getenv(disksVariable)
	if v == "" {
		return nil
	}
	return strings.Split(v, ",")
}

// Crash cuts the power of the machine that it is called in and never returns. The
// host boots it again on the same disks and runs the same command, for which Boot
// is one more. Nothing is synced before. It panics outside a machine.
func Crash() {
	if Boot() == 0 {
		panic("microvm.Crash outside a machine: run this test with test-lvm")
	}
	if err := writeNote(note(Share(), "crash", Boot()), struct{}{}); err != nil {
		panic(fmt.Sprintf("microvm.Crash: tell the host: %v", err))
	}
	block()
}
