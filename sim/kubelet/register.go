// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	"k8s.io/utils/ptr"
)

const (
	// lookPeriod is how often the folder of sockets is looked at while there is none:
	// kubelet is told of a new one at once. pluginPeriod is how often it is looked at
	// afterwards, as kubelet's plugin manager does.
	lookPeriod   = 20 * time.Millisecond
	pluginPeriod = time.Second
	// registerTime is how long a registration may take.
	registerTime = 10 * time.Second
	// statusPeriod is how often kubelet looks whether its node's status must change.
	statusPeriod = 10 * time.Second
)

// nodeIDAnnotation says the node's id of each CSI driver.
const nodeIDAnnotation = "csi.volume.kubernetes.io/nodeid"

// Register makes the Node, which is Ready. One that is there is taken up.
func (k *Kubelet) Register(ctx context.Context) error {
	node := k.Node.DeepCopy()
	node.Status.Allocatable = node.Status.Capacity.DeepCopy()
	now := metav1.NewTime(k.Clock.Now())
	node.Status.Conditions = []corev1.NodeCondition{readySince(now)}
	made, err := k.Client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return k.renew(ctx) // kubelet ran before; stayReady does the rest
	}
	if err != nil {
		return fmt.Errorf("register node %s: %w", k.node, err)
	}
	_, err = k.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: k.node, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: made.Name, UID: made.UID}}},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: &k.node, LeaseDurationSeconds: ptr.To(int32(math.Ceil(k.LeaseDuration.Seconds()))), RenewTime: ptr.To(metav1.NewMicroTime(now.Time)),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("lease of node %s: %w", k.node, err)
	}
	return nil
}

// renewLease says until ctx ends that the node is alive, as often as kubelet does.
func (k *Kubelet) renewLease(ctx context.Context) {
	for k.sleep(ctx, nil, k.LeaseDuration/4) {
		if err := k.renew(ctx); err != nil && ctx.Err() == nil {
			k.Log.Warn("the lease was not renewed; it is tried again", "node", k.node, "error", err)
		}
	}
}

// renew says that the node is alive now.
func (k *Kubelet) renew(ctx context.Context) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"renewTime": metav1.NewMicroTime(k.Clock.Now())}})
	if err != nil {
		return err
	}
	if _, err := k.Client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Patch(ctx, k.node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return fmt.Errorf("lease of node %s: %w", k.node, err)
	}
	return nil
}

// readySince is the condition of a node that works.
func readySince(now metav1.Time) corev1.NodeCondition {
	return corev1.NodeCondition{
		Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status",
		LastHeartbeatTime: now, LastTransitionTime: now,
	}
}

// stayReady says that the node is Ready when the kubelet starts, and whenever somebody
// has said that it is not: the node lifecycle controller, when the lease was not renewed.
func (k *Kubelet) stayReady(ctx context.Context) {
	for first := true; ; first = false {
		node, err := k.Nodes.Get(k.node)
		if first || err == nil && !ready(node) {
			now := metav1.NewTime(k.Clock.Now())
			var patch []byte
			patch, err = json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{readySince(now)}}})
			if err == nil {
				_, err = k.Client.CoreV1().Nodes().Patch(ctx, k.node, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
			}
		}
		if err != nil && ctx.Err() == nil {
			k.Log.Warn("the node may not be said to be ready; it is tried again", "node", k.node, "error", err)
		}
		if !k.sleep(ctx, nil, statusPeriod) {
			return
		}
	}
}

func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// agent is the driver's node service, nil while it is not registered.
func (k *Kubelet) agent() csi.NodeClient {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.driver
}

// registerPlugins keeps the driver whose socket is in the folder registered: one that
// puts a socket there is registered, again if it has put another one there, and one whose
// socket is gone is not registered any more (kubernetes 1.36, pkg/kubelet/pluginmanager).
func (k *Kubelet) registerPlugins(ctx context.Context) {
	var known string // the socket, with what tells it from an earlier one of its name
	var conn *grpc.ClientConn
	forget := func() {
		if conn != nil {
			k.mu.Lock()
			k.driver = nil
			k.mu.Unlock()
			conn.Close()
			conn = nil
		}
	}
	defer forget()
	for {
		socket, is := k.socket()
		switch {
		case is == known:
		case socket == "":
			forget()
			known = ""
			if err := k.uninstallDriver(ctx); err != nil && ctx.Err() == nil {
				k.Log.Warn("a driver that is gone is not forgotten", "node", k.node, "error", err)
			}
		default:
			forget()
			made, err := k.registerPlugin(ctx, socket)
			if err != nil {
				if ctx.Err() == nil {
					k.Log.Warn("a plugin is not registered; it is tried again", "node", k.node, "socket", socket, "error", err)
				}
				break
			}
			conn = made
			_, known = k.socket() // it may have come only while it was waited for
			k.mu.Lock()
			k.driver = csi.NewNodeClient(conn)
			k.mu.Unlock()
		}
		period := pluginPeriod
		if known == "" {
			period = lookPeriod
		}
		if !k.sleep(ctx, nil, period) {
			return
		}
	}
}

// socket is the driver's in the folder of sockets, and what tells it from others; both
// are empty when there is none.
func (k *Kubelet) socket() (file, identity string) {
	found, _ := filepath.Glob(filepath.Join(k.PluginsRegistry, "*.sock")) // the pattern is right
	for _, f := range found {
		if info, err := os.Stat(f); err == nil {
			return f, fmt.Sprint(f, " ", info.ModTime().UnixNano())
		}
	}
	return "", ""
}

// registerPlugin asks a socket who it is, tells the API, and tells the socket. It returns
// the connection to its CSI services.
func (k *Kubelet) registerPlugin(ctx context.Context, socket string) (*grpc.ClientConn, error) {
	ctx, cancel := context.WithTimeout(ctx, registerTime)
	defer cancel()
	registration, err := k.dial(socket)
	if err != nil {
		return nil, err
	}
	defer registration.Close()
	client := registerapi.NewRegistrationClient(registration)
	info, err := client.GetInfo(ctx, &registerapi.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("node %s: plugin registration: GetInfo: %w", k.node, err)
	}
	if info.GetType() != registerapi.CSIPlugin {
		return nil, fmt.Errorf("node %s: plugin registration: %s is a %s, not a %s", k.node, info.GetName(), info.GetType(), registerapi.CSIPlugin)
	}
	conn, err := k.dial(info.GetEndpoint())
	if err != nil {
		return nil, err
	}
	err = k.installDriver(ctx, conn, info.GetName())
	status := &registerapi.RegistrationStatus{PluginRegistered: err == nil}
	if err != nil {
		status.Error = err.Error()
	}
	if _, told := client.NotifyRegistrationStatus(ctx, status); told != nil && err == nil {
		err = fmt.Errorf("node %s: plugin registration: NotifyRegistrationStatus: %w", k.node, told)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// uninstallDriver takes the driver off the CSINode and the Node's annotation. Its topology
// labels stay, as in kubelet.
func (k *Kubelet) uninstallDriver(ctx context.Context) error {
	patch := []byte(`{"spec":{"drivers":null}}`)
	if _, err := k.Client.StorageV1().CSINodes().Patch(ctx, k.node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		return err
	}
	patch = []byte(`{"metadata":{"annotations":{"` + nodeIDAnnotation + `":null}}}`)
	_, err := k.Client.CoreV1().Nodes().Patch(ctx, k.node, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// installDriver asks the driver which node it is on and puts that on the Node and its
// CSINode (kubernetes 1.36, pkg/volume/csi/nodeinfomanager).
func (k *Kubelet) installDriver(ctx context.Context, conn grpc.ClientConnInterface, driver string) error {
	info, err := csi.NewNodeClient(conn).NodeGetInfo(ctx, &csi.NodeGetInfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("node %s: NodeGetInfo: %w", k.node, err)
	}
	ids, err := json.Marshal(map[string]string{driver: info.GetNodeId()})
	if err != nil {
		return err
	}
	segments := info.GetAccessibleTopology().GetSegments()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{nodeIDAnnotation: string(ids)}, "labels": segments}})
	if err != nil {
		return err
	}
	node, err := k.Client.CoreV1().Nodes().Patch(ctx, k.node, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("node %s: labels of CSI driver %s: %w", k.node, driver, err)
	}
	n := &storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: k.node, OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}},
		Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{
			Name: driver, NodeID: info.GetNodeId(), TopologyKeys: slices.Sorted(maps.Keys(segments)),
		}}},
	}
	if most := info.GetMaxVolumesPerNode(); most > 0 {
		n.Spec.Drivers[0].Allocatable = &storagev1.VolumeNodeResources{Count: ptr.To(int32(min(most, 1<<31-1)))}
	}
	_, err = k.Client.StorageV1().CSINodes().Create(ctx, n, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) { // of this kubelet before it was started again
		var have *storagev1.CSINode
		if have, err = k.Client.StorageV1().CSINodes().Get(ctx, k.node, metav1.GetOptions{}); err == nil {
			n.ResourceVersion = have.ResourceVersion
			_, err = k.Client.StorageV1().CSINodes().Update(ctx, n, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("CSINode %s: %w", k.node, err)
	}
	return nil
}

// dial connects to a unix socket.
func (k *Kubelet) dial(socket string) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost")}
	if k.Dial != nil {
		options = append(options, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return k.Dial(ctx, socket) }))
	}
	return grpc.NewClient("unix:"+socket, options...)
}
