// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/fakelvm"
)

// Dir is kubelet's folder on the fake machine.
const Dir = "/var/lib/kubelet"

// LifetimeAnnotation of a pod is how long its containers run before they end with
// status 0, as a duration ("30s"). A pod without it, or one whose restartPolicy is
// Always, runs until it is deleted.
const LifetimeAnnotation = "sim.podlv.dev/lifetime"

// Config is all that a kubelet is given.
type Config struct {
	// Node is the node as it is registered: its name, its labels, its capacity, which
	// is its allocatable as well. Extended resources are others' to add.
	Node   *corev1.Node
	Client kubernetes.Interface
	// Pods are those that are bound to the node, and no others; LocalVolumes the
	// PersistentVolumes that are on it.
	Pods, LocalVolumes cache.SharedIndexInformer
	Nodes              corelisters.NodeLister
	Claims             corelisters.PersistentVolumeClaimLister
	Volumes            corelisters.PersistentVolumeLister
	// Host is the machine. Its LVM is the agent's; a kubelet makes folders and binds
	// devices.
	Host *fakelvm.Host
	// PluginsRegistry is the folder, a real one, in which the agent puts its socket.
	PluginsRegistry string
	// Dial, when set, connects to a unix socket in place of net.Dial.
	Dial func(ctx context.Context, socket string) (net.Conn, error)
	// StatsPeriod is the time between two NodeGetVolumeStats of a volume; kubelet's
	// default is a minute. 0: none are called.
	StatsPeriod time.Duration
	// LeaseDuration is kubelet's nodeLeaseDurationSeconds; the Lease is renewed four times
	// in it. Default: 40 s, as kubelet's.
	LeaseDuration time.Duration
	Events        record.EventRecorder
	Observer      Observer
	Clock         clock.Clock
	Log           *slog.Logger
}

// Moment is what happened to a pod. A kubelet that is started again tells nothing twice:
// of a pod that ran before it tells Back, and then what follows.
type Moment string

// The moments of a pod's life on a node, in their order.
const (
	Bound   Moment = "bound"   // kubelet has heard of it
	Refused Moment = "refused" // it was not admitted; why says the reason
	Running Moment = "running" // all its volumes are published
	Back    Moment = "back"    // they are again, after the kubelet was started again
	Ended   Moment = "ended"   // it has its last phase; its volumes may still be there
	Gone    Moment = "gone"    // its volumes are unpublished
)

// Call is a CSI call that was answered.
type Call struct {
	Node   string
	Pod    types.UID // for which it was made; empty for unstage, which is for none
	Method string    // as "NodePublishVolume"; empty: one of the pod's, that is told of elsewhere
	Volume string    // its handle
	Code   string    // "OK", or the name of another gRPC code
	Err    error
	Took   time.Duration
}

// Observer is told what happens, at once and from many goroutines. It must not block.
type Observer interface {
	// Pod is told what happened to a pod of a node, and why if that is not plain.
	Pod(node string, pod *corev1.Pod, what Moment, why string)
	// Call is told of an answer.
	Call(Call)
}

// Kubelet is the one of a node. New makes it; the zero value is not usable.
type Kubelet struct {
	Config
	node    string
	volumes *volumes // Run's

	admission sync.Mutex
	admitted  map[types.UID]*corev1.Pod // pods that count against allocatable

	mu      sync.Mutex
	driver  csi.NodeClient // nil while the plugin is not registered
	workers map[types.UID]*worker
	running sync.WaitGroup // workers, and what else runs
}

// New puts a kubelet together. It touches nothing yet. A kubelet that has ended is not
// run again: a new one on the same Host takes up what it has left there.
func New(c Config) *Kubelet {
	c.LeaseDuration = cmp.Or(c.LeaseDuration, 40*time.Second)
	return &Kubelet{Config: c, node: c.Node.Name, admitted: map[types.UID]*corev1.Pod{}, workers: map[types.UID]*worker{}}
}

// Run works on the node's pods until ctx ends, and registers the agent's plugin whenever
// its socket appears. As a kubelet that is stopped or killed, it leaves the pods'
// volumes where they are and breaks off its calls. The Node must be there: Register
// makes it. The error says why it could not start.
func (k *Kubelet) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := k.Host.MkdirAll(Dir + "/pods"); err != nil {
		return err
	}
	k.volumes = newVolumes(ctx, k)
	k.volumes.reconstruct()
	for _, f := range []func(context.Context){k.renewLease, k.stayReady, k.registerPlugins, k.stats} {
		k.running.Add(1)
		go func() {
			defer k.running.Done()
			f(ctx)
		}()
	}
	defer k.volumes.running.Wait()
	defer k.running.Wait() // before: these begin with volumes
	defer stop()
	if !cache.WaitForCacheSync(ctx.Done(), k.Pods.HasSynced) {
		return nil // it was told to end
	}
	k.takeUp(ctx)
	handle, err := k.Pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { k.see(ctx, o, false) },
		UpdateFunc: func(_, o any) { k.see(ctx, o, false) },
		DeleteFunc: k.forget,
	})
	if err != nil {
		return err
	}
	defer func() { _ = k.Pods.RemoveEventHandler(handle) }() // nothing more is to come
	sizes, err := k.LocalVolumes.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(_, o any) {
		if pv, ok := o.(*corev1.PersistentVolume); ok {
			k.volumes.resized(pv)
		}
	}})
	if err != nil {
		return err
	}
	defer func() { _ = k.LocalVolumes.RemoveEventHandler(sizes) }()
	<-ctx.Done()
	return nil
}

// takeUp takes up the pods that there are when the kubelet starts, the oldest first: so
// they are admitted again if it was started before (kubernetes 1.36,
// pkg/kubelet/kubelet.go, HandlePodAdditions). What is left of others is then cleared
// away.
func (k *Kubelet) takeUp(ctx context.Context) {
	var pods []*corev1.Pod
	for _, o := range k.Pods.GetStore().List() {
		if p, ok := o.(*corev1.Pod); ok {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, p := range pods {
		k.see(ctx, p, true)
	}
	k.volumes.settle()
	names, _ := k.Host.ReadDir(Dir + "/pods") // Run has made it
	for _, n := range names {
		k.sweep(types.UID(n))
	}
}

// see takes up a pod that is new or has changed; starting: it was there before kubelet.
func (k *Kubelet) see(ctx context.Context, object any, starting bool) {
	pod, ok := object.(*corev1.Pod)
	if !ok || ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.workers[pod.UID]; w != nil {
		w.update(pod)
		return
	}
	w := newWorker(k, pod)
	k.workers[pod.UID] = w
	w.take(pod, starting)
	k.running.Add(1)
	go func() {
		defer k.running.Done()
		w.run(ctx)
		k.mu.Lock()
		delete(k.workers, pod.UID)
		k.mu.Unlock()
		if ctx.Err() == nil {
			k.volumes.forget(pod.UID)
			k.sweep(pod.UID)
		}
	}()
}

// forget takes up that a pod is gone from the API: by kubelet itself, or by force.
func (k *Kubelet) forget(object any) {
	if t, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = t.Obj
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.workers[pod.UID]; w != nil {
		w.vanish()
	}
}

// sleep waits so long, or until ctx ends or stop is closed; it says whether it slept
// to the end.
func (k *Kubelet) sleep(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	timer := k.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
	case <-stop:
	}
	return false
}
