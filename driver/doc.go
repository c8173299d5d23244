// SPDX-License-Identifier: Apache-2.0

// Package driver is podlv's CSI driver: the services that kubelet calls, and the
// agent that runs them on a node.
//
// There are only six types: a Driver is the agent; Classes say what a user may
// ask for and where it is; a Mounter, Devices and a Filesystem are the node's
// mounts, its block devices and what is on them; Pods tells which pods the node has.
//
// # Life of an inline volume
//
// kubelet calls NodePublishVolume with a handle of its own making, csi-<sha256>.
// The agent validates the request, makes an LV of that name with one lvcreate,
// all tags in the same commit and podlv.state=new among them, makes a filesystem
// whose UUID is derived from the handle, mounts it and answers. Some hundred
// milliseconds later one lvchange drops podlv.state=new from all volumes that
// were published meanwhile.
//
// From then on the LV, its tags, the filesystem's UUID and the kernel's mount
// table are all there is to know about the volume. A publish that is repeated
// finds out from them how far the one before it came, and goes on:
//
//   - mounted at the target: nothing to do;
//   - our UUID on the device: mount it, the data is kept;
//   - podlv.state=new and anything else: an lvcreate or mkfs that died; wipe it
//     and make the filesystem;
//   - anything else: an error. It is never a reason to format.
//
// NodeUnpublishVolume unmounts and removes the LV with one lvremove, which by its
// selection touches only LVs with our tag. What nobody unpublishes (a pod that was
// deleted by force, a kubelet that forgot) the reaper removes.
//
// # Life of a persistent volume
//
// CreateVolume makes the LV, with podlv.state=new, and of a raw block volume zeroes
// the bytes of whoever had its extents before. NodeStageVolume decides by the rules
// above whether the filesystem is there, makes it if need be, and mounts it once for
// the node; NodePublishVolume binds that, or the device, for a pod.
// NodeExpandVolume grows LV and filesystem. NodeUnpublishVolume, NodeUnstageVolume
// and DeleteVolume take all of it back; a volume outlives its pods, and the reaper
// removes one only if the API server has neither a claim nor a PersistentVolume of it,
// and its tag and its device say that nobody was ever given it.
//
// A call that fails takes back what it made itself, and nothing that was there
// before it.
package driver
