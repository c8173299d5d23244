// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
)

const podInfo = "csi.storage.k8s.io/ephemeral:%t csi.storage.k8s.io/pod.name:%[2]s csi.storage.k8s.io/pod.namespace:default csi.storage.k8s.io/pod.uid:%[2]s-uid csi.storage.k8s.io/serviceAccount.name:sa"

func handleOf(pod, volume string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(pod+"-uid"+volume)))
}

// plain takes the odd spaces out of calls that protobuf puts into its text.
func plain(calls []string) []string {
	all := make([]string, len(calls))
	for i, c := range calls {
		all[i] = strings.Join(strings.Fields(c), " ")
	}
	return all
}

func TestTheNodeSaysWhichDriverItHas(t *testing.T) {
	b := newBench(t, nil)
	b.agent.mu.Lock()
	require.True(t, b.agent.status.PluginRegistered)
	b.agent.mu.Unlock()
	node, err := b.api.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "n", node.Labels["topology.podlv.dev/node"])
	require.Equal(t, `{"podlv.dev":"n"}`, node.Annotations["csi.volume.kubernetes.io/nodeid"])
	require.Equal(t, node.Status.Capacity, node.Status.Allocatable)
	require.Equal(t, corev1.ConditionTrue, node.Status.Conditions[0].Status)
	csiNode, err := b.api.StorageV1().CSINodes().Get(t.Context(), "n", metav1.GetOptions{})
	require.NoError(t, err)
	require.Len(t, csiNode.Spec.Drivers, 1)
	require.Equal(t, []string{"topology.podlv.dev/node"}, csiNode.Spec.Drivers[0].TopologyKeys)
	require.EqualValues(t, 7, *csiNode.Spec.Drivers[0].Allocatable.Count)
	lease, err := b.api.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "n", metav1.GetOptions{})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), lease.Spec.RenewTime.Time, time.Minute)
}

func TestAnInlineVolumeIsPublishedAndUnpublished(t *testing.T) {
	b := newBench(t, nil)
	b.bind("p", inline("data", map[string]string{"size": "1Gi"}))
	b.until("p", Running)
	require.Equal(t, corev1.PodRunning, b.pod("p").Status.Phase)
	b.remove("p")
	b.until("p", Gone)
	target := "/var/lib/kubelet/pods/p-uid/volumes/kubernetes.io~csi/data/mount"
	require.Equal(t, []string{
		"p: bound",
		fmt.Sprintf("NodePublishVolume %s at %s from \"\" with map[%s size:1Gi] as mount:{} access_mode:{mode:SINGLE_NODE_MULTI_WRITER}", handleOf("p", "data"), target, fmt.Sprintf(podInfo, true, "p")),
		"p: running",
		"p: ended",
		"NodeUnpublishVolume " + handleOf("p", "data") + " at " + target,
		"p: gone",
	}, plain(b.agent.asked()))
	require.Eventually(t, func() bool {
		_, err := b.api.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, 10*time.Second, time.Millisecond, "kubelet ends the deletion")
	b.swept()
}

// A claim's volume is staged once a node and unstaged with its last pod.
func TestAClaimIsStagedOnceForAllPodsOfTheNode(t *testing.T) {
	b := newBench(t, nil)
	volume := b.claimed("c", corev1.PersistentVolumeFilesystem)
	b.bind("p", volume)
	b.until("p", Running)
	b.bind("q", volume)
	b.until("q", Running)
	b.remove("p")
	b.until("p", Gone)
	b.remove("q")
	b.until("q", Gone)
	staging := fmt.Sprintf("/var/lib/kubelet/plugins/kubernetes.io/csi/podlv.dev/%x/globalmount", sha256.Sum256([]byte("vg0/c")))
	const as = ` as mount:{fs_type:"xfs" mount_flags:"noatime"} access_mode:{mode:SINGLE_NODE_MULTI_WRITER}`
	target := func(pod string) string {
		return "/var/lib/kubelet/pods/" + pod + "-uid/volumes/kubernetes.io~csi/pv-c/mount"
	}
	publish := func(pod string) string {
		info := fmt.Sprintf(podInfo, false, pod)
		return fmt.Sprintf("NodePublishVolume vg0/c at %s from %q with map[%s podlv.dev/class:ssd]%s", target(pod), staging, info, as)
	}
	require.Equal(t, []string{
		"p: bound", "NodeStageVolume vg0/c at " + staging + as, publish("p"), "p: running",
		"q: bound", publish("q"), "q: running",
		"p: ended", "NodeUnpublishVolume vg0/c at " + target("p"),
		"q: ended", "NodeUnpublishVolume vg0/c at " + target("q"), "NodeUnstageVolume vg0/c at " + staging,
	}, plain(b.settled()))
	require.False(t, b.host.Exists(filepath.Dir(staging)))
}

func TestARawBlockVolumeIsBoundByKubeletItself(t *testing.T) {
	b := newBench(t, nil)
	b.bind("p", b.claimed("c", corev1.PersistentVolumeBlock))
	b.until("p", Running)
	const dir = "/var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/"
	mounts := b.host.Mounts()
	require.Len(t, mounts, 1)
	require.Equal(t, dir+"pv-c/dev/p-uid", mounts[0].Target)
	b.remove("p")
	b.until("p", Gone)
	calls := plain(b.settled())
	require.Len(t, calls, 7)
	require.Equal(t, "NodeStageVolume vg0/c at "+dir+"staging/pv-c as block:{} access_mode:{mode:SINGLE_NODE_MULTI_WRITER}", calls[1])
	require.True(t, strings.HasPrefix(calls[2], "NodePublishVolume vg0/c at "+dir+"publish/pv-c/p-uid from \""+dir+"staging/pv-c\" "), calls[2])
	require.Equal(t, "NodeUnpublishVolume vg0/c at "+dir+"publish/pv-c/p-uid", calls[5])
	require.Equal(t, "NodeUnstageVolume vg0/c at "+dir+"staging/pv-c", calls[6])
	require.Empty(t, b.host.Mounts())
	require.False(t, b.host.Exists(dir+"pv-c"))
}

// kubelet forgets a volume after a final error, and unpublishes it after any other.
func TestWhatIsUnpublishedAfterAFailure(t *testing.T) {
	for _, row := range []struct {
		code        codes.Code
		unpublished bool
	}{
		{codes.InvalidArgument, false},
		{codes.Internal, false},
		{codes.NotFound, false},
		{codes.FailedPrecondition, false},
		{codes.ResourceExhausted, true},
		{codes.Aborted, true},
		{codes.Unavailable, true},
		{codes.DeadlineExceeded, true},
		{codes.Canceled, true},
	} {
		t.Run(row.code.String(), func(t *testing.T) {
			b := newBench(t, nil)
			b.agent.answer("NodePublishVolume", slices.Repeat([]error{status.Error(row.code, "no")}, 9)...) // the pod must not run meanwhile
			b.bind("p", inline("data", nil))
			require.Eventually(t, func() bool { return len(b.events.Events) > 0 }, 10*time.Second, time.Millisecond)
			require.Contains(t, <-b.events.Events, "Warning FailedMount MountVolume.SetUp failed for volume \"data\" : rpc error: code = "+row.code.String()+" desc = no")
			b.remove("p") // while it waits to try again
			b.until("p", Gone)
			n := 0
			for _, c := range b.agent.asked() {
				if strings.HasPrefix(c, "NodeUnpublishVolume") {
					n++
				}
			}
			require.Equal(t, row.unpublished, n == 1, "%v", b.agent.asked())
		})
	}
}

func TestFailuresAreTriedAgain(t *testing.T) {
	b := newBench(t, nil)
	no := status.Error(codes.Internal, "no")
	b.agent.answer("NodePublishVolume", no)
	b.agent.answer("NodeUnpublishVolume", no)
	b.agent.answer("NodeUnstageVolume", no)
	start := time.Now()
	b.bind("p", b.claimed("c", corev1.PersistentVolumeFilesystem))
	b.until("p", Running)
	require.GreaterOrEqual(t, time.Since(start), firstBackoff)
	b.remove("p")
	b.until("p", Gone)
	var methods []string
	for _, c := range b.settled() {
		methods = append(methods, strings.Fields(c)[0])
	}
	require.Equal(t, []string{
		"p:", "NodeStageVolume", "NodePublishVolume", "NodePublishVolume", "p:", "p:",
		"NodeUnpublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume", "NodeUnstageVolume",
	}, methods, "what has worked is not repeated")
}

func TestBackoffIsKubelets(t *testing.T) {
	var b backoff
	var waits []time.Duration
	for range 11 {
		waits = append(waits, b.next())
	}
	require.Equal(t, []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, 64 * time.Second, 122 * time.Second, 122 * time.Second, 122 * time.Second}, waits)
}

func TestAPodThatDoesNotFitIsRefused(t *testing.T) {
	b := newBench(t, nil)
	asking := func(name, resourceName, size string) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid")}, Spec: corev1.PodSpec{NodeName: "n", Volumes: []corev1.Volume{inline("data", nil)}}}
		has := corev1.ResourceList{corev1.ResourceName(resourceName): resource.MustParse(size)}
		pod.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: has, Limits: has}}}
		b.create(pod)
	}
	asking("a", "podlv.dev/ssd", "6Gi")
	b.until("a", Running)
	asking("b", "podlv.dev/ssd", "6Gi")
	b.until("b", Refused)
	require.Eventually(t, func() bool { return b.pod("b").Status.Phase == corev1.PodFailed }, 10*time.Second, time.Millisecond)
	require.Equal(t, "OutOfpodlv.dev/ssd", b.pod("b").Status.Reason)
	require.Contains(t, b.pod("b").Status.Message, "requested: 6442450944, used: 6442450944, capacity: 10737418240")
	for _, c := range b.agent.asked() {
		require.NotContains(t, c, handleOf("b", "data"), "its volume is not touched")
	}
	asking("c", "cpu", "5")
	b.until("c", Refused)
	require.Eventually(t, func() bool { return b.pod("c").Status.Reason == "OutOfcpu" }, 10*time.Second, time.Millisecond)
	asking("d", "podlv.dev/other", "1")
	b.until("d", Running) // as kubelet: it may be a resource of the cluster
	b.remove("a")
	b.until("a", Gone)
	asking("e", "podlv.dev/ssd", "6Gi")
	b.until("e", Running)
	for i := range 4 {
		b.bind(fmt.Sprintf("f%d", i))
	}
	b.until("f3", Bound)
	require.Eventually(t, func() bool {
		n := 0
		for i := range 4 {
			if b.pod(fmt.Sprintf("f%d", i)).Status.Reason == "OutOfpods" {
				n++
			}
		}
		return n == 1 // d, e and three of them are five
	}, 10*time.Second, time.Millisecond)
}

func TestAPodThatEndsHasItsPhaseBeforeItsVolumesGo(t *testing.T) {
	b := newBench(t, nil)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", UID: "p-uid", Annotations: map[string]string{LifetimeAnnotation: "10ms"}}}
	pod.Spec = corev1.PodSpec{NodeName: "n", RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c"}}, Volumes: []corev1.Volume{inline("data", nil)}}
	release := b.agent.hold("NodeUnpublishVolume")
	t.Cleanup(release)
	b.create(pod)
	b.until("p", Ended)
	require.Equal(t, corev1.PodSucceeded, b.pod("p").Status.Phase)
	require.False(t, slices.ContainsFunc(b.agent.asked(), func(c string) bool { return c == "p: gone" }))
	release()
	b.until("p", Gone)
	require.Equal(t, corev1.PodSucceeded, b.pod("p").Status.Phase, "it stays until somebody deletes it")
	b.remove("p")
	require.Eventually(t, func() bool {
		_, err := b.api.CoreV1().Pods("default").Get(t.Context(), "p", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, 10*time.Second, time.Millisecond)
}

// A pod that is gone by force leaves nothing.
func TestAPodThatIsGoneByForceIsUnpublished(t *testing.T) {
	b := newBench(t, nil)
	b.bind("p", inline("data", nil))
	b.until("p", Running)
	require.NoError(t, b.api.CoreV1().Pods("default").Delete(t.Context(), "p", metav1.DeleteOptions{}))
	b.until("p", Gone)
	require.Contains(t, strings.Join(b.agent.asked(), "\n"), "NodeUnpublishVolume "+handleOf("p", "data"))
	require.Eventually(t, func() bool {
		b.kubelet.mu.Lock()
		defer b.kubelet.mu.Unlock()
		return len(b.kubelet.workers) == 0
	}, 10*time.Second, time.Millisecond)
}

// A pod whose volume is just being published does not wait for that when it is deleted, and
// may be gone before the volume is there; it is unpublished all the same.
func TestAPodThatIsDeletedWhileItsVolumeIsPublished(t *testing.T) {
	b := newBench(t, nil)
	release := b.agent.hold("NodePublishVolume")
	t.Cleanup(release)
	b.bind("p", inline("data", nil))
	b.until("p", Bound)
	require.Eventually(t, func() bool { return b.host.Exists(podDir("p-uid")) }, 10*time.Second, time.Millisecond)
	b.remove("p")
	b.until("p", Gone)
	require.NotContains(t, methods(b.agent.asked()), "NodePublishVolume", "it is not answered")
	release()
	require.Eventually(t, func() bool { return slices.Contains(methods(b.agent.asked()), "NodeUnpublishVolume") }, 10*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return !b.host.Exists(podDir("p-uid")) }, 10*time.Second, time.Millisecond)
}

func TestAVolumeThatHasGrownIsExpanded(t *testing.T) {
	b := newBench(t, nil)
	b.bind("p", b.claimed("c", corev1.PersistentVolumeFilesystem))
	b.until("p", Running)
	pv, err := b.api.CoreV1().PersistentVolumes().Get(t.Context(), "pv-c", metav1.GetOptions{})
	require.NoError(t, err)
	pv.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")}
	b.agent.answer("NodeExpandVolume", status.Error(codes.Internal, "no"))
	_, err = b.api.CoreV1().PersistentVolumes().Update(t.Context(), pv, metav1.UpdateOptions{}) // as external-resizer does
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		c, err := b.api.CoreV1().PersistentVolumeClaims("default").Get(t.Context(), "c", metav1.GetOptions{})
		require.NoError(t, err)
		return c.Status.Capacity.Storage().String() == "2Gi"
	}, 10*time.Second, time.Millisecond, "it is tried again, and the claim says so")
	calls := b.agent.asked()
	require.Equal(t, fmt.Sprintf("NodeExpandVolume vg0/c at /var/lib/kubelet/pods/p-uid/volumes/kubernetes.io~csi/pv-c/mount and /var/lib/kubelet/plugins/kubernetes.io/csi/podlv.dev/%x/globalmount to %d",
		sha256.Sum256([]byte("vg0/c")), int64(2<<30)), calls[len(calls)-1])
}

// A node whose lease is left alone counts as unreachable.
func TestTheLeaseIsRenewed(t *testing.T) {
	c := clocktesting.NewFakeClock(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	b := newBench(t, func(config *Config) { config.Clock = c })
	for range 3 {
		before := c.Now()
		require.Eventually(t, func() bool { // others wait for the clock, too
			c.Step(10 * time.Second)
			lease, err := b.api.CoordinationV1().Leases("kube-node-lease").Get(t.Context(), "n", metav1.GetOptions{})
			return err == nil && lease.Spec.RenewTime.After(before)
		}, 10*time.Second, 10*time.Millisecond)
	}
}

func TestStatisticsAreAskedFor(t *testing.T) {
	b := newBench(t, func(c *Config) { c.StatsPeriod = 10 * time.Millisecond })
	b.bind("p", inline("data", nil))
	want := "NodeGetVolumeStats " + handleOf("p", "data") + " at /var/lib/kubelet/pods/p-uid/volumes/kubernetes.io~csi/data/mount"
	require.Eventually(t, func() bool { return slices.Contains(b.agent.asked(), want) }, 10*time.Second, time.Millisecond)
	b.remove("p")
	b.until("p", Gone)
}

// A pod waits for its claim, and for nothing that is not the driver's.
func TestAPodWaitsForItsClaim(t *testing.T) {
	b := newBench(t, nil)
	b.bind("p", corev1.Volume{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}},
		corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"}}})
	b.until("p", Bound)
	time.Sleep(3 * claimPoll)
	require.Equal(t, []string{"p: bound"}, b.agent.asked())
	b.claimed("c", corev1.PersistentVolumeFilesystem)
	b.until("p", Running)
	require.Empty(t, b.events.Events)
}
