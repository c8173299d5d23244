// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// The keys of a VolumeSnapshotClass's parameters. external-snapshotter adds those of
// keyPrefix when it runs with --extra-create-metadata.
const (
	parameterSnapshotSize = "podlv.dev/snapshot-size"
	keySnapshotName       = keyPrefix + "volumesnapshot/name"
	keySnapshotSpace      = keyPrefix + "volumesnapshot/namespace"
	keyContentName        = keyPrefix + "volumesnapshotcontent/name"
)

// snapshotRequest is a CreateSnapshot, checked.
type snapshotRequest struct {
	Name   string
	LV     string
	Volume handle
	Size   snapshotSize // of a thick snapshot's store; a thin one has none
	Object string       // namespace/name of the VolumeSnapshot; empty when not told
}

func decodeSnapshot(r *csi.CreateSnapshotRequest, groups []string) (snapshotRequest, error) {
	q := snapshotRequest{Name: r.GetName(), LV: snapshotName(r.GetName()), Size: defaultSnapshotSize}
	if q.Name == "" || len(q.Name) > maxVolumeNameLen {
		return q, fmt.Errorf("%w: snapshot name %q: must have from 1 to %d characters", errInvalid, q.Name, maxVolumeNameLen)
	}
	if err := q.decodeParameters(r.GetParameters()); err != nil {
		return q, err
	}
	if r.GetSourceVolumeId() == "" {
		return q, fmt.Errorf("%w: source volume id is empty", errInvalid)
	}
	var err error
	q.Volume, err = parseHandle(r.GetSourceVolumeId(), groups)
	return q, err
}

func (q *snapshotRequest) decodeParameters(given map[string]string) (err error) {
	known := []string{parameterSnapshotSize, keySnapshotName, keySnapshotSpace, keyContentName}
	var unknown []string
	for k := range given {
		if !slices.Contains(known, k) {
			unknown = append(unknown, fmt.Sprintf("%q", k))
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return fmt.Errorf("%w: VolumeSnapshotClass parameters: unknown %s; allowed is %s", errInvalid, list(unknown), parameterSnapshotSize)
	}
	if given[keySnapshotName] != "" {
		q.Object = given[keySnapshotSpace] + "/" + given[keySnapshotName]
	}
	if text, ok := given[parameterSnapshotSize]; ok {
		if q.Size, err = parseSnapshotSize(text); err != nil {
			return fmt.Errorf("VolumeSnapshotClass parameters[%s]: %w", parameterSnapshotSize, err)
		}
	}
	return nil
}

// snapshotSize is how much space a thick snapshot has at first for what changes in its
// volume: so many bytes, or percent of the volume.
type snapshotSize struct{ bytes, percent int64 }

// defaultSnapshotSize is what dmeventd's example in lvm.conf has, too. It grows.
var defaultSnapshotSize = snapshotSize{percent: 20}

// percentage is from 1 to 100 percent.
var percentage = regexp.MustCompile(`^([1-9]|[1-9][0-9]|100)%$`)

func parseSnapshotSize(text string) (snapshotSize, error) {
	if percentage.MatchString(text) {
		n, err := strconv.ParseInt(strings.TrimSuffix(text, "%"), 10, 64)
		return snapshotSize{percent: n}, err
	}
	if strings.HasSuffix(text, "%") {
		return snapshotSize{}, fmt.Errorf("%w: %q: must be from 1%% to 100%% of the volume, or a quantity such as 1Gi", errInvalid, text)
	}
	n, err := parseSize(text)
	return snapshotSize{bytes: n}, err
}

// of is the size in bytes for a volume of so many. LVM makes it smaller when that is
// more than could ever be used.
func (s snapshotSize) of(volume int64) int64 {
	if s.percent == 0 {
		return s.bytes
	}
	if s.percent == 100 {
		return volume + volume/100 // what it takes to describe the changes, besides
	}
	return volume / 100 * s.percent
}

// plainSnapshot is a CSI snapshot name as external-snapshotter makes it. An LV's name
// cannot begin with "snapshot", which is lvm2's own.
var plainSnapshot = regexp.MustCompile(`^snapshot-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// snapshotPrefix begins the names of all snapshots' LVs, and of no volume's.
const snapshotPrefix = "snap-"

// snapshotName is the LV's name for a CSI snapshot name: the same name always gives
// the same LV, which makes CreateSnapshot idempotent.
func snapshotName(name string) string {
	if plainSnapshot.MatchString(name) {
		return snapshotPrefix + strings.TrimPrefix(name, "snapshot-")
	}
	sum := sha256.Sum256([]byte(name))
	return snapshotPrefix + hex.EncodeToString(sum[:16])
}
