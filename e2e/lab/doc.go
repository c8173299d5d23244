// SPDX-License-Identifier: Apache-2.0

// Package lab has a cluster of microVMs, or of kind (package cluster), with podlv on it, installed as
// a stranger would: from the Helm chart, with the stock external-resizer and
// snapshot-controller, from images without a registry.
//
// A program that uses it runs in two halves. The outer one builds all that is needed and
// clears up in the end (Run); the inner one, with microVMs in namespaces of its own, has the
// variable Plan and the cluster (Start). Its main begins with Guest.
package lab
