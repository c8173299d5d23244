// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// methods are the methods of calls, without their arguments, and moments.
func methods(calls []string) (all []string) {
	for _, c := range calls {
		if m, _, call := strings.Cut(c, " "); call && !strings.HasSuffix(m, ":") {
			c = m
		}
		all = append(all, c)
	}
	return all
}

// restart ends the kubelet, lets something happen, and starts another.
func (b *bench) restart(meanwhile func()) {
	b.Helper()
	b.stop()
	if meanwhile != nil {
		meanwhile()
	}
	b.start()
}

// always makes a pod whose containers are started again when they end.
func (b *bench) always(name string, volumes ...corev1.Volume) {
	b.Helper()
	b.create(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid")},
		Spec: corev1.PodSpec{
			NodeName: "n", ServiceAccountName: "sa", RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "c", Image: "none"}}, Volumes: volumes,
		},
	})
}

// A kubelet that is started again does not know whether volumes are still there.
func TestARestartedKubeletPublishesAgain(t *testing.T) {
	b := newBench(t, nil)
	b.bind("inline", inline("data", nil))
	b.bind("claim", b.claimed("c", corev1.PersistentVolumeFilesystem))
	b.bind("block", b.claimed("d", corev1.PersistentVolumeBlock))
	for _, p := range []string{"inline", "claim", "block"} {
		b.until(p, Running)
	}
	before := b.pod("claim")
	b.restart(nil)
	for _, p := range []string{"inline", "claim", "block"} {
		b.until(p, Back)
	}
	calls := methods(b.agent.asked())
	slices.Sort(calls)
	require.Equal(t, []string{
		"NodePublishVolume", "NodePublishVolume", "NodePublishVolume", "NodeStageVolume", "NodeStageVolume",
		"block: back", "claim: back", "inline: back",
	}, calls)
	require.Equal(t, before.Status, b.pod("claim").Status, "its containers have gone on")
	for _, p := range []string{"inline", "claim", "block"} {
		b.remove(p)
		b.until(p, Gone)
		require.Equal(t, corev1.PodSucceeded, b.phaseAtEnd(p))
	}
	b.settled()
	require.Empty(t, b.host.Mounts())
	b.swept()
	for _, dir := range []string{blockDir + "/staging", blockDir + "/publish", pluginDir + "/podlv.dev"} {
		left, err := b.host.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left, dir)
	}
}

// phaseAtEnd is the phase that a pod had when it ended.
func (b *bench) phaseAtEnd(pod string) corev1.PodPhase {
	b.Helper()
	for _, a := range slices.Backward(b.api.Actions()) {
		p, ok := a.(interface {
			GetName() string
			GetPatch() []byte
		})
		if !ok || p.GetName() != pod {
			continue
		}
		for _, phase := range []corev1.PodPhase{corev1.PodSucceeded, corev1.PodFailed} {
			if strings.Contains(string(p.GetPatch()), `"phase":"`+string(phase)+`"`) {
				return phase
			}
		}
	}
	return ""
}

// What pods had that went away while there was no kubelet is cleared away, from what the
// disk says alone.
func TestVolumesOfPodsThatWentAwayMeanwhileAreCleared(t *testing.T) {
	for _, kind := range []string{"inline", "claim", "block"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t, nil)
			v := inline("data", nil)
			switch kind {
			case "claim":
				v = b.claimed("c", corev1.PersistentVolumeFilesystem)
			case "block":
				v = b.claimed("c", corev1.PersistentVolumeBlock)
			}
			b.bind("p", v)
			b.until("p", Running)
			b.restart(func() {
				require.NoError(t, b.api.CoreV1().Pods("default").Delete(t.Context(), "p", metav1.DeleteOptions{}))
				require.Eventually(t, func() bool { return len(b.config.Pods.GetStore().List()) == 0 }, 10*time.Second, time.Millisecond)
			})
			want := []string{"NodeUnpublishVolume", "NodeUnstageVolume"}
			if kind == "inline" {
				want = want[:1]
			}
			require.Equal(t, want, methods(b.settled()))
			require.Empty(t, b.host.Mounts())
			b.swept()
		})
	}
}

// A pod that is being deleted when the kubelet starts ends, and its volumes go. As kubelet
// begins with the volumes of all pods before it looks what has become of them, they are
// published once more before.
func TestAPodThatIsDeletedMeanwhileEnds(t *testing.T) {
	b := newBench(t, nil)
	b.bind("p", inline("data", nil))
	b.until("p", Running)
	var release func()
	b.restart(func() {
		release = b.agent.hold("NodePublishVolume") // it may be called before or after the pod is told of
		t.Cleanup(release)
		b.remove("p")
		require.Eventually(t, func() bool {
			for _, o := range b.config.Pods.GetStore().List() {
				return o.(*corev1.Pod).DeletionTimestamp != nil
			}
			return false
		}, 10*time.Second, time.Millisecond)
	})
	b.until("p", Ended)
	release()
	b.until("p", Gone)
	require.Equal(t, corev1.PodSucceeded, b.phaseAtEnd("p"))
	require.Equal(t, []string{"p: ended", "NodePublishVolume", "NodeUnpublishVolume"}, methods(b.settled()))
}

// After a restart even a final error does not make kubelet forget a volume: it may be
// what was there before.
func TestAVolumeFromBeforeIsUnpublishedAfterAFinalError(t *testing.T) {
	b := newBench(t, nil)
	b.bind("p", inline("data", nil))
	b.until("p", Running)
	b.stop()
	b.run()
	b.agent.answer("NodePublishVolume", slices.Repeat([]error{status.Error(codes.Internal, "no")}, 9)...)
	require.Eventually(t, func() bool { return slices.Contains(methods(b.agent.asked()), "NodePublishVolume") }, 10*time.Second, time.Millisecond)
	b.remove("p")
	b.until("p", Gone)
	require.Equal(t, "NodeUnpublishVolume", methods(b.settled())[len(methods(b.settled()))-1])
}

// Pods are admitted again, the oldest first, against what the node has now.
func TestPodsAreAdmittedAgain(t *testing.T) {
	b := newBench(t, nil)
	for i, name := range []string{"b", "a", "c"} { // not by name
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid"), CreationTimestamp: metav1.NewTime(time.Now().Add(time.Duration(i) * time.Minute))},
			Spec:       corev1.PodSpec{NodeName: "n", Volumes: []corev1.Volume{inline("data", nil)}},
		}
		has := corev1.ResourceList{"podlv.dev/ssd": resource.MustParse("3Gi")}
		pod.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: has, Limits: has}}}
		b.create(pod)
		b.until(name, Running)
	}
	b.restart(func() {
		node, err := b.api.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
		require.NoError(t, err)
		node.Status.Allocatable["podlv.dev/ssd"] = resource.MustParse("7Gi")
		_, err = b.api.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			n, err := b.config.Nodes.Get("n")
			return err == nil && n.Status.Allocatable.Name("podlv.dev/ssd", resource.BinarySI).String() == "7Gi"
		}, 10*time.Second, time.Millisecond)
	})
	b.until("b", Back)
	b.until("a", Back)
	b.until("c", Gone)
	require.Equal(t, "OutOfpodlv.dev/ssd", b.pod("c").Status.Reason)
	require.Equal(t, corev1.PodFailed, b.pod("c").Status.Phase)
	require.Contains(t, strings.Join(b.agent.asked(), "\n"), "NodeUnpublishVolume "+handleOf("c", "data"))
}

// After a reboot nothing is mounted and nothing runs; kubelet does not look, and
// publishes what pods are to have.
func TestAfterARebootContainersAreStartedAgainOrHaveFailed(t *testing.T) {
	b := newBench(t, nil)
	b.always("again", b.claimed("c", corev1.PersistentVolumeBlock))
	b.bind("lost", inline("data", nil))
	b.bind("left", inline("data", nil))
	for _, p := range []string{"again", "lost", "left"} {
		b.until(p, Running)
	}
	b.restart(func() {
		b.host.Reboot()
		require.NoError(t, b.api.CoreV1().Pods("default").Delete(t.Context(), "left", metav1.DeleteOptions{}))
	})
	b.until("again", Back)
	b.until("lost", Gone)
	require.Eventually(t, func() bool { return b.pod("again").Status.ContainerStatuses[0].RestartCount == 1 }, 10*time.Second, time.Millisecond)
	lost := b.pod("lost").Status
	require.Equal(t, corev1.PodFailed, lost.Phase)
	require.EqualValues(t, 255, lost.ContainerStatuses[0].State.Terminated.ExitCode)
	require.Len(t, b.host.Mounts(), 1, "the device of the pod that is back")
	calls := strings.Join(b.agent.asked(), "\n")
	require.Contains(t, calls, "NodeUnpublishVolume "+handleOf("lost", "data"))
	require.Eventually(t, func() bool { // kubelet finds it when it looks what is there
		return strings.Contains(strings.Join(b.agent.asked(), "\n"), "NodeUnpublishVolume "+handleOf("left", "data"))
	}, 10*time.Second, time.Millisecond)
	b.remove("again")
	b.until("again", Gone)
	b.settled()
}

// Containers do not wait for kubelet: one that has reached its time while there was none
// has ended when the next one looks.
func TestContainersGoOnWithoutAKubelet(t *testing.T) {
	b := newBench(t, nil)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "p-uid", Annotations: map[string]string{LifetimeAnnotation: "300ms"}}}
	pod.Spec = corev1.PodSpec{NodeName: "n", RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c"}}, Volumes: []corev1.Volume{inline("data", nil)}}
	b.create(pod)
	b.until("p", Running)
	b.restart(func() { time.Sleep(300 * time.Millisecond) })
	b.until("p", Gone)
	require.Equal(t, corev1.PodSucceeded, b.pod("p").Status.Phase)
}

// Without a driver nothing can be mounted; kubelet tries further.
func TestAKubeletThatStartsBeforeTheAgentTriesAgain(t *testing.T) {
	b := newBench(t, nil)
	b.bind("p", inline("data", nil))
	b.until("p", Running)
	b.stop()
	hidden := filepath.Join(b.config.PluginsRegistry, "x-reg.sock")
	require.NoError(t, os.Rename(hidden, hidden+"-hidden"))
	b.run()
	require.Eventually(t, func() bool { return len(b.events.Events) > 0 }, 10*time.Second, time.Millisecond)
	require.Contains(t, <-b.events.Events, "driver name podlv.dev not found in the list of registered CSI drivers")
	require.Empty(t, b.agent.asked())
	require.NoError(t, os.Rename(hidden+"-hidden", hidden))
	b.until("p", Back)
	require.Equal(t, []string{"NodePublishVolume", "p: back"}, methods(b.agent.asked()))
}

// A driver that is gone is taken off the node, and one that is back put on it.
func TestADriverComesAndGoes(t *testing.T) {
	b := newBench(t, nil)
	drivers := func() int {
		n, err := b.api.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
		require.NoError(t, err)
		return len(n.Spec.Drivers)
	}
	require.Equal(t, 1, drivers())
	hidden := filepath.Join(b.config.PluginsRegistry, "x-reg.sock")
	require.NoError(t, os.Rename(hidden, hidden+"-hidden"))
	require.Eventually(t, func() bool { return drivers() == 0 && b.kubelet.agent() == nil }, 10*time.Second, time.Millisecond)
	require.NoError(t, os.Rename(hidden+"-hidden", hidden))
	require.Eventually(t, func() bool { return drivers() == 1 && b.kubelet.agent() != nil }, 10*time.Second, time.Millisecond)
}

// Somebody says that the node is not ready while its kubelet is away.
func TestAKubeletThatIsBackSaysThatTheNodeIsReady(t *testing.T) {
	b := newBench(t, nil)
	b.restart(func() {
		node, err := b.api.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
		require.NoError(t, err)
		node.Status.Conditions[0].Status = corev1.ConditionUnknown
		_, err = b.api.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{})
		require.NoError(t, err)
	})
	require.Eventually(t, func() bool {
		node, err := b.api.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
		return err == nil && len(node.Status.Conditions) == 1 && ready(node)
	}, 10*time.Second, time.Millisecond)
}
