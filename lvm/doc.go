// SPDX-License-Identifier: Apache-2.0

// Package lvm is podlv's client of LVM: a few verbs over the lvm command line.
//
// There are only four types: a Runner runs one command, a Client turns verbs
// into commands and reports into values, and a VolumeGroup with its
// LogicalVolumes is what a report says.
//
// # Words
//
// A physical volume (PV) is a disk that LVM owns, divided into extents. A volume
// group (VG) is a set of PVs. A logical volume (LV) is a block device made of
// extents of one VG. A thin pool is an LV whose space thin volumes share and take
// only when written; a snapshot is an LV that began as a copy of its origin. A tag
// is a word that LVM keeps with an LV and that survives everything the LV does.
//
// # Units
//
// Every size is an int64 number of bytes. LVM allocates whole extents, so sizes
// round up to them: RoundUp. Counts of extents are named so.
//
// # What is run, and why
//
// Each verb is one lvm command. Reports are JSON, in bytes, with the locale C;
// what is absent is an empty report, and no verb acts on the words of an error
// message. When a command fails, the client reads the state again and says what
// that means: ErrNotFound, ErrExists, ErrNoSpace, ErrInUse, ErrMetadataFull,
// ErrUnavailable, or nothing more than the *ExitError itself.
//
// Commands that change a VG run one after the other, VG by VG; LVM's own lock
// would make them wait anyway, but not for a context. A caller can give up at any
// time; a command that was started runs to its end, because lvm killed between
// its metadata commit and the activation leaves half a change behind.
//
// docs/lvm-behaviour.md has what real lvm2 was seen to do.
package lvm
