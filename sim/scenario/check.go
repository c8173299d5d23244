// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// defaultNode is what the names of nodes begin with.
const defaultNode = "node"

// UnmarshalYAML sets the defaults of what is not written.
func (g *NodeGroup) UnmarshalYAML(unmarshal func(any) error) error {
	type plain NodeGroup // which has no such method
	p := plain{Name: defaultNode, Count: 1, Pods: 1000, Memory: 256 << 30, CPU: Quantity{*resource.NewQuantity(64, resource.DecimalSI)}}
	if err := unmarshal(&p); err != nil {
		return err
	}
	*g = NodeGroup(p)
	return nil
}

func (s *Scenario) setDefaults() {
	s.Until.Quiet = cmp.Or(s.Until.Quiet, Duration(5*time.Second))
	s.Until.Timeout = cmp.Or(s.Until.Timeout, Duration(5*time.Minute))
	s.Settings.CapacityScoring = cmp.Or(s.Settings.CapacityScoring, NoScoring)
	if s.Settings.InlineAccounting == nil {
		s.Settings.InlineAccounting = ptr.To(true)
	}
}

// names are those of the group's nodes.
func (g *NodeGroup) names() []string {
	if len(g.Names) > 0 {
		return g.Names
	}
	var all []string
	for i := range g.Count {
		all = append(all, fmt.Sprintf("%s-%d", g.Name, i))
	}
	return all
}

// checker collects what is wrong with a scenario that could be read.
type checker struct {
	file     *ast.File
	problems []error
}

// add is a problem at a path. What is not in the file, because it is missing, is a
// problem of what it should be in.
func (c *checker) add(path, format string, args ...any) {
	place := ast.Node(c.file.Docs[0].Body)
	if p, err := yaml.PathString("$." + path); err == nil {
		if node, err := p.FilterFile(c.file); err == nil {
			place = node
		}
	}
	c.problems = append(c.problems, at(place, "%s: %w", path, fmt.Errorf(format, args...)))
}

// nodeName is what a whole name of a node may be: it becomes the value of a label, too.
var nodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

// label is what a part of a name of Kubernetes may be.
var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$`)

func (c *checker) check(s *Scenario, compiles func(string) error) {
	if s.Storage.Classes == nil {
		c.add("storage", "is missing: pools and device classes, as podlv node reads them")
		return
	}
	if len(s.Nodes) == 0 {
		c.add("nodes", "at least one is needed")
	}
	nodes := map[string]bool{}
	for i := range s.Nodes {
		c.nodes(fmt.Sprintf("nodes[%d]", i), &s.Nodes[i], s, nodes)
	}
	if len(s.Workloads) == 0 {
		c.add("workloads", "at least one is needed")
	}
	c.settings(s)
	for i := range s.Workloads {
		c.workload(fmt.Sprintf("workloads[%d]", i), i, s)
	}
	for i := range s.Events {
		c.event(fmt.Sprintf("events[%d]", i), &s.Events[i], s)
	}
	if len(s.Expectations) == 0 {
		c.add("expectations", "at least one is needed, such as {that: metrics.podsRunning == metrics.pods, message: every pod runs}")
	}
	for i, e := range s.Expectations {
		path := fmt.Sprintf("expectations[%d]", i)
		switch err := compiles(e.That); {
		case e.That == "":
			c.add(path, "that is missing: CEL that is true when it holds, such as metrics.wrongNodeBinds == 0")
		case err != nil:
			c.add(path+".that", "%w", err)
		}
		if e.Message == "" {
			c.add(path, "message is missing: what it means, for whoever reads the report")
		}
	}
}

func (c *checker) settings(s *Scenario) {
	for _, name := range slices.Sorted(maps.Keys(s.StorageClasses)) {
		if _, err := s.Storage.Named(s.StorageClasses[name]); err != nil || s.StorageClasses[name] == "" {
			c.add("storageClasses", "%s: %q is no device class of storage", name, s.StorageClasses[name])
		}
		if slices.ContainsFunc(s.Storage.All(), func(d driver.Class) bool { return d.Name == name }) {
			c.add("storageClasses", "%s: there is a StorageClass of that name already, as for each device class", name)
		}
	}
	switch s.Settings.CapacityScoring {
	case NoScoring, MostFree, LeastFree:
	default:
		c.add("settings.capacityScoring", "%q: must be %s, %s or %s", s.Settings.CapacityScoring, NoScoring, MostFree, LeastFree)
	}
	if n := s.Settings.ScoredNodes; n < 0 || n > 100 {
		c.add("settings.scoredNodes", "%d: must be from 1 to 100 percent, or 0 for Kubernetes' default", n)
	}
}

func (c *checker) nodes(path string, g *NodeGroup, s *Scenario, seen map[string]bool) {
	for i, name := range g.Names {
		if !nodeName.MatchString(name) {
			c.add(fmt.Sprintf("%s.names[%d]", path, i), "%q: must be up to 63 of a-z 0-9, hyphens and dots inside", name)
		}
	}
	if len(g.Names) > 0 && (g.Count != 1 || g.Name != defaultNode) {
		c.add(path, "names takes the place of name and count")
	}
	c.taints(path, g)
	if !label.MatchString(g.Name) {
		c.add(path+".name", "%q: must be up to 42 of a-z 0-9 and hyphens inside", g.Name)
	}
	if g.Count < 1 || g.Count > 5000 {
		c.add(path+".count", "%d: must be from 1 to 5000", g.Count)
		return
	}
	if g.Pods < 1 {
		c.add(path+".pods", "%d: must be at least 1", g.Pods)
	}
	for _, name := range g.names() {
		if seen[name] {
			c.add(path, "there is a node %s already", name)
			break
		}
		seen[name] = true
	}
	var groups []string
	thin := map[string]bool{}
	for i, v := range g.VolumeGroups {
		at := fmt.Sprintf("%s.volumeGroups[%d]", path, i)
		if slices.Contains(groups, v.Name) {
			c.add(at+".name", "%q: there is a VG of that name already", v.Name)
		}
		groups = append(groups, v.Name)
		if (v.Size == 0) == (len(v.Disks) == 0) {
			c.add(at, "must have either a size or disks")
		}
		for j, p := range v.ThinPools {
			if p.Size == 0 {
				c.add(fmt.Sprintf("%s.thinPools[%d]", at, j), "size is missing")
			}
			thin[v.Name+"/"+p.Name] = true
		}
	}
	for _, pool := range s.Storage.Pools() {
		if !slices.Contains(groups, pool.VolumeGroup) {
			c.add(path, "volumeGroups: pool %s is on VG %q, which these nodes do not have", pool.Name, pool.VolumeGroup)
		} else if pool.ThinPool != "" && !thin[pool.VolumeGroup+"/"+pool.ThinPool] {
			c.add(path, "volumeGroups: pool %s is thin pool %s of VG %s, which these nodes do not have", pool.Name, pool.ThinPool, pool.VolumeGroup)
		}
	}
}
