// SPDX-License-Identifier: Apache-2.0

// Package cluster runs a whole Kubernetes cluster on one Linux machine, without a
// container engine, a registry or a disk: for the demo and for end-to-end tests.
//
// There are only a Cluster and its Nodes. The control plane (etcd, API server,
// scheduler, controllers) are processes of this host. Each node is a microVM with
// containerd, crun, a pod network and an unmodified kubelet, on a kernel of its own
// that has device-mapper, with empty disks for LVM. A node's power can be cut and
// it can be booted again; its disks stay as they were.
//
// With Config.Kind the same Cluster is one of kind, where there is a container engine: its
// nodes are containers on this host's kernel, with fake LVM on loop devices. What follows
// is about microVMs.
//
// # Network
//
//	10.77.0.1      the API server, on bridge podlv0 of the host side
//	10.77.0.10+N   node N
//	10.78.N.0/24   pods of node N, routed through it
//	10.96.0.1      the API server as a Service: an address of the host side, so
//	               that pods find it as everywhere although no kube-proxy runs
//
// All of it lies in the network namespace of the calling process, which must be one
// of its own: see Isolate. So two clusters on one machine do not meet, and nothing
// of a cluster is left when its processes are gone.
//
// # Programs
//
// e2e/tools/build.sh builds the Kubernetes programs, containerd and etcd from their
// Go modules. The rest is Debian's: Missing names what is not there.
package cluster
