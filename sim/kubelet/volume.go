// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/driver"
)

// volume is one of podlv's volumes as a pod asks for it.
type volume struct {
	name     string                  // in the pod's spec
	inline   *corev1.CSIVolumeSource // or
	claim    string                  // the name of the claim, which is the pod's own
	owned    bool                    // if it is of a generic ephemeral volume
	readOnly bool
	block    bool                     // containers have it as a device
	pv       *corev1.PersistentVolume // of the claim, once that is bound
}

// volumesOf are the volumes of a pod that a CSI driver of this node may have, without
// those that no container uses, which kubelet does not mount. What claims turn out to be
// is seen when they are bound.
func volumesOf(pod *corev1.Pod) []*volume {
	mounted, mapped := used(pod)
	var all []*volume
	for i := range pod.Spec.Volumes {
		s := &pod.Spec.Volumes[i]
		v := &volume{name: s.Name, block: mapped[s.Name]}
		switch {
		case !mounted[s.Name] && !mapped[s.Name]:
			continue
		case s.CSI != nil && s.CSI.Driver == driver.Name:
			v.inline, v.readOnly = s.CSI, s.CSI.ReadOnly != nil && *s.CSI.ReadOnly
		case s.PersistentVolumeClaim != nil:
			v.claim, v.readOnly = s.PersistentVolumeClaim.ClaimName, s.PersistentVolumeClaim.ReadOnly
		case s.Ephemeral != nil:
			v.claim, v.owned = pod.Name+"-"+s.Name, true
		default:
			continue
		}
		all = append(all, v)
	}
	return all
}

// used are the names of the volumes that containers of the pod have as folders and as
// devices.
func used(pod *corev1.Pod) (mounted, mapped map[string]bool) {
	mounted, mapped = map[string]bool{}, map[string]bool{}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, m := range c.VolumeMounts {
			mounted[m.Name] = true
		}
		for _, d := range c.VolumeDevices {
			mapped[d.Name] = true
		}
	}
	return mounted, mapped
}

// errWait is an error that passes without anybody's doing.
var errWait = errors.New("not yet")

// claimProtection keeps a claim that is being deleted while a pod uses it.
const claimProtection = "kubernetes.io/pvc-protection"

// resolve finds the PV of a volume's claim. errWait: it is not known yet.
func (k *Kubelet) resolve(pod *corev1.Pod, v *volume) error {
	if v.inline != nil {
		return nil
	}
	claim, err := k.Claims.PersistentVolumeClaims(pod.Namespace).Get(v.claim)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errWait, err)
	case v.owned && !metav1.IsControlledBy(claim, pod):
		return fmt.Errorf("claim %s is there and is not the pod's own", v.claim)
	case claim.DeletionTimestamp != nil && !slices.Contains(claim.Finalizers, claimProtection):
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
	case v.block != (pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock):
		return fmt.Errorf("volume %s of claim %s: it is a raw block device or not, the pod uses it as the other", pv.Name, v.claim)
	}
	v.pv = pv
	return nil
}

// kubelet's paths (kubernetes 1.36, pkg/volume/csi).
const (
	pluginDir     = Dir + "/plugins/kubernetes.io/csi"
	blockDir      = pluginDir + "/volumeDevices"
	escapedName   = "kubernetes.io~csi"
	globalFolder  = "globalmount"
	volumesFolder = "volumes"
	devicesFolder = "volumeDevices"
)

func podDir(pod types.UID) string { return Dir + "/pods/" + string(pod) }

// inlineHandle is the handle that kubelet makes up for an inline volume
// (makeVolumeHandle).
func inlineHandle(pod types.UID, name string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(string(pod)+name)))
}

// stagingPath is where the volume is staged on the node.
func (e *entry) stagingPath() string {
	if e.block {
		return path.Join(blockDir, "staging", e.spec)
	}
	return path.Join(pluginDir, driver.Name, fmt.Sprintf("%x", sha256.Sum256([]byte(e.handle))), globalFolder)
}

// target is where the volume is published for a pod.
func (e *entry) target(pod types.UID) string {
	if e.block {
		return path.Join(blockDir, "publish", e.spec, string(pod))
	}
	return path.Join(podDir(pod), volumesFolder, escapedName, e.spec, "mount")
}

// statsPath is where the volume's statistics are asked for.
func (e *entry) statsPath(pod types.UID) string {
	if e.block {
		return e.mapPath(pod)
	}
	return e.target(pod)
}

// mapPath is where a raw block device is bound to by kubelet itself, linkPath where the
// pod's folder says that it has it.
func (e *entry) mapPath(pod types.UID) string {
	return path.Join(blockDir, e.spec, "dev", string(pod))
}

func (e *entry) linkPath(pod types.UID) string {
	return path.Join(podDir(pod), devicesFolder, escapedName, e.spec)
}
