// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/driver"
)

// annotationNodeLoss of a StorageClass says what becomes of claims whose Node is gone.
// An annotation, since a StorageClass's parameters cannot be changed, and this is
// thought of when a node is lost.
const (
	annotationNodeLoss = "podlv.dev/on-node-loss"
	lossRetain         = "retain" // the default: a person decides
	lossDelete         = "delete" // the claim and its volume go, so that a new one can be made
)

// What external-provisioner puts on a volume that it has made, and on a claim that it
// clones; the agent of the volume's node would take the finalizers off.
const (
	annProvisionedBy     = "pv.kubernetes.io/provisioned-by"
	finalizerProvisioner = "external-provisioner.volume.kubernetes.io/finalizer"
	finalizerClone       = "provisioner.storage.kubernetes.io/cloning-protection"
)

// lostNodes deals with volumes whose Node object is gone: not of nodes that are not
// Ready, nor of those of whose name there is a Node again.
func (k *Controller) lostNodes(ctx context.Context) error {
	all, err := k.watched.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	var errs []error
	gone := map[string]bool{}
	for _, v := range all {
		node := nodeOf(v)
		if node == "" {
			continue
		}
		if _, err := k.watched.nodes.Get(node); !apierrors.IsNotFound(err) {
			continue
		}
		gone[node] = true
		if _, known := k.lost[node]; !known {
			k.lost[node] = k.config.Clock.Now()
			k.config.Log.Warn("a node is gone that has volumes", "node", node)
		}
		if k.config.Clock.Since(k.lost[node]) >= k.config.NodeLossDelay {
			errs = append(errs, k.volume(ctx, v, node))
		}
	}
	for node := range k.lost {
		if !gone[node] {
			delete(k.lost, node)
		}
	}
	k.metrics.lost.Set(float64(len(k.lost)))
	return errors.Join(errs...)
}

// untilDue is how long at most until a pass finds something to do by itself.
func (k *Controller) untilDue() time.Duration {
	wait := passInterval
	for _, since := range k.lost {
		if left := k.config.NodeLossDelay - k.config.Clock.Since(since); left > 0 {
			wait = min(wait, left)
		}
	}
	return wait
}

// nodeOf is the node of a volume that podlv has made, "" for any other: one that
// somebody has written by hand is theirs.
func nodeOf(v *corev1.PersistentVolume) string {
	if v.Spec.CSI == nil || v.Spec.CSI.Driver != driver.Name || v.Annotations[annProvisionedBy] != driver.Name {
		return ""
	}
	if v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return ""
	}
	terms := v.Spec.NodeAffinity.Required.NodeSelectorTerms
	if len(terms) != 1 {
		return ""
	}
	for _, e := range terms[0].MatchExpressions {
		if e.Key == driver.TopologyKey && e.Operator == corev1.NodeSelectorOpIn && len(e.Values) == 1 {
			return e.Values[0]
		}
	}
	return ""
}

// volume does the next step for a volume of a lost node: the claim goes, then the
// volume, then the finalizer that nobody else would take off. Each pass does one, and
// looks anew.
func (k *Controller) volume(ctx context.Context, v *corev1.PersistentVolume, node string) error {
	class := k.ours(v.Spec.StorageClassName)
	claim, err := k.claimOf(ctx, v)
	if err != nil {
		return err
	}
	ending := claim != nil && claim.DeletionTimestamp != nil
	if !ending && (class == nil || class.Annotations[annotationNodeLoss] != lossDelete) {
		return k.retain(ctx, claim, class, node)
	}
	if there, err := k.nodeExists(ctx, node); err != nil || there {
		return err
	}
	switch {
	case ending:
		// A pod of the lost node may still hold it, too; the garbage collector ends those.
		return k.unprotect(ctx, claim)
	case claim != nil:
		if err := k.events.once(ctx, claimRef(claim), reasonLostDeleted,
			"node %s is gone, and this claim's data with it: it is deleted, as StorageClass %q says (%s: %s)", node, class.Name, annotationNodeLoss, lossDelete); err != nil {
			return err
		}
		return k.deleted("PersistentVolumeClaim", claim, node,
			k.config.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Delete(ctx, claim.Name, byUID(claim.UID)))
	case v.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete:
		return nil // it was said of this volume that it stays
	case v.DeletionTimestamp == nil:
		return k.deleted("PersistentVolume", v, node, k.config.Client.CoreV1().PersistentVolumes().Delete(ctx, v.Name, byUID(v.UID)))
	default:
		return k.release(ctx, v)
	}
}

// claimOf is a volume's claim, as the API server has it now; nil when it is gone.
func (k *Controller) claimOf(ctx context.Context, v *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	ref := v.Spec.ClaimRef
	if ref == nil {
		return nil, nil //nolint:nilnil // no claim is an answer
	}
	claim, err := k.watched.claims.PersistentVolumeClaims(ref.Namespace).Get(ref.Name)
	if err == nil && claim.UID == ref.UID {
		return claim, nil
	}
	// The informers of claims and of volumes do not go in step.
	claim, err = k.config.Client.CoreV1().PersistentVolumeClaims(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // likewise
	case err != nil:
		return nil, fmt.Errorf("look for claim %s/%s of volume %s: %w", ref.Namespace, ref.Name, v.Name, err)
	case claim.UID != ref.UID:
		return nil, nil //nolint:nilnil // another claim of that name
	}
	return claim, nil
}

// retain says on a claim that its data is gone with the node.
func (k *Controller) retain(ctx context.Context, claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, node string) error {
	if claim == nil {
		return nil
	}
	whose := "its StorageClass is gone, too"
	if class != nil {
		whose = fmt.Sprintf("StorageClass %q does not have %s: %s", class.Name, annotationNodeLoss, lossDelete)
	}
	return k.events.once(ctx, claimRef(claim), reasonLost,
		"node %s is gone, and this claim's data is on it: a pod that uses it waits until there is a node of that name. The claim is kept (%s); delete it to give the data up", node, whose)
}

// nodeExists asks the API server itself.
func (k *Controller) nodeExists(ctx context.Context, name string) (bool, error) {
	_, err := k.config.Client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for node %s: %w", name, err)
	}
	return true, nil
}

// release takes the provisioner's finalizer off a volume that is being deleted.
func (k *Controller) release(ctx context.Context, v *corev1.PersistentVolume) error {
	patch, err := without(finalizerProvisioner, v)
	if patch == nil {
		return err
	}
	_, err = k.config.Client.CoreV1().PersistentVolumes().Patch(ctx, v.Name, types.JSONPatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("release volume %s: %w", v.Name, err)
	}
	return nil
}

// unprotect takes the provisioner's finalizer off a claim that is being deleted: nothing
// is cloned from it any more, its data is gone.
func (k *Controller) unprotect(ctx context.Context, c *corev1.PersistentVolumeClaim) error {
	patch, err := without(finalizerClone, c)
	if patch == nil {
		return err
	}
	_, err = k.config.Client.CoreV1().PersistentVolumeClaims(c.Namespace).Patch(ctx, c.Name, types.JSONPatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("let claim %s/%s go: %w", c.Namespace, c.Name, err)
	}
	return nil
}

// without is a JSON patch that takes a finalizer off the object that was looked at; nil
// when it has none of that name.
func without(finalizer string, o metav1.Object) ([]byte, error) {
	i := slices.Index(o.GetFinalizers(), finalizer)
	if i < 0 {
		return nil, nil
	}
	type step struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value,omitempty"`
	}
	path := fmt.Sprintf("/metadata/finalizers/%d", i)
	return json.Marshal([]step{{"test", "/metadata/uid", o.GetUID()}, {"test", path, finalizer}, {"remove", path, nil}})
}

// deleted is the outcome of a deletion. That the object is gone, or another one of its
// name is there, is no error: the next pass sees it.
func (k *Controller) deleted(kind string, o metav1.Object, node string, err error) error {
	switch {
	case err == nil:
		k.metrics.deleted.WithLabelValues(kind).Inc()
		k.config.Log.Info("deleted", "kind", kind, "namespace", o.GetNamespace(), "name", o.GetName(), "uid", o.GetUID(), "node", node)
		return nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil
	default:
		return fmt.Errorf("delete %s %s: %w", kind, o.GetName(), err)
	}
}

// byUID deletes the object that was looked at, and no later one of its name.
func byUID(uid types.UID) metav1.DeleteOptions {
	return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
}
