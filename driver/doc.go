// SPDX-License-Identifier: Apache-2.0

// Package driver is podlv's CSI driver: the services that kubelet calls, and the
// agent that runs them on a node.
//
// There are only five types: a Driver is the agent; Classes say what a user may
// ask for and where it is; a Mounter and a Filesystem are the node's mounts and
// devices; Pods tells which pods the node has.
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
// A call that fails takes back what it made itself, and nothing that was there
// before it.
package driver
