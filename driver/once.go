// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/client-go/kubernetes"
	provisioning "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// onceTime is how long at most the informer of volumes is behind the API server.
const onceTime = time.Minute

// once keeps the provisioner from making a volume twice. A claim changes while its volume
// is made, which puts it into the controller's queue again, and the controller comes to it
// milliseconds after it has written the PV, when its informer does not know that yet. It
// would call CreateVolume again, which finds the LV and does no harm, but holds the
// volume's lock: kubelet's NodeStageVolume comes at that very moment, is told Aborted, and
// tries again half a second later, then a second, then two.
type once struct {
	wholeProvisioner
	client kubernetes.Interface
	made   *cache.Expiring // names of volumes that were just made; what it does not know costs a second call
}

func newOnce(p wholeProvisioner, client kubernetes.Interface) once {
	return once{p, client, cache.NewExpiring()}
}

// Provision implements provisioning.Provisioner.
func (o once) Provision(ctx context.Context, options provisioning.ProvisionOptions) (*corev1.PersistentVolume, provisioning.ProvisioningState, error) {
	if _, ok := o.made.Get(options.PVName); ok {
		o.made.Delete(options.PVName)
		// Not the informer: it is what is behind. An error is the first call's not having
		// got to its end.
		v, err := o.client.CoreV1().PersistentVolumes().Get(ctx, options.PVName, metav1.GetOptions{})
		if err == nil && v.Spec.ClaimRef != nil && v.Spec.ClaimRef.UID == options.PVC.UID {
			return nil, provisioning.ProvisioningFinished, &provisioning.IgnoredError{Reason: "the volume was just made"}
		}
	}
	v, state, err := o.wholeProvisioner.Provision(ctx, options)
	if err == nil {
		o.made.Set(options.PVName, struct{}{}, onceTime)
	}
	return v, state, err
}
