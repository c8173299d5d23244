// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"path"
	"reflect"
	"slices"
	"strings"
)

// Matching are the nodes whose names are like a pattern, in order.
func (s *Scenario) Matching(pattern string) (names []string) {
	s.Each(func(name string, _ *NodeGroup) {
		if is, err := path.Match(pattern, name); err == nil && is {
			names = append(names, name)
		}
	})
	return names
}

// What is the event's kind: the key of what happens, as reboot; "" when there is not
// exactly one.
func (e *Event) What() string {
	if all := e.kinds(); len(all) == 1 {
		return all[0]
	}
	return ""
}

// kinds are the keys of what an event has.
func (e *Event) kinds() (all []string) {
	v := reflect.ValueOf(*e)
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && !f.IsNil() {
			all = append(all, v.Type().Field(i).Tag.Get("yaml"))
		}
	}
	return all
}

// allKinds are the keys of what can happen.
func allKinds() (all []string) {
	t := reflect.TypeFor[Event]()
	for i := range t.NumField() {
		if t.Field(i).Type.Kind() == reflect.Pointer {
			all = append(all, t.Field(i).Tag.Get("yaml"))
		}
	}
	return all
}

func (c *checker) event(path string, e *Event, s *Scenario) {
	if e.At == 0 {
		c.add(path, "at is missing: how long after the first pod, such as 1s")
	}
	switch {
	case e.Times < 0 || e.Times > 100_000:
		c.add(path+".times", "%d: must be from 1 to 100000", e.Times)
	case (e.Times > 1) != (e.Every > 0):
		c.add(path, "every and times belong together: {every: 1s, times: 10}")
	}
	if e.What() == "" {
		c.add(path, "must have exactly one of %s; it has %s", strings.Join(allKinds(), ", "), or(strings.Join(e.kinds(), " and "), "none"))
		return
	}
	if e.Grow != nil || e.Scale != nil {
		if e.Node != "" || e.Random {
			c.add(path+".node", "a %s is of a workload, not of a node", e.What())
		}
		c.workloadEvent(path+"."+e.What(), e, s)
		return
	}
	nodes := s.Matching(e.Node)
	if len(nodes) == 0 {
		c.add(path+".node", "%q: there is no such node", e.Node)
		return
	}
	for i := range s.Nodes {
		if slices.ContainsFunc(s.Nodes[i].names(), func(name string) bool { return slices.Contains(nodes, name) }) {
			c.nodeEvent(path+"."+e.What(), e, &s.Nodes[i])
		}
	}
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// nodeEvent checks what is to happen to nodes of a group.
func (c *checker) nodeEvent(path string, e *Event, g *NodeGroup) {
	has := func(vg string) *VolumeGroup {
		i := slices.IndexFunc(g.VolumeGroups, func(v VolumeGroup) bool { return v.Name == vg })
		if i < 0 {
			c.add(path+".volumeGroup", "%q: nodes %s have no such VG", vg, g.Name)
			return nil
		}
		return &g.VolumeGroups[i]
	}
	switch {
	case e.LVCreate != nil:
		if has(e.LVCreate.VolumeGroup) != nil && e.LVCreate.Size == 0 {
			c.add(path, "size is missing")
		}
	case e.DiskFailure != nil:
		if v := has(e.DiskFailure.VolumeGroup); v != nil && (e.DiskFailure.Disk < 0 || e.DiskFailure.Disk >= max(len(v.Disks), 1)) {
			c.add(path+".disk", "%d: VG %s has %d disks, from 0", e.DiskFailure.Disk, v.Name, max(len(v.Disks), 1))
		}
	case e.SlowLVM != nil && e.SlowLVM.Delay == 0, e.WatchDelay != nil && e.WatchDelay.Delay == 0:
		c.add(path, "delay is missing: how much longer it takes, such as 2s")
	case e.HangLVM != nil && e.HangLVM.For == 0:
		c.add(path, "for is missing: for how long it hangs, such as 10s")
	}
}

// workloadEvent checks what is to happen to a workload.
func (c *checker) workloadEvent(path string, e *Event, s *Scenario) {
	name := ""
	if e.Grow != nil {
		name = e.Grow.Workload
	} else {
		name = e.Scale.Workload
	}
	w, _ := s.named(name)
	switch {
	case w == nil:
		c.add(path+".workload", "%q: there is no such workload", name)
	case e.Scale != nil && w.Controller == "":
		c.add(path+".workload", "%q: it has no controller that could make more pods", name)
	case e.Scale != nil && e.Scale.Pods < 0:
		c.add(path+".pods", "%d: must be at least 0", e.Scale.Pods)
	case e.Grow != nil && !w.hasObjects() && !slices.ContainsFunc(w.Volumes, func(v Volume) bool { return v.Kind != Inline }):
		c.add(path+".workload", "%q: its pods have no claims; inline volumes do not grow", name)
	case e.Grow != nil && e.Grow.Size == 0:
		c.add(path, "size is missing")
	}
}
