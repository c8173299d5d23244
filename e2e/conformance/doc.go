// SPDX-License-Identifier: Apache-2.0

// Command conformance puts a real kubelet, on a microVM node, through the cases of
// e2e/conformance/cases, with a driver that writes down every CSI call that kubelet makes
// (e2e/conformance/record). The tests of sim/conformance put the simulator's fake kubelet
// through the same and compare. It needs what the demo needs, but LVM.
//
//	go run ./e2e/conformance -out FILE
package main
