// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"github.com/kubernetes-csi/external-snapshotter/v8/pkg/utils"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// finalizerRestore is what the provisioner puts on a VolumeSnapshot before it restores it
// (external-provisioner 6.3, pkg/controller).
const finalizerRestore = "provisioner.storage.kubernetes.io/volumesnapshot-as-source-protection"

// snapshotRef is a VolumeSnapshot, which may be gone by now.
type snapshotRef struct {
	types.NamespacedName
	uid types.UID
}

// restoreGuard takes the provisioner's finalizer off VolumeSnapshots that are being
// deleted, when no claim waits for their data. The provisioner takes it off when it has
// restored; where it could not and the claim was deleted (a restore that does not fit,
// say), nobody would, and the VolumeSnapshot and its namespace would stay for ever.
//
// It is told of the contents of this node's snapshots, which a snapshot-controller marks
// when their VolumeSnapshots are being deleted: each is one agent's.
type restoreGuard struct {
	worklist[snapshotRef]
	cluster *Cluster
}

func newRestoreGuard(cluster *Cluster, log *slog.Logger) (*restoreGuard, error) {
	g := &restoreGuard{cluster: cluster}
	g.worklist = newWorklist(g.release, "cannot take the provisioner's finalizer off a VolumeSnapshot that is being deleted; it is tried again", log)
	return g, g.follow(cluster.Snapshots.Contents.Informer(), func(object any) (snapshotRef, bool) {
		c, ok := object.(*snapshotv1.VolumeSnapshotContent)
		if !ok || c.DeletionTimestamp == nil && !metav1.HasAnnotation(c.ObjectMeta, utils.AnnVolumeSnapshotBeingDeleted) {
			return snapshotRef{}, false
		}
		r := c.Spec.VolumeSnapshotRef
		return snapshotRef{types.NamespacedName{Namespace: r.Namespace, Name: r.Name}, r.UID}, true
	})
}

// release takes the finalizer off one VolumeSnapshot, if it may go.
func (g *restoreGuard) release(ctx context.Context, r snapshotRef) error {
	snapshots := g.cluster.Snapshots.Client.SnapshotV1().VolumeSnapshots(r.Namespace)
	s, err := snapshots.Get(ctx, r.Name, metav1.GetOptions{})
	if err != nil {
		return ignoreNotFound(err)
	}
	at := slices.Index(s.Finalizers, finalizerRestore)
	if s.UID != r.uid || s.DeletionTimestamp == nil || at < 0 {
		return nil
	}
	claims, err := g.cluster.Claims.Lister().PersistentVolumeClaims(r.Namespace).List(labels.Everything())
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(claims, func(c *corev1.PersistentVolumeClaim) bool { return waitsFor(c, r.Name) }); i >= 0 {
		return fmt.Errorf("claim %s, which is restored from it, has no volume yet", claims[i].Name)
	}
	s.Finalizers = slices.Delete(s.Finalizers, at, at+1)
	if _, err := snapshots.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
		return ignoreNotFound(err)
	}
	g.log.Info("nothing is restored any more from a VolumeSnapshot that is being deleted: it may go", "snapshot", r.String())
	return nil
}

// waitsFor says whether a claim is to be restored from a snapshot of its namespace, and
// has no volume yet.
func waitsFor(c *corev1.PersistentVolumeClaim, snapshot string) bool {
	source := c.Spec.DataSource
	return c.Spec.VolumeName == "" && source != nil && source.Kind == "VolumeSnapshot" && source.Name == snapshot
}
