// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"strings"

	"github.com/google/uuid"

	"github.com/podlv/podlv/lvm"
)

// The tags that an LV of ours carries. They are the driver's only records.
// An LV's name is its volume's handle, so it is not tagged again: metadata areas
// are small.
const (
	// Owner marks an LV as ours. Nothing without it is ever changed or removed.
	Owner = "podlv.dev"

	tagKind  = "podlv.kind"  // inline, volume, snapshot or temporary
	tagPod   = "podlv.pod"   // namespace/name/UID
	tagClass = "podlv.class" // the device class it was asked for by
	tagFS    = "podlv.fs"    // the filesystem that it was made for; none: a raw block device
	tagMode  = "podlv.mode"  // block, of a raw block device
	tagClaim = "podlv.pvc"   // namespace/name
	// tagSource is the handle of what an LV was made from: a snapshot's volume, the
	// snapshot or volume that another volume is a copy of.
	tagSource = "podlv.source"
	tagTaken  = "podlv.taken"    // when a snapshot was taken: seconds since 1970
	tagObject = "podlv.snapshot" // namespace/name of the VolumeSnapshot

	kindInline   = "inline"
	kindVolume   = "volume"
	kindSnapshot = "snapshot"
	// kindTemporary: a snapshot that a volume is being copied from, or the space that one
	// grows by while it is zeroed. It goes with the end of that, or with the volume.
	kindTemporary = "temporary"

	tagInline    = tagKind + "=" + kindInline
	tagVolume    = tagKind + "=" + kindVolume
	tagSnapshot  = tagKind + "=" + kindSnapshot
	tagTemporary = tagKind + "=" + kindTemporary
	modeBlock    = "block"
	// tagNew: the filesystem may not be whole yet. It goes when it is.
	tagNew = "podlv.state=new"
	// tagZeroing: somebody's old bytes may be on the raw block device. It goes when
	// they are gone.
	tagZeroing = "podlv.state=zeroing"
	// tagCopying: a snapshot or a copy that is not whole, or not sure to be. Nobody is
	// given it; whoever asks for it next begins again from its source.
	tagCopying = "podlv.state=copying"
)

// filesystemNamespace is the UUIDv5 namespace of the filesystems that podlv
// makes: uuid5(DNS, "podlv.dev").
var filesystemNamespace = uuid.NewSHA1(uuid.NameSpaceDNS, []byte("podlv.dev"))

// filesystemUUID is the UUID of a volume's filesystem: what says, after a crash,
// whether the filesystem on a device is the one that podlv made for this volume.
func filesystemUUID(volumeID string) string {
	return uuid.NewSHA1(filesystemNamespace, []byte(volumeID)).String()
}

// podOf is the pod that an inline LV was made for.
func podOf(l lvm.LogicalVolume) (podRef, bool) {
	v, ok := l.TagValue(tagPod)
	if !ok {
		return podRef{}, false
	}
	parts := strings.Split(v, "/")
	if len(parts) != 3 {
		return podRef{}, false
	}
	return podRef{Namespace: parts[0], Name: parts[1], UID: parts[2]}, true
}

// kindOf is the kind of an LV of ours.
func kindOf(l lvm.LogicalVolume) string {
	kind, _ := l.TagValue(tagKind)
	return kind
}

// ofKind are the LVs of ours of a kind.
func ofKind(all []lvm.LogicalVolume, kind string) (list []lvm.LogicalVolume) {
	for _, l := range all {
		if l.HasTag(Owner) && kindOf(l) == kind {
			list = append(list, l)
		}
	}
	return list
}

// isVolume says whether an LV is a persistent volume of ours.
func isVolume(l lvm.LogicalVolume) bool { return l.HasTag(Owner) && l.HasTag(tagVolume) }

// isInline says whether an LV is an inline volume of ours.
func isInline(l lvm.LogicalVolume) bool {
	return l.HasTag(Owner) && kindOf(l) == kindInline
}
