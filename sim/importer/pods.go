// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// podSide is what an import knows of pods.
type podSide struct {
	work                  []*workload
	byOwner               map[string]*workload
	podCount, volumeCount int
	// What volumes are charged: inline ones, those of generic ephemeral claims, others.
	inline, ephemeral, persistent usage
	holders                       map[string]bool // nodes with a pod for unused claims
	claimed                       map[string]bool // PVs that a pod has
	madeClaims                    map[string]bool // of the scenario, by name
	nodeKeys, podKeys             map[string]bool // labels that selectors use
	apart                         bool            // a selector of pods has to know namespaces
	strangeVolumes                int
}

// workload is the pods of one owner.
type workload struct {
	name    string
	objects []runtime.Object
	placed  map[string]string
}

// bound are the pods that have a node and have not ended.
func (i *importer) bound() iter.Seq[*corev1.Pod] {
	return func(yield func(*corev1.Pod) bool) {
		for n := range i.pods {
			p := &i.pods[n]
			if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
				continue
			}
			if !yield(p) {
				return
			}
		}
	}
}

// workloads takes up the pods, each on its node, with its volumes.
func (i *importer) workloads() {
	i.byOwner, i.claimed, i.madeClaims, i.holders = map[string]*workload{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	i.inline, i.ephemeral, i.persistent = usage{}, usage{}, usage{}
	slices.SortFunc(i.pods, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	claims := map[string]*corev1.PersistentVolumeClaim{}
	for n := range i.claims {
		claims[i.claims[n].Namespace+"/"+i.claims[n].Name] = &i.claims[n]
	}
	waiting, priorities, lost := 0, 0, 0
	for n := range i.pods {
		if p := &i.pods[n]; p.Spec.NodeName == "" && p.Status.Phase == corev1.PodPending {
			waiting++
		}
	}
	for p := range i.bound() {
		if i.nodeNamed(p.Spec.NodeName) == nil {
			lost++
			continue
		}
		if ptr.Deref(p.Spec.Priority, 0) > 0 {
			priorities++
		}
		w := i.workloadOf(p)
		pod := i.pod(p, claims, w)
		w.objects = append(w.objects, pod)
		w.placed[pod.Name] = i.nodeName(p.Spec.NodeName)
		i.podCount++
	}
	i.holdUnused()
	i.noteIf(waiting, "%d pods that have no node yet are left out")
	i.noteIf(lost, "%d pods are left out: their node is not there")
	i.noteIf(priorities, "%d pods have a priority, which is left out: no pod preempts another")
	i.noteIf(i.strangeVolumes, "%d volumes of pods are left out: they are in no pool (such as ConfigMaps, emptyDirs, volumes of other drivers)")
}

// noteIf is a note of a number that is not 0.
func (i *importer) noteIf(n int, format string) {
	if n > 0 {
		i.note(format, n)
	}
}

// workloadOf is the workload of the pods that were made by the same.
func (i *importer) workloadOf(p *corev1.Pod) *workload {
	kind, name := "Pod", p.Name
	if o := metav1.GetControllerOf(p); o != nil {
		kind, name = o.Kind, o.Name
		if hash := p.Labels["pod-template-hash"]; kind == "ReplicaSet" && hash != "" && strings.HasSuffix(name, "-"+hash) {
			kind, name = "Deployment", strings.TrimSuffix(name, "-"+hash)
		}
		if kind == "Node" {
			name = p.Name
		}
	}
	id := p.Namespace + "/" + kind + "/" + name
	w := i.byOwner[id]
	if w == nil {
		w = &workload{name: i.names.named(kindWorkload, id, p.Namespace+"-"+name), placed: map[string]string{}}
		i.byOwner[id], i.work = w, append(i.work, w)
	}
	return w
}

// pod is a pod as far as it matters where it can be: what it asks for, what it selects by,
// its volumes.
func (i *importer) pod(p *corev1.Pod, claims map[string]*corev1.PersistentVolumeClaim, w *workload) *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: i.names.named(kindPod, p.Namespace+"/"+p.Name, p.Name), Labels: i.podLabels(p)},
		Spec: corev1.PodSpec{
			NodeSelector: i.pairs(p.Spec.NodeSelector), Affinity: i.affinity(p), TopologySpreadConstraints: i.spread(p), Tolerations: i.tolerations(p.Spec.Tolerations),
		},
	}
	for n, c := range p.Spec.InitContainers {
		if requests := i.requests(c.Resources); len(requests.Requests) > 0 {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: fmt.Sprintf("i%d", n), Image: "none", Resources: requests, RestartPolicy: c.RestartPolicy})
		}
	}
	for n, c := range p.Spec.Containers {
		made := corev1.Container{Name: fmt.Sprintf("c%d", n), Image: "none", Resources: i.requests(c.Resources)}
		for _, port := range c.Ports {
			if port.HostPort != 0 {
				made.Ports = append(made.Ports, corev1.ContainerPort{ContainerPort: port.ContainerPort, HostPort: port.HostPort, HostIP: port.HostIP, Protocol: port.Protocol})
			}
		}
		pod.Spec.Containers = append(pod.Spec.Containers, made)
	}
	if p.Spec.Resources != nil { // of the pod as a whole
		if of := i.requests(*p.Spec.Resources); len(of.Requests) > 0 {
			pod.Spec.Resources = &of
		}
	}
	first := &pod.Spec.Containers[0]
	for name, q := range p.Spec.Overhead {
		sum := first.Resources.Requests[name]
		sum.Add(q)
		if first.Resources.Requests == nil {
			first.Resources.Requests = corev1.ResourceList{}
		}
		first.Resources.Requests[name] = sum
	}
	for n := range p.Spec.Volumes {
		v := &p.Spec.Volumes[n]
		name := v.Name
		if i.Anonymize {
			name = fmt.Sprintf("v%d", n)
		}
		source, block, ok := i.volume(p, v, claims, w)
		if !ok {
			if v.Projected == nil { // every pod has a token
				i.strangeVolumes++
			}
			continue
		}
		attach(pod, name, source, block)
	}
	return pod
}

// attach gives a pod a volume.
func attach(pod *corev1.Pod, name string, source corev1.VolumeSource, block bool) {
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
	c := &pod.Spec.Containers[0]
	if block {
		c.VolumeDevices = append(c.VolumeDevices, corev1.VolumeDevice{Name: name, DevicePath: "/dev/" + name})
	} else {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
	}
}

// volume is a volume of a pod, whether it is a raw block device, and whether it is in a
// pool at all.
func (i *importer) volume(p *corev1.Pod, v *corev1.Volume, claims map[string]*corev1.PersistentVolumeClaim, w *workload) (source corev1.VolumeSource, block, ok bool) {
	switch {
	case v.CSI != nil && v.CSI.Driver == driver.Name:
		return i.inlineVolume(p, v.CSI)
	case v.Ephemeral != nil:
		claim := claims[p.Namespace+"/"+p.Name+"-"+v.Name]
		pv, found := i.boundTo(claim, p.Spec.NodeName)
		if !found {
			return source, false, false
		}
		pool, bytes := i.charge(pv.class, pv.size)
		i.ephemeral.add(pv.node, pool, bytes)
		spec := i.claimSpec(claim.Spec.StorageClassName, pv, claim.Spec.VolumeMode)
		source.Ephemeral = &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: spec}}
		return source, spec.VolumeMode != nil, true
	case v.PersistentVolumeClaim != nil:
		id := p.Namespace + "/" + v.PersistentVolumeClaim.ClaimName
		claim := claims[id]
		pv, found := i.boundTo(claim, p.Spec.NodeName)
		if !found {
			return source, false, false
		}
		c := i.claim(id, claim.Name, claim.Spec.StorageClassName, pv, claim.Spec.VolumeMode, w)
		source.PersistentVolumeClaim = &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name}
		return source, c.Spec.VolumeMode != nil, true
	}
	return source, false, false
}

// boundTo is the volume of a claim, if it is in a pool on the node.
func (i *importer) boundTo(claim *corev1.PersistentVolumeClaim, node string) (localVolume, bool) {
	if claim == nil {
		return localVolume{}, false
	}
	pv, ok := i.local[claim.Spec.VolumeName]
	if !ok || pv.node != node {
		return pv, false
	}
	i.claimed[claim.Spec.VolumeName] = true
	return pv, true
}

func (i *importer) inlineVolume(p *corev1.Pod, csi *corev1.CSIVolumeSource) (source corev1.VolumeSource, block, ok bool) {
	made := &corev1.CSIVolumeSource{Driver: driver.Name, FSType: csi.FSType, VolumeAttributes: maps.Clone(csi.VolumeAttributes)}
	class, has := i.inlineClass[csi.VolumeAttributes["class"]]
	if !has {
		return source, false, false
	}
	if made.VolumeAttributes["class"] != "" {
		made.VolumeAttributes["class"] = class
	}
	c, err := i.devices.Named(class)
	if err != nil {
		return source, false, false
	}
	size := c.DefaultSize
	if q, err := parseQuantity(made.VolumeAttributes["size"]); err == nil {
		size = q
	}
	pool, bytes := i.charge(class, size)
	i.inline.add(p.Spec.NodeName, pool, bytes)
	return corev1.VolumeSource{CSI: made}, false, true
}

// claimSpec asks for what a volume has.
func (i *importer) claimSpec(storageClass *string, pv localVolume, mode *corev1.PersistentVolumeMode) corev1.PersistentVolumeClaimSpec {
	name := i.storageClass[ptr.Deref(storageClass, "")]
	if name == "" {
		name = pv.class // there is a StorageClass for each device class
	}
	spec := corev1.PersistentVolumeClaimSpec{
		StorageClassName: &name, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: bytesQuantity(pv.size)}},
	}
	if ptr.Deref(mode, corev1.PersistentVolumeFilesystem) == corev1.PersistentVolumeBlock {
		spec.VolumeMode = mode
	}
	return spec
}

// claim makes a claim, once.
func (i *importer) claim(id, like string, storageClass *string, pv localVolume, mode *corev1.PersistentVolumeMode, w *workload) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: i.names.named(kindClaim, id, like)},
		Spec:       i.claimSpec(storageClass, pv, mode),
	}
	if !i.madeClaims[c.Name] {
		i.madeClaims[c.Name] = true
		w.objects = append(w.objects, c)
		pool, bytes := i.charge(pv.class, pv.size)
		i.persistent.add(pv.node, pool, bytes)
		i.volumeCount++
	}
	return c
}

// holdUnused makes pods for the volumes that no pod uses: one is made only when a pod
// that needs it comes.
func (i *importer) holdUnused() {
	w := &workload{name: i.names.named(kindWorkload, "", "unused-claims"), placed: map[string]string{}}
	pods := map[string]*corev1.Pod{}
	unused := 0
	for n := range i.volumes {
		pv := &i.volumes[n]
		at, ok := i.local[pv.Name]
		if !ok || i.claimed[pv.Name] {
			continue
		}
		pod := pods[at.node]
		if pod == nil {
			name := fmt.Sprintf("%s-%d", w.name, len(pods))
			pod = &corev1.Pod{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: i.names.named(kindPod, "/"+name, name), Labels: map[string]string{OwnerLabel: "Node"}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c0", Image: "none"}}},
			}
			pods[at.node], i.holders[at.node], w.placed[pod.Name] = pod, true, i.nodeName(at.node)
		}
		id, like := "pv/"+pv.Name, pv.Name
		if r := pv.Spec.ClaimRef; r != nil {
			id, like = r.Namespace+"/"+r.Name+"/"+pv.Name, r.Name
		}
		c := i.claim(id, like, &pv.Spec.StorageClassName, at, pv.Spec.VolumeMode, w)
		attach(pod, fmt.Sprintf("v%d", len(pod.Spec.Volumes)), corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: c.Name}}, c.Spec.VolumeMode != nil)
		unused++
	}
	if unused == 0 {
		return
	}
	for _, node := range slices.Sorted(maps.Keys(pods)) {
		w.objects = append(w.objects, pods[node])
	}
	i.work = append(i.work, w)
	i.note("%d volumes are used by no pod: workload %s has a pod that asks for nothing on each of their %d nodes, which have room for one more", unused, w.name, len(pods))
}
