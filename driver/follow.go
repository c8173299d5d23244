// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	provisioning "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// annSelectedNode is the node that the scheduler has chosen for a claim.
const annSelectedNode = "volume.kubernetes.io/selected-node"

// wholeProvisioner is a provisioner with all that the controller asks it for: what it
// does not find it does without.
type wholeProvisioner interface {
	provisioning.Provisioner
	provisioning.Qualifier
	provisioning.BlockProvisioner
}

// follower sends claims to where their data is. A restore or a clone can be made only
// on its source's node, which the scheduler does not know: the agent that is chosen in
// its place chooses that one instead, and the scheduler follows the claim.
type follower struct {
	wholeProvisioner
	node    string
	cluster *Cluster
	log     *slog.Logger
}

// Provision implements provisioning.Provisioner.
func (f follower) Provision(ctx context.Context, options provisioning.ProvisionOptions) (*corev1.PersistentVolume, provisioning.ProvisioningState, error) {
	node, err := f.sourceNode(ctx, options.PVC)
	if err != nil {
		return nil, provisioning.ProvisioningNoChange, err
	}
	if node == "" || node == f.node {
		return f.wholeProvisioner.Provision(ctx, options)
	}
	if err := f.send(ctx, options.PVC, node); err != nil {
		return nil, provisioning.ProvisioningNoChange, err
	}
	f.log.Info("the claim's source is on another node, which is chosen for the claim", "claim", options.PVC.Namespace+"/"+options.PVC.Name, "node", node)
	return nil, provisioning.ProvisioningFinished, &provisioning.IgnoredError{Reason: "the source is on node " + node}
}

// send makes node the one that is chosen for a claim, if it is the one that was read.
func (f follower) send(ctx context.Context, claim *corev1.PersistentVolumeClaim, node string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": claim.UID, "resourceVersion": claim.ResourceVersion, "annotations": map[string]string{annSelectedNode: node},
	}})
	if err != nil {
		return err
	}
	_, err = f.cluster.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("choose node %s, which has the source, for claim %s/%s: %w", node, claim.Namespace, claim.Name, err)
	}
	return nil
}

// sourceNode is the node that a claim's source is on; empty when it has none, or when
// it is not known: then the provisioner says what is wrong.
func (f follower) sourceNode(ctx context.Context, claim *corev1.PersistentVolumeClaim) (string, error) {
	source := claim.Spec.DataSource
	if source == nil {
		return "", nil
	}
	switch source.Kind {
	case "PersistentVolumeClaim":
		c, err := f.cluster.Claims.Lister().PersistentVolumeClaims(claim.Namespace).Get(source.Name)
		if err != nil || c.Spec.VolumeName == "" {
			return "", ignoreNotFound(err)
		}
		v, err := f.cluster.Volumes.Lister().Get(c.Spec.VolumeName)
		if err != nil {
			return "", ignoreNotFound(err)
		}
		return nodeOfVolume(v), nil
	case "VolumeSnapshot":
		return f.snapshotNode(ctx, claim.Namespace, source.Name)
	default:
		return "", nil
	}
}

// snapshotNode is the node of a snapshot's content: a snapshot-controller that runs
// with --enable-distributed-snapshotting labels it.
func (f follower) snapshotNode(ctx context.Context, namespace, name string) (string, error) {
	client := f.cluster.snapshots()
	if client == nil {
		return "", nil
	}
	s, err := client.SnapshotV1().VolumeSnapshots(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil || s.Status == nil || s.Status.BoundVolumeSnapshotContentName == nil {
		return "", ignoreNotFound(err)
	}
	c, err := client.SnapshotV1().VolumeSnapshotContents().Get(ctx, *s.Status.BoundVolumeSnapshotContentName, metav1.GetOptions{})
	if err != nil {
		return "", ignoreNotFound(err)
	}
	return c.Labels[ManagedByLabel], nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// nodeOfVolume is the node that a PV of ours is on.
func nodeOfVolume(v *corev1.PersistentVolume) string {
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return ""
	}
	for _, term := range v.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Key == TopologyKey && len(e.Values) == 1 {
				return e.Values[0]
			}
		}
	}
	return ""
}
