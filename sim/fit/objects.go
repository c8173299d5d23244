// SPDX-License-Identifier: Apache-2.0

package fit

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/scenario"
)

// ReadNew reads the manifests of pods that are to come, and checks that the cluster has
// the StorageClasses of their claims; those that name none get the default one.
func ReadNew(file string, s *scenario.Scenario) (scenario.Objects, error) {
	objects, err := scenario.ReadManifests(file)
	if err != nil {
		return nil, fmt.Errorf("--manifests %s: %w", file, err)
	}
	pods := 0
	for _, o := range objects {
		pods += scenario.PodsOf(o, 1)
		if err := claimClasses(o, s); err != nil {
			return nil, fmt.Errorf("--manifests %s: %s %s: %w", file, o.GetObjectKind().GroupVersionKind().Kind, nameOf(o), err)
		}
	}
	if pods == 0 {
		return nil, fmt.Errorf("--manifests %s: no pods come of it", file)
	}
	return objects, nil
}

// claimClasses gives every claim of an object its StorageClass.
func claimClasses(o runtime.Object, s *scenario.Scenario) error {
	for _, spec := range claimSpecs(o) {
		if name := ptr.Deref(spec.StorageClassName, ""); name != "" {
			if _, ok := classOf(name, s); !ok {
				return fmt.Errorf("StorageClass %q: the cluster's file has none of that name; it has %s", name, strings.Join(classNames(s), ", "))
			}
			continue
		}
		c, err := s.Storage.Named("")
		if err != nil {
			return fmt.Errorf("a claim names no StorageClass, and the cluster has no default one; it has %s", strings.Join(classNames(s), ", "))
		}
		spec.StorageClassName = &c.Name // there is a StorageClass for each device class
	}
	return nil
}

// claimSpecs are those of the claims that come of an object: of its own, of pods, of a
// StatefulSet.
func claimSpecs(o runtime.Object) (all []*corev1.PersistentVolumeClaimSpec) {
	if c, ok := o.(*corev1.PersistentVolumeClaim); ok {
		all = append(all, &c.Spec)
	}
	if set, ok := o.(*appsv1.StatefulSet); ok {
		for i := range set.Spec.VolumeClaimTemplates {
			all = append(all, &set.Spec.VolumeClaimTemplates[i].Spec)
		}
	}
	if spec := scenario.PodSpec(o); spec != nil {
		for i := range spec.Volumes {
			if e := spec.Volumes[i].Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
				all = append(all, &e.VolumeClaimTemplate.Spec)
			}
		}
	}
	return all
}

// classOf is the device class of a StorageClass.
func classOf(storageClass string, s *scenario.Scenario) (driver.Class, bool) {
	name, more := s.StorageClasses[storageClass]
	if !more {
		name = storageClass
	}
	c, err := s.Storage.Named(name)
	return c, err == nil && name != ""
}

func classNames(s *scenario.Scenario) []string {
	names := slices.Collect(maps.Keys(s.StorageClasses))
	for _, c := range s.Storage.All() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

func nameOf(o runtime.Object) string {
	m, err := meta.Accessor(o)
	if err != nil {
		return ""
	}
	return m.GetName()
}

// renamed are pods, what makes pods, and claims under other names: a suffix is added. What
// else there is can be only once, and is left out of all but the first copy, "-new".
func renamed(objects scenario.Objects, suffix string) (all scenario.Objects) {
	claims := map[string]bool{}
	for _, o := range objects {
		if _, ok := o.(*corev1.PersistentVolumeClaim); ok {
			claims[nameOf(o)] = true
		}
	}
	for _, o := range objects {
		_, isClaim := o.(*corev1.PersistentVolumeClaim)
		spec := scenario.PodSpec(o)
		if spec == nil && !isClaim {
			if suffix == "-new" {
				all = append(all, o)
			}
			continue
		}
		o = o.DeepCopyObject()
		if m, err := meta.Accessor(o); err == nil {
			m.SetName(m.GetName() + suffix)
		}
		if spec = scenario.PodSpec(o); spec != nil {
			for i := range spec.Volumes {
				if c := spec.Volumes[i].PersistentVolumeClaim; c != nil && claims[c.ClaimName] {
					c.ClaimName += suffix
				}
			}
		}
		all = append(all, o)
	}
	return all
}

// ParseWorkload reads pods that are alike, as 'pods=20,inline=5Gi,cpu=500m': inline,
// ephemeral, claim and block (a claim of a raw device) are volumes, which can be there
// more than once; class, cpu and memory. Default: one pod.
func ParseWorkload(text string, s *scenario.Scenario) (scenario.Objects, error) {
	fail := func(format string, args ...any) (scenario.Objects, error) {
		return nil, fmt.Errorf("--workload %q: %w", text, fmt.Errorf(format, args...))
	}
	type volume struct {
		kind string
		size resource.Quantity
	}
	var volumes []volume
	pods, class := 1, ""
	requests := corev1.ResourceList{}
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return fail("%q: must be KEY=VALUE", part)
		}
		switch key {
		case "pods":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > 100_000 {
				return fail("pods=%s: must be from 1 to 100000", value)
			}
			pods = n
		case "class":
			class = value
		case "cpu", "memory", "inline", "ephemeral", "claim", "block":
			q, err := resource.ParseQuantity(value)
			if err != nil || q.Sign() <= 0 {
				return fail("%s=%s: must be a quantity of more than 0, such as 500m or 5Gi", key, value)
			}
			if key == "cpu" || key == "memory" {
				requests[corev1.ResourceName(key)] = q
			} else if q.Value() < 1<<20 {
				return fail("%s=%s: is less than 1Mi: is a unit missing, as in %sGi?", key, value, value)
			} else {
				volumes = append(volumes, volume{key, q})
			}
		default:
			return fail("%q: must be pods, inline, ephemeral, claim, block, class, cpu or memory", key)
		}
	}
	c, err := s.Storage.Named(class)
	if err != nil && (class != "" || len(volumes) > 0) {
		return fail("class: %w", err)
	}
	var objects scenario.Objects
	for n := range pods {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("new-%d", n)}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "none", Resources: corev1.ResourceRequirements{Requests: requests}}},
		}}
		for i, v := range volumes {
			name := fmt.Sprintf("v%d", i)
			mounted := corev1.Volume{Name: name}
			spec := corev1.PersistentVolumeClaimSpec{
				StorageClassName: &c.Name, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: v.size}},
			}
			container := &pod.Spec.Containers[0]
			if v.kind == "block" {
				spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
				container.VolumeDevices = append(container.VolumeDevices, corev1.VolumeDevice{Name: name, DevicePath: "/dev/" + name})
			} else {
				container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
			}
			switch v.kind {
			case "inline":
				mounted.CSI = &corev1.CSIVolumeSource{Driver: driver.Name, VolumeAttributes: map[string]string{"size": v.size.String(), "class": c.Name}}
			case "ephemeral":
				mounted.Ephemeral = &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: spec}}
			default:
				claim := pod.Name + "-" + name
				objects = append(objects, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: claim}, Spec: spec})
				mounted.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}
			}
			pod.Spec.Volumes = append(pod.Spec.Volumes, mounted)
		}
		objects = append(objects, pod)
	}
	return objects, nil
}
