// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"context"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/e2e/conformance/record"
)

// What every target must have.
const (
	// Driver is the name of the CSI driver that records: podlv's own, for the fake kubelet
	// knows no other. TopologyKey is that of its node's label.
	Driver      = "podlv.dev"
	TopologyKey = "topology.podlv.dev/node"
	Node        = "node-1"
	StatsPeriod = 10 * time.Second // of kubelet's volume statistics
	// Image runs sh, sleep and trap; it is that of every lab (lab.Busybox).
	Image = "podlv.dev/busybox:lab"
	// Lifetime is an annotation: how long the containers of a pod run, for a kubelet
	// that has none.
	Lifetime = "sim.podlv.dev/lifetime"
)

// Target is a node with a kubelet that runs, and a driver that records.
type Target interface {
	Client() kubernetes.Interface
	// StopKubelet kills kubelet, StartKubelet starts it again.
	StopKubelet(context.Context) error
	StartKubelet(context.Context) error
	// Reboot cuts the node's power, when all that was written is on its disk, does what is
	// to happen meanwhile, and starts it and its kubelet again, without the driver, which
	// can be told of rules and marks when Reboot returns.
	Reboot(ctx context.Context, meanwhile func()) error
	// Driver is a record.Driver, here or elsewhere.
	Driver() Recorder
}

// Recorder is a record.Driver, here or elsewhere.
type Recorder interface {
	Calls(context.Context) ([]record.Call, error)
	Add(context.Context, record.Rule) error
	Mark(ctx context.Context, note string) error
	Start(context.Context) error
	Stop(ctx context.Context, killed bool) error
}

// Install makes what an administrator makes.
func Install(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.StorageV1().CSIDrivers().Create(ctx, &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: Driver},
		Spec: storagev1.CSIDriverSpec{
			AttachRequired: ptr.To(false), PodInfoOnMount: ptr.To(true), SELinuxMount: ptr.To(true),
			FSGroupPolicy:        ptr.To(storagev1.FileFSGroupPolicy),
			VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = client.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "standard"}, Provisioner: "kubernetes.io/no-provisioner", AllowVolumeExpansion: ptr.To(true),
	}, metav1.CreateOptions{})
	return err
}
