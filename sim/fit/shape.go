// SPDX-License-Identifier: Apache-2.0

package fit

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/podlv/podlv/sim/scenario"
)

// Shape is what a node has.
type Shape struct {
	Group scenario.NodeGroup
	text  string
}

// ParseShape reads a shape, as 'cpu=64,memory=256Gi,size=1Ti', or 'like=NODE' and what is
// to be different. size is of the only VG, size/VG of one of several.
func ParseShape(text string, s *scenario.Scenario) (*Shape, error) {
	fail := func(format string, args ...any) (*Shape, error) {
		return nil, fmt.Errorf("--shape %q: %w", text, fmt.Errorf(format, args...))
	}
	x := &Shape{text: text, Group: scenario.NodeGroup{Pods: 110}}
	g := &x.Group
	for _, vg := range s.Storage.VolumeGroups() {
		g.VolumeGroups = append(g.VolumeGroups, scenario.VolumeGroup{Name: vg})
	}
	values := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return fail("%q: must be KEY=VALUE, such as cpu=64", part)
		}
		if _, twice := values[key]; twice {
			return fail("%s: is there twice", key)
		}
		values[key] = value
	}
	if like, has := values["like"]; has {
		delete(values, "like")
		found := false
		s.Each(func(name string, of *scenario.NodeGroup) {
			if name == like {
				*g, found = *of, true
			}
		})
		if !found {
			return nil, unknownNode(fmt.Sprintf("--shape %q: like=%s", text, like), s)
		}
		g.Names, g.Unschedulable, g.Labels, g.VolumeGroups = nil, false, maps.Clone(g.Labels), slices.Clone(g.VolumeGroups)
		delete(g.Labels, corev1.LabelHostname)
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := values[key]
		q, err := resource.ParseQuantity(value)
		if err != nil || q.Sign() <= 0 {
			return fail("%s=%s: must be a quantity of more than 0, such as 64 or 1Ti", key, value)
		}
		name, isSize := strings.CutPrefix(key, "size")
		switch {
		case key == "cpu":
			g.CPU = scenario.Quantity{Quantity: q}
		case key == "memory":
			g.Memory = scenario.Size(q.Value())
		case key == "pods":
			if g.Pods, err = strconv.Atoi(value); err != nil {
				return fail("pods=%s: must be a whole number", value)
			}
		case isSize && (name == "" || name[0] == '/'):
			if err := resize(g, strings.TrimPrefix(name, "/"), q.Value()); err != nil {
				return fail("%s: %w", key, err)
			}
		default:
			return fail("%q: must be like, cpu, memory, pods, size or size/VG", key)
		}
	}
	switch {
	case g.CPU.IsZero():
		return fail("cpu is missing, or like=NODE")
	case g.Memory == 0:
		return fail("memory is missing, or like=NODE")
	}
	for _, v := range g.VolumeGroups {
		if v.Size == 0 && len(v.Disks) == 0 {
			return fail("the size of VG %s is missing: size/%s=1Ti, or like=NODE", v.Name, v.Name)
		}
	}
	for _, p := range s.Storage.Pools() {
		i := slices.IndexFunc(g.VolumeGroups, func(v scenario.VolumeGroup) bool { return v.Name == p.VolumeGroup })
		if i < 0 || p.ThinPool != "" && !slices.ContainsFunc(g.VolumeGroups[i].ThinPools, func(t scenario.ThinPool) bool { return t.Name == p.ThinPool }) {
			return fail("pool %s is a thin pool: write like=NODE, of a node that has it", p.Name)
		}
	}
	return x, nil
}

// resize gives a VG another size, its disks and thin pools in proportion; "" is the only
// one.
func resize(g *scenario.NodeGroup, vg string, bytes int64) error {
	if vg == "" && len(g.VolumeGroups) != 1 {
		return fmt.Errorf("there are several VGs: write size/VG; they are %s", groupsOf(g))
	}
	i := slices.IndexFunc(g.VolumeGroups, func(v scenario.VolumeGroup) bool { return v.Name == vg || vg == "" })
	if i < 0 {
		return fmt.Errorf("there is no VG %q; there are %s", vg, groupsOf(g))
	}
	v := &g.VolumeGroups[i]
	if v.Size == 0 && len(v.Disks) == 0 {
		v.Size = scenario.Size(bytes)
		return nil
	}
	had := v.Size
	for _, d := range v.Disks {
		had += d
	}
	scaled := func(n scenario.Size) scenario.Size {
		const extent = 4 << 20
		return max(scenario.Size(float64(n)*float64(bytes)/float64(had))/extent*extent, extent)
	}
	v.Disks, v.ThinPools = slices.Clone(v.Disks), slices.Clone(v.ThinPools)
	if v.Size > 0 {
		v.Size = scenario.Size(bytes)
	}
	for i := range v.Disks {
		v.Disks[i] = scaled(v.Disks[i])
	}
	for i := range v.ThinPools {
		v.ThinPools[i].Size = scaled(v.ThinPools[i].Size)
	}
	return nil
}

// name begins the names of the nodes, which no other node has.
func (x *Shape) name(nodes []scenario.NodeGroup) string {
	name := "shape"
	for slices.ContainsFunc(nodes, func(g scenario.NodeGroup) bool { return strings.HasPrefix(g.Names[0], name+"-") }) {
		name += "x"
	}
	return name
}

// bound is how many nodes the sums ask for, at least.
func (p *plan) bound(x *Shape) (int, error) {
	s := p.q.Cluster
	need := ofAll(p.fresh, s, len(p.nodes))
	need.add(ofAll(p.moved, s, len(p.nodes)), 1)
	need.add(p.free(), -1) // also of what nobody asks for
	each := has(&x.Group, s)
	for _, d := range p.daemons {
		each.add(ofPod(&d.Spec, s), -1)
	}
	bound := 0
	for _, r := range slices.Sorted(maps.Keys(need)) {
		if need[r] <= 0 {
			continue
		}
		if each[r] <= 0 {
			return 0, fmt.Errorf("--shape %q: no number of these nodes would do: %d of %s are missing, and such a node has none", x.text, need[r], r)
		}
		bound = max(bound, int((need[r]+each[r]-1)/each[r]))
	}
	return bound, nil
}
