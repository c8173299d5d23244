// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	typedstoragev1 "k8s.io/client-go/kubernetes/typed/storage/v1"
)

// Labels of a CSIStorageCapacity, the ones that external-provisioner has for them.
const (
	labelDriver    = "csi.storage.k8s.io/drivername"
	labelManagedBy = "csi.storage.k8s.io/managed-by"
)

// capacityObjects are the node's CSIStorageCapacity objects, one for each StorageClass
// of ours: how large a volume of it can be made here. The scheduler reads them. One
// goroutine at a time.
type capacityObjects struct {
	node      string
	client    kubernetes.Interface
	namespace string
	log       *slog.Logger

	have map[string]int64 // StorageClass → bytes in its object; nil: not read yet
}

// write makes the objects what is wanted, by StorageClass, in bytes. What has not
// changed is not written.
func (o *capacityObjects) write(ctx context.Context, wanted map[string]int64) (err error) {
	defer func() {
		if err != nil {
			o.have = nil // what was written is not known
		}
	}()
	var owner *metav1.OwnerReference
	for class, size := range wanted {
		had, there := o.have[class]
		switch {
		case there && had == size:
			continue
		case there:
			err = o.update(ctx, class, size)
		default:
			if owner == nil {
				if owner, err = o.owner(ctx); err != nil {
					return err
				}
			}
			err = o.create(ctx, class, size, *owner)
		}
		if err != nil {
			return fmt.Errorf("capacity of StorageClass %s: %w", class, err)
		}
		o.log.Debug("capacity", "storageclass", class, "bytes", size)
		o.have[class] = size
	}
	for class := range o.have {
		if _, ok := wanted[class]; ok {
			continue
		}
		if err := o.objects().Delete(ctx, o.name(class), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("capacity of StorageClass %s, which is gone: %w", class, err)
		}
		delete(o.have, class)
	}
	return nil
}

// list reads the objects of this node. One that was made for another Node of the name,
// or not by us, is removed: an object's node and StorageClass cannot be changed.
func (o *capacityObjects) list(ctx context.Context) error {
	found, err := o.objects().List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(o.labels()).String()})
	if err != nil {
		return fmt.Errorf("list the capacity objects of node %s: %w", o.node, err)
	}
	node, err := o.owner(ctx)
	if err != nil {
		return err
	}
	have := map[string]int64{}
	for i := range found.Items {
		c := &found.Items[i]
		if c.Name == o.name(c.StorageClassName) && len(c.OwnerReferences) == 1 && c.OwnerReferences[0].UID == node.UID {
			have[c.StorageClassName] = -1
			if c.Capacity != nil && c.MaximumVolumeSize != nil && c.Capacity.Cmp(*c.MaximumVolumeSize) == 0 {
				have[c.StorageClassName] = c.Capacity.Value()
			}
			continue
		}
		if err := o.objects().Delete(ctx, c.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &c.UID}}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove capacity object %s, which is not this node's: %w", c.Name, err)
		}
	}
	o.have = have
	return nil
}

// owner is the Node, which takes the objects with it when it goes.
func (o *capacityObjects) owner(ctx context.Context) (*metav1.OwnerReference, error) {
	node, err := o.client.CoreV1().Nodes().Get(ctx, o.node, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("node %s, which owns the capacity objects: %w", o.node, err)
	}
	owner := metav1.NewControllerRef(node, corev1.SchemeGroupVersion.WithKind("Node"))
	owner.BlockOwnerDeletion = nil // would need leave to change the Node's finalizers
	return owner, nil
}

func (o *capacityObjects) create(ctx context.Context, class string, size int64, owner metav1.OwnerReference) error {
	q := resource.NewQuantity(size, resource.BinarySI)
	_, err := o.objects().Create(ctx, &storagev1.CSIStorageCapacity{
		ObjectMeta:       metav1.ObjectMeta{Name: o.name(class), Labels: o.labels(), OwnerReferences: []metav1.OwnerReference{owner}},
		NodeTopology:     &metav1.LabelSelector{MatchLabels: map[string]string{TopologyKey: o.node}},
		StorageClassName: class,
		// The scheduler takes the one and scores by the other, and dies of a nil.
		Capacity: q, MaximumVolumeSize: q,
	}, metav1.CreateOptions{})
	return err
}

// update changes the sizes alone: an object's other fields cannot be changed.
func (o *capacityObjects) update(ctx context.Context, class string, size int64) error {
	q := resource.NewQuantity(size, resource.BinarySI)
	patch, err := json.Marshal(map[string]any{"capacity": q, "maximumVolumeSize": q})
	if err != nil {
		return err
	}
	_, err = o.objects().Patch(ctx, o.name(class), types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func (o *capacityObjects) objects() typedstoragev1.CSIStorageCapacityInterface {
	return o.client.StorageV1().CSIStorageCapacities(o.namespace)
}

// name is the same for a node and StorageClass always, so that no crash makes two
// objects of them.
func (o *capacityObjects) name(class string) string {
	return "podlv-" + digest(o.node+"\x00"+class, 16)
}

func (o *capacityObjects) labels() map[string]string {
	return map[string]string{labelDriver: Name, labelManagedBy: labelValue("podlv-" + o.node)}
}

// labelValue is text as the value of a label, which has room for less than the name
// of a node.
func labelValue(text string) string {
	if len(text) <= 63 {
		return text
	}
	return text[:40] + "-" + digest(text, 11)
}

// digest is so many bytes of a hash, in hexadecimal digits.
func digest(text string, n int) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:n])
}
