// SPDX-License-Identifier: Apache-2.0

// Package cases puts a node with a kubelet, a real one or a fake one, through what pods
// with volumes go through, so that the two can be compared by the CSI calls that they
// make. It is the same for both: the same objects, the same failures at the same calls.
//
// There are only a Target, which is such a node, Run, and the Recording that it returns.
package cases
