// SPDX-License-Identifier: Apache-2.0

// Package lvmtest is the contract of lvm.Client with LVM, as tests: what every
// machine behind a lvm.Runner must do, be it real lvm2 or a fake.
//
// There are only two things: a Machine, which the caller makes, and Run, which
// plays the contract on it. To hold another LVM to the contract:
//
//	func TestContract(t *testing.T) {
//		lvmtest.Run(t, func(t *testing.T) lvmtest.Machine {
//			return lvmtest.Machine{Runner: mine, Disks: []string{"/dev/a", "/dev/b"}, …}
//		})
//	}
//
// What a machine cannot do it declares in Features; no test asks for its name.
// A test that needs what is not declared is skipped and says so.
//
// The suite makes its volume groups itself, with raw commands through the Runner,
// and removes them. In each VG lies an LV that belongs to somebody else, an
// administrator's, full of a known text: when a test is over it must be there
// unchanged, whatever the test did.
//
// Behaviour that is found on real lvm2 is written down here first, then taught to
// the fake. What went wrong once stays in issues.go.
//
// RealMachine is the machine that the tests run on. It is what `make test-lvm`
// uses (build tag reallvm, flag -lvm.disks), in a microVM or as root; the disks
// are wiped.
package lvmtest
