// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/lvm"
)

// Published says what of a node's published capacity and resources is not what its
// disks have. It is exact for linear classes of pools that pods and claims share; of
// others it says only what cannot be. Everything must have come to rest.
func (o *Oracle) Published(n *corev1.Node, capacities []*storagev1.CSIStorageCapacity) (wrong []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	have := o.nodes[n.Name]
	if have == nil {
		return nil // a node without disks, as that of a control plane
	}
	groups := o.look(n.Name, have)
	for _, pool := range o.classes.Pools() {
		_, g, ok := o.pool(groups, pool.Name)
		if !ok || !pool.Counted() {
			continue
		}
		wrong = append(wrong, o.allocatable(n, have, g, pool)...)
	}
	for _, class := range o.classes.All() {
		_, g, ok := o.pool(groups, class.Pool.Name)
		if !ok {
			continue
		}
		wrong = append(wrong, o.capacity(n, have, g, class, capacities)...)
	}
	return wrong
}

// allocatable judges the extended resource of a pool.
func (o *Oracle) allocatable(n *corev1.Node, have *node, g *group, pool driver.Pool) (wrong []string) {
	q, there := n.Status.Allocatable[corev1.ResourceName(pool.Resource())]
	if !there {
		return []string{fmt.Sprintf("node %s: nothing says what pods have of pool %s", n.Name, pool.Name)}
	}
	var charged int64
	for _, c := range have.bound {
		charged += c[pool.Name]
	}
	if q.Value() < charged {
		wrong = append(wrong, fmt.Sprintf("node %s: %s is %d, less than the %d that pods there have", n.Name, pool.Resource(), q.Value(), charged))
	}
	room, _ := o.room(have, map[string]*group{pool.VolumeGroup: g}, pool.Name, "")
	if most := room + charged; q.Value() > most {
		wrong = append(wrong, fmt.Sprintf("node %s: %s is %d; the disks have %d for pods", n.Name, pool.Resource(), q.Value(), most))
	} else if unit := o.unit(pool); o.shared(pool) && q.Value() < most/unit*unit {
		wrong = append(wrong, fmt.Sprintf("node %s: %s is only %d; the disks have %d for pods", n.Name, pool.Resource(), q.Value(), most))
	}
	return wrong
}

// capacity judges what is published for claims of a class.
func (o *Oracle) capacity(n *corev1.Node, have *node, g *group, class driver.Class, all []*storagev1.CSIStorageCapacity) (wrong []string) {
	i := slices.IndexFunc(all, func(c *storagev1.CSIStorageCapacity) bool {
		return c.StorageClassName == class.Name && c.NodeTopology != nil && c.NodeTopology.MatchLabels[driver.TopologyKey] == n.Name
	})
	if i < 0 || all[i].Capacity == nil || all[i].MaximumVolumeSize == nil {
		return []string{fmt.Sprintf("node %s: nothing says what claims of StorageClass %s can have", n.Name, class.Name)}
	}
	if all[i].Capacity.Cmp(*all[i].MaximumVolumeSize) != 0 {
		wrong = append(wrong, fmt.Sprintf("node %s: StorageClass %s has capacity %s and maximumVolumeSize %s, which must be the same", n.Name, class.Name, all[i].Capacity, all[i].MaximumVolumeSize))
	}
	room, _ := o.room(have, map[string]*group{class.Pool.VolumeGroup: g}, class.Pool.Name, "")
	said, most := all[i].Capacity.Value(), max(room, 0)/class.Unit*class.Unit
	switch {
	case said > most:
		wrong = append(wrong, fmt.Sprintf("node %s: StorageClass %s has capacity %d; the disks have %d for claims", n.Name, class.Name, said, most))
	case class.Layout == lvm.Linear && o.shared(class.Pool) && said < most:
		wrong = append(wrong, fmt.Sprintf("node %s: StorageClass %s has capacity %d only; the disks have %d for claims", n.Name, class.Name, said, most))
	}
	return wrong
}

// shared: the pool is for whoever comes first, so that what it has is one number.
func (o *Oracle) shared(pool driver.Pool) bool { return pool.Inline.Shared() && pool.ThinPool == "" }

// unit is the smallest of the units of a pool's classes, bytes.
func (o *Oracle) unit(pool driver.Pool) int64 {
	unit := int64(0)
	for _, c := range o.classes.All() {
		if c.Pool.Name == pool.Name && (unit == 0 || c.Unit < unit) {
			unit = c.Unit
		}
	}
	return max(unit, 1)
}
