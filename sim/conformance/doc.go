// SPDX-License-Identifier: Apache-2.0

// Package conformance holds the simulator's fake kubelet to a real one. Its only test
// puts the fake one through the cases of e2e/conformance/cases and compares every CSI
// call that it makes with those that a real kubelet made, which e2e/conformance has
// written down. Where the two differ, and may, is in differences_test.go, each with its
// reason; make sim-conformance runs both and prints a table.
package conformance
