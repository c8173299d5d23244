// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/driver"
)

// state is what is known of a mount.
type state int

const (
	absent    state = iota // it is not there
	uncertain              // a call failed that may have made it
	present
)

// volume is one of podlv's volumes in a pod. It belongs to one goroutine at a time.
type volume struct {
	name     string                  // in the pod's spec
	inline   *corev1.CSIVolumeSource // or
	claim    string                  // the name of the claim, which is the pod's own
	owned    bool                    // if it is of a generic ephemeral volume
	readOnly bool

	pv      *corev1.PersistentVolume // of the claim, once that is bound
	device  *device                  // of the PV on this node
	state   state
	handle  string
	block   bool
	backoff backoff
}

// device is a persistent volume on this node, which pods share.
type device struct {
	// op is held while an operation of the volume runs, for whichever pod.
	op     sync.Mutex
	staged state // under op
	users  map[types.UID]bool
}

// volumesOf are the volumes of a pod that a CSI driver of this node may have. What
// claims turn out to be is seen when they are bound.
func volumesOf(pod *corev1.Pod) []*volume {
	var all []*volume
	for i := range pod.Spec.Volumes {
		switch s := &pod.Spec.Volumes[i]; {
		case s.CSI != nil && s.CSI.Driver == driver.Name:
			sum := sha256.Sum256([]byte(string(pod.UID) + s.Name)) // makeVolumeHandle
			all = append(all, &volume{
				name: s.Name, inline: s.CSI, handle: fmt.Sprintf("csi-%x", sum),
				readOnly: s.CSI.ReadOnly != nil && *s.CSI.ReadOnly,
			})
		case s.PersistentVolumeClaim != nil:
			all = append(all, &volume{name: s.Name, claim: s.PersistentVolumeClaim.ClaimName, readOnly: s.PersistentVolumeClaim.ReadOnly})
		case s.Ephemeral != nil:
			all = append(all, &volume{name: s.Name, claim: pod.Name + "-" + s.Name, owned: true})
		}
	}
	return all
}

// errWait is an error that passes without anybody's doing.
var errWait = errors.New("not yet")

// resolve finds the PV of a volume's claim. errWait: it is not known yet.
func (k *Kubelet) resolve(pod *corev1.Pod, v *volume) error {
	claim, err := k.Claims.PersistentVolumeClaims(pod.Namespace).Get(v.claim)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errWait, err)
	case v.owned && !metav1.IsControlledBy(claim, pod):
		return fmt.Errorf("claim %s is there and is not the pod's own", v.claim)
	case claim.DeletionTimestamp != nil:
		return fmt.Errorf("claim %s is being deleted", v.claim)
	case claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "":
		return fmt.Errorf("%w: claim %s is not bound", errWait, v.claim)
	}
	pv, err := k.Volumes.Get(claim.Spec.VolumeName)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errWait, err)
	case pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID:
		return fmt.Errorf("volume %s is not of claim %s", pv.Name, v.claim)
	case pv.Spec.CSI == nil || pv.Spec.CSI.Driver != driver.Name:
		return fmt.Errorf("volume %s is not of %s, the only CSI driver of this node", pv.Name, driver.Name)
	}
	v.pv, v.handle = pv, pv.Spec.CSI.VolumeHandle
	v.block = pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock
	v.device = k.use(v.handle, pod.UID)
	return nil
}

// use counts a pod as a user of a volume on this node.
func (k *Kubelet) use(handle string, pod types.UID) *device {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := k.devices[handle]
	if d == nil {
		d = &device{users: map[types.UID]bool{}}
		k.devices[handle] = d
	}
	d.users[pod] = true
	return d
}

// used says whether other pods than this one use a volume on this node.
func (k *Kubelet) used(d *device, pod types.UID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(d.users) > 1 || len(d.users) == 1 && !d.users[pod]
}

// unuse ends the use of a volume by a pod.
func (k *Kubelet) unuse(handle string, d *device, pod types.UID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(d.users, pod)
	if len(d.users) == 0 && k.devices[handle] == d {
		delete(k.devices, handle)
	}
}

// kubelet's paths (kubernetes 1.36, pkg/volume/csi).
const (
	pluginDir    = Dir + "/plugins/kubernetes.io/csi"
	blockDir     = pluginDir + "/volumeDevices"
	volumeData   = "vol_data.json"
	escapedName  = "kubernetes.io~csi"
	globalFolder = "globalmount"
)

func podDir(pod types.UID) string { return Dir + "/pods/" + string(pod) }

// stagingPath is where the volume is staged on the node.
func (v *volume) stagingPath() string {
	if v.block {
		return path.Join(blockDir, "staging", v.pv.Name)
	}
	return path.Join(pluginDir, driver.Name, fmt.Sprintf("%x", sha256.Sum256([]byte(v.handle))), globalFolder)
}

// target is where the volume is published for a pod.
func (v *volume) target(pod types.UID) string {
	switch {
	case v.block:
		return path.Join(blockDir, "publish", v.pv.Name, string(pod))
	case v.pv != nil:
		return path.Join(podDir(pod), "volumes", escapedName, v.pv.Name, "mount")
	}
	return path.Join(podDir(pod), "volumes", escapedName, v.name, "mount")
}

// mapPath is where a raw block device is bound to by kubelet itself.
func (v *volume) mapPath(pod types.UID) string {
	return path.Join(blockDir, v.pv.Name, "dev", string(pod))
}
