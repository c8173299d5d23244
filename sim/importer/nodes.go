// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/podlv/podlv/driver"
)

// nodeGroup is nodes that have the same, as package scenario has them.
type nodeGroup struct {
	names         []string
	Labels        map[string]string   `json:"labels,omitempty"`
	CPU           string              `json:"cpu,omitempty"`
	Memory        string              `json:"memory,omitempty"`
	Pods          int64               `json:"pods,omitempty"`
	Resources     map[string]string   `json:"resources,omitempty"`
	Taints        []map[string]string `json:"taints,omitempty"`
	Unschedulable bool                `json:"unschedulable,omitempty"`
	VolumeGroups  []volumeGroup       `json:"volumeGroups"`
}

type volumeGroup struct {
	Name      string     `json:"name"`
	Size      string     `json:"size,omitempty"`
	Disks     []string   `json:"disks,omitempty"`
	ThinPools []thinPool `json:"thinPools,omitempty"`
}

type thinPool struct {
	Name string `json:"name"`
	Size string `json:"size"`
}

// least is the least memory that a node has here, bytes.
const least = 1 << 20

// standIn is the size of what a node must have and has not.
const standIn = extent

// size is bytes as a scenario writes them, rounded down to KiB.
func size(bytes int64) string {
	for n, unit := range []string{"Ti", "Gi", "Mi"} {
		if of := int64(1) << (40 - 10*n); bytes >= of && bytes%of == 0 {
			return fmt.Sprintf("%d%s", bytes/of, unit)
		}
	}
	return fmt.Sprintf("%dKi", bytes>>10)
}

// poolSize is what a pool of a node has in all, in bytes, by what the node publishes and
// what is there: package comment. known says whether anything is.
func (i *importer) poolSize(node string, pool driver.Pool) (bytes int64, known bool) {
	persistent, ephemeral, inline := i.persistent[node][pool.Name], i.ephemeral[node][pool.Name], i.inline[node][pool.Name]
	allocatable, counted := i.allocatable[node][pool.Name]
	capacity, published := i.capacityOf(node, pool.Name)
	switch {
	case counted && pool.Inline.Shared():
		bytes = allocatable + persistent
	case counted && published: // a part is reserved
		bytes = capacity + persistent + max(i.reserved(pool.Name), i.requested[node][pool.Name])
	case counted:
		bytes = allocatable + persistent
	case published:
		bytes = capacity + persistent + ephemeral + inline
	default:
		bytes = persistent + ephemeral + inline
	}
	known = counted || published || bytes > 0
	bytes = max(bytes, persistent+ephemeral+inline)
	if known {
		bytes += pool.Reserve
	}
	return bytes, known
}

// capacityOf is what of a pool's bytes a node publishes as free for claims.
func (i *importer) capacityOf(node, pool string) (bytes int64, published bool) {
	for class, of := range i.capacity {
		capacity, has := of[node]
		if p, charge := i.charge(i.classOf[class], capacity); has && i.classOf[class] != "" && p == pool {
			bytes, published = max(bytes, charge), true
		}
	}
	return bytes, published
}

// reserved is what a pool has for pods alone, bytes.
func (i *importer) reserved(pool string) int64 {
	for _, p := range i.file.Pools {
		if text, ok := strings.CutPrefix(fmt.Sprint(p["inlinePool"]), "reserved="); ok && p["name"] == pool {
			n, _ := parseQuantity(text) // it was read before
			return n
		}
	}
	return 0
}

// sizes finds out what VGs every node has.
func (i *importer) sizes() error {
	without := map[string]int{}
	for n := range i.nodes {
		node := &i.nodes[n]
		g := i.describe(node)
		for _, vg := range i.devices.VolumeGroups() {
			g.VolumeGroups = append(g.VolumeGroups, i.volumeGroup(node.Name, vg, without))
		}
		i.nodeGroups = append(i.nodeGroups, g)
	}
	for _, pool := range slices.Sorted(maps.Keys(without)) {
		i.note("%d of %d nodes have no pool %s: %s stands in its place", without[pool], len(i.nodes), pool, size(standIn))
	}
	return nil
}

// volumeGroup is a VG of a node, with all pools that are on it.
func (i *importer) volumeGroup(node, vg string, without map[string]int) volumeGroup {
	v := volumeGroup{Name: vg}
	var total int64
	disks := 1
	for _, pool := range i.devices.Pools() {
		if pool.VolumeGroup != vg {
			continue
		}
		bytes, known := i.poolSize(node, pool)
		if !known {
			without[pool.Name]++
		}
		promise := 0.0
		for _, c := range i.devices.All() {
			if c.Pool.Name != pool.Name {
				continue
			}
			disks = max(disks, c.Legs)
			if promise == 0 || c.Overprovision < promise {
				promise = c.Overprovision
			}
		}
		bytes = max(up(bytes), standIn)
		if pool.ThinPool == "" {
			total += bytes
			continue
		}
		bytes = max(up(int64(float64(bytes)/max(promise, 1))), standIn)
		v.ThinPools = append(v.ThinPools, thinPool{pool.ThinPool, size(bytes)})
		total += bytes + thinMetadata(bytes)
	}
	if disks == 1 {
		v.Size = size(total)
		return v
	}
	for range disks { // what LVM takes of each is 4 MiB
		v.Disks = append(v.Disks, size(up(total/int64(disks))+extent))
	}
	return v
}

// thinMetadata is at least what LVM takes for the metadata of a thin pool, and for the
// spare of it.
func thinMetadata(bytes int64) int64 {
	return up(2*min(max(bytes/1024, extent), 256<<20)) + extent
}

// describe is a node without its VGs.
func (i *importer) describe(node *corev1.Node) nodeGroup {
	name := i.nodeName(node.Name)
	g := nodeGroup{names: []string{name}, Unschedulable: node.Spec.Unschedulable}
	if name != node.Name && !i.Anonymize {
		i.note("node %s is called %s here: a simulated node's name has up to 63 of a-z 0-9, hyphens and dots", node.Name, name)
	}
	has := node.Status.Allocatable
	cpu, memory, pods := has[corev1.ResourceCPU], has[corev1.ResourceMemory], has[corev1.ResourcePods]
	if cpu.IsZero() || memory.Value() < least || pods.IsZero() {
		i.note("node %s publishes no cpu, memory or pods: it has next to nothing of them here", name)
	}
	g.CPU, g.Memory, g.Pods = "1m", size(max(memory.Value(), least)), max(pods.Value(), 1)
	if !cpu.IsZero() {
		g.CPU = cpu.String()
	}
	if i.holders[node.Name] {
		g.Pods++
	}
	for r, q := range has {
		text := string(r)
		if q.IsZero() || !strings.Contains(text, "/") && r != corev1.ResourceEphemeralStorage || strings.HasPrefix(text, driver.ResourcePrefix) {
			continue
		}
		if g.Resources == nil {
			g.Resources = map[string]string{}
		}
		g.Resources[text] = q.String()
	}
	for _, k := range slices.Sorted(maps.Keys(node.Labels)) {
		v := node.Labels[k]
		if k == driver.TopologyKey || !i.nodeKeys[k] && k != corev1.LabelHostname || k == corev1.LabelHostname && i.names.value(k, v) == name {
			continue
		}
		if i.Anonymize && !i.nodeKeys[k] {
			continue
		}
		if g.Labels == nil {
			g.Labels = map[string]string{}
		}
		g.Labels[i.names.key(k)] = i.names.value(k, v)
	}
	for _, t := range node.Spec.Taints {
		if strings.HasPrefix(t.Key, "node.kubernetes.io/") {
			continue // of its condition: a simulated node works
		}
		made := map[string]string{"key": i.names.key(t.Key), "effect": string(t.Effect)}
		if t.Value != "" {
			made["value"] = i.names.value(t.Key, t.Value)
		}
		g.Taints = append(g.Taints, made)
	}
	if !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}) {
		g.Unschedulable = true
		i.note("node %s is not ready: here it works, and takes no new pods", name)
	}
	return g
}

// groups puts nodes together that have the same.
func (i *importer) groups() {
	var all []nodeGroup
	at := map[string]int{}
	for _, g := range i.nodeGroups {
		key, _ := json.Marshal(g) // of plain values; without the names
		n, known := at[string(key)]
		if !known {
			at[string(key)] = len(all)
			all = append(all, g)
			continue
		}
		all[n].names = append(all[n].names, g.names...)
	}
	slices.SortStableFunc(all, func(a, b nodeGroup) int { return cmp.Compare(len(b.names), len(a.names)) })
	i.nodeGroups = all
}

// up is bytes rounded up to whole extents.
func up(bytes int64) int64 { return (bytes + extent - 1) / extent * extent }
