// SPDX-License-Identifier: Apache-2.0

// Package scenario reads what the simulator is to simulate: a YAML file of nodes, of
// workloads that arrive, and of what is expected of them.
//
// There are only the Scenario and its parts, which Parse reads and checks. It is
// strict: an unknown key, a size without a unit, an expectation that does not compile
// are errors, each with its line and column.
package scenario

import (
	"github.com/podlv/podlv/driver"
)

// Scenario is what is simulated.
type Scenario struct {
	// Name is the file's, without its ending.
	Name string `yaml:"-"`
	// Description is a sentence for podlv-sim list.
	Description string `yaml:"description"`
	// Seed is what sizes are drawn with; the same seed draws the same.
	Seed int64 `yaml:"seed"`
	// Storage is the configuration of every agent, as podlv node reads it. There is a
	// StorageClass for each device class, of the same name.
	Storage Storage `yaml:"storage"`
	// StorageClasses are more of them, by the device class that each stands for.
	StorageClasses map[string]string `yaml:"storageClasses"`
	// Settings are of the cluster.
	Settings Settings `yaml:"settings"`
	// Nodes are the cluster's, at least one.
	Nodes []NodeGroup `yaml:"nodes"`
	// Workloads are started at once, beside each other.
	Workloads []Workload `yaml:"workloads"`
	// Events happen while they arrive.
	Events []Event `yaml:"events"`
	// Until says when it is over.
	Until Until `yaml:"until"`
	// Expectations decide whether it went well.
	Expectations []Expectation `yaml:"expectations"`
}

// Settings are what can be set of a cluster otherwise than podlv and Kubernetes do, to
// compare.
type Settings struct {
	// InlineAccounting: pods ask for the bytes of their volumes, which the admission
	// policies add. Default: true. Without it the scheduler knows nothing of inline volumes,
	// as with drivers that have no such policies.
	InlineAccounting *bool `yaml:"inlineAccounting"`
	// CapacityPeriod is how often a node's CSIStorageCapacity objects are written at most.
	// Default: at once. external-provisioner, the sidecar that most drivers have, looks
	// once a minute.
	CapacityPeriod Duration `yaml:"capacityPeriod"`
	// CapacityScoring: the scheduler also prefers nodes by their capacity for claims
	// (feature gate StorageCapacityScoring, alpha in 1.36). Default: none, as in Kubernetes.
	CapacityScoring Scoring `yaml:"capacityScoring"`
	// NodeGracePeriod is after how long a node that says nothing counts as unreachable.
	// Default: 50s, as in Kubernetes. Nodes say something five times in it.
	NodeGracePeriod Duration `yaml:"nodeGracePeriod"`
	// ScoredNodes is of how many nodes, in percent, the scheduler stops looking for more
	// that have room for a pod, and takes the best of those (percentageOfNodesToScore).
	// Default: Kubernetes', which is 42 of 1,000 nodes and less the more there are; 100 and
	// fewer nodes are all looked at.
	ScoredNodes int `yaml:"scoredNodes"`
}

// Embedded says whether something is set that only the embedded target can set.
func (s Settings) Embedded() bool {
	s.InlineAccounting = nil
	return s != Settings{CapacityScoring: s.CapacityScoring} || s.CapacityScoring != "" && s.CapacityScoring != NoScoring
}

// Scoring is which nodes the scheduler prefers for claims.
type Scoring string

// The ways of scoring.
const (
	NoScoring Scoring = "none"
	MostFree  Scoring = "most-free"
	LeastFree Scoring = "least-free"
)

// Storage is a file of pools and device classes.
type Storage struct {
	*driver.Classes
	// Text is the file that they were read from.
	Text string
}

// NodeGroup is nodes that are the same but for their names.
type NodeGroup struct {
	// Name is what their names begin with: NAME-0, NAME-1, … Default: node.
	Name string `yaml:"name"`
	// Count is how many there are. Default: 1.
	Count int `yaml:"count"`
	// Names are those of the nodes, in place of Name and Count.
	Names []string `yaml:"names"`
	// Labels are those of the Nodes.
	Labels map[string]string `yaml:"labels"`
	// CPU, Memory and Pods are what a node has for pods. Default: 64, 256Gi, 1000, so
	// that storage is what is scarce.
	CPU    Quantity `yaml:"cpu"`
	Memory Size     `yaml:"memory"`
	Pods   int      `yaml:"pods"`
	// Resources are what else a node has for pods, by the names of Kubernetes, such as
	// ephemeral-storage or the extended resources of its devices.
	Resources map[string]Quantity `yaml:"resources"`
	// Taints keep pods away that do not tolerate them, and Unschedulable all that are not
	// there yet, as after kubectl cordon.
	Taints        []Taint `yaml:"taints"`
	Unschedulable bool    `yaml:"unschedulable"`
	// VolumeGroups are the VGs of each node.
	VolumeGroups []VolumeGroup `yaml:"volumeGroups"`
}

// Taint is one of a node's.
type Taint struct {
	Key   string `yaml:"key"`
	Value string `yaml:"value"`
	// Effect is NoSchedule, PreferNoSchedule or NoExecute.
	Effect string `yaml:"effect"`
}

// VolumeGroup is a VG on disks of its own.
type VolumeGroup struct {
	Name string `yaml:"name"`
	// Size is what it has for volumes, in bytes; on one disk, which is larger by what
	// LVM takes for itself. Or
	Size Size `yaml:"size"`
	// Disks are its disks, whole, in bytes.
	Disks []Size `yaml:"disks"`
	// ThinPools are made in it at first.
	ThinPools []ThinPool `yaml:"thinPools"`
}

// ThinPool is a thin pool.
type ThinPool struct {
	Name string `yaml:"name"`
	Size Size   `yaml:"size"`
}

// Workload is pods that are alike.
type Workload struct {
	// Name is what the names of its pods begin with: NAME-0, NAME-1, …
	Name string `yaml:"name"`
	// Pods is how many there are.
	Pods int `yaml:"pods"`
	// Arrival is how many are made in a second. Default: as fast as the API server
	// takes them.
	Arrival Rate `yaml:"arrival"`
	// Lifetime is how long the containers of each run. Such a pod, and its claims, are
	// removed when it has ended. Default: to the end of the run.
	Lifetime Duration `yaml:"lifetime"`
	// After is the name of a workload whose pods must be where they are to be before the
	// first of this one is made. Default: at once.
	After string `yaml:"after"`
	// Controller makes the pods, and makes them anew when they are gone. Default: nobody
	// does; they are pods by themselves.
	Controller Controller `yaml:"controller"`
	// EvictAfter is how long pods stay on a node that is unreachable, before they are
	// deleted. Default: 5m, as in Kubernetes.
	EvictAfter Duration `yaml:"evictAfter"`
	// NodeSelector is the pods' own.
	NodeSelector map[string]string `yaml:"nodeSelector"`
	// Volumes are those of each pod.
	Volumes []Volume `yaml:"volumes"`
	// Manifests is a file of Kubernetes objects, beside the scenario's file, and Objects are
	// such objects: they take the place of Pods, Controller and Volumes. Of their containers
	// only the requests matter.
	Manifests string  `yaml:"manifests"`
	Objects   Objects `yaml:"objects"`
	// Placed says of Pods among the objects on which node each is: the scheduler may choose
	// no other. What else the pod says of where it goes, its tolerations among it, then
	// does not matter, but for those pods that it keeps away from itself.
	Placed map[string]string `yaml:"placed"`
}

// Controller is what makes pods.
type Controller string

// The controllers.
const (
	Deployment  Controller = "Deployment"
	StatefulSet Controller = "StatefulSet" // whose claims are of its volumeClaimTemplates
)

// Kind is how a pod comes by a volume.
type Kind string

// The kinds of volumes.
const (
	Inline    Kind = "inline"    // csi: in the pod's spec
	Ephemeral Kind = "ephemeral" // ephemeral: a claim that comes and goes with the pod
	Claim     Kind = "claim"     // persistentVolumeClaim: a claim made before the pod
)

// Volume is a volume of a pod.
type Volume struct {
	Kind Kind `yaml:"kind"`
	// Size is fixed, or drawn for each pod.
	Size Sizes `yaml:"size"`
	// Class is the device class. Default: the default one.
	Class string `yaml:"class"`
	// FSType is the filesystem of an inline volume. Default: the class's.
	FSType string `yaml:"fsType"`
	// Block: a raw block device. Not for inline volumes.
	Block bool `yaml:"block"`
}

// Event is one thing that happens. There is exactly one of what follows Times.
type Event struct {
	// At is how long after the first pod was made.
	At Duration `yaml:"at"`
	// Node is the name of the node that it happens to, or a pattern of names, such as
	// node-*: it happens to each of them, or, with Random, to one that is drawn.
	Node   string `yaml:"node"`
	Random bool   `yaml:"random"`
	// Every and Times repeat it.
	Every Duration `yaml:"every"`
	Times int      `yaml:"times"`

	// PowerOff ends the machine for good.
	PowerOff *struct{} `yaml:"powerOff"`
	// Reboot is a power cut: the machine comes back after Down.
	Reboot *Outage `yaml:"reboot"`
	// RestartKubelet ends kubelet, and starts it again after Down.
	RestartKubelet *Outage `yaml:"restartKubelet"`
	// KillAgent ends podlv's agent in the middle of what it does, and starts it again
	// after Down.
	KillAgent *Outage `yaml:"killAgent"`
	// DiskFailure takes a disk away, as a broken cable does.
	DiskFailure *DiskFailure `yaml:"diskFailure"`
	// SlowLVM makes each lvm command take longer.
	SlowLVM *Slowness `yaml:"slowLVM"`
	// HangLVM makes the next lvm command that writes hang.
	HangLVM *Hang `yaml:"hangLVM"`
	// WatchDelay makes the agent and the kubelet hear of changes later.
	WatchDelay *Slowness `yaml:"watchDelay"`
	// Cordon and Uncordon say whether new pods may come to the node.
	Cordon   *struct{} `yaml:"cordon"`
	Uncordon *struct{} `yaml:"uncordon"`
	// Drain is a Cordon, and the eviction of the node's pods.
	Drain *struct{} `yaml:"drain"`
	// LVCreate is an LV that somebody else makes there, without podlv's knowledge.
	LVCreate *ForeignLV `yaml:"lvcreate"`

	// Grow makes claims larger, as a user does; the simulator does external-resizer's part.
	Grow *Growth `yaml:"grow"`
	// Scale changes how many pods a controller has.
	Scale *Scale `yaml:"scale"`
}

// Outage is how long something is not there. Default: 1s.
type Outage struct {
	Down Duration `yaml:"down"`
}

// DiskFailure is a disk that is not there for a time.
type DiskFailure struct {
	// VolumeGroup is the VG whose disk it is, and Disk which of its disks, from 0.
	VolumeGroup string `yaml:"volumeGroup"`
	Disk        int    `yaml:"disk"`
	// For is for how long. Default: to the end of the run.
	For Duration `yaml:"for"`
}

// Slowness is how much longer something takes, for how long. Default: to the end of the
// run.
type Slowness struct {
	Delay Duration `yaml:"delay"`
	For   Duration `yaml:"for"`
}

// Hang is for how long something hangs.
type Hang struct {
	For Duration `yaml:"for"`
}

// Scale is how many pods a workload with a controller is to have.
type Scale struct {
	Workload string `yaml:"workload"`
	Pods     int    `yaml:"pods"`
}

// Growth is claims that are to grow: those of a workload that are bound by then.
type Growth struct {
	Workload string `yaml:"workload"`
	Size     Size   `yaml:"size"` // of each claim, afterwards
}

// ForeignLV is an LV that is not podlv's.
type ForeignLV struct {
	VolumeGroup string `yaml:"volumeGroup"`
	Size        Size   `yaml:"size"`
}

// Until says when a run is over: when every pod runs, or has ended if it has a
// lifetime, or was refused, or
type Until struct {
	// Quiet: nothing has happened to any pod for so long. Default: 5s.
	Quiet Duration `yaml:"quiet"`
	// Timeout: so long after the first pod was made. Default: 5m.
	Timeout Duration `yaml:"timeout"`
}

// Expectation is what must hold at the end.
type Expectation struct {
	// That is CEL, true when it holds. It sees the report's metrics and workloads: see
	// package report.
	That string `yaml:"that"`
	// Message says what it means, for a person.
	Message string `yaml:"message"`
}

// Each calls f for every node of the cluster, in order, with its name.
func (s *Scenario) Each(f func(name string, g *NodeGroup)) {
	for i := range s.Nodes {
		g := &s.Nodes[i]
		for _, name := range g.names() {
			f(name, g)
		}
	}
}
