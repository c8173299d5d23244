// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// callTime is how long kubelet waits for an answer (csiTimeout).
const callTime = 2 * time.Minute

// call makes one CSI call and tells the observer of its answer.
func (k *Kubelet) call(ctx context.Context, method string, pod types.UID, volume string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	start := k.Clock.Now()
	err := f(ctx)
	k.Observer.Call(Call{Node: k.node, Pod: pod, Method: method, Volume: volume, Code: code(err), Err: err, Took: k.Clock.Since(start)})
	return err
}

// capabilities asks what the driver's node service can do, as kubelet does before it
// stages, publishes and expands.
func (k *Kubelet) capabilities(ctx context.Context, pod types.UID) (map[csi.NodeServiceCapability_RPC_Type]bool, error) {
	all := map[csi.NodeServiceCapability_RPC_Type]bool{}
	err := k.call(ctx, "NodeGetCapabilities", pod, "", func(ctx context.Context) error {
		r, err := k.agent.NodeGetCapabilities(ctx, &csi.NodeGetCapabilitiesRequest{})
		for _, c := range r.GetCapabilities() {
			all[c.GetRpc().GetType()] = true
		}
		return err
	})
	return all, err
}

func (k *Kubelet) nodeStage(ctx context.Context, pod *corev1.Pod, v *volume) error {
	has, err := k.capabilities(ctx, pod.UID)
	if err != nil {
		return err
	}
	if !has[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		return nil
	}
	return k.call(ctx, "NodeStageVolume", pod.UID, v.handle, func(ctx context.Context) error {
		_, err := k.agent.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
			VolumeId: v.handle, StagingTargetPath: v.stagingPath(), VolumeCapability: v.capability(has),
			VolumeContext: v.pv.Spec.CSI.VolumeAttributes,
		})
		return err
	})
}

func (k *Kubelet) nodePublish(ctx context.Context, pod *corev1.Pod, v *volume) error {
	has, err := k.capabilities(ctx, pod.UID)
	if err != nil {
		return err
	}
	request := &csi.NodePublishVolumeRequest{
		VolumeId: v.handle, TargetPath: v.target(pod.UID), Readonly: v.readOnly, VolumeCapability: v.capability(has),
		VolumeContext: map[string]string{},
	}
	if v.inline != nil {
		maps.Copy(request.VolumeContext, v.inline.VolumeAttributes)
	} else {
		maps.Copy(request.VolumeContext, v.pv.Spec.CSI.VolumeAttributes)
		request.Readonly = v.readOnly || v.pv.Spec.CSI.ReadOnly
		if has[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
			request.StagingTargetPath = v.stagingPath()
		}
	}
	maps.Copy(request.VolumeContext, map[string]string{ // podInfoOnMount
		"csi.storage.k8s.io/pod.name":            pod.Name,
		"csi.storage.k8s.io/pod.namespace":       pod.Namespace,
		"csi.storage.k8s.io/pod.uid":             string(pod.UID),
		"csi.storage.k8s.io/serviceAccount.name": pod.Spec.ServiceAccountName,
		"csi.storage.k8s.io/ephemeral":           strconv.FormatBool(v.inline != nil),
	})
	return k.call(ctx, "NodePublishVolume", pod.UID, v.handle, func(ctx context.Context) error {
		_, err := k.agent.NodePublishVolume(ctx, request)
		return err
	})
}

func (k *Kubelet) nodeUnpublish(ctx context.Context, pod *corev1.Pod, v *volume, target string) error {
	return k.call(ctx, "NodeUnpublishVolume", pod.UID, v.handle, func(ctx context.Context) error {
		_, err := k.agent.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.handle, TargetPath: target})
		return err
	})
}

func (k *Kubelet) nodeUnstage(ctx context.Context, v *volume) error {
	has, err := k.capabilities(ctx, "")
	if err != nil || !has[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		return err
	}
	return k.call(ctx, "NodeUnstageVolume", "", v.handle, func(ctx context.Context) error {
		_, err := k.agent.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: v.handle, StagingTargetPath: v.stagingPath()})
		return err
	})
}

// nodeExpand lets a volume grow to so many bytes.
func (k *Kubelet) nodeExpand(ctx context.Context, pod *corev1.Pod, v *volume, size int64) error {
	has, err := k.capabilities(ctx, pod.UID)
	if err != nil {
		return err
	}
	if !has[csi.NodeServiceCapability_RPC_EXPAND_VOLUME] {
		return fmt.Errorf("volume %s: the driver cannot expand volumes", v.handle)
	}
	return k.call(ctx, "NodeExpandVolume", pod.UID, v.handle, func(ctx context.Context) error {
		_, err := k.agent.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
			VolumeId: v.handle, VolumePath: v.target(pod.UID), StagingTargetPath: v.stagingPath(),
			CapacityRange: &csi.CapacityRange{RequiredBytes: size}, VolumeCapability: v.capability(has),
		})
		return err
	})
}

// capability is how a volume is used, in CSI's words (csi_client.go).
func (v *volume) capability(has map[csi.NodeServiceCapability_RPC_Type]bool) *csi.VolumeCapability {
	mode := corev1.ReadWriteOnce
	c := &csi.VolumeCapability{}
	switch {
	case v.inline != nil:
		fsType := ""
		if v.inline.FSType != nil {
			fsType = *v.inline.FSType
		}
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType}}
	case v.block:
		c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	default:
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: v.pv.Spec.CSI.FSType, MountFlags: v.pv.Spec.MountOptions}}
	}
	if v.pv != nil && len(v.pv.Spec.AccessModes) > 0 {
		mode = v.pv.Spec.AccessModes[0]
	}
	c.AccessMode = &csi.VolumeCapability_AccessMode{Mode: accessMode(mode, has[csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER])}
	return c
}

func accessMode(mode corev1.PersistentVolumeAccessMode, multiWriter bool) csi.VolumeCapability_AccessMode_Mode {
	switch {
	case mode == corev1.ReadOnlyMany:
		return csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	case mode == corev1.ReadWriteMany:
		return csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	case mode == corev1.ReadWriteOncePod && multiWriter:
		return csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	case multiWriter:
		return csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	}
	return csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
}
