// SPDX-License-Identifier: Apache-2.0

//go:build conformance

package conformance

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	clientrecord "k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/e2e/conformance/cases"
	"github.com/podlv/podlv/e2e/conformance/record"
	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/sim/kube/kubetest"
	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/router"
)

// fakeNode is a node with a fake kubelet, on a fake machine, and the driver that records.
type fakeNode struct {
	*testing.T
	client kubernetes.Interface
	host   *fakelvm.Host
	driver *record.Driver
	config kubelet.Config

	mu   sync.Mutex
	stop func() // ends the kubelet
}

var _ cases.Target = &fakeNode{}

func newFakeNode(t *testing.T) *fakeNode {
	dir, err := os.MkdirTemp("", "cf") // short: sockets are in it
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if *fakeLog != "" {
		f, err := os.Create(*fakeLog)
		require.NoError(t, err)
		t.Cleanup(func() { f.Close() })
		log = slog.New(slog.NewTextHandler(f, nil))
	}
	n := &fakeNode{T: t, client: kubetest.Start(t).Client, host: fakelvm.New(fakelvm.Disk{Path: "/dev/fake0", Size: 64 << 20}), stop: func() {}}
	require.NoError(t, n.host.MkdirAll(folder))
	n.driver = record.New(record.Config{
		Name: cases.Driver, Node: cases.Node, TopologyKey: cases.TopologyKey, Registry: dir, Socket: filepath.Join(dir, "csi"), Machine: fakeMachine{n.host},
	})
	t.Cleanup(func() { n.driver.Stop(false) })
	require.NoError(t, cases.Install(t.Context(), n.client))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r, err := router.New(n.client)
	require.NoError(t, err)
	require.NoError(t, r.Start(ctx))
	t.Cleanup(func() {
		cancel()
		r.Stop()
	})
	view, core := r.Join(cases.Node), r.Factory().Core().V1()
	n.config = kubelet.Config{
		Node: &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: cases.Node, Labels: map[string]string{corev1.LabelHostname: cases.Node, corev1.LabelOSStable: "linux"}},
			Status: corev1.NodeStatus{Capacity: corev1.ResourceList{
				"cpu": resource.MustParse("1"), "memory": resource.MustParse("3Gi"), "pods": resource.MustParse("110"),
			}},
		},
		Client: n.client, Pods: view.Pods(), LocalVolumes: view.Volumes(),
		Nodes: core.Nodes().Lister(), Claims: core.PersistentVolumeClaims().Lister(), Volumes: core.PersistentVolumes().Lister(),
		Host: n.host, PluginsRegistry: dir, StatsPeriod: cases.StatsPeriod,
		Events: &clientrecord.FakeRecorder{}, Observer: nobody{}, Clock: clock.RealClock{}, Log: log,
	}
	require.NoError(t, kubelet.New(n.config).Register(ctx))
	require.Eventually(t, func() bool {
		_, err := core.Nodes().Lister().Get(cases.Node)
		return err == nil
	}, 10*time.Second, time.Millisecond)
	t.Cleanup(func() { _ = n.StopKubelet(ctx) })
	require.NoError(t, n.StartKubelet(ctx))
	require.NoError(t, n.driver.Start())
	require.Eventually(t, func() bool {
		c, err := n.client.StorageV1().CSINodes().Get(t.Context(), cases.Node, metav1.GetOptions{})
		return err == nil && len(c.Spec.Drivers) == 1
	}, 30*time.Second, 10*time.Millisecond)
	return n
}

type nobody struct{}

func (nobody) Pod(string, *corev1.Pod, kubelet.Moment, string) {}
func (nobody) Call(kubelet.Call)                               {}

func (n *fakeNode) Client() kubernetes.Interface { return n.client }
func (n *fakeNode) Driver() cases.Recorder       { return local{n.driver} }

// local is the driver in this process.
type local struct{ d *record.Driver }

func (l local) Calls(context.Context) ([]record.Call, error)  { return l.d.Calls(), nil }
func (l local) Add(_ context.Context, rule record.Rule) error { l.d.Add(rule); return nil }
func (l local) Mark(_ context.Context, note string) error     { l.d.Mark(note); return nil }
func (l local) Start(context.Context) error                   { return l.d.Start() }
func (l local) Stop(_ context.Context, killed bool) error     { l.d.Stop(killed); return nil }

func (n *fakeNode) StartKubelet(context.Context) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(n.Context()))
	ended := make(chan error, 1)
	go func() { ended <- kubelet.New(n.config).Run(ctx) }()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			n.Errorf("kubelet: %v", err)
		}
	})
	return nil
}

func (n *fakeNode) StopKubelet(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stop()
	return nil
}

// Reboot implements cases.Target.
func (n *fakeNode) Reboot(ctx context.Context, meanwhile func()) error {
	n.driver.Stop(true)
	if err := n.StopKubelet(ctx); err != nil {
		return err
	}
	n.host.Reboot()
	meanwhile()
	return n.StartKubelet(ctx)
}

// fakeMachine is a fakelvm.Host as the driver mounts on it.
type fakeMachine struct{ host *fakelvm.Host }

// folder is what is mounted for every volume that is a filesystem.
const folder = "/srv/volume"

func (m fakeMachine) PublishFolder(target string) error {
	if err := m.host.MkdirAll(target); err != nil || m.mounted(target) {
		return err
	}
	return m.host.Mount(folder, target, "", []string{"bind"})
}

func (m fakeMachine) PublishDevice(target string) error {
	if err := m.host.MakeFile(target); err != nil || m.mounted(target) {
		return err
	}
	return m.host.Mount("/dev/fake0", target, "", []string{"bind"})
}

func (m fakeMachine) Unpublish(target string) error {
	if m.mounted(target) {
		if err := m.host.Unmount(target); err != nil {
			return err
		}
	}
	if !m.host.Exists(target) {
		return nil
	}
	return m.host.Remove(target)
}

func (m fakeMachine) mounted(target string) bool {
	return slices.ContainsFunc(m.host.Mounts(), func(mount fakelvm.Mount) bool { return mount.Target == target })
}
