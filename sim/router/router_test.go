// SPDX-License-Identifier: Apache-2.0

package router

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/kube/kubetest"
)

// events is a handler that keeps what it is told.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(what string, o any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, what+" "+keyOf(o))
}

func (e *events) OnAdd(o any, _ bool) { e.add("add", o) }
func (e *events) OnUpdate(_, o any)   { e.add("update", o) }
func (e *events) OnDelete(o any)      { e.add("delete", o) }

// want waits until these are the events, in this order.
func (e *events) want(t *testing.T, list ...string) {
	t.Helper()
	have := func() []string {
		e.mu.Lock()
		defer e.mu.Unlock()
		return slices.Clone(e.list)
	}
	require.Eventually(t, func() bool { return slices.Equal(have(), list) }, 10*time.Second, time.Millisecond, "%v, not %v", list, have)
}

func watch(t *testing.T, i cache.SharedIndexInformer) *events {
	t.Helper()
	e := &events{}
	r, err := i.AddEventHandler(e)
	require.NoError(t, err)
	require.True(t, r.HasSynced())
	return e
}

func started(t *testing.T) (*Router, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset()
	r, err := New(client)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, r.Start(ctx))
	t.Cleanup(func() { cancel(); r.Stop() })
	kubetest.Watching(t, client, 0, 5)
	return r, client
}

func TestANodeIsShownItsOwnPodsOnly(t *testing.T) {
	r, client := started(t)
	a, b := r.Join("a").Cluster(client, "x").Pods, r.Join("b").Cluster(client, "x").Pods
	onA, onB := watch(t, a.Informer()), watch(t, b.Informer())
	ctx, pods := t.Context(), client.CoreV1().Pods("default")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "x"}}}}
	_, err := pods.Create(ctx, pod, metav1.CreateOptions{})
	require.NoError(t, err)
	pod.Spec.NodeName = "a" // it is bound
	_, err = pods.Update(ctx, pod, metav1.UpdateOptions{})
	require.NoError(t, err)
	onA.want(t, "add default/p")
	list, err := a.Lister().Pods("default").List(labels.Everything())
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Empty(t, list[0].ManagedFields)

	late := watch(t, a.Informer())
	late.want(t, "add default/p")
	pod.Status.Phase = corev1.PodRunning
	_, err = pods.Update(ctx, pod, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.NoError(t, pods.Delete(ctx, "p", metav1.DeleteOptions{}))
	onA.want(t, "add default/p", "update default/p", "delete default/p")
	onB.want(t)
	require.Empty(t, a.Informer().GetStore().List())
}

// The agent that a claim is taken from must see that: it has the claim in progress.
func TestANodeIsToldWhatBecomesOfAClaimThatWasItsOwn(t *testing.T) {
	r, client := started(t)
	onA, onB := watch(t, r.Join("a").Cluster(client, "x").Claims.Informer()), watch(t, r.Join("b").Cluster(client, "x").Claims.Informer())
	ctx, claims := t.Context(), client.CoreV1().PersistentVolumeClaims("default")
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
	_, err := claims.Create(ctx, claim, metav1.CreateOptions{})
	require.NoError(t, err)
	for _, node := range []string{"a", "", "b"} {
		claim.Annotations = map[string]string{annSelectedNode: node}
		_, err = claims.Update(ctx, claim, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	onB.want(t, "add default/c")
	onA.want(t, "add default/c", "update default/c", "update default/c")
	require.NoError(t, claims.Delete(ctx, "c", metav1.DeleteOptions{}))
	onB.want(t, "add default/c", "delete default/c")
	onA.want(t, "add default/c", "update default/c", "update default/c", "delete default/c")
}

func TestANodeThatJoinsLateIsShownWhatIsThere(t *testing.T) {
	r, client := started(t)
	ctx := t.Context()
	for i := range 10 {
		_, err := client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("v%d", i)},
			Spec: corev1.PersistentVolumeSpec{NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: driver.TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{string(rune('a' + i%2))}}},
			}}}}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	all := r.Factory().Core().V1().PersistentVolumes()
	require.Eventually(t, func() bool { return len(all.Informer().GetStore().List()) == 10 }, 10*time.Second, time.Millisecond)
	a := r.Join("a").Cluster(client, "x").Volumes
	require.Eventually(t, func() bool { return len(a.Informer().GetStore().List()) == 5 }, 10*time.Second, time.Millisecond)
	_, err := a.Lister().Get("v1")
	require.NoError(t, err, "the lister has all of the cluster's: a clone's source may be elsewhere")
}

// An agent that is started anew has informers of its own, and the kubelet beside it keeps
// those that it has.
func TestANodeMayHaveSeveralSetsOfInformers(t *testing.T) {
	r, client := started(t)
	kubelet, agent := r.Join("a"), r.Join("a")
	onKubelet, onAgent := watch(t, kubelet.Pods()), watch(t, agent.Pods())
	ctx, pods := t.Context(), client.CoreV1().Pods("default")
	add := func(name string) {
		_, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: "a"}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	add("p")
	onKubelet.want(t, "add default/p")
	onAgent.want(t, "add default/p")
	agent.Leave()
	add("q")
	onKubelet.want(t, "add default/p", "add default/q")
	onAgent.want(t, "add default/p")
	again := watch(t, r.Join("a").Pods())
	require.ElementsMatch(t, []string{"add default/p", "add default/q"}, again.list)
}

func TestAWatchThatLagsKeepsTheOrder(t *testing.T) {
	r, client := started(t)
	node := r.Join("a")
	seen := watch(t, node.Pods())
	const delay = 300 * time.Millisecond
	node.Delay(delay)
	ctx, pods := t.Context(), client.CoreV1().Pods("default")
	start := time.Now()
	_, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{NodeName: "a"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	// The shared lister has the pod before the node's informer is told of it.
	require.Eventually(t, func() bool { return waits(&node.pods.lag) || len(node.Pods().GetStore().List()) == 1 }, 10*time.Second, time.Millisecond)
	node.Delay(0) // what waits stays before what comes
	require.NoError(t, pods.Delete(ctx, "p", metav1.DeleteOptions{}))
	seen.want(t, "add default/p", "delete default/p")
	require.GreaterOrEqual(t, time.Since(start), delay)
}

// waits says whether something waits for its time.
func waits(l *lag) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting) > 0
}
