// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/oracle"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/trace"
)

// bindTime is how long after the scheduler has refused a pod those that it placed before
// are taken to be bound: what it refuses by is what it has decided, not what is written.
const bindTime = 500 * time.Millisecond

// annSelectedNode is the node that the scheduler has chosen for a claim.
const annSelectedNode = "volume.kubernetes.io/selected-node"

// podRecord is what is known of a pod. Times are zero for what has not happened.
type podRecord struct {
	workload                      string
	uid                           types.UID // "": the API server has not answered yet
	node                          string
	lives                         bool // it ends by itself
	made, bound, running, refused time.Time
	ended, gone                   time.Time
	down                          time.Time // since when it does not run any more that ran
	removed                       bool      // it has ended by itself and was deleted
	failed                        bool      // a call of it failed, or a claim of it was given back
	rejected                      string    // why the API server did not take it
	claims                        []string
}

// done says whether nothing more is to become of the pod.
func (p *podRecord) done() bool {
	switch {
	case !p.refused.IsZero(), p.rejected != "":
		return true
	case p.lives:
		return p.removed
	}
	return p.runs()
}

// runs says whether the pod came to be Running, and no outage has ended that.
func (p *podRecord) runs() bool { return !p.running.IsZero() && p.down.IsZero() }

// tracker keeps what happens to the pods, and counts failures.
type tracker struct {
	judge     *oracle.Oracle
	namespace string // of the pods
	trace     *trace.Recorder

	mu            sync.Mutex
	pods          map[string]*podRecord // by name; all are in one namespace. Without those that are lost
	byUID         map[types.UID]*podRecord
	planned       map[string]int        // workload → pods that the run itself makes
	expected      map[string]int        // workload → pods that others are to make
	started       map[string]bool       // workloads whose pods are being made
	lost          map[string]int        // workload → pods that somebody else removed
	again         []time.Duration       // from an outage to Running again
	ofClaim       map[string]*podRecord // by the claim's name
	progress      time.Time             // when something last happened to a pod
	ended         chan string           // names of pods that have ended by themselves
	closing       bool                  // the run removes everything
	calls         map[string]int        // failed calls, by method
	reasons       map[string]*report.Reason
	wrong         []string // binds
	wrongCapacity []string // what was published, and what was left
	given         int      // claims given back
	toGrow        int      // volumes
	grown         int
	refusal       float64 // utilisation when the scheduler first found no node, -1: it did not
	volumes       int     // of pods that came to be Running
	pack          func(refused *corev1.Pod) report.Packing
	packing       *report.Packing // when the scheduler first found no node
}

var _ kubelet.Observer = &tracker{}

func newTracker() *tracker {
	return &tracker{
		pods: map[string]*podRecord{}, byUID: map[types.UID]*podRecord{}, ofClaim: map[string]*podRecord{},
		planned: map[string]int{}, expected: map[string]int{}, started: map[string]bool{}, lost: map[string]int{},
		calls: map[string]int{}, reasons: map[string]*report.Reason{}, refusal: -1,
	}
}

// watch makes the tracker see claims that are given back and pods that find no node.
func (t *tracker) watch(factory informers.SharedInformerFactory) error {
	core := factory.Core().V1()
	_, err := core.PersistentVolumeClaims().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: t.claimChanged})
	if err != nil {
		return err
	}
	_, err = core.Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: t.podSeen, UpdateFunc: func(_, o any) { t.podSeen(o); t.podChanged(o) }, DeleteFunc: t.podDeleted,
	})
	return err
}

func (t *tracker) claimChanged(before, after any) {
	b, ok1 := before.(*corev1.PersistentVolumeClaim)
	a, ok2 := after.(*corev1.PersistentVolumeClaim)
	if !ok1 || !ok2 || b.Annotations[annSelectedNode] == "" || a.Annotations[annSelectedNode] != "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.given++
	t.progress = time.Now()
	if p := t.ofClaim[a.Name]; p != nil {
		p.failed = true
	}
}

func (t *tracker) podChanged(object any) {
	pod, ok := object.(*corev1.Pod)
	if !ok || !isFull(unschedulable(pod)) {
		return
	}
	t.mu.Lock()
	first := t.refusal < 0
	t.mu.Unlock()
	if !first {
		return
	}
	full := t.judge.Utilisation()
	t.mu.Lock()
	t.refusal = full // the informer calls this one after the other
	t.mu.Unlock()
	time.AfterFunc(bindTime, func() {
		p := t.pack(pod)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.packing = &p
	})
}

// firstPacking is how well the pods were packed when the scheduler first found no node,
// nil when it always found one.
func (t *tracker) firstPacking() *report.Packing {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.packing
}

// unschedulable is what the scheduler says of a pod that it has found no node for.
func unschedulable(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
			return c.Message
		}
	}
	return ""
}

// isFull says whether storage is what the scheduler misses.
func isFull(message string) bool {
	return strings.Contains(message, "Insufficient podlv.dev/") || strings.Contains(message, "did not have enough free storage")
}

// making takes up that a pod is about to be made.
func (t *tracker) making(workload string, pod *corev1.Pod, claims []string, lives bool) {
	t.trace.Making(t.namespace, pod.Name, workload)
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &podRecord{workload: workload, made: time.Now(), lives: lives, claims: claims}
	t.claimed(p, pod)
	t.pods[pod.Name] = p
	t.progress = time.Now()
}

// Pod implements kubelet.Observer.
func (t *tracker) Pod(node string, pod *corev1.Pod, what kubelet.Moment, why string) {
	t.trace.Moment(node, pod, what, why)
	wrong := ""
	switch what { // before the lock: the oracle has its own
	case kubelet.Bound:
		wrong = t.judge.Bound(node, pod)
	case kubelet.Ended, kubelet.Refused:
		t.judge.Ended(node, pod.UID)
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if wrong != "" {
		t.wrong = append(t.wrong, wrong)
	}
	p := t.record(pod)
	if p == nil {
		return
	}
	t.progress = now
	switch what {
	case kubelet.Bound:
		p.node = node
		if p.bound.IsZero() { // else kubelet was started anew
			p.bound = now
		}
	case kubelet.Refused:
		p.refused = now
	case kubelet.Running, kubelet.Back:
		if !p.down.IsZero() {
			t.again = append(t.again, now.Sub(p.down))
			p.down = time.Time{}
		}
		if p.running.IsZero() {
			p.running = now
			t.volumes += volumesIn(pod)
		}
	case kubelet.Ended:
		if p.ended = now; p.lives && t.ended != nil {
			t.ended <- pod.Name // it has room for all
		}
	case kubelet.Gone:
		p.gone = now
	}
}

// Call implements kubelet.Observer.
func (t *tracker) Call(c kubelet.Call) {
	t.trace.Call(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	if c.Method == "" { // a failed call of the pod, which is counted elsewhere
		if p := t.byUID[c.Pod]; p != nil {
			p.failed = true
		}
		return
	}
	if c.Err == nil {
		if c.Method == "NodeExpandVolume" {
			t.grown++
			t.progress = time.Now()
		}
		return
	}
	t.calls[c.Method]++
	key := c.Method + " " + c.Code
	if t.reasons[key] == nil {
		t.reasons[key] = &report.Reason{Text: fmt.Sprintf("%s: %s; the first: node %s: %v", c.Method, c.Code, c.Node, c.Err)}
	}
	t.reasons[key].Count++
	if p := t.byUID[c.Pod]; p != nil {
		p.failed = true
	}
}

// problems are the binds that the oracle found wrong, and what was wrong at rest.
func (t *tracker) problems() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Concat(t.wrong, t.wrongCapacity)
}

// failures are the calls that failed, the most frequent first.
func (t *tracker) failures() []report.Reason {
	t.mu.Lock()
	defer t.mu.Unlock()
	return sorted(t.reasons)
}

func sorted(reasons map[string]*report.Reason) (all []report.Reason) {
	for _, r := range reasons {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b report.Reason) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Text, b.Text)) })
	return all
}
