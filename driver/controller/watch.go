// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	admissionlisters "k8s.io/client-go/listers/admissionregistration/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/admission"
)

// labelDriver is external-provisioner's label for whose a CSIStorageCapacity is.
const labelDriver = "csi.storage.k8s.io/drivername"

// watched is what the controller knows of the cluster.
type watched struct {
	nodes      corelisters.NodeLister
	volumes    corelisters.PersistentVolumeLister
	claims     corelisters.PersistentVolumeClaimLister
	classes    storagelisters.StorageClassLister
	capacities storagelisters.CSIStorageCapacityLister
	policies   admissionlisters.MutatingAdmissionPolicyLister

	changed   chan struct{} // has room for one
	factories []informers.SharedInformerFactory
}

// watch makes the informers, trimmed. Capacity objects and policies are only those of
// ours; claims and volumes cannot be filtered by the API server.
func watch(client kubernetes.Interface) (*watched, error) {
	w := &watched{changed: make(chan struct{}, 1)}
	labelled := func(selector string) informers.SharedInformerFactory {
		f := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(trim),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.LabelSelector = selector }))
		w.factories = append(w.factories, f)
		return f
	}
	all, ours, policies := labelled(""), labelled(labelDriver+"="+driver.Name), labelled(admission.PoolLabel)
	core, storage := all.Core().V1(), all.Storage().V1()
	w.nodes, w.volumes, w.claims = core.Nodes().Lister(), core.PersistentVolumes().Lister(), core.PersistentVolumeClaims().Lister()
	w.classes, w.capacities = storage.StorageClasses().Lister(), ours.Storage().V1().CSIStorageCapacities().Lister()
	w.policies = policies.Admissionregistration().V1().MutatingAdmissionPolicies().Lister()
	changed := func() {
		select {
		case w.changed <- struct{}{}:
		default: // a pass is due already
		}
	}
	for _, i := range []cache.SharedIndexInformer{
		core.PersistentVolumes().Informer(), core.PersistentVolumeClaims().Informer(),
		storage.StorageClasses().Informer(), ours.Storage().V1().CSIStorageCapacities().Informer(),
		policies.Admissionregistration().V1().MutatingAdmissionPolicies().Informer(),
	} {
		if _, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() }, DeleteFunc: func(any) { changed() },
		}); err != nil {
			return nil, err
		}
	}
	// A Node's status changes all the time; only that it comes or goes counts.
	_, err := core.Nodes().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) { changed() }, DeleteFunc: func(any) { changed() }})
	return w, err
}

// start returns when everything has been read once.
func (w *watched) start(ctx context.Context) error {
	for _, f := range w.factories {
		f.Start(ctx.Done())
	}
	for _, f := range w.factories {
		for kind, ok := range f.WaitForCacheSync(ctx.Done()) {
			if !ok {
				return fmt.Errorf("read the cluster's objects of type %s: %w", kind, context.Cause(ctx))
			}
		}
	}
	return nil
}

func (w *watched) shutdown() {
	for _, f := range w.factories {
		f.Shutdown()
	}
}

// trim keeps what the controller reads of an object: of a large cluster's nodes, claims
// and volumes that is a small part.
func trim(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Node:
		return &corev1.Node{ObjectMeta: identityOf(o.ObjectMeta)}, nil
	case *corev1.PersistentVolumeClaim:
		kept := &corev1.PersistentVolumeClaim{ObjectMeta: identityOf(o.ObjectMeta)}
		if class, ok := o.Annotations[corev1.BetaStorageClassAnnotation]; ok {
			kept.Annotations = map[string]string{corev1.BetaStorageClassAnnotation: class}
		}
		if slices.Contains(o.Finalizers, finalizerClone) {
			kept.Finalizers = o.Finalizers // all: they are taken off by their places
		}
		kept.Spec.StorageClassName, kept.Spec.VolumeName, kept.Status.Phase = o.Spec.StorageClassName, o.Spec.VolumeName, o.Status.Phase
		return kept, nil
	case *corev1.PersistentVolume:
		kept := &corev1.PersistentVolume{ObjectMeta: identityOf(o.ObjectMeta)}
		if o.Spec.CSI == nil || o.Spec.CSI.Driver != driver.Name {
			return kept, nil
		}
		kept.Annotations, kept.Finalizers, kept.Spec, kept.Status.Phase = o.Annotations, o.Finalizers, o.Spec, o.Status.Phase
		return kept, nil
	}
	if m, err := meta.Accessor(object); err == nil { // a tombstone has none
		m.SetManagedFields(nil)
	}
	return object, nil
}

// identityOf is what an informer needs of an object.
func identityOf(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
}
