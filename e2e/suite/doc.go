// SPDX-License-Identifier: Apache-2.0

// Package suite has podlv's end-to-end tests: on a cluster of microVMs with real kubelets
// and real LVM (make e2e-vm), and the same on one of kind, with fake LVM (make e2e-kind).
// What kind has not is in features_test.go; a test that needs it says so (needs).
//
// A test makes a case, which has a namespace of its own. When it ends, the case removes
// all that it made and holds the nodes to what they were before: no LV, no mount and no
// folder of kubelet's stays, and what the scheduler is told is what the disks have. The
// tests run one after the other, and leave the cluster as it was.
package suite
