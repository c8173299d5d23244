// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/oracle"
)

const gib = 1 << 30

func recorder() *Recorder {
	return New("x", time.Now(), "app", []PoolClasses{{"ssd", []string{"ssd", "mirrored"}}}, 2)
}

// whats are the steps, without their times.
func whats(steps []Step) (all []string) {
	for _, s := range steps {
		all = append(all, strings.Join(strings.Fields(strings.Join([]string{s.What, s.Method, s.Code, s.Node, s.Text}, " ")), " "))
	}
	return all
}

func TestThinningKeepsThePeaksAndTheEnds(t *testing.T) {
	s := series{most: 20, peak: func(v []int64) int64 { return v[0] }}
	for i := range int64(1000) {
		value := i % 7
		if i == 500 {
			value = 99
		}
		s.add(i, []int64{value})
	}
	require.LessOrEqual(t, len(s.samples), 20)
	require.Zero(t, s.samples[0].at)
	require.EqualValues(t, 999, s.samples[len(s.samples)-1].at)
	require.Contains(t, s.column(0, 0), int64(99))
	require.True(t, slices.IsSorted(s.times()))
}

func TestASeriesKeepsOnlyWhatChanges(t *testing.T) {
	s := series{most: 20, peak: func(v []int64) int64 { return v[0] }}
	s.add(1, []int64{5, 0})
	s.add(2, []int64{5, 0})
	s.add(3, []int64{6, 0})
	s.add(3, []int64{7, 0})
	require.Equal(t, []int64{1, 3}, s.times())
	require.Equal(t, []int64{5, 7}, s.column(0, 0))
	require.Nil(t, s.column(1, 0), "it is nothing throughout")
}

func TestAPodKeepsItsFirstAndLastSteps(t *testing.T) {
	var s steps
	for i := range 100 {
		s.add(Step{At: int64(i), What: Called})
	}
	all := s.all()
	require.Len(t, all, mostSteps+1)
	require.Equal(t, Step{At: 68, What: LeftOut, Text: "36 steps"}, all[mostSteps/2])
	require.EqualValues(t, 99, all[mostSteps].At)
}

func pod(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid"), Labels: map[string]string{"app": "w"}}}
	if change != nil {
		change(p)
	}
	return p
}

func unplaced(message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message}}
	}
}

func TestTheLifeOfAPod(t *testing.T) {
	r := recorder()
	r.podIs(nil, pod("a", nil))
	r.podIs(nil, pod("a", unplaced("0/2 nodes")))
	r.podIs(nil, pod("a", unplaced("0/2 nodes")))
	r.podIs(nil, pod("a", unplaced("0/3 nodes")))
	bound := pod("a", func(p *corev1.Pod) { p.Spec.NodeName = "node-1" })
	r.Moment("node-1", bound, kubelet.Bound, "")
	r.podIs(nil, bound)
	r.Call(kubelet.Call{Node: "node-1", Pod: "a-uid", Method: "NodeGetCapabilities", Code: "OK"})
	r.Call(kubelet.Call{Node: "node-1", Pod: "a-uid", Method: "NodePublishVolume", Volume: "v", Code: "Aborted", Err: errors.New("busy"), Took: 1234 * time.Microsecond})
	r.warned(&corev1.Event{InvolvedObject: corev1.ObjectReference{Kind: "Pod", UID: "a-uid"}, Reason: "FailedMount", Message: "busy", Source: corev1.EventSource{Host: "node-1"}})
	r.Moment("node-1", bound, kubelet.Running, "")
	running := bound.DeepCopy()
	running.Status.Phase = corev1.PodRunning
	r.podIs(bound, running)
	r.Sample()
	r.Moment("node-1", bound, kubelet.Running, "")
	r.Moment("node-1", bound, kubelet.Ended, "")
	r.Moment("node-1", bound, kubelet.Gone, "")
	r.podGone(running)
	r.podIs(nil, pod("b", func(p *corev1.Pod) { p.UID = "b-uid" }))

	x := r.Trace()
	require.Len(t, x.Pods, 2)
	a := x.Pods[0]
	require.Equal(t, []string{
		"made", "unplaced 0/2 nodes", "unplaced 0/3 nodes", "bound node-1", "called NodePublishVolume Aborted node-1 busy",
		"told node-1 FailedMount: busy", "running", "running again", "ended", "cleared", "removed",
	}, whats(a.Steps))
	require.InDelta(t, 1.2, a.Steps[4].Took, 1e-9)
	require.Equal(t, Ran, a.State)
	require.Equal(t, "w", a.Workload)
	require.Equal(t, Waiting, x.Pods[1].State)
	require.Equal(t, []Failures{{"NodePublishVolume: Aborted", x.Failures[0].At, []int64{1}}}, x.Failures)
	last := len(x.Cluster.At) - 1
	require.EqualValues(t, 2, x.Cluster.Made[last])
	require.EqualValues(t, 1, x.Cluster.Waiting[last])
	require.EqualValues(t, 1, x.Cluster.Ended[last])
	require.Contains(t, x.Cluster.Running, int64(0))
}

func TestAPodThatKubeletRefuses(t *testing.T) {
	r := recorder()
	r.Making("default", "a", "builds")
	r.podIs(nil, pod("a", func(p *corev1.Pod) { p.Spec.NodeName = "node-0" }))
	r.Moment("node-0", pod("a", nil), kubelet.Refused, "OutOfpodlv.dev/ssd: too much")
	r.podIs(nil, pod("a", func(p *corev1.Pod) {
		p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfpodlv.dev/ssd"}
	}))
	x := r.Trace()
	require.Equal(t, []string{"made", "bound node-0", "refused OutOfpodlv.dev/ssd: too much"}, whats(x.Pods[0].Steps))
	require.Equal(t, Rejected, x.Pods[0].State)
	require.Equal(t, "builds", x.Pods[0].Workload)
	require.Equal(t, "kubelet refuses a pod: OutOfpodlv.dev/ssd", x.Failures[0].Reason)
}

func TestALongMessageIsCutBetweenCharacters(t *testing.T) {
	r := recorder()
	r.podIs(nil, pod("a", unplaced("x"+strings.Repeat("ä", 400))))
	require.Equal(t, "x"+strings.Repeat("ä", 249)+"…", r.Trace().Pods[0].Steps[1].Text)
}

// What a cluster says through its API is enough for the life of a claim and of its pod,
// and for what is published.
func TestTheRecorderWatchesACluster(t *testing.T) {
	client := fake.NewClientset()
	factory := informers.NewSharedInformerFactory(client, 0)
	r := recorder()
	require.NoError(t, r.Watch(factory, "default"))
	warnings, err := r.Warnings(client, "default")
	require.NoError(t, err)
	for _, f := range []informers.SharedInformerFactory{factory, warnings} {
		f.Start(t.Context().Done())
		f.WaitForCacheSync(t.Context().Done())
	}
	core, ctx := client.CoreV1(), t.Context()
	eventually := func(what string, f func(*Trace) bool) *Trace {
		t.Helper()
		require.Eventually(t, func() bool { return f(r.Trace()) }, 10*time.Second, 5*time.Millisecond, what)
		return r.Trace()
	}
	claim, err := core.PersistentVolumeClaims("default").Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "a-v0"},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: ptr.To("ssd"), Resources: corev1.VolumeResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
		}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = core.Pods("elsewhere").Create(ctx, pod("b", func(p *corev1.Pod) { p.Namespace = "elsewhere" }), metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = core.Pods("default").Create(ctx, pod("a", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v0", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "a-v0"}}}}
	}), metav1.CreateOptions{})
	require.NoError(t, err)
	update := func() {
		t.Helper()
		n := len(r.Trace().Claims[0].Steps)
		claim, err = core.PersistentVolumeClaims("default").Update(ctx, claim, metav1.UpdateOptions{})
		require.NoError(t, err)
		eventually("the claim has one more step", func(x *Trace) bool { return len(x.Claims[0].Steps) > n })
	}
	eventually("the claim is there", func(x *Trace) bool { return len(x.Claims) == 1 })
	claim.Annotations = map[string]string{annSelectedNode: "node-0"}
	update()
	_, err = core.Events("default").Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Name: "e"}, InvolvedObject: corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "default", Name: "a-v0"},
		Type: corev1.EventTypeWarning, Reason: "ProvisioningFailed", Message: "no space",
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	eventually("the warning", func(x *Trace) bool { return len(x.Claims[0].Steps) == 3 })
	claim.Annotations = nil
	update()
	claim.Annotations = map[string]string{annSelectedNode: "node-1"}
	update()
	_, err = core.PersistentVolumes().Create(ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}, Spec: corev1.PersistentVolumeSpec{
		ClaimRef:               &corev1.ObjectReference{Namespace: "default", Name: "a-v0"},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: driver.Name, VolumeHandle: "vg0/pv"}},
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	eventually("the volume", func(x *Trace) bool { return len(x.Claims[0].Steps) == 6 })
	claim.Spec.VolumeName, claim.Status.Phase = "pv", corev1.ClaimBound
	update()
	r.Call(kubelet.Call{Node: "node-1", Method: "NodeUnstageVolume", Volume: "vg0/pv", Code: "OK"})
	require.NoError(t, core.PersistentVolumeClaims("default").Delete(ctx, "a-v0", metav1.DeleteOptions{}))
	x := eventually("all of the claim", func(x *Trace) bool { return len(x.Claims[0].Steps) == 9 && len(x.Pods) == 1 })
	require.Equal(t, []string{
		"made", "selected node-0", "told ProvisioningFailed: no space", "given back node-0", "selected node-1", "volume made pv", "bound pv", "called NodeUnstageVolume OK node-1", "removed",
	}, whats(x.Claims[0].Steps))
	require.EqualValues(t, gib, x.Claims[0].Size)
	require.Equal(t, "a", x.Pods[0].Name, "the other is not of this namespace")
	require.Equal(t, []int{0}, x.Pods[0].Claims)

	_, err = core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-0"}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{"podlv.dev/ssd": resource.MustParse("10Gi")}}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = client.StorageV1().CSIStorageCapacities("podlv-system").Create(ctx, &storagev1.CSIStorageCapacity{
		ObjectMeta: metav1.ObjectMeta{Name: "c"}, StorageClassName: "mirrored", Capacity: ptr.To(resource.MustParse("5Gi")),
		NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{driver.TopologyKey: "node-0"}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	x = eventually("what is published", func(x *Trace) bool {
		return len(x.Nodes) == 1 && len(x.Nodes[0].Pools[0].Capacity) == 1 && x.Nodes[0].Pools[0].Allocatable != nil
	})
	p := x.Nodes[0].Pools[0]
	last := len(p.At) - 1
	require.EqualValues(t, 10*gib, p.Allocatable[last])
	require.EqualValues(t, 5*gib, p.Capacity["mirrored"][last])
	require.Nil(t, p.Total, "the disks of a real cluster are nobody's to look at")
}

func TestWhatLiesOnTheDisks(t *testing.T) {
	r := recorder()
	r.Used("node-10", []oracle.Use{{Pool: "ssd", Total: 10 * gib}})
	r.Used("node-9", []oracle.Use{{Pool: "ssd", Total: 10 * gib, Inline: gib, Foreign: 2 * gib}, {Pool: "nobody's"}})
	x := r.Trace()
	require.Equal(t, "node-9", x.Nodes[0].Name, "as people count")
	p := x.Nodes[0].Pools[0]
	require.Equal(t, []int64{10 * gib}, p.Total)
	require.Equal(t, []int64{gib}, p.Inline)
	require.Equal(t, []int64{2 * gib}, p.Foreign)
	require.Nil(t, p.Claims)
	require.Nil(t, p.Allocatable)
}

func TestATraceIsReadAgain(t *testing.T) {
	r := recorder()
	r.podIs(nil, pod("a", nil))
	r.Mark("a node %s", "falls over")
	var b bytes.Buffer
	require.NoError(t, r.Trace().Write(&b))
	name := filepath.Join(t.TempDir(), File)
	require.NoError(t, os.WriteFile(name, b.Bytes(), 0o600))
	x, err := ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "a", x.Pods[0].Name)
	require.Equal(t, "a node falls over", x.Marks[0].Text)

	require.NoError(t, os.WriteFile(name, []byte("{}"), 0o600))
	_, err = ReadFile(name)
	require.ErrorContains(t, err, "is no trace")
	b.Reset()
	require.NoError(t, (&Trace{Version: 99}).Write(&b))
	require.NoError(t, os.WriteFile(name, b.Bytes(), 0o600))
	_, err = ReadFile(name)
	require.ErrorContains(t, err, "has version 99; this program reads version 1: run the scenario again")
	_, err = ReadFile(name + "x")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// A thousand nodes and ten thousand pods stay a few megabytes.
func TestATraceIsBounded(t *testing.T) {
	r := New("large", time.Now(), "app", []PoolClasses{{"ssd", []string{"ssd"}}}, 1000)
	message := func(i int) string {
		return fmt.Sprintf("0/1000 nodes are available: %d Insufficient podlv.dev/ssd. preemption: 0/1000 nodes are available: 1000 No preemption victims found for incoming pod.", i)
	}
	for n := range 1000 {
		name := fmt.Sprintf("node-%d", n)
		for i := range int64(300) {
			r.started = r.started.Add(-time.Millisecond) // it goes on
			r.Used(name, []oracle.Use{{Pool: "ssd", Total: 100 * gib, Inline: i << 22}})
		}
	}
	for i := range 10_000 {
		name := fmt.Sprintf("pod-%d", i)
		for j := range 16 {
			r.podIs(nil, pod(name, unplaced(message(j))))
		}
	}
	var b bytes.Buffer
	require.NoError(t, r.Trace().Write(&b))
	t.Logf("%d bytes", b.Len())
	require.Less(t, b.Len(), 6<<20)
	require.Less(t, len(r.texts), 200)
}
