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

	tagKind  = "podlv.kind"  // inline
	tagPod   = "podlv.pod"   // namespace/name/UID
	tagClass = "podlv.class" // the device class it was asked for by
	tagFS    = "podlv.fs"    // the filesystem that it was made for

	kindInline = "inline"
	// tagNew: the filesystem may not be whole yet. It goes when it is.
	tagNew = "podlv.state=new"
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

// isInline says whether an LV is an inline volume of ours.
func isInline(l lvm.LogicalVolume) bool {
	kind, _ := l.TagValue(tagKind)
	return l.HasTag(Owner) && kind == kindInline
}
