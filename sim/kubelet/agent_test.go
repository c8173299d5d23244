// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/record"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/sim/router"
)

// agent is a CSI driver that keeps what it is asked, and fails when it is told to. It
// does to the machine what every driver must do: it makes and removes targets.
type agent struct {
	csi.UnimplementedNodeServer
	registerapi.UnimplementedRegistrationServer
	endpoint string
	host     *fakelvm.Host

	mu     sync.Mutex
	calls  []string
	fail   map[string][]error // by method, for the next calls
	made   map[string]bool    // targets
	held   map[string]chan struct{}
	status *registerapi.RegistrationStatus
}

// hold makes the calls of a method wait until release is called.
func (a *agent) hold(method string) (release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	gate := make(chan struct{})
	a.held = map[string]chan struct{}{method: gate}
	return sync.OnceFunc(func() { close(gate) })
}

// say keeps a call and gives the error that it is to be answered with.
func (a *agent) say(method, what string) error {
	a.mu.Lock()
	gate := a.held[method]
	a.mu.Unlock()
	if gate != nil {
		<-gate
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, strings.TrimSpace(method+" "+what))
	if len(a.fail[method]) == 0 {
		return nil
	}
	err := a.fail[method][0]
	a.fail[method] = a.fail[method][1:]
	return err
}

// answer makes the next calls of a method fail.
func (a *agent) answer(method string, errs ...error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail[method] = append(a.fail[method], errs...)
}

func (a *agent) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls, a.fail = nil, map[string][]error{}
}

func (a *agent) asked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

func (a *agent) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{Type: registerapi.CSIPlugin, Name: driver.Name, Endpoint: a.endpoint}, nil
}

func (a *agent) NotifyRegistrationStatus(_ context.Context, s *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	a.mu.Lock()
	a.status = s
	a.mu.Unlock()
	return &registerapi.RegistrationStatusResponse{}, nil
}

func (a *agent) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: "n", MaxVolumesPerNode: 7, AccessibleTopology: &csi.Topology{Segments: map[string]string{driver.TopologyKey: "n"}}}, nil
}

func (a *agent) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	r := &csi.NodeGetCapabilitiesResponse{}
	for _, t := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, csi.NodeServiceCapability_RPC_EXPAND_VOLUME, csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		r.Capabilities = append(r.Capabilities, &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}}})
	}
	return r, nil
}

func (a *agent) NodeStageVolume(_ context.Context, r *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if !a.host.IsDir(r.StagingTargetPath) {
		return nil, fmt.Errorf("kubelet has not made %s", r.StagingTargetPath)
	}
	return &csi.NodeStageVolumeResponse{}, a.say("NodeStageVolume", fmt.Sprintf("%s at %s as %v", r.VolumeId, r.StagingTargetPath, r.VolumeCapability))
}

func (a *agent) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if !a.host.IsDir(filepath.Dir(r.TargetPath)) {
		return nil, fmt.Errorf("kubelet has not made the folder of %s", r.TargetPath)
	}
	a.mu.Lock()
	mine := a.made[r.TargetPath]
	a.made[r.TargetPath] = true
	a.mu.Unlock()
	if a.host.Exists(r.TargetPath) && !mine {
		return nil, fmt.Errorf("kubelet has made %s itself", r.TargetPath)
	}
	err := a.say("NodePublishVolume", fmt.Sprintf("%s at %s from %q with %v as %v", r.VolumeId, r.TargetPath, r.StagingTargetPath, r.VolumeContext, r.VolumeCapability))
	if err == nil {
		if r.VolumeCapability.GetBlock() != nil {
			err = a.host.MakeFile(r.TargetPath)
		} else {
			err = a.host.MkdirAll(r.TargetPath)
		}
	}
	return &csi.NodePublishVolumeResponse{}, err
}

func (a *agent) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	err := a.say("NodeUnpublishVolume", r.VolumeId+" at "+r.TargetPath)
	if err == nil && a.host.Exists(r.TargetPath) {
		err = a.host.Remove(r.TargetPath)
	}
	return &csi.NodeUnpublishVolumeResponse{}, err
}

func (a *agent) NodeUnstageVolume(_ context.Context, r *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	return &csi.NodeUnstageVolumeResponse{}, a.say("NodeUnstageVolume", r.VolumeId+" at "+r.StagingTargetPath)
}

func (a *agent) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	return &csi.NodeExpandVolumeResponse{}, a.say("NodeExpandVolume", fmt.Sprintf("%s at %s and %s to %d", r.VolumeId, r.VolumePath, r.StagingTargetPath, r.CapacityRange.RequiredBytes))
}

func (a *agent) NodeGetVolumeStats(_ context.Context, r *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	return &csi.NodeGetVolumeStatsResponse{}, a.say("NodeGetVolumeStats", r.VolumeId+" at "+r.VolumePath)
}

// serve answers on two sockets until the test ends.
func (a *agent) serve(t *testing.T, registry string) {
	t.Helper()
	server := grpc.NewServer()
	csi.RegisterNodeServer(server, a)
	registerapi.RegisterRegistrationServer(server, a)
	for _, path := range []string{a.endpoint, filepath.Join(registry, "x-reg.sock")} {
		l, err := net.Listen("unix", path)
		require.NoError(t, err)
		go func() { _ = server.Serve(l) }()
	}
	t.Cleanup(server.Stop)
}

// bench is a kubelet of node "n" that runs, with everything around it made up.
type bench struct {
	*testing.T
	api     *fake.Clientset
	agent   *agent
	host    *fakelvm.Host
	events  *record.FakeRecorder
	config  Config
	kubelet *Kubelet
	stop    func() // ends the kubelet

	mu      sync.Mutex
	moments []string // as "pod: running"
}

func (b *bench) Pod(_ string, pod *corev1.Pod, what Moment, _ string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moments = append(b.moments, pod.Name+": "+string(what))
	b.agent.mu.Lock() // one list for what came first
	defer b.agent.mu.Unlock()
	b.agent.calls = append(b.agent.calls, pod.Name+": "+string(what))
}

func (b *bench) Call(Call) {}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	dir, registry := t.TempDir(), t.TempDir()
	b := &bench{T: t, api: fake.NewClientset(), host: fakelvm.New(), events: record.NewFakeRecorder(1000)}
	b.agent = &agent{endpoint: filepath.Join(dir, "csi.sock"), host: b.host, fail: map[string][]error{}, made: map[string]bool{}}
	r, err := router.New(b.api)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	require.NoError(t, r.Start(ctx))
	t.Cleanup(func() {
		b.stop()
		cancel()
		r.Stop()
	})
	n, core := r.Join("n"), r.Factory().Core().V1()
	b.config = Config{
		Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Capacity: corev1.ResourceList{
			"cpu": resource.MustParse("4"), "pods": resource.MustParse("5"), "podlv.dev/ssd": resource.MustParse("10Gi"),
		}}},
		Client: b.api, Pods: n.Pods(), LocalVolumes: n.Volumes(), Nodes: core.Nodes().Lister(), Claims: core.PersistentVolumeClaims().Lister(), Volumes: core.PersistentVolumes().Lister(),
		Host: b.host, PluginsRegistry: registry, Events: b.events, Observer: b, Clock: clock.RealClock{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&b.config)
	}
	require.NoError(t, New(b.config).Register(ctx))
	require.Eventually(t, func() bool {
		_, err := core.Nodes().Lister().Get("n")
		return err == nil
	}, 10*time.Second, time.Millisecond)
	b.agent.serve(t, registry)
	b.start()
	return b
}

// start starts a kubelet, which knows nothing of one before it but what is on the
// machine, waits until the agent has registered, and forgets all calls and moments.
func (b *bench) start() {
	b.Helper()
	b.run()
	require.Eventually(b, func() bool { return b.kubelet.agent() != nil }, 10*time.Second, time.Millisecond)
}

// run starts a kubelet and forgets all calls and moments.
func (b *bench) run() {
	b.mu.Lock()
	b.moments = nil
	b.mu.Unlock()
	b.agent.forget()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	b.kubelet = New(b.config)
	go func(k *Kubelet) { ended <- k.Run(ctx) }(b.kubelet)
	b.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(b, <-ended)
	})
}

// settled waits until the kubelet has no volume any more, and is what happened until
// then, but for pods that are gone: their volumes are unstaged meanwhile.
func (b *bench) settled() []string {
	b.Helper()
	require.Eventually(b, func() bool {
		b.kubelet.volumes.mu.Lock()
		defer b.kubelet.volumes.mu.Unlock()
		return len(b.kubelet.volumes.all) == 0
	}, 10*time.Second, time.Millisecond, "%v", b.agent.asked())
	return slices.DeleteFunc(b.agent.asked(), func(c string) bool { return strings.HasSuffix(c, ": gone") })
}

// swept waits until no folder of a pod is left.
func (b *bench) swept() {
	b.Helper()
	require.Eventually(b, func() bool {
		left, err := b.host.ReadDir(Dir + "/pods")
		return err == nil && len(left) == 0
	}, 10*time.Second, time.Millisecond)
}

// bind makes a pod that is bound to the node.
func (b *bench) bind(name string, volumes ...corev1.Volume) *corev1.Pod {
	b.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid")},
		Spec: corev1.PodSpec{
			NodeName: "n", ServiceAccountName: "sa", RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{Name: "c", Image: "none"}}, Volumes: volumes,
		},
	}
	return b.create(pod)
}

// use makes the first container of a pod use all its volumes, those of block claims
// (see claimed) as devices.
func use(pod *corev1.Pod) {
	c := &pod.Spec.Containers[0]
	c.VolumeMounts, c.VolumeDevices = nil, nil
	for _, v := range pod.Spec.Volumes {
		if strings.HasPrefix(v.Name, "raw") {
			c.VolumeDevices = append(c.VolumeDevices, corev1.VolumeDevice{Name: v.Name, DevicePath: "/dev/" + v.Name})
		} else {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
		}
	}
}

func (b *bench) create(pod *corev1.Pod) *corev1.Pod {
	b.Helper()
	use(pod)
	made, err := b.api.CoreV1().Pods("default").Create(b.Context(), pod, metav1.CreateOptions{})
	require.NoError(b, err)
	return made
}

// remove begins the deletion of a pod, which the kubelet ends.
func (b *bench) remove(name string) {
	b.Helper()
	pod := b.pod(name)
	now := metav1.Now()
	pod.DeletionTimestamp = &now
	_, err := b.api.CoreV1().Pods("default").Update(b.Context(), pod, metav1.UpdateOptions{})
	require.NoError(b, err)
}

func (b *bench) pod(name string) *corev1.Pod {
	b.Helper()
	pod, err := b.api.CoreV1().Pods("default").Get(b.Context(), name, metav1.GetOptions{})
	require.NoError(b, err)
	return pod
}

// until waits until something has happened to a pod.
func (b *bench) until(name string, what Moment) {
	b.Helper()
	require.Eventually(b, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return slices.Contains(b.moments, name+": "+string(what))
	}, 20*time.Second, time.Millisecond, "%s: %s, calls:\n%s", name, what, strings.Join(b.agent.asked(), "\n"))
}

func inline(name string, attributes map[string]string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver.Name, VolumeAttributes: attributes}}}
}

// claimed makes a claim that is bound to a volume of 1 GiB, and is that claim's in a
// pod.
func (b *bench) claimed(name string, mode corev1.PersistentVolumeMode) corev1.Volume {
	b.Helper()
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name + "-uid")},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv-" + name},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: size},
	}
	_, err := b.api.CoreV1().PersistentVolumeClaims("default").Create(b.Context(), claim, metav1.CreateOptions{})
	require.NoError(b, err)
	_, err = b.api.CoreV1().PersistentVolumes().Create(b.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: size, VolumeMode: &mode, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, MountOptions: []string{"noatime"},
			ClaimRef: &corev1.ObjectReference{Namespace: "default", Name: name, UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: driver.Name, VolumeHandle: "vg0/" + name, FSType: "xfs", VolumeAttributes: map[string]string{"podlv.dev/class": "ssd"},
			}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: driver.TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{"n"}}},
			}}}},
		},
	}, metav1.CreateOptions{})
	require.NoError(b, err)
	volume := "data"
	if mode == corev1.PersistentVolumeBlock {
		volume = "raw"
	}
	return corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}}
}
