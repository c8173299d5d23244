// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"fmt"
	"slices"
)

// named is the workload of a name, and its place among all, or -1.
func (s *Scenario) named(name string) (*Workload, int) {
	i := slices.IndexFunc(s.Workloads, func(w Workload) bool { return w.Name == name })
	if i < 0 {
		return nil, i
	}
	return &s.Workloads[i], i
}

// Controlled says whether the pods are made by something else, by a controller or as
// the objects say, and not by the simulator itself.
func (w *Workload) Controlled() bool { return w.Controller != "" || w.hasObjects() }

func (c *checker) workload(path string, i int, s *Scenario) {
	w := &s.Workloads[i]
	if !label.MatchString(w.Name) {
		c.add(path+".name", "%q: must be up to 42 of a-z 0-9 and hyphens inside", w.Name)
	}
	if _, first := s.named(w.Name); first != i {
		c.add(path+".name", "%q: there is a workload of that name already", w.Name)
	}
	if _, before := s.named(w.After); w.After != "" && (before < 0 || before >= i) {
		c.add(path+".after", "%q: must be the name of a workload that is above this one", w.After)
	}
	c.placed(path, w, s)
	if w.hasObjects() {
		c.objects(path, w)
		return
	}
	if w.Pods < 1 || w.Pods > 1_000_000 {
		c.add(path+".pods", "%d: must be from 1 to 1000000", w.Pods)
	}
	switch w.Controller {
	case "", Deployment, StatefulSet:
	default:
		c.add(path+".controller", "%q: must be %s or %s", w.Controller, Deployment, StatefulSet)
	}
	if w.Controller != "" && w.Lifetime > 0 {
		c.add(path+".lifetime", "the pods of a %s do not end by themselves", w.Controller)
	}
	if w.Controller != "" && w.Arrival > 0 {
		c.add(path+".arrival", "the pods of a %s arrive as it makes them", w.Controller)
	}
	for j, v := range w.Volumes {
		c.volume(fmt.Sprintf("%s.volumes[%d]", path, j), w, v, s)
	}
}

func (c *checker) volume(path string, w *Workload, v Volume, s *Scenario) {
	switch v.Kind {
	case Inline, Ephemeral, Claim:
	default:
		c.add(path+".kind", "%q: must be %s, %s or %s", v.Kind, Inline, Ephemeral, Claim)
	}
	if v.Size.Min == 0 {
		c.add(path, "size is missing")
	}
	if w.Controller != "" && v.Size.Min != v.Size.Max {
		c.add(path+".size", "all pods of a %s have the same size", w.Controller)
	}
	if w.Controller == Deployment && v.Kind == Claim {
		c.add(path+".kind", "the pods of a Deployment would share one claim: use a StatefulSet, or kind %s", Ephemeral)
	}
	if v.Block && v.Kind == Inline {
		c.add(path+".block", "Kubernetes has no raw block inline volumes")
	}
	if v.Kind != Inline && v.FSType != "" {
		c.add(path+".fsType", "%q: only an inline volume names its filesystem; of a claim the device class does", v.FSType)
	}
	if _, err := s.Storage.Named(v.Class); err != nil {
		c.add(path+".class", "%w", err)
	}
}
