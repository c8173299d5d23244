// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/sim/kubelet"
)

// The bounds of a trace.
const (
	allSamples  = 200_000 // of all nodes' pools together
	mostSamples = 2000    // of one pool, and of the cluster
	mostSteps   = 64      // of a pod, and of a claim
	mostText    = 500     // bytes of a message
)

// Recorder is told what happens, from anywhere and at once. What it is told is cheap.
type Recorder struct {
	scenario string
	started  time.Time
	label    string // of a pod: its workload
	pools    []PoolClasses
	samples  int // of a pool

	mu       sync.Mutex
	texts    map[string]string // a message is kept once
	marks    []Mark
	cluster  series
	failures map[string]*series
	nodes    map[string]*nodeRecord
	pods     []*podRecord
	byUID    map[types.UID]*podRecord
	making   map[string]making // by namespace/name
	claims   []*claimRecord
	byClaim  map[string]*claimRecord // namespace/name, the latest of it
	byVolume map[string]*claimRecord // the volume's handle
	counts   [5]int64                // as the columns of Cluster
}

// making is a pod that somebody is about to make.
type making struct {
	at       int64
	workload string
}

// podRecord is a pod that lives, or has lived.
type podRecord struct {
	Pod
	steps
	phase    int      // a column of Cluster
	uses     []string // claims, namespace/name
	unplaced string   // what the scheduler said last

	ran, refused, ended bool
	told                bool // kubelet has said that it runs
}

type claimRecord struct {
	Claim
	steps
	place    int
	selected string
	bound    bool
}

// Columns of the cluster's series.
const (
	madeColumn = iota
	waitingColumn
	startingColumn
	runningColumn
	endedColumn
)

// New makes a recorder. Its times begin at started. nodes is how many there will be, label
// the key of the label of pods that has the name of their workload.
func New(scenario string, started time.Time, label string, pools []PoolClasses, nodes int) *Recorder {
	return &Recorder{
		scenario: scenario, started: started, label: label, pools: pools,
		samples:  min(max(allSamples/max(nodes*len(pools), 1), 40), mostSamples),
		texts:    map[string]string{},
		cluster:  series{most: mostSamples, peak: func(v []int64) int64 { return v[waitingColumn] + v[startingColumn] }},
		failures: map[string]*series{}, nodes: map[string]*nodeRecord{}, byUID: map[types.UID]*podRecord{}, making: map[string]making{},
		byClaim: map[string]*claimRecord{}, byVolume: map[string]*claimRecord{},
	}
}

func (r *Recorder) now() int64 { return time.Since(r.started).Milliseconds() }

// text is a message, shortened, as it is kept. With mu held.
func (r *Recorder) text(s string) string {
	if len(s) > mostText {
		cut := mostText
		for cut > 0 && s[cut]&0xC0 == 0x80 { // not within a character
			cut--
		}
		s = s[:cut] + "…"
	}
	if kept, ok := r.texts[s]; ok {
		return kept
	}
	r.texts[s] = s
	return s
}

// Mark takes up that something happened to the cluster.
func (r *Recorder) Mark(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = append(r.marks, Mark{r.now(), fmt.Sprintf(format, args...)})
}

// Making takes up that a pod is about to be made, for more exact a time than an informer
// can say.
func (r *Recorder) Making(namespace, name, workload string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.making[namespace+"/"+name] = making{r.now(), workload}
}

// Moment takes up what a kubelet says of a pod of its node.
func (r *Recorder) Moment(node string, pod *corev1.Pod, what kubelet.Moment, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pod(pod) // the informer may say so later
	switch what {
	case kubelet.Bound:
		r.bind(p, node)
	case kubelet.Refused:
		r.refuse(p, why)
	case kubelet.Running:
		if p.told { // after an outage
			p.add(Step{At: r.now(), What: Running, Text: "again"})
		}
		p.told = true
		r.run(p)
	case kubelet.Ended:
		r.end(p, why)
	case kubelet.Gone:
		p.add(Step{At: r.now(), What: Cleared})
	}
}

// Call takes up a CSI call. Of those that change nothing only failures are kept.
func (r *Recorder) Call(c kubelet.Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Step{At: r.now(), What: Called, Node: c.Node, Method: c.Method, Volume: c.Volume, Code: c.Code, Took: math.Round(float64(c.Took.Microseconds())/100) / 10}
	switch {
	case c.Err != nil:
		s.Text = r.text(c.Err.Error())
		r.fail(c.Method + ": " + c.Code)
	case c.Method == "NodeGetCapabilities" || c.Method == "NodeGetVolumeStats":
		return
	}
	if p := r.byUID[c.Pod]; p != nil {
		p.add(s)
	} else if claim := r.byVolume[c.Volume]; claim != nil {
		claim.add(s)
	}
}

// fail counts a failure, with mu held.
func (r *Recorder) fail(reason string) {
	s := r.failures[reason]
	if s == nil {
		s = &series{most: mostSamples / 4, peak: func(v []int64) int64 { return v[0] }}
		r.failures[reason] = s
	}
	count := int64(1)
	if n := len(s.samples); n > 0 {
		count = s.samples[n-1].values[0] + 1
	}
	s.add(r.now(), []int64{count})
}

// move takes up that a pod is in another state, with mu held.
func (r *Recorder) move(p *podRecord, phase int) {
	if p.phase == phase {
		return
	}
	if p.phase != madeColumn {
		r.counts[p.phase]--
	}
	r.counts[phase]++
	p.phase = phase
}

// Sample takes up how many pods are in which state. Call it some times a second.
func (r *Recorder) Sample() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cluster.add(r.now(), slices.Clone(r.counts[:]))
}

// Trace is what was recorded so far.
func (r *Recorder) Trace() *Trace {
	r.Sample()
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &Trace{Version: version, Scenario: r.scenario, Started: r.started, End: r.now(), Marks: slices.Clone(r.marks)}
	c := &r.cluster
	t.Cluster.At = c.times()
	for i, column := range []*[]int64{&t.Cluster.Made, &t.Cluster.Waiting, &t.Cluster.Starting, &t.Cluster.Running, &t.Cluster.Ended} {
		if *column = c.column(i, 0); *column == nil {
			*column = make([]int64, len(c.samples))
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(r.failures)) {
		s := r.failures[reason]
		t.Failures = append(t.Failures, Failures{reason, s.times(), s.column(0, 0)})
	}
	for _, name := range slices.SortedFunc(maps.Keys(r.nodes), natural) {
		n := Node{Name: name, Pools: []Pool{}}
		for i, p := range r.pools {
			n.Pools = append(n.Pools, r.nodes[name].pools[i].pool(p))
		}
		t.Nodes = append(t.Nodes, n)
	}
	for _, claim := range r.claims {
		claim.Claim.Steps = claim.all()
		t.Claims = append(t.Claims, claim.Claim)
	}
	t.Pods = make([]Pod, 0, len(r.pods))
	for _, p := range r.pods {
		p.Pod.Claims = nil
		for _, name := range p.uses {
			if claim := r.byClaim[name]; claim != nil {
				p.Pod.Claims = append(p.Pod.Claims, claim.place)
			}
		}
		p.Pod.Steps, p.Pod.State = p.all(), p.state()
		t.Pods = append(t.Pods, p.Pod)
	}
	return t
}

// state is how far a pod came.
func (p *podRecord) state() string {
	switch {
	case p.ran:
		return Ran
	case p.refused:
		return Rejected
	case p.Pod.Node != "":
		return Starting
	}
	return Waiting
}
