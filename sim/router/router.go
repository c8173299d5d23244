// SPDX-License-Identifier: Apache-2.0

// Package router gives each of many agents and kubelets in one process informers of
// its own, which are fed from one shared set.
//
// There are only a Router, with the shared informers, and the Node that it gives for
// each node: informers that hold that node's pods, claims and volumes, and no others.
// An agent's provisioning controller enqueues every claim that its informer shows it,
// so that a thousand agents on the shared informers would do a thousand times the work
// for each claim; behind the router the work grows with what changes.
//
// # What a node is shown
//
//   - Pods that are bound to it.
//   - Claims that it is or was selected for: an agent that a claim is taken from must
//     see that, or it would go on with the claim.
//   - Volumes that can be reached from it alone, as podlv's are.
//   - All StorageClasses, which are few.
//
// The listers of claims and volumes have all of the cluster's, as they have in a
// cluster: a clone's source may be elsewhere.
package router

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/podlv/podlv/driver"
)

// annSelectedNode is the node that the scheduler has chosen for a claim (kubernetes
// 1.36, pkg/scheduler/framework/plugins/volumebinding).
const annSelectedNode = "volume.kubernetes.io/selected-node"

// Router has the shared informers.
type Router struct {
	factory informers.SharedInformerFactory
	pods    *board
	claims  *board
	volumes *board
}

// New makes the informers; Start starts them.
func New(client kubernetes.Interface) (*Router, error) {
	r := &Router{factory: informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(withoutManagedFields))}
	core := r.factory.Core().V1()
	r.factory.Storage().V1().StorageClasses().Informer()
	core.Nodes().Informer()
	var err error
	if r.pods, err = newBoard(core.Pods().Informer(), nodeOfPod, false); err != nil {
		return nil, err
	}
	if r.claims, err = newBoard(core.PersistentVolumeClaims().Informer(), nodeOfClaim, true); err != nil {
		return nil, err
	}
	if r.volumes, err = newBoard(core.PersistentVolumes().Informer(), nodeOfVolume, false); err != nil {
		return nil, err
	}
	return r, nil
}

// Start starts the informers, which end with ctx, and returns when they have read the
// cluster. An error is ctx's.
func (r *Router) Start(ctx context.Context) error {
	r.factory.Start(ctx.Done())
	for kind, synced := range r.factory.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("read all %s of the cluster: %w", kind, context.Cause(ctx))
		}
	}
	for _, b := range []*board{r.pods, r.claims, r.volumes} { // and when the nodes have it
		select {
		case <-b.handler.HasSyncedChecker().Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Stop waits until the informers have ended: end the context of Start before.
func (r *Router) Stop() { r.factory.Shutdown() }

// Factory has the shared informers themselves, of all nodes' objects.
func (r *Router) Factory() informers.SharedInformerFactory { return r.factory }

// Node has informers of one node. They can be had before Start and after it.
type Node struct {
	router                *Router
	name                  string
	pods, claims, volumes *view
}

// Join makes informers of a node. A node may have several sets: a process that is
// started anew has new ones.
func (r *Router) Join(name string) *Node {
	return &Node{router: r, name: name, pods: r.pods.join(name), claims: r.claims.join(name), volumes: r.volumes.join(name)}
}

// Leave stops feeding the informers; they keep what they have.
func (n *Node) Leave() {
	n.router.pods.leave(n.name, n.pods)
	n.router.claims.leave(n.name, n.claims)
	n.router.volumes.leave(n.name, n.volumes)
}

// Delay makes the informers hear of what happens from now on so much later, 0 at once;
// the order stays. It is a watch that lags.
func (n *Node) Delay(d time.Duration) {
	for _, v := range []*view{n.pods, n.claims, n.volumes} {
		v.lag.set(d)
	}
}

// Cluster is what the node's agent is given. namespace is that of its capacity objects.
func (n *Node) Cluster(client kubernetes.Interface, namespace string) *driver.Cluster {
	core := n.router.factory.Core().V1()
	return &driver.Cluster{
		Client: client, Namespace: namespace,
		Start:   func(<-chan struct{}) {}, // they are the router's to start
		Pods:    pods{n.pods},
		Claims:  claims{n.claims, core.PersistentVolumeClaims()},
		Volumes: volumes{n.volumes, core.PersistentVolumes()},
		Classes: n.router.factory.Storage().V1().StorageClasses(),
	}
}

// Pods is the informer of the pods that are bound to the node.
func (n *Node) Pods() cache.SharedIndexInformer { return n.pods }

// Volumes is the informer of the volumes that are on the node.
func (n *Node) Volumes() cache.SharedIndexInformer { return n.volumes }

// pods implements coreinformers.PodInformer.
type pods struct{ view *view }

func (p pods) Informer() cache.SharedIndexInformer { return p.view }
func (p pods) Lister() corelisters.PodLister       { return corelisters.NewPodLister(p.view.indexer) }

// claims is an informer of a node's claims, and a lister of all.
type claims struct {
	view *view
	all  coreinformers.PersistentVolumeClaimInformer
}

func (c claims) Informer() cache.SharedIndexInformer             { return c.view }
func (c claims) Lister() corelisters.PersistentVolumeClaimLister { return c.all.Lister() }

// volumes is an informer of a node's volumes, and a lister of all.
type volumes struct {
	view *view
	all  coreinformers.PersistentVolumeInformer
}

func (v volumes) Informer() cache.SharedIndexInformer        { return v.view }
func (v volumes) Lister() corelisters.PersistentVolumeLister { return v.all.Lister() }

func nodeOfPod(object any) string {
	if p, ok := object.(*corev1.Pod); ok {
		return p.Spec.NodeName
	}
	return ""
}

func nodeOfClaim(object any) string {
	if c, ok := object.(*corev1.PersistentVolumeClaim); ok {
		return c.Annotations[annSelectedNode]
	}
	return ""
}

// nodeOfVolume is the one node that a PV of podlv's can be reached from.
func nodeOfVolume(object any) string {
	v, ok := object.(*corev1.PersistentVolume)
	if !ok || v.Spec.NodeAffinity == nil || v.Spec.NodeAffinity.Required == nil {
		return ""
	}
	for _, term := range v.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Key == driver.TopologyKey && len(e.Values) == 1 {
				return e.Values[0]
			}
		}
	}
	return ""
}

// withoutManagedFields drops what nobody here reads and what is half of an object. It
// changes a copy: a fake API server hands out its own objects.
func withoutManagedFields(object any) (any, error) {
	m, err := meta.Accessor(object)
	if err != nil || len(m.GetManagedFields()) == 0 { // a tombstone is no object
		return object, nil
	}
	if o, ok := object.(runtime.Object); ok {
		object = o.DeepCopyObject()
		if m, err = meta.Accessor(object); err != nil {
			return nil, err
		}
	}
	m.SetManagedFields(nil)
	return object, nil
}
