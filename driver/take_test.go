// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// boundPod is a pod on node1 with an inline volume, and the request for it that the
// admission policy makes.
func boundPod(v volume, size string) *corev1.Pod {
	bytes := resource.MustParse(size)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: v.pod, UID: types.UID(v.uid)},
		Spec: corev1.PodSpec{
			NodeName: "node1",
			Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{"podlv.dev/ssd": bytes}, Limits: corev1.ResourceList{"podlv.dev/ssd": bytes},
			}}},
			Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
				CSI: &corev1.CSIVolumeSource{Driver: driver.Name, VolumeAttributes: map[string]string{"size": size}},
			}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	return p
}

func addPod(t testing.TB, client *fake.Clientset, p *corev1.Pod) {
	t.Helper()
	_, err := client.CoreV1().Pods(p.Namespace).Create(context.Background(), p, metav1.CreateOptions{})
	require.NoError(t, err)
}

func setPhase(t testing.TB, client *fake.Clientset, name string, phase corev1.PodPhase) {
	t.Helper()
	p, err := client.CoreV1().Pods("default").Get(context.Background(), name, metav1.GetOptions{})
	require.NoError(t, err)
	p.Status.Phase = phase
	_, err = client.CoreV1().Pods("default").UpdateStatus(context.Background(), p, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// allocatable is the pool's extended resource; -1: there is none.
func allocatable(t testing.TB, client *fake.Clientset) int64 {
	t.Helper()
	node, err := client.CoreV1().Nodes().Get(context.Background(), "node1", metav1.GetOptions{})
	require.NoError(t, err)
	q, ok := node.Status.Allocatable["podlv.dev/ssd"]
	c, both := node.Status.Capacity["podlv.dev/ssd"]
	require.Equal(t, ok, both)
	require.Zero(t, q.Cmp(c), "kubelet makes them equal")
	if !ok {
		return -1
	}
	return q.Value()
}

// offers waits until the scheduler is told of so many bytes for pods and for claims.
func (n *fakeNode) offers(client *fake.Clientset, pods, claims int64) {
	n.t.Helper()
	var p, c int64
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if p, c = allocatable(n.t, client), publishedCapacity(n.t, client)["fast"]; p == pods && c == claims {
			return
		}
		n.clock.Step(100 * time.Millisecond)
	}
	require.Equal(n.t, []int64{pods, claims}, []int64{p, c}, "for pods, for claims")
}

func nodePatches(client *fake.Clientset) (sizes []int64) {
	for _, a := range client.Actions() {
		if p, ok := a.(clienttesting.PatchAction); ok && p.GetResource().Resource == "nodes" && !strings.Contains(string(p.GetPatch()), "PodlvReady") {
			sizes = append(sizes, patchedSize(p.GetPatch()))
		}
	}
	return sizes
}

func patchedSize(patch []byte) int64 {
	const key = `"podlv.dev/ssd":"`
	text := string(patch)
	for i := range text {
		if len(text) > i+len(key) && text[i:i+len(key)] == key {
			end := i + len(key)
			for text[end] != '"' {
				end++
			}
			n, _ := strconv.ParseInt(text[i+len(key):end], 10, 64)
			return n
		}
	}
	return -1
}

const whole = 10*gib - 4*mib // of the VG: an extent is LVM's

// A shared pool is offered to both, and what one takes the other is not offered any
// more; a pod's volume that is made changes nothing for pods.
func TestSharedPoolIsOfferedToPodsAndClaims(t *testing.T) {
	n, client := provisioningNode(t)
	n.offers(client, whole, whole)

	v := newVolume("a", "1Gi")
	addPod(t, client, boundPod(v, "1Gi"))
	n.offers(client, whole, whole-gib)
	patches := len(nodePatches(client))
	require.NoError(t, n.publish(v))
	n.offers(client, whole, whole-gib)
	require.Len(t, nodePatches(client), patches, "the pod's request counted already")

	c := newClaim("c", 2*gib)
	require.NoError(t, n.create(c))
	n.offers(client, whole-2*gib, whole-3*gib)
	n.lvm("lvcreate", "--yes", "--name", "admin", "--size", "1g", "vg0")
	n.offers(client, whole-3*gib, whole-4*gib)

	// The pod ends: its request is free at once, its volume is gone soon.
	setPhase(t, client, "a", corev1.PodSucceeded)
	n.offers(client, whole-3*gib, whole-4*gib)
	require.NoError(t, n.unpublish(v))
	n.offers(client, whole-3*gib, whole-3*gib)
	require.NoError(t, n.delete(c))
	n.offers(client, whole-gib, whole-gib)
}

// An LV that stays after its pod has ended is not offered for ever.
func TestVolumeThatLingersIsNotOffered(t *testing.T) {
	n, client := provisioningNode(t)
	v := newVolume("a", "1Gi")
	addPod(t, client, boundPod(v, "1Gi"))
	require.NoError(t, n.publish(v))
	n.offers(client, whole, whole-gib)
	setPhase(t, client, "a", corev1.PodFailed)
	n.clock.Step(30 * time.Second)
	n.offers(client, whole, whole-gib)
	n.clock.Step(61 * time.Second)
	n.offers(client, whole-gib, whole-gib)
}

// kubelet ends running pods when it starts and finds less than they request: whatever
// happens to the VG, less is never published.
func TestAllocatableIsNeverBelowWhatBoundPodsRequest(t *testing.T) {
	n, client := provisioningNode(t)
	addPod(t, client, boundPod(newVolume("a", "4Gi"), "4Gi"))
	n.offers(client, whole, whole-4*gib)
	n.lvm("lvcreate", "--yes", "--name", "admin", "--size", "9g", "vg0")
	n.offers(client, 4*gib, 0)
	require.NoError(t, n.host.TakeDisk("/dev/fake0"))
	n.clock.Step(40 * time.Second)
	n.offers(client, 4*gib, 0)
	for _, size := range nodePatches(client) {
		require.GreaterOrEqual(t, size, int64(4*gib))
	}
}

// A claim gives way to pods that are bound, whether they have made their volumes or
// not, and whether they came around the admission policies or not.
func TestClaimGivesWayToBoundPods(t *testing.T) {
	n, client := provisioningNode(t)
	n.offers(client, whole, whole)
	around := boundPod(newVolume("around", "5Gi"), "5Gi")
	around.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	addPod(t, client, around)
	requireCode(t, n.create(newClaim("c", 5*gib)), codes.ResourceExhausted, "5Gi for pods")
	require.Empty(t, n.volumes())
	require.NoError(t, n.create(newClaim("c", 5*gib-4*mib)))
	require.Equal(t, []string{"pvc-c"}, n.volumes())
	requireCode(t, n.create(newClaim("d", 4*mib).raw()), codes.ResourceExhausted, "for pods")
	require.NoError(t, n.publish(newVolume("around", "5Gi")), "what it was owed")
}

// Between the claim's first look and its lvcreate a pod is bound: allocatable has been
// lowered by then, and is raised again.
func TestPodThatIsBoundMeanwhileComesFirst(t *testing.T) {
	n, client := provisioningNode(t)
	n.offers(client, whole, whole)
	before := len(nodePatches(client))
	lowered := make(chan struct{}, 1)
	client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		select {
		case lowered <- struct{}{}:
			require.NoError(t, client.Tracker().Add(boundPod(newVolume("a", "8Gi"), "8Gi")))
		default:
		}
		return false, nil, nil
	})
	requireCode(t, n.create(newClaim("c", 4*gib)), codes.ResourceExhausted, "8Gi for pods")
	require.Empty(t, n.volumes())
	require.Equal(t, int64(whole-4*gib), nodePatches(client)[before], "lowered before anything was made")
	n.offers(client, whole, whole-8*gib)
	require.NoError(t, n.publish(newVolume("a", "8Gi")))
}

// What a claim costs beside the LV: one patch of the Node, and nothing more when it is
// made.
func TestClaimCostsOnePatchOfTheNode(t *testing.T) {
	n, client := provisioningNode(t)
	n.offers(client, whole, whole)
	before := len(nodePatches(client))
	c := newClaim("c", gib)
	require.NoError(t, n.create(c))
	n.offers(client, whole-gib, whole-gib)
	require.Equal(t, []int64{whole - gib}, nodePatches(client)[before:])
	require.NoError(t, n.stage(c))
	require.NoError(t, n.give(c, "a"))
	_, err := n.expand(c, 2*gib)
	require.NoError(t, err)
	n.offers(client, whole-2*gib, whole-2*gib)
	require.Equal(t, []int64{whole - gib, whole - 2*gib}, nodePatches(client)[before:])
}

// slowLists counts the lists of pods, and answers none before answer is closed. A
// reactor could not: nothing else is answered while one waits.
type slowLists struct {
	kubernetes.Interface
	answer chan struct{}
	lists  atomic.Int32
}

func (s *slowLists) CoreV1() typedcorev1.CoreV1Interface {
	return slowCore{s.Interface.CoreV1(), s}
}

type slowCore struct {
	typedcorev1.CoreV1Interface
	of *slowLists
}

func (s slowCore) Pods(namespace string) typedcorev1.PodInterface {
	return slowPods{s.CoreV1Interface.Pods(namespace), s.of}
}

type slowPods struct {
	typedcorev1.PodInterface
	of *slowLists
}

func (s slowPods) List(ctx context.Context, o metav1.ListOptions) (*corev1.PodList, error) {
	s.of.lists.Add(1)
	<-s.of.answer
	return s.PodInterface.List(ctx, o)
}

// Claims that come together tell the scheduler of all their needs in one patch, and
// look at the node's pods once.
func TestClaimsThatComeTogetherShareAPatchAndAList(t *testing.T) {
	slow := &slowLists{answer: make(chan struct{})}
	n, client := provisioningNodeWith(t, onePool, func(_ *testing.T, c *driver.Cluster) { slow.Interface, c.Client = c.Client, slow })
	n.offers(client, whole, whole)
	before := slow.lists.Load() // the reaper's
	const claims = 8
	made := make(chan error, claims)
	for i := range claims {
		go func() { made <- n.create(newClaim("c"+strconv.Itoa(i), gib)) }()
	}
	n.offers(client, whole-claims*gib, whole) // all are held: the publisher goes on
	close(slow.answer)
	for range claims {
		require.NoError(t, <-made)
	}
	require.Len(t, n.volumes(), claims)
	require.LessOrEqual(t, slow.lists.Load()-before, int32(4), "the first's, the others', of one that had not joined yet, the reaper's; not each one's")
	n.offers(client, whole-claims*gib, whole-claims*gib)
}

// The API server does not answer: no claim may take what a pod may be owed.
func TestNothingIsTakenWithoutTheAPIServer(t *testing.T) {
	n, client := provisioningNode(t)
	n.offers(client, whole, whole)
	client.PrependReactor("list", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no API server")
	})
	requireCode(t, n.create(newClaim("c", gib)), codes.Internal, "no API server")
	require.Empty(t, n.volumes())
	require.NoError(t, n.publish(newVolume("a", "1Gi")), "a pod's volume needs none")
}

// A pod that came around the policies requests nothing, and takes none the less.
func TestPodWithoutARequestIsCounted(t *testing.T) {
	for mode, offered := range map[string]int64{"shared": whole, "reserved=6Gi": 6 * gib} {
		t.Run(mode, func(t *testing.T) {
			n, client := provisioningNodeOf(t, `
pools: [{name: ssd, volumeGroup: vg0, inlinePool: `+mode+`}]
classes: [{name: ssd, pool: ssd, default: true}]
`)
			claims := int64(whole - 6*gib) // what is reserved is not theirs
			if mode == "shared" {
				claims = whole - 5*gib
			}
			pod := boundPod(newVolume("a", "5Gi"), "5Gi")
			pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
			addPod(t, client, pod)
			n.offers(client, offered-5*gib, claims)
			require.NoError(t, n.publish(newVolume("a", "5Gi")))
			n.offers(client, offered-5*gib, claims)
		})
	}
}

// A reserved pool has two numbers that have nothing to do with one another.
func TestReservedPoolHasNoRace(t *testing.T) {
	n, client := provisioningNodeOf(t, `
pools: [{name: ssd, volumeGroup: vg0, inlinePool: reserved=4Gi}]
classes: [{name: ssd, pool: ssd, default: true}]
`)
	n.offers(client, 4*gib, whole-4*gib)
	addPod(t, client, boundPod(newVolume("a", "1Gi"), "1Gi"))
	require.NoError(t, n.publish(newVolume("a", "1Gi")))
	n.offers(client, 4*gib, whole-4*gib)
	client.ClearActions()
	requireCode(t, n.create(newClaim("large", whole-4*gib+4*mib)), codes.ResourceExhausted, "for pods")
	require.NoError(t, n.create(newClaim("c", whole-4*gib)))
	for _, a := range client.Actions() {
		require.Equal(t, "csistoragecapacities", a.GetResource().Resource, "the claim asks the API server nothing")
	}
	n.offers(client, 4*gib, 0)
	addPod(t, client, boundPod(newVolume("b", "3Gi"), "3Gi"))
	require.NoError(t, n.publish(newVolume("b", "3Gi")))
	n.offers(client, 4*gib, 0)
}

// A pool for claims alone has no extended resource; one that pods request keeps what
// they do.
func TestPoolOfClaimsAlone(t *testing.T) {
	n, client := provisioningNodeOf(t, `
pools: [{name: ssd, volumeGroup: vg0, inlinePool: none}]
classes: [{name: ssd, pool: ssd, default: true}]
`)
	n.offers(client, -1, whole)
	addPod(t, client, boundPod(newVolume("a", "1Gi"), "1Gi"))
	n.offers(client, gib, whole)
}

// A generic ephemeral volume is made before its pod is bound. Its pod's request covers
// it, and it is counted once.
func TestGenericEphemeralVolumeIsCountedOnce(t *testing.T) {
	n, client := provisioningNode(t)
	n.offers(client, whole, whole)
	pod := boundPod(newVolume("a", "4Gi"), "4Gi")
	pod.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To("fast"), Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("4Gi")}},
		}},
	}}}}
	pod.Spec.NodeName = "" // the scheduler has chosen the node, and waits for the volume
	addPod(t, client, pod)
	before := len(nodePatches(client))
	c := pvc("a-scratch", "4Gi", "node1")
	c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: ptr.To(true)}}
	_, err := client.CoreV1().PersistentVolumeClaims("default").Create(context.Background(), c, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { n.clock.Step(100 * time.Millisecond); return len(n.volumes()) == 1 }, 10*time.Second, 10*time.Millisecond)
	n.offers(client, whole, whole-4*gib)

	pod.Spec.NodeName = "node1"
	_, err = client.CoreV1().Pods("default").Update(context.Background(), pod, metav1.UpdateOptions{})
	require.NoError(t, err)
	n.offers(client, whole, whole-4*gib)
	require.Len(t, nodePatches(client), before, "nothing to tell the scheduler for pods")

	n.lvm("lvextend", "--size", "6g", "vg0/"+n.volumes()[0])
	n.offers(client, whole-2*gib, whole-6*gib) // what it has grown by is in nobody's request

	// The pod has ended and is kept: so is its volume, and nobody's request covers it.
	setPhase(t, client, "a", corev1.PodSucceeded)
	n.offers(client, whole-6*gib, whole-6*gib)
}
