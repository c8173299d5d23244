// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/podlv/podlv/driver"
)

// annSelectedNode is the node that the scheduler has chosen for a claim.
const annSelectedNode = "volume.kubernetes.io/selected-node"

// Published is told what the scheduler is told of a node, in bytes: for pods of a pool's
// extended resource, for claims of a StorageClass's capacity (-1: nothing).
type Published interface {
	Allocatable(node, pool string, bytes int64)
	Capacity(node, class string, bytes int64)
}

// Watch makes the recorder see what becomes of a namespace's pods and claims, of volumes
// and nodes, and what is published; others can be told of that, too. It adds to the
// informers of a factory, which the caller then starts (again), and no request for each
// pod.
func (r *Recorder) Watch(factory informers.SharedInformerFactory, namespace string, others ...Published) error {
	core := factory.Core().V1()
	told := publications{r.pools, append([]Published{r}, others...)}
	return register(
		handler(core.Nodes().Informer(), always, nil, told.nodeIs, func(*corev1.Node) {}),
		handler(factory.Storage().V1().CSIStorageCapacities().Informer(), always, nil, told.capacityIs, told.capacityGone),
		handler(core.PersistentVolumeClaims().Informer(), in(namespace), r.claimIs, nil, r.claimGone),
		handler(core.PersistentVolumes().Informer(), always, nil, r.volumeIs, func(*corev1.PersistentVolume) {}),
		handler(core.Pods().Informer(), in(namespace), r.podIs, nil, r.podGone),
	)
}

// Warnings is a factory of one informer: the warnings of a namespace's objects, but for
// the scheduler's, which a pod's conditions say, too. The recorder is told of each; the
// caller starts it.
func (r *Recorder) Warnings(client kubernetes.Interface, namespace string) (informers.SharedInformerFactory, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = "type=Warning,reason!=FailedScheduling" }))
	return factory, register(handler(factory.Core().V1().Events().Informer(), always, nil, r.warned, func(*corev1.Event) {}))
}

func register(all ...func() error) error {
	for _, f := range all {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// handler adds functions to an informer: one that is told of each object as it is, or
// one that is told of it with an earlier state, nil at first.
func handler[T any](informer cache.SharedIndexInformer, concerns func(any) bool, changed func(before, now *T), is, gone func(*T)) func() error {
	if changed == nil {
		changed = func(_, now *T) { is(now) }
	}
	typed := func(o any) *T {
		if tombstone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = tombstone.Obj
		}
		t, _ := o.(*T)
		return t
	}
	return func() error {
		_, err := informer.AddEventHandler(cache.FilteringResourceEventHandler{FilterFunc: concerns, Handler: cache.ResourceEventHandlerFuncs{
			AddFunc: func(o any) {
				if t := typed(o); t != nil {
					changed(nil, t)
				}
			},
			UpdateFunc: func(before, o any) {
				if t := typed(o); t != nil {
					changed(typed(before), t)
				}
			},
			DeleteFunc: func(o any) {
				if t := typed(o); t != nil {
					gone(t)
				}
			},
		}})
		return err
	}
}

func always(any) bool { return true }

// in says whether an object is in a namespace.
func in(namespace string) func(any) bool {
	return func(o any) bool {
		if tombstone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = tombstone.Obj
		}
		m, ok := o.(metav1.Object)
		return ok && m.GetNamespace() == namespace
	}
}

// publications takes what is published to whom it concerns.
type publications struct {
	pools []PoolClasses
	to    []Published
}

func (p publications) nodeIs(n *corev1.Node) {
	for _, pool := range p.pools {
		if q, ok := n.Status.Allocatable[corev1.ResourceName(driver.ResourcePrefix+pool.Pool)]; ok {
			for _, to := range p.to {
				to.Allocatable(n.Name, pool.Pool, q.Value())
			}
		}
	}
}

func (p publications) capacityIs(c *storagev1.CSIStorageCapacity) {
	if c.Capacity != nil {
		p.capacity(c, c.Capacity.Value())
	}
}

func (p publications) capacityGone(c *storagev1.CSIStorageCapacity) { p.capacity(c, -1) }

func (p publications) capacity(c *storagev1.CSIStorageCapacity, bytes int64) {
	if c.NodeTopology == nil || c.NodeTopology.MatchLabels[driver.TopologyKey] == "" {
		return // it is another driver's
	}
	for _, to := range p.to {
		to.Capacity(c.NodeTopology.MatchLabels[driver.TopologyKey], c.StorageClassName, bytes)
	}
}

func (r *Recorder) podIs(_, pod *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pod(pod)
	now := r.now()
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable && c.Message != p.unplaced {
			p.unplaced = r.text(c.Message)
			p.add(Step{At: now, What: Unplaced, Text: p.unplaced})
			p.unplaced = c.Message
		}
	}
	r.bind(p, pod.Spec.NodeName)
	switch pod.Status.Phase {
	case corev1.PodRunning:
		r.run(p)
	case corev1.PodSucceeded:
		r.end(p, "")
	case corev1.PodFailed:
		if !p.ran && pod.Status.Reason != "" {
			r.refuse(p, pod.Status.Reason+": "+pod.Status.Message)
		} else {
			r.end(p, "")
		}
	case corev1.PodPending, corev1.PodUnknown:
	}
}

// pod is the record of a pod, with mu held.
func (r *Recorder) pod(pod *corev1.Pod) *podRecord {
	if p := r.byUID[pod.UID]; p != nil {
		return p
	}
	key := pod.Namespace + "/" + pod.Name
	at, workload := r.now(), pod.Labels[r.label]
	if m, ok := r.making[key]; ok {
		at, workload = m.at, m.workload
		delete(r.making, key)
	}
	p := &podRecord{Pod: Pod{Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), Workload: workload}}
	p.add(Step{At: at, What: Made})
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.Ephemeral != nil:
			p.uses = append(p.uses, key+"-"+v.Name)
		case v.PersistentVolumeClaim != nil:
			p.uses = append(p.uses, pod.Namespace+"/"+v.PersistentVolumeClaim.ClaimName)
		}
	}
	r.pods = append(r.pods, p)
	r.byUID[pod.UID] = p
	r.counts[madeColumn]++
	r.move(p, waitingColumn)
	return p
}

// bind takes up that a pod has a node, with mu held.
func (r *Recorder) bind(p *podRecord, node string) {
	if node == "" || p.Pod.Node != "" {
		return
	}
	p.Pod.Node = node
	p.add(Step{At: r.now(), What: Bound, Node: node})
	if p.phase == waitingColumn {
		r.move(p, startingColumn)
	}
}

func (r *Recorder) run(p *podRecord) {
	if !p.ran && !p.ended {
		p.ran = true
		p.add(Step{At: r.now(), What: Running})
		r.move(p, runningColumn)
	}
}

func (r *Recorder) end(p *podRecord, why string) {
	if !p.ended {
		p.ended = true
		p.add(Step{At: r.now(), What: Ended, Text: r.text(why)})
		r.move(p, endedColumn)
	}
}

func (r *Recorder) refuse(p *podRecord, why string) {
	if !p.ended {
		p.ended = true
		p.refused = true
		p.add(Step{At: r.now(), What: Refused, Text: r.text(why)})
		r.move(p, endedColumn)
		reason, _, _ := strings.Cut(why, ": ")
		r.fail("kubelet refuses a pod: " + reason)
	}
}

func (r *Recorder) podGone(pod *corev1.Pod) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.byUID[pod.UID]
	if p == nil {
		return
	}
	p.add(Step{At: r.now(), What: Removed})
	r.move(p, endedColumn)
}

func (r *Recorder) claimIs(before, claim *corev1.PersistentVolumeClaim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key, now := claim.Namespace+"/"+claim.Name, r.now()
	c := r.byClaim[key]
	if c == nil || before == nil {
		class := ""
		if claim.Spec.StorageClassName != nil {
			class = *claim.Spec.StorageClassName
		}
		c = &claimRecord{Claim: Claim{Namespace: claim.Namespace, Name: claim.Name, Class: class, Size: claim.Spec.Resources.Requests.Storage().Value()}, place: len(r.claims)}
		c.add(Step{At: now, What: Made})
		r.claims = append(r.claims, c)
		r.byClaim[key] = c
	}
	if selected := claim.Annotations[annSelectedNode]; selected != c.selected {
		if selected == "" {
			c.add(Step{At: now, What: GivenBack, Node: c.selected})
			r.fail("claims given back to the scheduler")
		} else {
			c.add(Step{At: now, What: Selected, Node: selected})
		}
		c.selected = selected
	}
	if claim.Status.Phase == corev1.ClaimBound && !c.bound {
		c.bound = true
		c.add(Step{At: now, What: Bound, Text: claim.Spec.VolumeName})
	}
}

func (r *Recorder) claimGone(claim *corev1.PersistentVolumeClaim) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.byClaim[claim.Namespace+"/"+claim.Name]; c != nil {
		c.add(Step{At: r.now(), What: Removed})
	}
}

func (r *Recorder) volumeIs(v *corev1.PersistentVolume) {
	if v.Spec.CSI == nil || v.Spec.ClaimRef == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byVolume[v.Spec.CSI.VolumeHandle] != nil {
		return
	}
	if c := r.byClaim[v.Spec.ClaimRef.Namespace+"/"+v.Spec.ClaimRef.Name]; c != nil {
		r.byVolume[v.Spec.CSI.VolumeHandle] = c
		c.add(Step{At: r.now(), What: VolumeMade, Text: v.Name, Volume: v.Spec.CSI.VolumeHandle})
	}
}

func (r *Recorder) warned(e *corev1.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	of := e.InvolvedObject
	s := Step{At: r.now(), What: Told, Node: e.Source.Host, Text: r.text(e.Reason + ": " + e.Message)}
	switch of.Kind {
	case "Pod":
		if p := r.byUID[of.UID]; p != nil {
			p.add(s)
		}
	case "PersistentVolumeClaim":
		if e.Reason == "ProvisioningFailed" {
			r.fail("a volume is not made (ProvisioningFailed)")
		}
		if c := r.byClaim[of.Namespace+"/"+of.Name]; c != nil {
			c.add(s)
		}
	}
}
