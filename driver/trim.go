// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations that say whose a claim and a volume are (kubernetes 1.36,
// pkg/controller/volume/persistentvolume; external-provisioner sets the last).
const (
	annProvisioner     = "volume.kubernetes.io/storage-provisioner"
	annBetaProvisioner = "volume.beta.kubernetes.io/storage-provisioner"
	annProvisionedBy   = "pv.kubernetes.io/provisioned-by"
)

// Trim is a transform for the informers of a Cluster (cache.TransformFunc). Claims
// and volumes cannot be filtered by the API server, so that every agent is told of
// all of the cluster's: of those of other drivers it keeps a name and whose they
// are, of pods what they are charged by, and of nothing the managed fields.
func Trim(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.PersistentVolumeClaim:
		if o.Annotations[annProvisioner] != Name && o.Annotations[annBetaProvisioner] != Name {
			return &corev1.PersistentVolumeClaim{ObjectMeta: identityOf(o.ObjectMeta, annProvisioner, annBetaProvisioner)}, nil
		}
	case *corev1.Pod:
		return trimPod(o), nil
	case *corev1.PersistentVolume:
		if o.Spec.CSI == nil || o.Spec.CSI.Driver != Name {
			return &corev1.PersistentVolume{ObjectMeta: identityOf(o.ObjectMeta, annProvisionedBy)}, nil
		}
	}
	if m, err := meta.Accessor(object); err == nil { // a tombstone has none
		m.SetManagedFields(nil)
	}
	return object, nil
}

// trimPod keeps what a pod is charged by.
func trimPod(o *corev1.Pod) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: identityOf(o.ObjectMeta)}
	p.DeletionTimestamp = o.DeletionTimestamp
	p.Status.Phase = o.Status.Phase
	p.Spec.NodeName = o.Spec.NodeName
	for i := range o.Spec.Containers {
		p.Spec.Containers = append(p.Spec.Containers, trimContainer(&o.Spec.Containers[i]))
	}
	for i := range o.Spec.InitContainers {
		p.Spec.InitContainers = append(p.Spec.InitContainers, trimContainer(&o.Spec.InitContainers[i]))
	}
	for _, v := range o.Spec.Volumes {
		if v.CSI != nil && v.CSI.Driver == Name || v.Ephemeral != nil {
			p.Spec.Volumes = append(p.Spec.Volumes, v)
		}
	}
	return p
}

// trimContainer keeps what is requested of our pools.
func trimContainer(o *corev1.Container) corev1.Container {
	c := corev1.Container{Name: o.Name, RestartPolicy: o.RestartPolicy}
	for name, q := range o.Resources.Requests {
		if strings.HasPrefix(string(name), ResourcePrefix) {
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[name] = q
		}
	}
	return c
}

// identityOf is what an informer needs of an object, and these annotations.
func identityOf(m metav1.ObjectMeta, annotations ...string) metav1.ObjectMeta {
	kept := metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}
	for _, a := range annotations {
		if v, ok := m.Annotations[a]; ok {
			if kept.Annotations == nil {
				kept.Annotations = map[string]string{}
			}
			kept.Annotations[a] = v
		}
	}
	return kept
}
