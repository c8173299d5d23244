// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/podlv/podlv/driver"
)

// capacities removes what agents have published and nobody keeps up any more: the node is
// gone, or the StorageClass. The garbage collector takes an object with its Node, but not
// one that was written again by an agent that had outlived it.
func (k *Controller) capacities(ctx context.Context) error {
	all, err := k.watched.capacities.List(labels.Everything())
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range all {
		node, ours := publisherOf(o)
		if !ours {
			continue
		}
		left, err := k.leftOver(ctx, o, node)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if left {
			errs = append(errs, k.deleted("CSIStorageCapacity", o, node,
				k.config.Client.StorageV1().CSIStorageCapacities(o.Namespace).Delete(ctx, o.Name, byUID(o.UID))))
		}
	}
	return errors.Join(errs...)
}

// publisherOf is the node whose agent has published an object. The informer has only
// podlv's; one whose topology is no single node was written by somebody else, for a node
// group that is to be scaled up, say.
func publisherOf(o *storagev1.CSIStorageCapacity) (node string, ours bool) {
	if o.NodeTopology == nil || len(o.NodeTopology.MatchLabels) != 1 || len(o.NodeTopology.MatchExpressions) != 0 {
		return "", false
	}
	node = o.NodeTopology.MatchLabels[driver.TopologyKey]
	return node, node != ""
}

// leftOver asks the API server itself before it says that something is gone.
func (k *Controller) leftOver(ctx context.Context, o *storagev1.CSIStorageCapacity, node string) (bool, error) {
	if _, err := k.watched.nodes.Get(node); apierrors.IsNotFound(err) {
		there, err := k.nodeExists(ctx, node)
		if err != nil || !there {
			return err == nil, err
		}
	}
	if k.ours(o.StorageClassName) != nil {
		return false, nil
	}
	class, err := k.config.Client.StorageV1().StorageClasses().Get(ctx, o.StorageClassName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("look for StorageClass %s: %w", o.StorageClassName, err)
	}
	return class.Provisioner != driver.Name, nil
}
