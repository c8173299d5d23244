// SPDX-License-Identifier: Apache-2.0

package fit

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/podlv/podlv/sim/importer"
	"github.com/podlv/podlv/sim/scenario"
)

// Names of the workloads that a question makes, beside those that are not placed.
const (
	clusterName = "fit-cluster"
	movedName   = "fit-moved"
	newName     = "fit-new"
)

func copyName(n int) string      { return fmt.Sprintf("%s-%d", newName, n) }
func isCopy(name string) bool    { return strings.HasPrefix(name, newName+"-") }
func isBound(p *corev1.Pod) bool { return p.Labels[importer.OwnerLabel] != "" }

// How long a simulation waits for pods that find no place: machines can be slow.
const (
	quiet   = scenario.Duration(10 * time.Second)
	timeout = scenario.Duration(20 * time.Minute)
)

// standIn is the size of a VG that has failed, or a pool of it.
const standIn = scenario.Size(4 << 20)

// plan is the cluster of a question: its nodes as they are then, the pods that stay, those
// that must go elsewhere.
type plan struct {
	q         *Question
	nodes     []scenario.NodeGroup // of one node each
	rest      []scenario.Workload  // those that nobody has placed
	objects   scenario.Objects     // of pods that stay
	placed    map[string]string
	moved     scenario.Objects
	fresh     scenario.Objects // New, under names of their own
	daemons   []*corev1.Pod    // one of each that is on every node
	stays     []string
	nodeBound int
}

// plan makes one of a question that was checked.
func (q *Question) plan() *plan {
	p := &plan{q: q, placed: map[string]string{}}
	q.Cluster.Each(func(name string, g *scenario.NodeGroup) {
		one := *g
		one.Names, one.Count = []string{name}, 1
		p.nodes = append(p.nodes, one)
	})
	all := len(p.nodes)
	broken, hurt := map[Failure]bool{}, map[string]bool{}
	for _, f := range q.Fail {
		broken[f], hurt[f.Node] = true, true
	}
	leaves := func(pod *corev1.Pod, node string) bool {
		if q.Replace || broken[Failure{Node: node}] || slices.Contains(q.Drain, node) {
			return true
		}
		return hurt[node] && slices.ContainsFunc(p.volumeGroups(pod), func(vg string) bool { return broken[Failure{node, vg}] })
	}
	for i := range q.Cluster.Workloads {
		w := q.Cluster.Workloads[i]
		if len(w.Placed) == 0 {
			p.rest = append(p.rest, w)
			continue
		}
		p.divide(&w, leaves, all)
	}
	p.damage(broken)
	slices.Sort(p.stays)
	p.fresh = q.New
	if p.taken(q.New) {
		p.fresh = renamed(q.New, "-new")
	}
	return p
}

// divide takes up a workload whose pods are placed.
func (p *plan) divide(w *scenario.Workload, leaves func(*corev1.Pod, string) bool, nodes int) {
	const kept, gone, moved = 1, 2, 3
	use := map[string]int{} // claim → what becomes of its pods; those that are kept keep it
	var daemon *corev1.Pod
	daemons := 0
	for _, o := range w.Objects {
		pod, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		node := w.Placed[pod.Name]
		if pod.Labels[importer.OwnerLabel] == "DaemonSet" && len(claimsOf(pod)) == 0 {
			daemon = pod
			daemons++
		}
		drained := slices.Contains(p.q.Drain, node)
		what := kept
		switch {
		case node == "" || !leaves(pod, node):
		case isBound(pod):
			if p.nodeBound++; drained && !p.q.Replace {
				break // it stays there, and runs
			}
			what = gone
		case drained && !p.q.Replace && !p.q.failed(node) && len(claimsOf(pod)) > 0:
			what = gone
			p.stays = append(p.stays, pod.Name)
		default:
			what = moved
		}
		switch what {
		case kept:
			p.objects = append(p.objects, pod)
			if node != "" {
				p.placed[pod.Name] = node
			}
		case moved:
			p.moved = append(p.moved, pod)
		}
		for _, c := range claimsOf(pod) {
			if use[c] == 0 || what == kept || what == moved && use[c] == gone {
				use[c] = what
			}
		}
	}
	if daemon != nil && daemons >= nodes {
		p.daemons = append(p.daemons, daemon)
	}
	for _, o := range w.Objects {
		switch x := o.(type) {
		case *corev1.Pod:
		case *corev1.PersistentVolumeClaim:
			switch use[x.Name] {
			case moved:
				p.moved = append(scenario.Objects{x}, p.moved...)
			case gone:
			default:
				p.objects = append(scenario.Objects{x}, p.objects...)
			}
		default:
			p.objects = append(scenario.Objects{x}, p.objects...)
		}
	}
}

func (q *Question) failed(node string) bool { return slices.Contains(q.Fail, Failure{Node: node}) }

// damage makes the nodes as they are after what the question assumes.
func (p *plan) damage(broken map[Failure]bool) {
	if p.q.Replace {
		p.nodes = nil
	}
	p.nodes = slices.DeleteFunc(p.nodes, func(g scenario.NodeGroup) bool { return broken[Failure{Node: g.Names[0]}] })
	for i := range p.nodes {
		g := &p.nodes[i]
		if slices.Contains(p.q.Drain, g.Names[0]) {
			g.Unschedulable = true
		}
		g.VolumeGroups = slices.Clone(g.VolumeGroups)
		for j := range g.VolumeGroups {
			if v := &g.VolumeGroups[j]; broken[Failure{g.Names[0], v.Name}] {
				*v = emptied(*v)
			}
		}
	}
}

// emptied is a VG of the same form without room.
func emptied(v scenario.VolumeGroup) scenario.VolumeGroup {
	made := scenario.VolumeGroup{Name: v.Name, Size: standIn}
	for _, t := range v.ThinPools {
		made.ThinPools = append(made.ThinPools, scenario.ThinPool{Name: t.Name, Size: standIn})
		made.Size += 4 * standIn // with its metadata
	}
	if len(v.Disks) > 0 {
		for range v.Disks {
			made.Disks = append(made.Disks, made.Size+standIn)
		}
		made.Size = 0
	}
	return made
}

// once is one copy of what is to come.
func (p *plan) once() []scenario.Workload {
	if len(p.fresh) == 0 {
		return nil
	}
	return []scenario.Workload{{Name: newName, Objects: p.fresh}}
}

// scenario is the cluster with more nodes, and then, one after the other, the pods that
// were there, those that must move, and the others.
func (p *plan) scenario(more []scenario.NodeGroup, then []scenario.Workload) *scenario.Scenario {
	s := *p.q.Cluster
	s.Name, s.Events, s.Expectations = "fit", nil, nil
	s.Until = scenario.Until{Quiet: quiet, Timeout: timeout}
	s.Nodes = append(slices.Clone(p.nodes), more...)
	cluster := scenario.Workload{Name: clusterName, Objects: slices.Clone(p.objects), Placed: map[string]string{}}
	for pod, node := range p.placed {
		cluster.Placed[pod] = node
	}
	for _, g := range more { // what is on every node comes to these, too
		for i := range g.Count {
			for _, d := range p.daemons {
				pod := d.DeepCopy()
				node := fmt.Sprintf("%s-%d", g.Name, i)
				pod.Name = d.Name + "-" + node
				cluster.Objects, cluster.Placed[pod.Name] = append(cluster.Objects, pod), node
			}
		}
	}
	s.Workloads = nil
	if len(cluster.Objects) > 0 {
		s.Workloads = append(s.Workloads, cluster)
	}
	s.Workloads = append(s.Workloads, p.rest...)
	if len(p.moved) > 0 {
		s.Workloads = append(s.Workloads, scenario.Workload{Name: movedName, Objects: p.moved})
	}
	s.Workloads = append(s.Workloads, then...)
	before := ""
	for i := range s.Workloads {
		s.Workloads[i].After = before
		before = s.Workloads[i].Name
	}
	return &s
}

// claimsOf are the claims that a pod names.
func claimsOf(pod *corev1.Pod) (all []string) {
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			all = append(all, v.PersistentVolumeClaim.ClaimName)
		}
	}
	return all
}

// object is what tells an object from others.
func object(o runtime.Object, name string) string { return fmt.Sprintf("%T %s", o, name) }

// taken says whether the cluster has an object of the kind and name of one of these.
func (p *plan) taken(objects scenario.Objects) bool {
	have := map[string]bool{}
	note := func(all scenario.Objects) {
		for _, o := range all {
			have[object(o, nameOf(o))] = true
		}
	}
	note(p.objects)
	note(p.moved)
	for _, w := range p.rest {
		note(w.Objects)
		for n := range w.Pods {
			have[object(&corev1.Pod{}, fmt.Sprintf("%s-%d", w.Name, n))] = true
		}
	}
	return slices.ContainsFunc(objects, func(o runtime.Object) bool { return have[object(o, nameOf(o))] })
}

func unknownNode(what string, s *scenario.Scenario) error {
	var names []string
	s.Each(func(name string, _ *scenario.NodeGroup) { names = append(names, name) })
	more := ""
	if len(names) > 10 {
		more = fmt.Sprintf(" and %d more", len(names)-10)
		names = names[:10]
	}
	return fmt.Errorf("%s: the cluster has no such node; it has %s%s", what, strings.Join(names, ", "), more)
}

func hasGroup(g *scenario.NodeGroup, vg string) bool {
	return slices.ContainsFunc(g.VolumeGroups, func(v scenario.VolumeGroup) bool { return v.Name == vg })
}

func groupsOf(g *scenario.NodeGroup) string {
	var names []string
	for _, v := range g.VolumeGroups {
		names = append(names, v.Name)
	}
	return strings.Join(names, ", ")
}
