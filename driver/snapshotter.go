// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// The part of the Controller service that is about snapshots.

func (s *controller) CreateSnapshot(ctx context.Context, r *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	q, err := decodeSnapshot(r, s.classes.Get().VolumeGroups())
	if err != nil {
		return nil, err
	}
	// The volume's: while it is staged, grown or deleted there is nothing to take.
	for _, id := range []string{q.Volume.String(), handle{VG: q.Volume.VG, LV: q.LV}.String()} {
		release, err := s.locks.acquire(id)
		if err != nil {
			return nil, err
		}
		defer release()
	}
	made, err := s.persistent.takeSnapshot(ctx, q, s.classes.Get())
	if err != nil {
		return nil, fmt.Errorf("create snapshot %s: %w", q.Name, err)
	}
	return &csi.CreateSnapshotResponse{Snapshot: encodeSnapshot(made)}, nil
}

func encodeSnapshot(v snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: v.handle.String(), SourceVolumeId: v.volume.String(), SizeBytes: v.size,
		CreationTime: timestamppb.New(v.taken), ReadyToUse: !v.broken,
	}
}

func (s *controller) DeleteSnapshot(ctx context.Context, r *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if r.GetSnapshotId() == "" {
		return nil, fmt.Errorf("%w: snapshot id is empty", errInvalid)
	}
	h, err := parseHandle(r.GetSnapshotId(), s.classes.Get().VolumeGroups())
	if errors.Is(err, errNotThere) {
		return &csi.DeleteSnapshotResponse{}, nil // CSI: deleting what is not there succeeds
	}
	if err != nil {
		return nil, err
	}
	release, err := s.locks.acquire(h.String())
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.persistent.deleteSnapshot(ctx, h); err != nil {
		return nil, fmt.Errorf("delete snapshot: %w", err)
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

// ListSnapshots pages as ListVolumes does. A snapshot or volume that is not here is
// an empty list.
func (s *controller) ListSnapshots(ctx context.Context, r *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	if r.GetMaxEntries() < 0 {
		return nil, fmt.Errorf("%w: max entries %d: must not be negative", errInvalid, r.GetMaxEntries())
	}
	if t := r.GetStartingToken(); t != "" {
		if _, err := parseHandle(t, s.classes.Get().VolumeGroups()); err != nil {
			return nil, fmt.Errorf("%w: starting token %q is not one of ours", errAborted, t)
		}
	}
	all, err := s.persistent.snapshots(ctx, s.classes.Get())
	if err != nil {
		return nil, err
	}
	var found []snapshot
	for _, v := range all {
		if id := r.GetSnapshotId(); id != "" && id != v.handle.String() {
			continue
		}
		if id := r.GetSourceVolumeId(); id != "" && id != v.volume.String() {
			continue
		}
		found = append(found, v)
	}
	start := sort.Search(len(found), func(i int) bool { return found[i].handle.String() > r.GetStartingToken() })
	page := found[start:]
	out := &csi.ListSnapshotsResponse{}
	if n := int(r.GetMaxEntries()); n > 0 && n < len(page) {
		page = page[:n]
		out.NextToken = page[n-1].handle.String()
	}
	for _, v := range page {
		out.Entries = append(out.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: encodeSnapshot(v)})
	}
	return out, nil
}

// GetSnapshot is not declared: csi-sanity 5.4.0 takes it for a capability that there
// is not.
func (s *controller) GetSnapshot(ctx context.Context, r *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	if r.GetSnapshotId() == "" {
		return nil, fmt.Errorf("%w: snapshot id is empty", errInvalid)
	}
	all, err := s.persistent.snapshots(ctx, s.classes.Get())
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		if v.handle.String() == r.GetSnapshotId() {
			return &csi.GetSnapshotResponse{Snapshot: encodeSnapshot(v)}, nil
		}
	}
	return nil, fmt.Errorf("snapshot %q: %w on this node", r.GetSnapshotId(), errNotThere)
}
