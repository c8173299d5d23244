// SPDX-License-Identifier: Apache-2.0

// Package mounttest is the contract of a node's mounts and devices
// (driver.Mounter and driver.Filesystem), and the fake that keeps it.
//
// Run holds an implementation to the contract: Fake always, driver.Linux in
// `make test-lvm`. What the real one is seen to do is written here first and
// taught to the fake then.
package mounttest
