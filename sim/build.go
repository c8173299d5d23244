// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/scenario"
)

// workloadLabel of a pod is the name of its workload.
const workloadLabel = "sim.podlv.dev/workload"

// simulatedPod is a pod that is to be made, with the claims that it needs.
type simulatedPod struct {
	pod    *corev1.Pod
	claims []*corev1.PersistentVolumeClaim
}

// podsOf are the pods of a workload, with their sizes drawn: by the seed and the place
// of the workload in the scenario, so that the same are drawn always.
func podsOf(s *scenario.Scenario, i int) []simulatedPod {
	w := &s.Workloads[i]
	random := rand.New(rand.NewPCG(uint64(s.Seed), uint64(i))) //nolint:gosec // it is to be repeatable
	all := make([]simulatedPod, w.Pods)
	for n := range all {
		name := fmt.Sprintf("%s-%d", w.Name, n)
		spec, claims := podSpec(s, w, random)
		for j := range spec.Volumes {
			if claim := spec.Volumes[j].PersistentVolumeClaim; claim != nil {
				claim.ClaimName = name + "-" + spec.Volumes[j].Name
				c := claims[spec.Volumes[j].Name]
				c.Name = claim.ClaimName
				all[n].claims = append(all[n].claims, c)
			}
		}
		spec.RestartPolicy = corev1.RestartPolicyNever
		all[n].pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
		mark(w, &all[n].pod.ObjectMeta)
	}
	return all
}

// mark makes a pod, or what one is made from, the workload's.
func mark(w *scenario.Workload, m *metav1.ObjectMeta) {
	metav1.SetMetaDataLabel(m, workloadLabel, w.Name)
	if w.Lifetime > 0 {
		metav1.SetMetaDataAnnotation(m, kubelet.LifetimeAnnotation, time.Duration(w.Lifetime).String())
	}
}

// podSpec is that of a pod of a workload. The claims that it needs are by the names of
// its volumes, and have no name yet.
func podSpec(s *scenario.Scenario, w *scenario.Workload, random *rand.Rand) (corev1.PodSpec, map[string]*corev1.PersistentVolumeClaim) {
	spec, claims := corev1.PodSpec{NodeSelector: w.NodeSelector}, map[string]*corev1.PersistentVolumeClaim{}
	c := corev1.Container{Name: "c", Image: "none"}
	for j, v := range w.Volumes {
		name := fmt.Sprintf("v%d", j)
		source, claim := sourceOf(s, v, v.Size.Draw(random))
		if claim != nil {
			claims[name] = claim
		}
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		if v.Block {
			c.VolumeDevices = append(c.VolumeDevices, corev1.VolumeDevice{Name: name, DevicePath: "/dev/" + name})
		} else {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
		}
	}
	spec.Containers = []corev1.Container{c}
	if w.EvictAfter > 0 {
		for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			spec.Tolerations = append(spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute,
				TolerationSeconds: ptr.To(int64(time.Duration(w.EvictAfter).Seconds())),
			})
		}
	}
	return spec, claims
}

// sourceOf is a volume as a pod has it, and the claim that must be made for it, if one
// must; neither that nor the volume has its name yet.
func sourceOf(s *scenario.Scenario, v scenario.Volume, size int64) (corev1.VolumeSource, *corev1.PersistentVolumeClaim) {
	if v.Kind == scenario.Inline {
		attributes := map[string]string{"size": resource.NewQuantity(size, resource.BinarySI).String()}
		if v.Class != "" {
			attributes["class"] = v.Class
		}
		inline := &corev1.CSIVolumeSource{Driver: driver.Name, VolumeAttributes: attributes}
		if v.FSType != "" {
			inline.FSType = &v.FSType
		}
		return corev1.VolumeSource{CSI: inline}, nil
	}
	class, err := s.Storage.Named(v.Class) // a StorageClass is named as its device class
	if err != nil {
		panic(err) // the scenario was checked
	}
	spec := corev1.PersistentVolumeClaimSpec{
		StorageClassName: &class.Name, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)}},
	}
	if v.Block {
		spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
	}
	if v.Kind == scenario.Ephemeral {
		return corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: spec}}}, nil
	}
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{}}, &corev1.PersistentVolumeClaim{Spec: spec}
}

// controllerOf is the object that makes a workload's pods.
func controllerOf(s *scenario.Scenario, i int) runtime.Object {
	w := &s.Workloads[i]
	random := rand.New(rand.NewPCG(uint64(s.Seed), uint64(i))) //nolint:gosec // it is to be repeatable
	spec, claims := podSpec(s, w, random)
	labels := map[string]string{"app": w.Name}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}}
	mark(w, &template.ObjectMeta)
	meta, selector, replicas := metav1.ObjectMeta{Name: w.Name}, &metav1.LabelSelector{MatchLabels: map[string]string{"app": w.Name}}, ptr.To(int32(w.Pods)) //nolint:gosec // up to a million
	if w.Controller == scenario.Deployment {
		template.Spec = spec
		return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Replicas: replicas, Selector: selector, Template: template}}
	}
	set := &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{
		Replicas: replicas, Selector: selector, ServiceName: w.Name, PodManagementPolicy: appsv1.ParallelPodManagement,
	}}
	for _, v := range spec.Volumes { // a StatefulSet adds those of its claims itself
		if c := claims[v.Name]; c != nil {
			c.Name = v.Name
			set.Spec.VolumeClaimTemplates = append(set.Spec.VolumeClaimTemplates, *c)
		} else {
			template.Spec.Volumes = append(template.Spec.Volumes, v)
		}
	}
	template.Spec.Containers, template.Spec.NodeSelector, template.Spec.Tolerations = spec.Containers, spec.NodeSelector, spec.Tolerations
	set.Spec.Template = template
	return set
}

// objectsOf are the objects of a workload that is written as such, and how many pods
// come of them.
func objectsOf(s *scenario.Scenario, i int) (objects []runtime.Object, pods int) {
	w, nodes := &s.Workloads[i], 0
	s.Each(func(string, *scenario.NodeGroup) { nodes++ })
	if w.Controller != "" {
		return []runtime.Object{controllerOf(s, i)}, w.Pods
	}
	for _, o := range w.Objects {
		o = o.DeepCopyObject()
		pods += scenario.PodsOf(o, nodes)
		if pod, ok := o.(*corev1.Pod); ok {
			mark(w, &pod.ObjectMeta)
			if node := w.Placed[pod.Name]; node != "" {
				place(pod, node)
			}
		} else if template := scenario.Template(o); template != nil {
			mark(w, &template.ObjectMeta)
		}
		if m, err := meta.Accessor(o); err == nil {
			m.SetNamespace("") // that of the run
		}
		objects = append(objects, o)
	}
	return objects, pods
}

// place binds a pod to the node that it is to be on, through the scheduler, which else
// would make no claims for it: what keeps others away from it stays.
func place(pod *corev1.Pod, node string) {
	only := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}}}
	s := &pod.Spec
	var apart *corev1.PodAntiAffinity
	if s.Affinity != nil {
		apart = s.Affinity.PodAntiAffinity
	}
	s.Affinity = &corev1.Affinity{
		NodeAffinity:    &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{only}}},
		PodAntiAffinity: apart,
	}
	s.NodeSelector, s.TopologySpreadConstraints, s.SchedulingGates = nil, nil, nil
	s.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
}
