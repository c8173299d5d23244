// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	resourcehelper "k8s.io/component-helpers/resource"
	"sigs.k8s.io/yaml"

	"github.com/podlv/podlv/driver"
)

// storageSide is what an import knows of storage. Pools and device classes have the names
// of the scenario, nodes, StorageClasses and volumes those of the cluster.
type storageSide struct {
	file    storageFile
	devices *driver.Classes // of file
	// classOf are device classes by StorageClass, storageClass the StorageClasses' names
	// in the scenario, and inlineClass the device classes by what inline volumes write.
	classOf, storageClass, inlineClass map[string]string
	// capacity is what is published for claims, bytes by StorageClass and node, where an
	// object is of one node.
	capacity map[string]map[string]int64
	// allocatable and requested are of the pools' extended resources: by node and pool.
	allocatable, requested usage
	local                  map[string]localVolume // by PV
}

// storageFile is pools and device classes, as podlv node reads them.
type storageFile struct {
	Pools   []map[string]any `json:"pools"`
	Classes []map[string]any `json:"classes"`
}

// usage is bytes by node and pool.
type usage map[string]map[string]int64

func (u usage) add(node, pool string, bytes int64) {
	if u[node] == nil {
		u[node] = map[string]int64{}
	}
	u[node][pool] += bytes
}

// localVolume is a PV that is on a node, in a pool that the scenario has.
type localVolume struct {
	node, class string
	size        int64
}

// classParameter of a StorageClass of podlv's is its device class.
const (
	classParameter = driver.Name + "/class"
	fsParameter    = "csi.storage.k8s.io/fstype"
)

// storage finds out which pools and device classes there are.
func (i *importer) storage() error {
	i.classOf, i.storageClass, i.inlineClass = map[string]string{}, map[string]string{}, map[string]string{}
	for n := range i.nodes {
		i.nodeName(i.nodes[n].Name) // in the order of the list, so that their numbers are
	}
	i.readCapacities()
	i.readResources()
	if i.unread != "" {
		i.note("%s, where podlv's device classes are: they were derived", i.unread)
	}
	if i.config != nil {
		if err := i.configured(); err != nil {
			return err
		}
	} else {
		i.derived()
	}
	i.others()
	if len(i.file.Pools) == 0 {
		return fmt.Errorf("%w: no driver publishes what nodes have for volumes (no node has a resource %s…, and no CSIStorageCapacity object is of a single node)", ErrNothing, driver.ResourcePrefix)
	}
	text, err := yaml.Marshal(i.file)
	if err != nil {
		return err
	}
	if i.devices, err = driver.ParseClasses(text); err != nil {
		return fmt.Errorf("the pools that were found: %w", err)
	}
	i.nameStorageClasses()
	i.locate()
	return nil
}

// readCapacities takes up the capacity objects that are of one node each.
func (i *importer) readCapacities() {
	i.capacity = map[string]map[string]int64{}
	byLabel := map[string][]string{} // key=value → nodes: most objects select by one label
	for _, n := range i.nodes {
		for k, v := range n.Labels {
			byLabel[k+"="+v] = append(byLabel[k+"="+v], n.Name)
		}
	}
	wide := map[string]int{}
	for _, c := range i.capacities {
		if c.NodeTopology == nil {
			continue
		}
		nodes := i.matching(c.NodeTopology, byLabel)
		if len(nodes) != 1 {
			if len(nodes) > 1 {
				wide[c.StorageClassName]++
			}
			continue
		}
		var size int64
		for _, q := range []int64{c.Capacity.Value(), c.MaximumVolumeSize.Value()} {
			size = max(size, q)
		}
		if i.capacity[c.StorageClassName] == nil {
			i.capacity[c.StorageClassName] = map[string]int64{}
		}
		i.capacity[c.StorageClassName][nodes[0]] = size
	}
	for _, class := range slices.Sorted(maps.Keys(wide)) {
		i.note("StorageClass %s publishes capacity for several nodes together (%d objects): it is not on nodes' own disks, and is left out", i.names.of(kindStorage, class), wide[class])
	}
}

// matching are the nodes that a selector takes.
func (i *importer) matching(selector *metav1.LabelSelector, byLabel map[string][]string) []string {
	if len(selector.MatchLabels) == 1 && len(selector.MatchExpressions) == 0 {
		for k, v := range selector.MatchLabels {
			return byLabel[k+"="+v]
		}
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil
	}
	var all []string
	for _, n := range i.nodes {
		if s.Matches(labels.Set(n.Labels)) {
			all = append(all, n.Name)
		}
	}
	return all
}

// readResources takes up what nodes have of pools, and pods ask of them.
func (i *importer) readResources() {
	i.allocatable, i.requested = usage{}, usage{}
	for _, n := range i.nodes {
		for _, name := range slices.Sorted(maps.Keys(n.Status.Allocatable)) {
			q := n.Status.Allocatable[name]
			if pool, ours := strings.CutPrefix(string(name), driver.ResourcePrefix); ours {
				i.allocatable.add(n.Name, i.poolName(pool), q.Value())
			}
		}
	}
	for p := range i.bound() {
		for name, q := range resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{}) {
			if pool, ours := strings.CutPrefix(string(name), driver.ResourcePrefix); ours {
				i.requested.add(p.Spec.NodeName, i.poolName(pool), q.Value())
			}
		}
	}
}

// poolName is the name in the scenario of a pool of podlv's.
func (i *importer) poolName(pool string) string {
	return i.names.named(kindPool, driver.ResourcePrefix+pool, pool)
}

// deviceClass is the name in the scenario of a device class of podlv's; "" is the default
// one.
func (i *importer) deviceClass(class string) string {
	return i.names.named(kindClass, classParameter+"/"+class, cmp.Or(class, "default"))
}

// ours says whether a StorageClass is podlv's.
func ours(s *storagev1.StorageClass) bool { return s.Provisioner == driver.Name }

// configured takes podlv's own configuration.
func (i *importer) configured() error {
	if err := yaml.Unmarshal(i.config, &i.file); err != nil {
		return err
	}
	parsed, err := driver.ParseClasses(i.config)
	if err != nil {
		return err
	}
	for n, p := range parsed.Pools() {
		m := i.file.Pools[n]
		m["name"], m["volumeGroup"] = i.poolName(p.Name), i.names.of(kindGroup, p.VolumeGroup)
		if p.ThinPool != "" {
			m["thinPool"] = i.names.of(kindThin, p.ThinPool)
		}
	}
	for n, c := range parsed.All() {
		m := i.file.Classes[n]
		name := i.deviceClass(c.Name)
		m["name"], m["pool"] = name, i.poolName(c.Pool.Name)
		if c.Unit < extent {
			m["unit"] = "4Mi"
			i.note("device class %s: its unit, %d bytes, is less than an extent of the simulated VGs: it is 4Mi here", name, c.Unit)
		}
		i.inlineClass[c.Name] = name
		if c.Default {
			i.inlineClass[""] = name
		}
	}
	for n := range i.live.classes {
		s := &i.live.classes[n]
		if !ours(s) {
			continue
		}
		if class := i.inlineClass[s.Parameters[classParameter]]; class != "" {
			i.classOf[s.Name] = class
		} else {
			i.note("StorageClass %s is of a device class that podlv's configuration does not have: it is left out", i.names.of(kindStorage, s.Name))
		}
	}
	return nil
}

// extent is that of the simulated VGs, which every unit must be a multiple of.
const extent = 4 << 20

// derived makes pools and device classes of podlv's of what is published: its
// configuration was not found.
func (i *importer) derived() {
	var pools []string // of the scenario
	for _, of := range i.allocatable {
		for pool := range of {
			if !slices.Contains(pools, pool) {
				pools = append(pools, pool)
			}
		}
	}
	slices.Sort(pools)
	mine := 0
	for n := range i.live.classes {
		if s := &i.live.classes[n]; ours(s) && len(i.capacity[s.Name]) > 0 {
			mine++
		}
	}
	if len(pools) == 0 && mine == 0 {
		return
	}
	uncounted := len(pools) == 0
	if uncounted {
		pools = []string{i.poolName("podlv")}
	}
	i.note("podlv's configuration was not found (ConfigMap %s in namespace %s): pools and device classes were derived from what nodes publish; layouts, reserves and limits of overprovisioning are not known and were taken to be linear and none", configName, configNamespace)
	made := map[string]bool{}
	class := func(live, like, pool, filesystem string, isDefault bool) string {
		name := i.names.named(kindClass, classParameter+"/"+live, like)
		if !made[name] {
			made[name] = true
			m := map[string]any{"name": name, "pool": pool}
			if isDefault {
				m["default"] = true
			}
			if filesystem != "" {
				m["filesystem"] = filesystem
			}
			i.file.Classes = append(i.file.Classes, m)
		}
		return name
	}
	for n := range i.live.classes {
		s := &i.live.classes[n]
		if !ours(s) {
			continue
		}
		live := s.Parameters[classParameter]
		i.classOf[s.Name] = class(live, cmp.Or(live, s.Name), i.poolOf(s, pools), filesystem(s), live == "")
		i.inlineClass[live] = i.classOf[s.Name]
	}
	for p := range i.bound() { // device classes that only inline volumes use
		for _, v := range p.Spec.Volumes {
			if v.CSI == nil || v.CSI.Driver != driver.Name {
				continue
			}
			live := v.CSI.VolumeAttributes["class"]
			if i.inlineClass[live] != "" {
				continue
			}
			pool := i.askedBy(p, pools)
			if c := i.onlyClass(pool); live == "" && c != nil {
				c["default"] = true
				i.inlineClass[live] = fmt.Sprint(c["name"])
				continue
			}
			i.inlineClass[live] = class(live, cmp.Or(live, "default"), pool, "", live == "")
		}
	}
	for _, pool := range pools {
		m := map[string]any{"name": pool, "volumeGroup": i.names.named(kindGroup, pool, "vg-"+pool)}
		switch bytes := i.reservedFor(pool); {
		case uncounted:
			m["inlinePool"] = "none"
		case bytes > 0:
			m["inlinePool"] = fmt.Sprintf("reserved=%d", bytes)
		}
		i.file.Pools = append(i.file.Pools, m)
		if !slices.ContainsFunc(i.file.Classes, func(c map[string]any) bool { return c["pool"] == pool }) {
			name := class("pool/"+pool, pool, pool, "", false)
			i.inlineClass[pool] = name
		}
	}
}

// poolOf is the pool that a StorageClass of podlv's most likely is of: the only one, that
// of its device class's name, or the one whose free space is most like its capacity.
func (i *importer) poolOf(s *storagev1.StorageClass, pools []string) string {
	if like := i.names.given[kindPool][driver.ResourcePrefix+s.Parameters[classParameter]]; slices.Contains(pools, like) {
		return like
	}
	best, least := pools[0], int64(-1)
	for _, pool := range pools {
		var apart int64
		for node, capacity := range i.capacity[s.Name] {
			d := capacity - (i.allocatable[node][pool] - i.requested[node][pool])
			apart += max(d, -d)
		}
		if least < 0 || apart < least {
			best, least = pool, apart
		}
	}
	if len(pools) > 1 {
		i.note("StorageClass %s was taken to be of pool %s, whose free space is most like its capacity", i.names.of(kindStorage, s.Name), best)
	}
	return best
}

// askedBy is the pool that a pod asks for, or the first.
func (i *importer) askedBy(p *corev1.Pod, pools []string) string {
	for name := range resourcehelper.PodRequests(p, resourcehelper.PodResourcesOptions{}) {
		if pool, ours := strings.CutPrefix(string(name), driver.ResourcePrefix); ours && slices.Contains(pools, i.poolName(pool)) {
			return i.poolName(pool)
		}
	}
	return pools[0]
}

// onlyClass is the device class of a pool that has one, else nil.
func (i *importer) onlyClass(pool string) (only map[string]any) {
	for _, c := range i.file.Classes {
		if c["pool"] != pool {
			continue
		}
		if only != nil {
			return nil
		}
		only = c
	}
	return only
}

// reservedFor is how many bytes of a pool are inline volumes' alone, 0 when they share
// it with claims. Shared bytes are free for both: a node then publishes for claims what its
// allocatable leaves of what pods request, or less where space is in pieces.
func (i *importer) reservedFor(pool string) int64 {
	var bytes int64
	apart := false
	for _, n := range i.nodes {
		a, has := i.allocatable[n.Name][pool]
		if !has {
			continue
		}
		if bytes != 0 && a != bytes {
			return 0 // what is reserved is the same everywhere
		}
		bytes = a
		for class, of := range i.capacity {
			if i.classPool(class) != pool {
				continue
			}
			if c, has := of[n.Name]; has && c > a-i.requested[n.Name][pool]+a/100 {
				apart = true
			}
		}
	}
	if !apart {
		return 0
	}
	return bytes
}

// classPool is the pool of a StorageClass, "" if it has none.
func (i *importer) classPool(storageClass string) string {
	for _, c := range i.file.Classes {
		if c["name"] == i.classOf[storageClass] {
			return fmt.Sprint(c["pool"])
		}
	}
	return ""
}

// filesystem is that of a StorageClass, if podlv can make it.
func filesystem(s *storagev1.StorageClass) string {
	switch fs := s.Parameters[fsParameter]; fs {
	case "ext4", "xfs", "btrfs":
		return fs
	}
	return ""
}

// others makes a pool of each StorageClass of another driver that publishes what nodes
// have. Those that publish the same and differ in the filesystem only have one together.
func (i *importer) others() {
	type backing struct {
		of       string
		pool     string
		capacity map[string]int64
	}
	var all []backing
	for n := range i.live.classes {
		s := &i.live.classes[n]
		capacity := i.capacity[s.Name]
		if ours(s) || len(capacity) == 0 {
			continue
		}
		of := s.Provisioner
		for _, k := range slices.Sorted(maps.Keys(s.Parameters)) {
			if k != fsParameter && k != "fsType" {
				of += "\x00" + k + "\x00" + s.Parameters[k]
			}
		}
		name := i.names.named(kindClass, "sc/"+s.Name, s.Name)
		at := slices.IndexFunc(all, func(b backing) bool { return b.of == of && maps.Equal(b.capacity, capacity) })
		if at < 0 {
			pool := i.names.named(kindPool, "sc/"+s.Name, s.Name)
			i.file.Pools = append(i.file.Pools, map[string]any{"name": pool, "volumeGroup": i.names.named(kindGroup, "sc/"+s.Name, "vg-"+pool)})
			at, all = len(all), append(all, backing{of, pool, capacity})
			driverName := s.Provisioner
			if i.Anonymize {
				driverName = "another driver"
			}
			i.note("StorageClass %s is of %s: pool %s stands for its disks, with what is published as free and the volumes that are there, and podlv for the driver", i.names.of(kindStorage, s.Name), driverName, pool)
		}
		m := map[string]any{"name": name, "pool": all[at].pool}
		if fs := filesystem(s); fs != "" {
			m["filesystem"] = fs
		}
		if s.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" && !slices.ContainsFunc(i.file.Classes, func(c map[string]any) bool { return c["default"] != nil }) {
			m["default"] = true
		}
		i.file.Classes = append(i.file.Classes, m)
		i.classOf[s.Name] = name
	}
}

// nameStorageClasses gives each StorageClass a name. There is one of each device class's
// name, which another must not have.
func (i *importer) nameStorageClasses() {
	device := map[string]bool{}
	for _, c := range i.devices.All() {
		device[c.Name] = true
	}
	for _, s := range slices.Sorted(maps.Keys(i.classOf)) {
		name := i.names.of(kindStorage, s)
		if device[name] && name != i.classOf[s] {
			i.note("StorageClass %s is called %s here: another device class has its name", name, i.classOf[s])
			name = i.classOf[s]
		}
		i.storageClass[s] = name
	}
}
