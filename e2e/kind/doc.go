// SPDX-License-Identifier: Apache-2.0

// Package kind makes clusters of kind (https://kind.sigs.k8s.io), whose nodes are containers
// with real kubelets, and gives their nodes a fake LVM: disks of any size, whose LVs are
// sparse files behind loop devices. The simulator and the end-to-end tests use it.
//
// There are only an Engine, which makes clusters and deletes them, and what is done to a
// node of one: it gets a FakeLVM and a pod network (Connect), a script is run on it (Run),
// its power is cut (Kill) and comes back (Boot). The nodes share the kernel of their host:
// what they have of it, loop devices, outlives them, and Remove frees it.
package kind
