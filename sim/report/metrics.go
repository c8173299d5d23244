// SPDX-License-Identifier: Apache-2.0

package report

import (
	"math"
	"slices"
	"time"
)

// Metrics are the figures of a run, by the names that expectations use. The tag unit is
// for their names in Prometheus.
type Metrics struct {
	// Nodes and Pods are how many there were.
	Nodes int `json:"nodes"`
	Pods  int `json:"pods"`
	// PodsRunning is how many came to be Running, which is only after all their volumes
	// were published; PodsSucceeded how many of these ended by themselves.
	PodsRunning   int `json:"podsRunning"`
	PodsSucceeded int `json:"podsSucceeded"`
	// PodsWaiting is how many neither ran nor were refused by kubelet (PodsRefused:
	// OutOf…). PodsUnbound is how many of these had no node.
	PodsWaiting int `json:"podsWaiting"`
	PodsUnbound int `json:"podsUnbound"`
	PodsRefused int `json:"podsRefused"`
	// PodsStuck is how many of those that wait have a node. PodsPartial is how many have
	// none, and only a part of their claims is bound: those hold them where they are.
	PodsStuck   int `json:"podsStuck"`
	PodsPartial int `json:"podsPartial"`
	// PodsRejected is how many the API server did not take: a quota, a policy. PodsLost is
	// how many were deleted by others than the run: evicted, drained, scaled away. A
	// controller makes new ones in their place; only those count as running.
	PodsRejected int `json:"podsRejected"`
	PodsLost     int `json:"podsLost"`
	// PodsDown is how many ran and do not since their node had an outage; ToRunningAgain is
	// the time from an outage until a pod ran again.
	PodsDown       int     `json:"podsDown"`
	ToRunningAgain Seconds `json:"toRunningAgain" unit:"seconds"`
	// WrongNodeBinds is how many pods were bound to a node whose disks had no room for
	// their inline and generic ephemeral volumes, by the fake disks' own account.
	WrongNodeBinds int `json:"wrongNodeBinds"`
	// StageFailures, PublishFailures and ExpandFailures are calls of kubelet that were
	// not answered with OK; UnpublishFailures those on the way out.
	StageFailures     int `json:"stageFailures"`
	PublishFailures   int `json:"publishFailures"`
	UnpublishFailures int `json:"unpublishFailures"`
	ExpandFailures    int `json:"expandFailures"`
	// ProvisionFailures is how many CreateVolume were not answered with OK, those left
	// out that only said that it is going on (Aborted).
	ProvisionFailures int `json:"provisionFailures"`
	// VolumesGrown is how many volumes were expanded while pods used them.
	VolumesGrown int `json:"volumesGrown"`
	// Reschedules is how often a claim was given back to the scheduler.
	Reschedules int `json:"reschedules"`
	// FirstTryRate is the share of the running pods of which no call failed and no claim
	// was given back, 0 to 1.
	FirstTryRate float64 `json:"firstTryRate"`
	// ToBound and ToRunning are the times from the making of a pod.
	ToBound   Seconds `json:"toBound" unit:"seconds"`
	ToRunning Seconds `json:"toRunning" unit:"seconds"`
	// PodsPerSecond is how many pods came to be Running in a second, from the first pod
	// that was made to the last that ran.
	PodsPerSecond float64 `json:"podsPerSecond"`
	// PeakUtilisation is the most that was allocated of all volume groups, and
	// FirstRefusalUtilisation how much was when the scheduler first found no node for a
	// pod; 0 to 1, the latter -1 when it always found one.
	PeakUtilisation         float64 `json:"peakUtilisation" unit:"ratio"`
	FirstRefusalUtilisation float64 `json:"firstRefusalUtilisation" unit:"ratio"`
	// CapacityStaleness is for how long, each time, more was published of a pool's or a
	// class's space than the disks had. It is seen to within a tenth of a second.
	CapacityStaleness Seconds `json:"capacityStaleness" unit:"seconds"`
	// NodesUsed is how many nodes had pods with volumes when the scheduler first found no
	// node (half a second later, when those that it had placed are bound), and one for that
	// pod; or in the end, when it always found one. These pods need
	// PackingLowerBound nodes at least (Martello and Toth's L2), and PackingUpperBound
	// suffice (first fit, the largest first). PackingGap is NodesUsed / PackingLowerBound
	// − 1. The three are -1 when the nodes are not alike, or there are several pools.
	NodesUsed         int     `json:"nodesUsed"`
	PackingLowerBound int     `json:"packingLowerBound"`
	PackingUpperBound int     `json:"packingUpperBound"`
	PackingGap        float64 `json:"packingGap" unit:"ratio"`
	// Fragmentation is, at that moment, the part of what is free that no single volume can
	// have: 1 − the most that is free on a node / all that is free; of the worst pool.
	Fragmentation float64 `json:"fragmentation" unit:"ratio"`
	// StrandedBytes is, in the end, what is free on nodes where not even the smallest of the
	// pods that wait has room.
	StrandedBytes int64 `json:"strandedBytes"`
	// APIWritesPerVolume is how many requests that write the API server was sent for each
	// volume that was published, by everybody, but for Leases; CapacityWritesPerVolume and
	// NodeStatusWritesPerVolume are those of CSIStorageCapacity objects and of the status of
	// Nodes. -1: not known.
	APIWritesPerVolume        float64 `json:"apiWritesPerVolume"`
	CapacityWritesPerVolume   float64 `json:"capacityWritesPerVolume"`
	NodeStatusWritesPerVolume float64 `json:"nodeStatusWritesPerVolume"`
	// ScheduleAttempts is how often the scheduler tried to place a pod, ScheduleFailures how
	// often it found no node or failed. -1: not known.
	ScheduleAttempts int `json:"scheduleAttempts"`
	ScheduleFailures int `json:"scheduleFailures"`
	// BindsPerSecond is how many pods were bound in a second, from the making of the first
	// pod to the last that was bound, and PeakBindsPerSecond in the best second.
	BindsPerSecond     float64 `json:"bindsPerSecond"`
	PeakBindsPerSecond float64 `json:"peakBindsPerSecond"`
	// OverAllocations is how often the disks were found to have given bytes away twice,
	// or a thin pool to have promised more than its classes may.
	OverAllocations int `json:"overAllocations"`
	// CapacityErrors is how many of the published capacities and resources were not what
	// the disks have, when all had come to rest.
	CapacityErrors int `json:"capacityErrors"`
	// Orphans is how many volumes were left on the disks after all pods and claims were
	// removed.
	Orphans int `json:"orphans"`
}

// FromDisks are the names of the metrics that only somebody can know who looks at the
// nodes' disks.
var FromDisks = []string{
	"wrongNodeBinds", "peakUtilisation", "firstRefusalUtilisation", "overAllocations", "capacityErrors", "orphans",
	"capacityStaleness", "fragmentation", "strandedBytes", "packingLowerBound", "packingUpperBound", "packingGap",
}

// OfControlPlane are the names of the metrics that say what a run costs the control plane,
// if nobody else uses it.
var OfControlPlane = []string{"apiWritesPerVolume", "capacityWritesPerVolume", "nodeStatusWritesPerVolume", "scheduleAttempts", "scheduleFailures"}

// Seconds is the distribution of times; all 0 when there are none.
type Seconds struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Distribution is that of times, by the nearest rank: each is one that was seen.
func Distribution(times []time.Duration) Seconds {
	if len(times) == 0 {
		return Seconds{}
	}
	sorted := slices.Sorted(slices.Values(times))
	rank := func(p float64) float64 {
		return round(sorted[int(math.Ceil(p*float64(len(sorted))))-1].Seconds())
	}
	return Seconds{P50: rank(0.50), P90: rank(0.90), P99: rank(0.99), Max: rank(1)}
}

// Round is a time in seconds, as the report has them.
func Round(d time.Duration) float64 { return round(d.Seconds()) }

// Packing is how well pods are packed: see Metrics.
type Packing struct {
	NodesUsed, LowerBound, UpperBound int
	Gap, Fragmentation                float64
}

// Pack takes up how well the pods are packed.
func (m *Metrics) Pack(p Packing) {
	m.NodesUsed, m.PackingLowerBound, m.PackingUpperBound, m.PackingGap, m.Fragmentation = p.NodesUsed, p.LowerBound, p.UpperBound, p.Gap, p.Fragmentation
}

// Thousandths is a figure without what is noise.
func Thousandths(n float64) float64 { return round(n) }

// round is n to thousandths: more is noise.
func round(n float64) float64 { return math.Round(n*1000) / 1000 }
