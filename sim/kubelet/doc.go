// SPDX-License-Identifier: Apache-2.0

// Package kubelet is a fake kubelet: it makes kubelet's own CSI calls in kubelet's
// order, with kubelet's paths, for the pods of one fake machine. It runs no containers.
//
// There are only a Kubelet, the Config that it is made from, and an Observer that is
// told what happens. What it does was read in kubernetes 1.36.3: pkg/volume/csi (the
// calls), pkg/kubelet/volumemanager and pkg/volume/util/operationexecutor (their order
// and back-off), pkg/kubelet/lifecycle (admission), pkg/kubelet/kubelet.go and
// pod_workers.go (a pod's life).
//
// # Life of a pod
//
//  1. Admission: a pod whose requests do not fit into the node's allocatable beside
//     those of the other pods fails with OutOf<resource>.
//  2. Volumes that a container uses, all at once: of a claim NodeStageVolume once a node,
//     then NodePublishVolume, then NodeExpandVolume when the volume is larger than its
//     claim says; of an inline volume NodePublishVolume alone. What fails is tried again
//     after 500 ms, and then after twice as long each time, up to 2 min 2 s.
//  3. Only when every volume is published is the pod Running.
//  4. It ends by itself (LifetimeAnnotation) or because it is deleted: first it has
//     its last phase, then its volumes are unpublished, and then it is gone from the API.
//     A volume that no pod of the node uses any more is unstaged.
//
// A volume whose call failed for good (see codes.go) is forgotten; one that may be there
// is unpublished.
//
// # Restart and reboot
//
// A kubelet is stopped, or killed, by ending the context of Run. A new one, of the same
// Config, on the same Host, is the kubelet that is started again, and knows nothing but
// what is on the machine: the folders of pods with their vol_data.json, and in /run which
// containers run. Host.Reboot between the two is a power cut. As kubelet, the new one
//
//   - admits all pods that have not ended once more, the oldest first, against the node's
//     allocatable as it is now: what does not fit any more fails, though it ran;
//   - takes every volume that it finds on the disk for one that may be mounted: it is
//     staged and published again for pods that want it, and unpublished and unstaged where
//     none does. A final error does not make it forget such a volume;
//   - begins with the volumes of all these pods, also of those that do not fit any more,
//     are deleted, or have lost their containers, and takes them away after 2 s;
//   - finds no driver until the agent's socket is there, and tries until then;
//   - lets containers that run go on. After a reboot none runs: they are started again,
//     or, where restartPolicy is Never, have failed with status 255.
//
// # What differs from kubelet
//
// make sim-conformance holds it to a real one; docs/simulate.md tells how, and has the
// differences with their reasons. In short, they are differences of time: what kubelet
// looks for every 100 ms, or when it syncs a pod, is done at once; NodeGetCapabilities is
// asked once before a call and not up to three times; containers and pods end at once,
// and hold nothing open. Volumes other than podlv's are there at once, and statuses that a
// container runtime would cause (ContainerCreating) are written only after a reboot.
package kubelet
