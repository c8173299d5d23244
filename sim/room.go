// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/oracle"
	"github.com/podlv/podlv/sim/packing"
	"github.com/podlv/podlv/sim/report"
)

// need is what a pod takes of each pool, bytes: its inline and generic ephemeral volumes
// and its claims.
func (r *run) need(pod *corev1.Pod) map[string]int64 {
	all := r.judge.Charge(pod)
	lister := r.Informers.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(pod.Namespace)
	for _, v := range pod.Spec.Volumes {
		if v.PersistentVolumeClaim == nil {
			continue
		}
		claim, err := lister.Get(v.PersistentVolumeClaim.ClaimName)
		if err != nil || claim.Spec.StorageClassName == nil {
			continue
		}
		class, err := r.Scenario.Storage.Named(*claim.Spec.StorageClassName)
		if err != nil {
			continue
		}
		if bytes, err := class.Charge(claim.Spec.Resources.Requests.Storage().Value()); err == nil {
			all[class.Pool.Name] += bytes
		}
	}
	return all
}

// livePods are the run's, as the API server has them, without those that have ended.
func (r *run) livePods() []*corev1.Pod {
	all, _ := r.Informers.Core().V1().Pods().Lister().Pods(r.Namespace).List(labels.Everything()) // from memory
	return slices.DeleteFunc(all, func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
}

// packed is how well the pods that are bound are packed. refused is the pod for which the
// scheduler finds no node, nil when it finds one for all.
func (r *run) packed(refused *corev1.Pod) report.Packing {
	p := report.Packing{NodesUsed: 0, LowerBound: -1, UpperBound: -1, Gap: -1}
	rooms := r.judge.Rooms()
	for _, of := range rooms {
		p.Fragmentation = max(p.Fragmentation, fragmentation(of))
	}
	used := map[string]bool{}
	items := map[string][]int64{} // by pool
	for _, pod := range r.livePods() {
		if pod.Spec.NodeName == "" {
			continue
		}
		for pool, bytes := range r.need(pod) {
			items[pool] = append(items[pool], bytes)
			used[pod.Spec.NodeName] = true
		}
	}
	p.NodesUsed = len(used)
	if refused != nil {
		for pool, bytes := range r.need(refused) {
			items[pool] = append(items[pool], bytes)
		}
		p.NodesUsed++ // the one that it would need
	}
	if len(rooms) != 1 || len(r.Scenario.Nodes) == 0 {
		return p // two pools are two dimensions
	}
	for pool, of := range rooms {
		if slices.ContainsFunc(of, func(x oracle.Room) bool { return x.Size != of[0].Size }) || len(items[pool]) == 0 {
			return p
		}
		p.LowerBound, p.UpperBound = packing.AtLeast(items[pool], of[0].Size), packing.AtMost(items[pool], of[0].Size)
		if p.LowerBound > 0 {
			p.Gap = report.Thousandths(float64(p.NodesUsed)/float64(p.LowerBound) - 1)
		}
	}
	return p
}

// fragmentation is the part of what is free that no one volume can have.
func fragmentation(of []oracle.Room) float64 {
	var most, sum int64
	for _, x := range of {
		most, sum = max(most, x.Free), sum+x.Free
	}
	if sum == 0 {
		return 0
	}
	return report.Thousandths(1 - float64(most)/float64(sum))
}

// waitingRoom is what is free on nodes where not even the smallest pod that waits has
// room, bytes, and how many pods have a part of their volumes and no node.
func (r *run) waitingRoom() (stranded int64, partial int) {
	smallest := map[string]int64{} // by pool
	claims := r.Informers.Core().V1().PersistentVolumeClaims().Lister().PersistentVolumeClaims(r.Namespace)
	for _, pod := range r.livePods() {
		if pod.Spec.NodeName != "" {
			continue
		}
		for pool, bytes := range r.need(pod) {
			if s, ok := smallest[pool]; !ok || bytes < s {
				smallest[pool] = bytes
			}
		}
		bound, unbound := 0, 0
		for _, name := range claimNames(pod) {
			if claim, err := claims.Get(name); err == nil && claim.Status.Phase == corev1.ClaimBound {
				bound++
			} else {
				unbound++
			}
		}
		if bound > 0 && unbound > 0 {
			partial++
		}
	}
	for pool, of := range r.judge.Rooms() {
		for _, x := range of {
			if least, waits := smallest[pool]; waits && x.Free < least {
				stranded += x.Free
			}
		}
	}
	return stranded, partial
}

// volumesIn is how many volumes of podlv's a pod has.
func volumesIn(pod *corev1.Pod) int {
	n := len(claimNames(pod))
	for _, v := range pod.Spec.Volumes {
		if v.CSI != nil && v.CSI.Driver == driver.Name {
			n++
		}
	}
	return n
}

// claimNames are those of a pod's claims, generic ephemeral ones among them.
func claimNames(pod *corev1.Pod) (all []string) {
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.Ephemeral != nil:
			all = append(all, pod.Name+"-"+v.Name)
		case v.PersistentVolumeClaim != nil:
			all = append(all, v.PersistentVolumeClaim.ClaimName)
		}
	}
	return all
}

// rates are how many events of those times there were in a second: from start to the
// last, and in the best second.
func rates(start time.Time, times []time.Time) (overall, peak float64) {
	if len(times) == 0 {
		return 0, 0
	}
	slices.SortFunc(times, time.Time.Compare)
	first, most := 0, 0
	for i, t := range times {
		for t.Sub(times[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return report.Thousandths(float64(len(times)) / max(times[len(times)-1].Sub(start).Seconds(), 0.001)), float64(most)
}
