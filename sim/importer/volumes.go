// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/podlv/podlv/driver"
)

// locate finds the volumes that are on nodes, in pools that the scenario has.
func (i *importer) locate() {
	i.local = map[string]localVolume{}
	nodes := map[string]string{} // by affinity: most volumes share theirs with others
	left := map[string]int{}
	for n := range i.volumes {
		pv := &i.volumes[n]
		class := i.classOf[pv.Spec.StorageClassName]
		if class == "" {
			left[i.strange(pv)]++
			continue
		}
		affinity := pv.Spec.NodeAffinity.String()
		node, known := nodes[affinity]
		if !known {
			node = i.onlyNode(pv)
			nodes[affinity] = node
		}
		if node == "" {
			left["a node that is not there, or several"]++
			continue
		}
		size := pv.Spec.Capacity[corev1.ResourceStorage]
		i.local[pv.Name] = localVolume{node, class, size.Value()}
	}
	for _, why := range slices.Sorted(maps.Keys(left)) {
		i.note("%d PersistentVolumes are left out: they are of %s", left[why], why)
	}
}

// strange is what a volume is of that is in no pool.
func (i *importer) strange(pv *corev1.PersistentVolume) string {
	switch {
	case pv.Spec.CSI == nil:
		return "no CSI driver"
	case pv.Spec.CSI.Driver == driver.Name:
		return "StorageClasses of podlv that are not there"
	case i.Anonymize:
		return "drivers that publish no capacity by node"
	}
	return pv.Spec.CSI.Driver + ", which publishes no capacity by node for their StorageClass"
}

// onlyNode is the node that a volume is on, "" if that is none or not one.
func (i *importer) onlyNode(pv *corev1.PersistentVolume) string {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return ""
	}
	s, err := nodeaffinity.NewNodeSelector(pv.Spec.NodeAffinity.Required)
	if err != nil {
		return ""
	}
	found := ""
	for n := range i.nodes {
		if !s.Match(&i.nodes[n]) {
			continue
		}
		if found != "" {
			return ""
		}
		found = i.nodes[n].Name
	}
	return found
}

// charge is what a volume takes of its pool, bytes.
func (i *importer) charge(class string, size int64) (pool string, bytes int64) {
	c, err := i.devices.Named(class)
	if err != nil {
		return "", 0
	}
	bytes, err = c.Charge(size)
	if err != nil {
		return c.Pool.Name, size
	}
	return c.Pool.Name, bytes
}
