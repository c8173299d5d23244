// SPDX-License-Identifier: Apache-2.0

// Package kubelet is a fake kubelet: it makes kubelet's own CSI calls in kubelet's
// order, with kubelet's paths, for the pods of one fake machine. It runs no containers.
//
// There are only a Kubelet, the Config that it is made from, and an Observer that is
// told what happens. What it does was read in kubernetes 1.36.3: pkg/volume/csi (the
// calls), pkg/volume/util/operationexecutor (their order and back-off),
// pkg/kubelet/lifecycle (admission), pkg/kubelet/kubelet.go (a pod's life).
//
// # Life of a pod
//
//  1. Admission: a pod whose requests do not fit into the node's allocatable beside
//     those of the other pods fails with OutOf<resource>.
//  2. Volumes, all at once: of a claim NodeStageVolume once a node, then
//     NodePublishVolume, then NodeExpandVolume when the volume is larger than its claim
//     says; of an inline volume NodePublishVolume alone. What fails is tried again after
//     500 ms, and then after twice as long each time, up to 2 min 2 s.
//  3. Only when every volume is published is the pod Running.
//  4. It ends by itself (LifetimeAnnotation) or because it is deleted: first it has
//     its last phase, then its volumes are unpublished, and unstaged when no other pod
//     of the node uses them, and only then is it gone from the API.
//
// A volume whose call failed for good (final, see codes.go) is forgotten; one that may
// be there is unpublished.
//
// # What differs from kubelet
//
//   - kubelet looks for what is to do every 100 ms, and every 300 ms whether a pod's
//     volumes are there. Here it is done at once: a pod is Running up to half a second
//     earlier.
//   - Containers start and end at once. Volumes other than podlv's are there at once.
//   - One connection to the agent is kept; kubelet makes one for each call.
//   - Statuses that a container runtime would cause (ContainerCreating) are not written.
//   - vol_data.json is an empty file: nobody reads it here.
package kubelet
