// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// podCharge is what a pod that is bound to this node takes of its pools, made or
// not. Sizes are in bytes, by pool.
type podCharge struct {
	uid types.UID
	// ended: it has succeeded or failed, and the scheduler gives its requests to others.
	ended bool
	// requested is what the scheduler and kubelet count.
	requested map[string]int64
	// volumes is what its inline and generic ephemeral volumes take.
	volumes map[string]int64
	// claims are its generic ephemeral volumes' claims, as namespace/name.
	claims []string
}

// of is the larger of what was requested and what the volumes take: a pod may have
// come around the admission policies.
func (c podCharge) of(pool string) int64 { return max(c.requested[pool], c.volumes[pool]) }

// chargeOf reads a pod. What is not valid in it is charged nothing: its volume will
// not be made.
func chargeOf(pod *corev1.Pod, classes *Classes, storageClasses storagelisters.StorageClassLister) podCharge {
	c := podCharge{
		uid: pod.UID, ended: pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed,
		requested: map[string]int64{}, volumes: map[string]int64{},
	}
	for name, q := range resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}) {
		if pool, ours := strings.CutPrefix(string(name), ResourcePrefix); ours {
			c.requested[pool] = q.Value()
		}
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.CSI != nil && v.CSI.Driver == Name:
			c.add(classes, v.CSI.VolumeAttributes[attributeClass], v.CSI.VolumeAttributes[attributeSize])
		case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
			spec := v.Ephemeral.VolumeClaimTemplate.Spec
			c.claims = append(c.claims, pod.Namespace+"/"+pod.Name+"-"+v.Name) // kubernetes, ephemeral.VolumeClaimName
			if spec.StorageClassName == nil {
				continue // the cluster's default class: its request says what it takes
			}
			s, err := storageClasses.Get(*spec.StorageClassName)
			if err != nil || s.Provisioner != Name {
				continue
			}
			size := spec.Resources.Requests[corev1.ResourceStorage]
			c.add(classes, s.Parameters[parameterClass], strconv.FormatInt(size.Value(), 10)) // as CreateVolume is asked
		}
	}
	return c
}

// add charges a volume of a class.
func (c *podCharge) add(classes *Classes, className, text string) {
	class, err := classes.Named(className)
	if err != nil {
		return
	}
	size := class.DefaultSize
	if text != "" {
		if size, err = parseSize(text); err != nil {
			return
		}
	}
	if charge, err := class.Charge(size); err == nil {
		c.volumes[class.Pool.Name] += charge
	}
}
