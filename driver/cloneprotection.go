// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"sync"
	"time"

	csicontroller "github.com/kubernetes-csi/external-provisioner/v6/pkg/controller"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// protectClones takes the finalizer off claims that are being deleted which the
// provisioner puts on each claim that it clones, when no clone of it waits for its volume
// any more. It is external-provisioner's own controller for that, without which a claim
// that was ever cloned could not be deleted. It is told of the claims whose volumes are on
// this node, and of no others: each of them is one agent's.
func (d *Driver) protectClones(ctx context.Context) {
	_, control := capabilities(false)
	cluster := d.config.Cluster
	c := csicontroller.NewCloningProtectionController(
		cluster.Client, cluster.Claims.Lister(), claimsHere{cluster.Claims.Informer(), d.endsHere},
		workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](provisionRetry, provisionRetryLimit)),
		control,
	)
	var workers sync.WaitGroup
	c.Run(ctx, 1, &workers)
	workers.Wait()
}

// endsHere says whether a claim is being deleted whose volume is on this node.
func (d *Driver) endsHere(claim *corev1.PersistentVolumeClaim) bool {
	if claim.DeletionTimestamp == nil || claim.Spec.VolumeName == "" {
		return false
	}
	v, err := d.config.Cluster.Volumes.Lister().Get(claim.Spec.VolumeName)
	if err != nil { // it is not there: the scheduler's choice is left
		return claim.Annotations[annSelectedNode] == d.config.NodeName
	}
	return nodeOfVolume(v) == d.config.NodeName
}

// claimsHere is an informer of claims that tells only of some of them.
type claimsHere struct {
	cache.SharedIndexInformer
	here func(*corev1.PersistentVolumeClaim) bool
}

// AddEventHandlerWithResyncPeriod implements cache.SharedInformer.
func (i claimsHere) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, resync time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return i.SharedIndexInformer.AddEventHandlerWithResyncPeriod(cache.FilteringResourceEventHandler{
		FilterFunc: func(object any) bool {
			claim, ok := object.(*corev1.PersistentVolumeClaim)
			return ok && i.here(claim)
		},
		Handler: handler,
	}, resync)
}
