// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/admission"
)

// annotationDefault marks the StorageClass that claims get which name none.
const annotationDefault = "storageclass.kubernetes.io/is-default-class"

// unlistedAfter is how old a StorageClass is before it is missed in the policies: they
// may be applied after it.
const unlistedAfter = time.Minute

// claims says on each claim that waits for a volume of ours in vain why it does. A claim
// whose StorageClass is not there, or that names none, is not ours.
func (k *Controller) claims(ctx context.Context, classes *driver.Classes) error {
	all, err := k.watched.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range all {
		if c.Status.Phase != corev1.ClaimPending || c.Spec.VolumeName != "" || c.DeletionTimestamp != nil {
			continue
		}
		if class := k.ours(classOf(c)); class != nil {
			errs = append(errs, k.claim(ctx, c, class, classes))
		}
	}
	return errors.Join(errs...)
}

// claim says what is wrong with a claim's StorageClass.
func (k *Controller) claim(ctx context.Context, c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass, classes *driver.Classes) error {
	about := claimRef(c)
	if class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer {
		return k.events.once(ctx, about, reasonImmediate,
			"StorageClass %q has volumeBindingMode Immediate: a volume of podlv is made on the node that a pod is scheduled to, so that none is ever made for this claim. Make it anew with a StorageClass that has volumeBindingMode WaitForFirstConsumer", class.Name)
	}
	device, err := driver.ClassOf(class.Parameters)
	if err != nil {
		return k.events.once(ctx, about, reasonUnknownParameter, "StorageClass %q: %v", class.Name, err)
	}
	if _, err := classes.Named(device); err == nil {
		return nil
	}
	names := strings.Join(namesOf(classes), ", ")
	if device == "" {
		return k.events.once(ctx, about, reasonNoClass,
			"StorageClass %q names no device class, and there is no default one: parameter podlv.dev/class must be one of %s", class.Name, names)
	}
	return k.events.once(ctx, about, reasonUnknownClass,
		"StorageClass %q: parameter podlv.dev/class: %q is no device class; there are %s", class.Name, device, names)
}

func namesOf(classes *driver.Classes) []string {
	var names []string
	for _, c := range classes.All() {
		names = append(names, c.Name)
	}
	return names
}

// classOf is the name of a claim's StorageClass, "" for none. The annotation comes
// first, as in Kubernetes.
func classOf(c *corev1.PersistentVolumeClaim) string {
	if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	if c.Spec.StorageClassName == nil {
		return ""
	}
	return *c.Spec.StorageClassName
}

// ours is a StorageClass of podlv's, nil if there is none of that name.
func (k *Controller) ours(name string) *storagev1.StorageClass {
	class, err := k.watched.classes.Get(name)
	if err != nil || class.Provisioner != driver.Name { // a lister's only error is that it is not there
		return nil
	}
	return class
}

// storageClasses warns of what the admission policies do not know: the scheduler counts
// generic ephemeral volumes of a StorageClass only if they list it.
func (k *Controller) storageClasses(ctx context.Context, classes *driver.Classes) error {
	policies, err := k.watched.policies.List(labels.Everything())
	if err != nil {
		return err
	}
	listed, byDefault := map[string]string{}, ""
	for _, p := range policies {
		some, first := admission.ParseStorageClassList(p.Annotations[admission.StorageClassesAnnotation])
		for name, class := range some {
			listed[name] = class
		}
		if first != "" {
			byDefault = first
		}
	}
	all, err := k.watched.classes.List(labels.Everything())
	if err != nil {
		return err
	}
	var errs []error
	for _, class := range all {
		if class.Provisioner == driver.Name && k.config.Clock.Since(class.CreationTimestamp.Time) >= unlistedAfter {
			errs = append(errs, k.storageClass(ctx, class, classes, listed, byDefault))
		}
	}
	return errors.Join(errs...)
}

func (k *Controller) storageClass(ctx context.Context, class *storagev1.StorageClass, classes *driver.Classes, listed map[string]string, byDefault string) error {
	about := corev1.ObjectReference{Kind: "StorageClass", APIVersion: storagev1.SchemeGroupVersion.String(), Name: class.Name, UID: class.UID}
	var errs []error
	device := class.Parameters[driver.ClassParameter]
	has, ok := listed[class.Name]
	remedy := fmt.Sprintf("run podlv policies with --storage-class %s=%s and apply what it prints", class.Name, device)
	switch {
	case !ok:
		errs = append(errs, k.events.once(ctx, about, reasonUnlisted,
			"no admission policy lists this StorageClass: the scheduler does not count what generic ephemeral volumes of it take; %s", remedy))
	case has != device && !same(classes, has, device):
		errs = append(errs, k.events.once(ctx, about, reasonUnlisted,
			"the admission policies list this StorageClass with device class %q, but it has %q: the scheduler counts generic ephemeral volumes of it wrongly; %s", has, device, remedy))
	}
	if ok && class.Annotations[annotationDefault] == "true" && byDefault != class.Name {
		errs = append(errs, k.events.once(ctx, about, reasonUnlistedDefault,
			"this is the cluster's default StorageClass, but the admission policies do not know it: the scheduler does not count generic ephemeral volumes that name none; run podlv policies with --default-storage-class %s and apply what it prints", class.Name))
	}
	if policy := class.Annotations[annotationNodeLoss]; policy != "" && policy != lossRetain && policy != lossDelete {
		errs = append(errs, k.events.once(ctx, about, reasonNodeLoss,
			"annotation %s: %q: must be %s or %s; it is taken for %s", annotationNodeLoss, policy, lossRetain, lossDelete, lossRetain))
	}
	return errors.Join(errs...)
}

// same says whether two names are of one device class: "" is the default one.
func same(classes *driver.Classes, a, b string) bool {
	x, err := classes.Named(a)
	if err != nil {
		return false
	}
	y, err := classes.Named(b)
	return err == nil && x.Name == y.Name
}
