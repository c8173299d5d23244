// SPDX-License-Identifier: Apache-2.0

// Package oracle judges what agents and scheduler did by the fake disks themselves.
//
// There is only an Oracle. It reads where every extent of every disk went, by reports
// of its own and not by those of the agents, and works out what a node can hold by
// arithmetic of its own: so that a mistake of the agent's is not made here, too.
package oracle

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/lvm"
)

// Tags that say whose an LV is (design: Names).
const (
	tagOwner = "podlv.dev"
	tagPod   = "podlv.pod"
	tagClaim = "podlv.pvc"
)

// Oracle watches the disks of all nodes. Its methods can be called from anywhere.
type Oracle struct {
	// Watcher, when set before anything is looked at, is told what was seen.
	Watcher Watcher

	classes *driver.Classes
	nodes   map[string]*node

	mu       sync.Mutex
	claims   map[string]types.UID // generic ephemeral claims, namespace/name → pod
	ended    map[types.UID]bool
	problems []string
	said     map[string]bool
	peak     float64
	stale    staleness
}

// Machine is a fake machine that can be looked at: a *fakelvm.Host, or a picture of one.
type Machine interface {
	// Setup answers an lvm command that only reports, outside of the machine's sequence of
	// commands.
	Setup(args ...string) (stdout, stderr string, code int)
	// Steps is another number when the machine is another.
	Steps() int
}

// node is what is known of one.
type node struct {
	host  Machine
	steps int                            // of the machine, when it was read last
	bound map[types.UID]map[string]int64 // pods that live here → pool → bytes that they are charged
	taken map[string]int64               // VG → bytes
	total map[string]int64
	seen  map[string]*group // what was read last
	told  figures
}

// New is an oracle of machines by the names of their nodes. Without any it is blind, and
// finds nothing wrong.
func New[M Machine](classes *driver.Classes, hosts map[string]M) *Oracle {
	o := &Oracle{classes: classes, nodes: map[string]*node{}, claims: map[string]types.UID{}, ended: map[types.UID]bool{}, said: map[string]bool{}, stale: staleness{since: map[string]time.Time{}}}
	for name, h := range hosts {
		o.nodes[name] = &node{
			host: h, steps: -1, bound: map[types.UID]map[string]int64{}, taken: map[string]int64{}, total: map[string]int64{},
			told: figures{map[string]int64{}, map[string]int64{}},
		}
	}
	return o
}

// Watch looks at every disk that has changed, once a period, until ctx ends.
func (o *Oracle) Watch(ctx context.Context, period time.Duration) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		o.Look()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Look looks at every disk that has changed, now.
func (o *Oracle) Look() {
	o.mu.Lock()
	defer o.mu.Unlock()
	var taken, total int64
	for _, name := range slices.Sorted(maps.Keys(o.nodes)) {
		n := o.nodes[name]
		if steps := n.host.Steps(); steps != n.steps {
			n.steps = steps
			o.look(name, n)
		}
		for vg := range n.total {
			taken, total = taken+n.taken[vg], total+n.total[vg]
		}
	}
	if total > 0 {
		o.peak = max(o.peak, float64(taken)/float64(total))
	}
}

// look reads one node's disks, with mu held.
func (o *Oracle) look(name string, n *node) map[string]*group {
	groups, wrong, err := read(n.host)
	if err != nil {
		o.say("node %s: the disks cannot be read: %v", name, err)
		return nil
	}
	for _, w := range wrong {
		o.say("node %s: %s", name, w)
	}
	for vg, g := range groups {
		n.taken[vg], n.total[vg] = g.taken, g.total
		for pool, promised := range thinPromises(g) {
			most := o.mayPromise(vg, pool)
			if size := g.lvs[pool].size; most > 0 && float64(promised) > most*float64(size) {
				o.say("node %s: thin pool %s/%s of %s has promised %s, more than %g times its size", name, vg, pool, lvm.FormatSize(size), lvm.FormatSize(promised), most)
			}
		}
	}
	n.seen = groups
	if o.Watcher != nil {
		o.Watcher.Used(name, o.uses(groups))
	}
	o.compare(name, n)
	return groups
}

// thinPromises is what the volumes of each thin pool show themselves as.
func thinPromises(g *group) map[string]int64 {
	sums := map[string]int64{}
	for _, l := range g.lvs {
		if l.pool != "" && g.lvs[l.pool] != nil {
			sums[l.pool] += l.size
		}
	}
	return sums
}

// mayPromise is the most that a class lets a thin pool promise, in times of its size;
// 0 when the pool is nobody's.
func (o *Oracle) mayPromise(vg, thinPool string) float64 {
	most := 0.0
	for _, c := range o.classes.All() {
		if c.Pool.VolumeGroup == vg && c.Pool.ThinPool == thinPool {
			most = max(most, c.Overprovision)
		}
	}
	return most
}

// say keeps a problem, once, with mu held.
func (o *Oracle) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !o.said[text] {
		o.said[text] = true
		o.problems = append(o.problems, text)
	}
}

// Problems is what was found so far, each a sentence.
func (o *Oracle) Problems() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.problems)
}

// Peak is the most that was allocated of all VGs, 0 to 1, when somebody looked;
// Utilisation what was when somebody looked last.
func (o *Oracle) Peak() float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.peak
}

// Utilisation is how much is allocated of all VGs, 0 to 1.
func (o *Oracle) Utilisation() float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	var taken, total int64
	for _, n := range o.nodes {
		for vg := range n.total {
			taken, total = taken+n.taken[vg], total+n.total[vg]
		}
	}
	if total == 0 {
		return 0
	}
	return float64(taken) / float64(total)
}

// Bound judges that a pod was bound to a node: what is wrong with that, "" if the
// node's disks have room for its inline and generic ephemeral volumes beside those of
// the pods that were bound before.
func (o *Oracle) Bound(name string, pod *corev1.Pod) string {
	charge := o.charge(pod)
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.nodes[name]
	switch {
	case len(o.nodes) == 0:
		return ""
	case n == nil:
		return fmt.Sprintf("pod %s/%s is bound to %s, which is no node", pod.Namespace, pod.Name, name)
	}
	for _, c := range ephemeralClaims(pod) {
		o.claims[c] = pod.UID
	}
	if n.bound[pod.UID] != nil {
		return ""
	}
	groups := o.look(name, n)
	wrong := ""
	for pool, bytes := range charge {
		if room, ok := o.room(n, groups, pool, pod.UID); ok && bytes > room {
			wrong = fmt.Sprintf("pod %s/%s is bound to node %s and takes %s of pool %s, which has room for %s", pod.Namespace, pod.Name, name, lvm.FormatSize(bytes), pool, lvm.FormatSize(max(room, 0)))
		}
	}
	n.bound[pod.UID] = charge
	o.compare(name, n)
	return wrong
}

// Ended takes up that a pod has its last phase: its charge is free, and its LVs are
// about to be.
func (o *Oracle) Ended(name string, pod types.UID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended[pod] = true
	if n := o.nodes[name]; n != nil {
		delete(n.bound, pod)
		o.compare(name, n)
	}
}

// room is what a pool has for one more pod: all but what is reserved, what lies on the
// disks and is not a living pod's, and of the living pods what they are charged or what
// lies there of theirs, if that is more: a generic ephemeral volume can grow. What ended pods
// leave counts as gone for a newcomer, which may wait for it, and not when there is none:
// it is not to be had yet.
func (o *Oracle) room(n *node, groups map[string]*group, name string, newcomer types.UID) (int64, bool) {
	pool, g, ok := o.pool(groups, name)
	if !ok {
		return 0, false
	}
	room := o.size(pool, g) - pool.Reserve
	made := map[types.UID]int64{}
	for _, l := range g.lvs {
		if !inPool(l, pool) {
			continue
		}
		owner := o.owner(l)
		_, lives := n.bound[owner]
		switch {
		case lives:
			made[owner] += takes(l)
		case owner == "" || owner != newcomer && (newcomer == "" || !o.ended[owner]):
			room -= takes(l)
		}
	}
	for pod, charge := range n.bound {
		room -= max(charge[name], made[pod])
	}
	return room, true
}

// size is what a pool has for volumes, bytes: a thin pool what it may promise.
func (o *Oracle) size(pool driver.Pool, g *group) int64 {
	if pool.ThinPool == "" {
		return g.total - g.own
	}
	return int64(float64(g.lvs[pool.ThinPool].size) * o.mayPromise(pool.VolumeGroup, pool.ThinPool))
}

// pool is a pool and the VG that it is on.
func (o *Oracle) pool(groups map[string]*group, name string) (driver.Pool, *group, bool) {
	for _, p := range o.classes.Pools() {
		if p.Name == name {
			g := groups[p.VolumeGroup]
			return p, g, g != nil && (p.ThinPool == "" || g.lvs[p.ThinPool] != nil)
		}
	}
	return driver.Pool{}, nil, false
}

// inPool: an LV takes of a pool's bytes. A thin pool that is made in a VG takes of
// those of the VG.
func inPool(l *logicalVolume, pool driver.Pool) bool { return l.pool == pool.ThinPool }

func takes(l *logicalVolume) int64 {
	if l.pool != "" {
		return l.size
	}
	return l.lies
}

// owner is the pod that answers for an LV with its charge; "" for all other LVs.
func (o *Oracle) owner(l *logicalVolume) types.UID {
	if !slices.Contains(l.tags, tagOwner) {
		return ""
	}
	if pod := l.tag(tagPod); pod != "" {
		return types.UID(pod[strings.LastIndexByte(pod, '/')+1:])
	}
	return o.claims[l.tag(tagClaim)]
}

// Charge is what a pod's inline and generic ephemeral volumes take of each pool, bytes.
func (o *Oracle) Charge(pod *corev1.Pod) map[string]int64 { return o.charge(pod) }

// charge is what a pod's inline and generic ephemeral volumes take of each pool, bytes.
func (o *Oracle) charge(pod *corev1.Pod) map[string]int64 {
	all := map[string]int64{}
	add := func(className string, size resource.Quantity) {
		class, err := o.classes.Named(className)
		if err != nil {
			return
		}
		if bytes, err := class.Charge(size.Value()); err == nil {
			all[class.Pool.Name] += bytes
		}
	}
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.CSI != nil && v.CSI.Driver == driver.Name:
			if size, err := resource.ParseQuantity(v.CSI.VolumeAttributes["size"]); err == nil {
				add(v.CSI.VolumeAttributes["class"], size)
			}
		case v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate.Spec.StorageClassName != nil:
			spec := v.Ephemeral.VolumeClaimTemplate.Spec // a StorageClass is named as its device class
			add(*spec.StorageClassName, spec.Resources.Requests[corev1.ResourceStorage])
		}
	}
	return all
}

func ephemeralClaims(pod *corev1.Pod) (all []string) {
	for _, v := range pod.Spec.Volumes {
		if v.Ephemeral != nil {
			all = append(all, pod.Namespace+"/"+pod.Name+"-"+v.Name)
		}
	}
	return all
}

// Orphans are the LVs of podlv's that are on the disks, as NODE: VG/LV (whose).
func (o *Oracle) Orphans() (all []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(o.nodes)) {
		groups := o.look(name, o.nodes[name])
		for _, vg := range slices.Sorted(maps.Keys(groups)) {
			for _, lv := range slices.Sorted(maps.Keys(groups[vg].lvs)) {
				l := groups[vg].lvs[lv]
				if slices.Contains(l.tags, tagOwner) {
					all = append(all, fmt.Sprintf("%s: %s/%s (%s)", name, vg, lv, strings.TrimSpace(l.tag(tagPod)+" "+l.tag(tagClaim))))
				}
			}
		}
	}
	return all
}
