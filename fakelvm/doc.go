// SPDX-License-Identifier: Apache-2.0

// Package fakelvm is a fake machine behind lvm2's own command line: disks, LVM
// and the part of a kernel that stands on it, all in memory, without root.
//
// There are only three types to know: a Host is one machine and implements
// lvm.Runner, a Disk is what its LVM lives on, a Device is an opened block device.
// Everything that a Host answers was first seen on lvm2 2.03.16; what it answers
// on standard output, standard error and with its exit status is what that
// version prints. Package lvm is used for the runner's types only, so that one
// misreading cannot fool both the client and the fake.
//
// # What is modelled
//
//   - Disks with real, sparse content: old bytes stay on a disk after lvremove and
//     show up in the next volume that gets the extents, unless lvcreate zeroed or
//     wiped them.
//   - PVs with a metadata area of 1 MiB less 4 KiB: the text that LVM would write is
//     rendered for its size, so the area fills up as a real one does. The metadata header
//     at byte 4096 of a PV changes with every commit and can be read.
//   - VGs, linear, striped and raid1 LVs, thin pools, thin volumes and snapshots,
//     thick snapshots, by the allocation rules of the policy `normal`.
//   - Tags, names and device names by LVM's rules; selections; JSON reports.
//   - Activation, open counts, missing PVs, reboot.
//   - The kernel's side: Open, Format, Signature, Wipe, Mount, Unmount, a tree of
//     folders and files to mount on, of which /run does not survive a reboot.
//
// What is known to LVM but not modelled fails loudly with exit status 4 and the
// word "fakelvm" in the message; it is never ignored. That is: mirror, raid0 and
// raid4 to raid10, caches, VDO, pvmove, lvconvert, exported and shared VGs, allocation
// policies other than normal, a pool and a thin volume made in one command,
// vgreduce --removemissing --force with a raid1 LV that has lost a leg.
//
// Some things are simpler than they are. raid1 is in sync at once and a leg that
// comes back is believed. What LVM does in several commits (raid1, pools, thin
// volumes, snapshots) is one here, though the sequence number counts them all; but a pool
// that grows has two. One whose lvextend dies is suspended: who uses its volumes then
// gets an error, where a kernel lets them wait for ever. The
// blocks that a pool's metadata uses are estimated from what kernel 6.1 was seen to
// use. A pool that is full answers at once; a kernel waits 60 seconds first. A
// selection's regular expressions are Go's. Of --config only report/time_format
// has an effect.
//
// # Versions
//
// The JSON is that of --reportformat json: every value a string, a list in one
// string, "" for what there is none of. By its manual lvm2 2.03.17 and later have
// json_std beside it, with numbers, null and arrays (not tried here); 2.03.16
// refuses that word, and so does the fake. Fields that newer versions add are absent here:
// whoever asks for one by name gets the error that 2.03.16 gives.
//
// # Steps and faults
//
// Every lvm command and every kernel-side change is one step, counted in one
// sequence: Steps, Log. Faults are laid on steps: FailNext, Delay, Hang,
// CrashAfter, CrashDuring. To go through all the points at which a process can
// die, run a scenario once and ask Steps, then for n = 1…Steps start from a fresh
// Host, call CrashAfter(n) (or CrashDuring), run the scenario until it fails with
// ErrCrashed, call Restart or Reboot, and go on as the restarted process would.
//
// # Use
//
//	h := fakelvm.New(fakelvm.Disk{Path: "/dev/fake0", Size: 10 << 30})
//	err := h.CreateVG("vg0", "/dev/fake0")
//	client := lvm.New(h) // whatever takes an lvm.Runner
//
// A Host is safe for concurrent use. It runs one command at a time, as the lock
// of a VG makes real commands do.
package fakelvm
