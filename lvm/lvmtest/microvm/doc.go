// SPDX-License-Identifier: Apache-2.0

// Package microvm runs a command in a machine of its own: a User-Mode Linux
// kernel that is an ordinary process of this host. The machine has what the host
// may lack (device-mapper, block devices, cgroup v2) and what no host offers: its
// power can be cut at any moment.
//
// There are only two sides. On the host, Start boots a Machine, Wait gives the
// exit status of its command. In the guest, GuestMain is process 1; Boot, Crash,
// Share and Flakey serve the command.
//
// # The machine
//
// Its root is the host's file system, read-only, so that every program of the
// host is there at its usual path. Writable are /run, /tmp, /dev/shm and /var/lib
// (empty, in memory, lost with the machine) and one folder of the host, the
// share, which has the same path on both sides. Disks are image files of the
// host: the first is /dev/ubdb, the next /dev/ubdc. lvm works at once: it is
// configured for a machine without udev and sees the disks and nothing else.
//
// # Power loss
//
// Machine.Kill, or Crash from inside, ends the kernel at once with SIGKILL.
// Memory is lost, with it every write that was not synced; what reached a disk
// image stays, because the host's page cache survives. So the loss of unsynced
// data is real, but the order in which a disk's own cache reaches the platter is
// not played: dm-log-writes is for that.
//
// A command that called Crash is started again by the next boot, on the same
// disks and the same share, and Boot tells it the number. One Go test can so live
// through several boots:
//
//	switch microvm.Boot() {
//	case 1:
//		write(t)
//		microvm.Crash()
//	case 2:
//		check(t)
//	}
//
// # What it needs
//
// Debian's packages user-mode-linux, lvm2 and dmsetup. Missing names what is not
// there. Root is not needed, unless the machine gets a network.
package microvm
