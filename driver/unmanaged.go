// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// contentFinder makes this node the manager of VolumeSnapshotContents that have none and
// whose snapshot is here. A snapshot-controller labels those that it makes itself. A
// content of a snapshot that is there already, by its handle, is made by others (an
// administrator, a backup that is restored into another namespace or cluster), who know no
// nodes: without the label nobody would look at it.
//
// Of several nodes that have an LV of that name the first to say so wins, as
// names of snapshots have a UID in them.
type contentFinder struct {
	worklist[string] // names of contents
	node             string
	persistent       *persistent
	cluster          *SnapshotCluster
}

func newContentFinder(node string, p *persistent, cluster *SnapshotCluster, log *slog.Logger) (*contentFinder, error) {
	f := &contentFinder{node: node, persistent: p, cluster: cluster}
	f.worklist = newWorklist(f.find, "cannot find out whether the snapshot of a VolumeSnapshotContent is here; it is tried again", log)
	return f, f.follow(cluster.Unmanaged.Informer(), func(object any) (string, bool) {
		c, ok := object.(*snapshotv1.VolumeSnapshotContent)
		if !ok || !unmanaged(c) {
			return "", false
		}
		return c.Name, true
	})
}

// unmanaged says whether a content is of a snapshot of ours that was there before it, and
// nobody's.
func unmanaged(c *snapshotv1.VolumeSnapshotContent) bool {
	return c.Spec.Driver == Name && c.Spec.Source.SnapshotHandle != nil && c.Labels[ManagedByLabel] == ""
}

// TrimContent is a transform for the informer Unmanaged of a SnapshotCluster: of what the
// contentFinder has no use for it keeps a name.
func TrimContent(object any) (any, error) {
	if c, ok := object.(*snapshotv1.VolumeSnapshotContent); ok {
		trimmed := &snapshotv1.VolumeSnapshotContent{ObjectMeta: identityOf(c.ObjectMeta)}
		if unmanaged(c) {
			trimmed.Spec.Driver, trimmed.Spec.Source = c.Spec.Driver, c.Spec.Source
		}
		return trimmed, nil
	}
	return object, nil
}

// find looks for the snapshot of one content, and labels the content if it is here.
func (f *contentFinder) find(ctx context.Context, name string) error {
	c, err := f.cluster.Unmanaged.Lister().Get(name)
	if err != nil {
		return ignoreNotFound(err)
	}
	if !unmanaged(c) {
		return nil
	}
	h := handle{}
	h.VG, h.LV, _ = strings.Cut(*c.Spec.Source.SnapshotHandle, "/")
	groups, _, err := f.persistent.model.volumeGroups(ctx)
	if err != nil {
		return err
	}
	if _, l, ok := lookFor(groups, h); !ok || !isSnapshot(l) {
		return nil // another node's, or nobody's
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": c.UID, "resourceVersion": c.ResourceVersion, "labels": map[string]string{ManagedByLabel: f.node},
	}})
	if err != nil {
		return err
	}
	if _, err := f.cluster.Client.SnapshotV1().VolumeSnapshotContents().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("become the manager of VolumeSnapshotContent %s: %w", name, err)
	}
	f.log.Info("the snapshot of a VolumeSnapshotContent that nobody managed is here", "content", name, "snapshot", h.String())
	return nil
}
