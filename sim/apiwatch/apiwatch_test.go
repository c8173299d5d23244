// SPDX-License-Identifier: Apache-2.0

package apiwatch

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/podlv/podlv/sim/kube/kubetest"
	"github.com/podlv/podlv/sim/kubelet"
)

// notes is what an observer was told.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, fmt.Sprintf(format, args...))
}

func (n *notes) Pod(node string, pod *corev1.Pod, what kubelet.Moment, why string) {
	n.add("%s", strings.TrimSpace(fmt.Sprintf("%s %s %s %s", node, pod.Name, what, why)))
}

func (n *notes) Call(c kubelet.Call) {
	n.add("%s %s %s", c.Method, c.Code, c.Pod)
}

// are waits until the observer was told just that.
func (n *notes) are(t *testing.T, want ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.all) >= len(want)
	}, 5*time.Second, time.Millisecond, "%v", want)
	n.mu.Lock()
	defer n.mu.Unlock()
	require.Equal(t, want, n.all)
	n.all = nil
}

// watched is a fake API server that is watched.
func watched(t *testing.T, c Config) (*fake.Clientset, *notes, *Watcher) {
	t.Helper()
	seen, client := &notes{}, fake.NewClientset()
	c.Client, c.Namespace, c.Observer = client, "ns", seen
	w, err := Watch(t.Context(), c)
	require.NoError(t, err)
	kubetest.Watching(t, client, 0, 5)
	return client, seen, w
}

func TestPodsAreToldOfByTheirStatus(t *testing.T) {
	client, seen, _ := watched(t, Config{})
	pods := client.CoreV1().Pods("ns")
	make := func(name string, change func(*corev1.Pod)) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID(name)}}
		_, err := pods.Create(t.Context(), p, metav1.CreateOptions{})
		require.NoError(t, err)
		if change != nil {
			change(p)
			_, err = pods.Update(t.Context(), p, metav1.UpdateOptions{})
			require.NoError(t, err)
		}
	}
	to := func(name string, change func(*corev1.Pod)) {
		p, err := pods.Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		change(p)
		_, err = pods.Update(t.Context(), p, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	remove := func(name string) { require.NoError(t, pods.Delete(t.Context(), name, metav1.DeleteOptions{})) }
	bound := func(p *corev1.Pod) { p.Spec.NodeName = "n" }
	make("a", bound)
	seen.are(t, "n a bound")
	to("a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning })
	seen.are(t, "n a running")
	to("a", func(p *corev1.Pod) { p.Labels = map[string]string{"x": "y"} })
	to("a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
	seen.are(t, "n a ended")
	remove("a")
	seen.are(t, "n a gone")

	make("never-bound", nil)
	remove("never-bound")
	make("refused", func(p *corev1.Pod) {
		bound(p)
		p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfpodlv.dev/ssd"}
	})
	seen.are(t, "n refused bound OutOfpodlv.dev/ssd", "n refused refused OutOfpodlv.dev/ssd", "n refused ended OutOfpodlv.dev/ssd")
	make("short", func(p *corev1.Pod) { // it has run before anybody looked
		bound(p)
		p.Status = corev1.PodStatus{Phase: corev1.PodSucceeded, ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{StartedAt: metav1.Now()}}}}}
	})
	seen.are(t, "n short bound", "n short running", "n short ended")
	make("forced", bound)
	remove("forced")
	seen.are(t, "n forced bound", "n forced ended", "n forced gone")
}

func TestAVolumeThatHasGrownIsToldOf(t *testing.T) {
	client, seen, _ := watched(t, Config{})
	claims := client.CoreV1().PersistentVolumeClaims("ns")
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "ns"}}
	_, err := claims.Create(t.Context(), c, metav1.CreateOptions{})
	require.NoError(t, err)
	for _, size := range []string{"1Gi", "1Gi", "2Gi"} { // bound, nothing, grown
		c = c.DeepCopy()
		c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}
		_, err = claims.Update(t.Context(), c, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	seen.are(t, "NodeExpandVolume OK ")
}

// The words are kubelet's and external-provisioner's.
func TestEventsTellOfCallsThatFailed(t *testing.T) {
	for name, row := range map[string]struct {
		reason, message string
		want            string
	}{
		"publish":    {"FailedMount", `MountVolume.SetUp failed for volume "v0" : rpc error: code = ResourceExhausted desc = no space`, "NodePublishVolume ResourceExhausted p"},
		"stage":      {"FailedMount", `MountVolume.MountDevice failed for volume "pvc-1" : rpc error: code = Internal desc = x`, "NodeStageVolume Internal p"},
		"block":      {"FailedMapVolume", `MapVolume.SetUpDevice failed for volume "pvc-1" : rpc error: code = Aborted desc = x`, "NodeStageVolume Aborted p"},
		"no agent":   {"FailedMount", `MountVolume.SetUp failed for volume "v0" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name podlv.dev not found`, "FailedMount no call p"},
		"no network": {"FailedCreatePodSandBox", "Failed to create pod sandbox: no addresses", "FailedCreatePodSandBox no call p"},
		"expand":     {"VolumeResizeFailed", `NodeExpandVolume.NodeExpandVolume failed for volume "pvc-1" : NodeExpandVolume failed : rpc error: code = FailedPrecondition desc = x`, "NodeExpandVolume FailedPrecondition p"},
		"unhealthy":  {"Unhealthy", "Readiness probe failed", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, seen, w := watched(t, Config{})
			e := &corev1.Event{
				ObjectMeta:     metav1.ObjectMeta{Name: "e", Namespace: "ns", UID: "e"},
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", UID: "p"}, Type: corev1.EventTypeWarning, Reason: row.reason, Message: row.message, Count: 1,
			}
			_, err := client.CoreV1().Events("ns").Create(t.Context(), e, metav1.CreateOptions{})
			require.NoError(t, err)
			if row.want == "" {
				require.Never(t, func() bool { seen.mu.Lock(); defer seen.mu.Unlock(); return len(seen.all) > 0 }, 50*time.Millisecond, 5*time.Millisecond)
				return
			}
			seen.are(t, row.want)
			again := e.DeepCopy()
			again.Count = 3 // kubelet says the same two times more
			_, err = client.CoreV1().Events("ns").Update(t.Context(), again, metav1.UpdateOptions{})
			require.NoError(t, err)
			seen.are(t, row.want, row.want)
			require.Empty(t, w.FailedCreates())
		})
	}
}

func TestFailedProvisioningIsCountedByCode(t *testing.T) {
	client, seen, w := watched(t, Config{})
	for i, message := range []string{
		`failed to provision volume with StorageClass "ssd": rpc error: code = ResourceExhausted desc = full`,
		`failed to provision volume with StorageClass "ssd": rpc error: code = Aborted desc = it is going on`,
		`failed to provision volume with StorageClass "ssd": rpc error: code = Internal desc = x`,
	} {
		_, err := client.CoreV1().Events("ns").Create(t.Context(), &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i), Namespace: "ns", UID: types.UID(fmt.Sprint(i))},
			Type:       corev1.EventTypeWarning, Reason: "ProvisioningFailed", Message: message, Count: int32(i + 1),
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { return len(w.FailedCreates()) == 2 }, 5*time.Second, time.Millisecond)
	require.Equal(t, map[string]int{"ResourceExhausted": 1, "Internal": 3}, w.FailedCreates())
	seen.are(t)
}

// scraped are metrics as an agent has them.
func scraped(counts map[string]int) []byte {
	text := "# TYPE podlv_rpc_duration_seconds histogram\n"
	for labels, n := range counts {
		text += fmt.Sprintf("podlv_rpc_duration_seconds_bucket{%s,le=\"+Inf\"} %d\npodlv_rpc_duration_seconds_sum{%s} 1\npodlv_rpc_duration_seconds_count{%s} %d\n", labels, n, labels, labels, n)
	}
	return []byte(text)
}

func TestMetricsTellOfEachCallOnce(t *testing.T) {
	const (
		publish = `code="ResourceExhausted",method="/csi.v1.Node/NodePublishVolume"`
		fine    = `code="OK",method="/csi.v1.Node/NodePublishVolume"`
		create  = `code="Internal",method="/csi.v1.Controller/CreateVolume"`
		goingOn = `code="Aborted",method="/csi.v1.Controller/CreateVolume"`
	)
	_, seen, w := watched(t, Config{Uncounted: true})
	m := w.NewMetrics(Agents{})
	require.NoError(t, m.take("agent-a", "n", scraped(map[string]int{publish: 2, fine: 7, create: 1, goingOn: 5})))
	seen.are(t, "NodePublishVolume ResourceExhausted ", "NodePublishVolume ResourceExhausted ")
	require.NoError(t, m.take("agent-a", "n", scraped(map[string]int{publish: 2, fine: 9, create: 3})))
	require.NoError(t, m.take("agent-b", "n", scraped(map[string]int{create: 1})))
	seen.are(t)
	require.Equal(t, map[string]int{"Internal": 4}, m.FailedCreates())
	require.NoError(t, m.take("agent-a", "n", scraped(map[string]int{publish: 1}))) // it was started anew
	seen.are(t, "NodePublishVolume ResourceExhausted ")
	require.Error(t, m.take("agent-a", "n", []byte("<html>")))
}

// Where metrics count, events only say whose calls they were, and in which words.
func TestEventsAreNotCountedTwice(t *testing.T) {
	client, seen, w := watched(t, Config{Uncounted: true})
	_, err := client.CoreV1().Events("ns").Create(t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "e", Namespace: "ns", UID: "e"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", UID: "p"}, Type: corev1.EventTypeWarning, Count: 5,
		Reason: "FailedMount", Message: `MountVolume.SetUp failed for volume "v0" : rpc error: code = ResourceExhausted desc = no space`,
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	seen.are(t, " ResourceExhausted p")
	require.Contains(t, w.saying(publish, "ResourceExhausted"), "no space")
	require.Contains(t, w.saying(stage, "Internal"), "no event tells of it")
}
