// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// selectors finds out which labels of nodes and pods matter.
func (i *importer) selectors() {
	i.nodeKeys, i.podKeys = map[string]bool{}, map[string]bool{}
	for _, k := range i.Labels {
		i.nodeKeys[k] = true
	}
	if !i.Anonymize {
		for _, k := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion, corev1.LabelInstanceTypeStable} {
			i.nodeKeys[k] = true
		}
	}
	wide := 0
	for p := range i.bound() {
		for k := range p.Spec.NodeSelector {
			i.nodeKeys[k] = true
		}
		for _, c := range p.Spec.TopologySpreadConstraints {
			i.nodeKeys[c.TopologyKey] = true
			i.selects(c.LabelSelector, c.MatchLabelKeys)
		}
		a := p.Spec.Affinity
		if a == nil {
			continue
		}
		for _, t := range nodeTerms(a.NodeAffinity) {
			for _, e := range t.MatchExpressions {
				i.nodeKeys[e.Key] = true
			}
		}
		for _, t := range podTerms(a) {
			i.nodeKeys[t.TopologyKey] = true
			i.selects(t.LabelSelector, append(slices.Clone(t.MatchLabelKeys), t.MismatchLabelKeys...))
			if t.NamespaceSelector != nil && (len(t.NamespaceSelector.MatchLabels) > 0 || len(t.NamespaceSelector.MatchExpressions) > 0) {
				wide++
			}
		}
	}
	i.noteIf(wide, "%d affinities select namespaces by label: they are taken to be of all namespaces")
}

// selects takes up which labels of pods a selector uses.
func (i *importer) selects(s *metav1.LabelSelector, keys []string) {
	i.apart = true
	for _, k := range keys {
		i.podKeys[k] = true
	}
	if s == nil {
		return
	}
	for k := range s.MatchLabels {
		i.podKeys[k] = true
	}
	for _, e := range s.MatchExpressions {
		i.podKeys[e.Key] = true
	}
}

// nodeTerms are all terms of a node affinity.
func nodeTerms(a *corev1.NodeAffinity) (all []corev1.NodeSelectorTerm) {
	if a == nil {
		return nil
	}
	if a.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		all = append(all, a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms...)
	}
	for _, t := range a.PreferredDuringSchedulingIgnoredDuringExecution {
		all = append(all, t.Preference)
	}
	return all
}

// podTerms are all terms of pod affinities, for pods and against them.
func podTerms(a *corev1.Affinity) (all []corev1.PodAffinityTerm) {
	var preferred []corev1.WeightedPodAffinityTerm
	if a.PodAffinity != nil {
		all = append(all, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution...)
		preferred = append(preferred, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	if a.PodAntiAffinity != nil {
		all = append(all, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution...)
		preferred = append(preferred, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution...)
	}
	for _, t := range preferred {
		all = append(all, t.PodAffinityTerm)
	}
	return all
}

// pairs are labels with their names of the scenario.
func (i *importer) pairs(m map[string]string) map[string]string {
	var made map[string]string
	for _, k := range slices.Sorted(maps.Keys(m)) { // in order, so that numbers are given in order
		v := m[k]
		if made == nil {
			made = map[string]string{}
		}
		made[i.names.key(k)] = i.names.value(k, v)
	}
	return made
}

// podLabels are those that a selector uses.
func (i *importer) podLabels(p *corev1.Pod) map[string]string {
	kept := map[string]string{}
	for k, v := range p.Labels {
		if i.podKeys[k] {
			kept[k] = v
		}
	}
	made := i.pairs(kept)
	if made == nil {
		made = map[string]string{}
	}
	if i.apart {
		made[namespaceLabel] = i.names.of(kindNamespace, p.Namespace)
	}
	if o := metav1.GetControllerOf(p); o != nil && (o.Kind == "DaemonSet" || o.Kind == "Node") {
		made[OwnerLabel] = o.Kind
	}
	return made
}

// inNamespaces is a selector of pods that were in these namespaces, nil: in all. What
// its keys match of the pod itself is written out.
func (i *importer) inNamespaces(p *corev1.Pod, s *metav1.LabelSelector, same, other []string, namespaces []string) *metav1.LabelSelector {
	if s == nil {
		return nil // it selects nothing
	}
	made := &metav1.LabelSelector{MatchLabels: i.pairs(s.MatchLabels)}
	for _, e := range s.MatchExpressions {
		made.MatchExpressions = append(made.MatchExpressions, i.requirement(e.Key, e.Operator, e.Values))
	}
	for n, k := range slices.Concat(same, other) {
		operator := metav1.LabelSelectorOpIn
		if n >= len(same) {
			operator = metav1.LabelSelectorOpNotIn
		}
		v, has := p.Labels[k]
		known := slices.ContainsFunc(s.MatchExpressions, func(e metav1.LabelSelectorRequirement) bool { return e.Key == k }) // the API server has written it out
		if has && !known {
			made.MatchExpressions = append(made.MatchExpressions, i.requirement(k, operator, []string{v}))
		}
	}
	if namespaces != nil {
		var of []string
		for _, n := range namespaces {
			of = append(of, i.names.of(kindNamespace, n))
		}
		made.MatchExpressions = append(made.MatchExpressions, metav1.LabelSelectorRequirement{Key: namespaceLabel, Operator: metav1.LabelSelectorOpIn, Values: of})
	}
	return made
}

func (i *importer) requirement(key string, operator metav1.LabelSelectorOperator, values []string) metav1.LabelSelectorRequirement {
	r := metav1.LabelSelectorRequirement{Key: i.names.key(key), Operator: operator}
	for _, v := range values {
		r.Values = append(r.Values, i.names.value(key, v))
	}
	return r
}

// affinity is a pod's, with names of the scenario.
func (i *importer) affinity(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		return nil
	}
	a := p.Spec.Affinity.DeepCopy()
	node := func(t *corev1.NodeSelectorTerm) {
		for n, e := range t.MatchExpressions {
			r := i.requirement(e.Key, metav1.LabelSelectorOperator(e.Operator), e.Values)
			t.MatchExpressions[n] = corev1.NodeSelectorRequirement{Key: r.Key, Operator: e.Operator, Values: r.Values}
		}
		for n, e := range t.MatchFields {
			for v := range e.Values { // metadata.name is the only field there is
				t.MatchFields[n].Values[v] = i.nodeName(e.Values[v])
			}
		}
	}
	pod := func(t *corev1.PodAffinityTerm) {
		namespaces := t.Namespaces
		switch {
		case t.NamespaceSelector != nil:
			namespaces = nil
		case len(namespaces) == 0:
			namespaces = []string{p.Namespace}
		}
		t.LabelSelector = i.inNamespaces(p, t.LabelSelector, t.MatchLabelKeys, t.MismatchLabelKeys, namespaces)
		t.TopologyKey = i.names.key(t.TopologyKey)
		t.Namespaces, t.NamespaceSelector, t.MatchLabelKeys, t.MismatchLabelKeys = nil, nil, nil, nil
	}
	if n := a.NodeAffinity; n != nil {
		if required := n.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
			for t := range required.NodeSelectorTerms {
				node(&required.NodeSelectorTerms[t])
			}
		}
		for t := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			node(&n.PreferredDuringSchedulingIgnoredDuringExecution[t].Preference)
		}
	}
	if of := a.PodAffinity; of != nil {
		for t := range of.RequiredDuringSchedulingIgnoredDuringExecution {
			pod(&of.RequiredDuringSchedulingIgnoredDuringExecution[t])
		}
		for t := range of.PreferredDuringSchedulingIgnoredDuringExecution {
			pod(&of.PreferredDuringSchedulingIgnoredDuringExecution[t].PodAffinityTerm)
		}
	}
	if of := a.PodAntiAffinity; of != nil {
		for t := range of.RequiredDuringSchedulingIgnoredDuringExecution {
			pod(&of.RequiredDuringSchedulingIgnoredDuringExecution[t])
		}
		for t := range of.PreferredDuringSchedulingIgnoredDuringExecution {
			pod(&of.PreferredDuringSchedulingIgnoredDuringExecution[t].PodAffinityTerm)
		}
	}
	return a
}

func (i *importer) spread(p *corev1.Pod) (all []corev1.TopologySpreadConstraint) {
	for _, c := range p.Spec.TopologySpreadConstraints {
		made := *c.DeepCopy()
		made.TopologyKey = i.names.key(c.TopologyKey)
		made.LabelSelector = i.inNamespaces(p, c.LabelSelector, c.MatchLabelKeys, nil, []string{p.Namespace})
		made.MatchLabelKeys = nil
		all = append(all, made)
	}
	return all
}

// defaultTolerationSeconds is what the API server adds of its own accord.
const defaultTolerationSeconds = 300

func (i *importer) tolerations(of []corev1.Toleration) (all []corev1.Toleration) {
	for _, t := range of {
		if (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable) && ptr.Deref(t.TolerationSeconds, 0) == defaultTolerationSeconds {
			continue
		}
		if t.Key != "" {
			t.Key, t.Value = i.names.key(t.Key), i.names.value(t.Key, t.Value)
		}
		all = append(all, t)
	}
	return all
}

// requests are those of a container; those of pools the policies add anew. An extended
// resource needs a limit as well.
func (i *importer) requests(r corev1.ResourceRequirements) corev1.ResourceRequirements {
	made := corev1.ResourceRequirements{}
	for name, q := range r.Requests {
		if strings.HasPrefix(string(name), driver.ResourcePrefix) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || q.IsZero() {
			continue
		}
		if made.Requests == nil {
			made.Requests = corev1.ResourceList{}
		}
		made.Requests[name] = q
		if strings.Contains(string(name), "/") {
			if made.Limits == nil {
				made.Limits = corev1.ResourceList{}
			}
			made.Limits[name] = q
		}
	}
	return made
}

func parseQuantity(text string) (int64, error) {
	q, err := resource.ParseQuantity(text)
	return q.Value(), err
}

func bytesQuantity(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.BinarySI) }
