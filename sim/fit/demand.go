// SPDX-License-Identifier: Apache-2.0

package fit

import (
	"math"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/scenario"
)

// amounts are of resources by their names: processors in thousandths, pools in bytes as
// podlv.dev/POOL, everything else as it is counted. Volumes of claims are in them, too.
type amounts map[string]int64

func (a amounts) add(b amounts, times int64) {
	for r, n := range b {
		a[r] += n * times
	}
}

// ofPod is what a pod asks for, with its volumes but for those of claims that it names.
func ofPod(spec *corev1.PodSpec, s *scenario.Scenario) amounts {
	a := amounts{"pods": 1}
	for name, q := range resourcehelper.PodRequests(&corev1.Pod{Spec: *spec}, resourcehelper.PodResourcesOptions{}) {
		switch {
		case strings.HasPrefix(string(name), driver.ResourcePrefix): // its volumes are counted
		case name == corev1.ResourceCPU:
			a["cpu"] += q.MilliValue()
		default:
			a[string(name)] += q.Value()
		}
	}
	for i := range spec.Volumes {
		switch v := &spec.Volumes[i]; {
		case v.CSI != nil && v.CSI.Driver == driver.Name:
			if c, err := s.Storage.Named(v.CSI.VolumeAttributes["class"]); err == nil {
				a.charge(c, inlineSize(v.CSI, c))
			}
		case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
			a.claim(&v.Ephemeral.VolumeClaimTemplate.Spec, s, 1)
		}
	}
	return a
}

func (a amounts) charge(c driver.Class, size int64) {
	if n, err := c.Charge(size); err == nil {
		a[c.Pool.Resource()] += n
	}
}

func (a amounts) claim(spec *corev1.PersistentVolumeClaimSpec, s *scenario.Scenario, times int64) {
	c, ok := classOf(ptr.Deref(spec.StorageClassName, ""), s)
	if !ok {
		return
	}
	one := amounts{}
	size := spec.Resources.Requests[corev1.ResourceStorage]
	one.charge(c, size.Value())
	a.add(one, times)
}

// of is what comes of an object in a cluster of so many nodes.
func of(o runtime.Object, s *scenario.Scenario, nodes int) amounts {
	a := amounts{}
	pods := int64(scenario.PodsOf(o, nodes))
	if spec := scenario.PodSpec(o); spec != nil {
		a.add(ofPod(spec, s), pods)
	}
	switch x := o.(type) {
	case *corev1.PersistentVolumeClaim:
		a.claim(&x.Spec, s, 1)
	case *appsv1.StatefulSet:
		for i := range x.Spec.VolumeClaimTemplates {
			a.claim(&x.Spec.VolumeClaimTemplates[i].Spec, s, pods)
		}
	}
	return a
}

func ofAll(objects scenario.Objects, s *scenario.Scenario, nodes int) amounts {
	a := amounts{}
	for _, o := range objects {
		a.add(of(o, s, nodes), 1)
	}
	return a
}

// has is what a node has for pods, at most.
func has(g *scenario.NodeGroup, s *scenario.Scenario) amounts {
	a := amounts{"cpu": g.CPU.MilliValue(), "memory": int64(g.Memory), "pods": int64(g.Pods)}
	for name, q := range g.Resources {
		a[name] = q.Value()
	}
	for _, p := range s.Storage.Pools() {
		promise := 1.0
		for _, c := range s.Storage.All() {
			if c.Pool.Name == p.Name {
				promise = max(promise, c.Overprovision)
			}
		}
		for _, v := range g.VolumeGroups {
			if v.Name != p.VolumeGroup {
				continue
			}
			size := v.Size
			for _, d := range v.Disks {
				size += d
			}
			if p.ThinPool != "" {
				i := slices.IndexFunc(v.ThinPools, func(t scenario.ThinPool) bool { return t.Name == p.ThinPool })
				if i < 0 {
					continue
				}
				size = v.ThinPools[i].Size
			}
			a[p.Resource()] = int64(float64(size)*promise) - p.Reserve
		}
	}
	return a
}

// free is what the nodes of a plan that take pods have at most, without what stays there.
// It can be less than nothing of what is short already.
func (p *plan) free() amounts {
	s := p.q.Cluster
	sum := amounts{}
	open := map[string]bool{}
	for i := range p.nodes {
		if !p.nodes[i].Unschedulable {
			open[p.nodes[i].Names[0]] = true
			sum.add(has(&p.nodes[i], s), 1)
		}
	}
	claims := map[string]amounts{}
	for _, o := range p.objects {
		if c, ok := o.(*corev1.PersistentVolumeClaim); ok {
			claims[c.Name] = of(c, s, 0)
		}
	}
	for _, o := range p.objects {
		pod, ok := o.(*corev1.Pod)
		if !ok || !open[p.placed[pod.Name]] {
			continue
		}
		sum.add(ofPod(&pod.Spec, s), -1)
		for _, c := range claimsOf(pod) {
			sum.add(claims[c], -1)
			delete(claims, c) // pods can share one
		}
	}
	sum.add(p.unplaced(), -1)
	return sum
}

// unplaced is what the workloads that nobody has placed ask for.
func (p *plan) unplaced() amounts {
	sum, s := amounts{}, p.q.Cluster
	for _, w := range p.rest {
		sum.add(ofAll(w.Objects, s, len(p.nodes)), 1)
		one := amounts{"pods": 1}
		for _, v := range w.Volumes {
			if c, err := s.Storage.Named(v.Class); err == nil {
				one.charge(c, int64(v.Size.Min))
			}
		}
		sum.add(one, int64(w.Pods))
	}
	return sum
}

// times is how often something fits into what is free at most, by sums alone.
func times(free, one amounts) int64 {
	most := int64(math.MaxInt32)
	for r, n := range one {
		if n > 0 {
			most = min(most, max(free[r], 0)/n)
		}
	}
	return most
}

// volumeGroups are the VGs that a placed pod's volumes are in.
func (p *plan) volumeGroups(pod *corev1.Pod) (all []string) {
	s := p.q.Cluster
	add := func(c driver.Class, ok bool) {
		if ok {
			all = append(all, c.Pool.VolumeGroup)
		}
	}
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.CSI != nil && v.CSI.Driver == driver.Name:
			c, err := s.Storage.Named(v.CSI.VolumeAttributes["class"])
			add(c, err == nil)
		case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil:
			add(classOf(ptr.Deref(v.Ephemeral.VolumeClaimTemplate.Spec.StorageClassName, ""), s))
		case v.PersistentVolumeClaim != nil:
			for _, w := range s.Workloads {
				for _, o := range w.Objects {
					if c, ok := o.(*corev1.PersistentVolumeClaim); ok && c.Name == v.PersistentVolumeClaim.ClaimName {
						add(classOf(ptr.Deref(c.Spec.StorageClassName, ""), s))
					}
				}
			}
		}
	}
	return all
}

// inlineSize is that of an inline volume, bytes.
func inlineSize(v *corev1.CSIVolumeSource, c driver.Class) int64 {
	if q, err := parse(v.VolumeAttributes["size"]); err == nil {
		return q
	}
	return c.DefaultSize
}
