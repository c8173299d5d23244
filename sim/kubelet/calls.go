// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/podlv/podlv/driver"
)

// callTime is how long kubelet waits for an answer (csiTimeout).
const callTime = 2 * time.Minute

// errNoDriver is what kubelet says while no driver has registered. It is transient:
// nothing was tried.
var errNoDriver = transientError{errors.New("driver name " + driver.Name + " not found in the list of registered CSI drivers")}

// call makes one CSI call and tells the observer of its answer.
func (k *Kubelet) call(ctx context.Context, method string, pod types.UID, volume string, f func(context.Context, csi.NodeClient) error) error {
	agent := k.agent()
	if agent == nil {
		return errNoDriver
	}
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	start := k.Clock.Now()
	err := f(ctx, agent)
	k.Observer.Call(Call{Node: k.node, Pod: pod, Method: method, Volume: volume, Code: code(err), Err: err, Took: k.Clock.Since(start)})
	return err
}

// capabilities asks what the driver's node service can do, as kubelet does before it
// stages, publishes and expands.
func (k *Kubelet) capabilities(ctx context.Context, pod types.UID) (map[csi.NodeServiceCapability_RPC_Type]bool, error) {
	all := map[csi.NodeServiceCapability_RPC_Type]bool{}
	err := k.call(ctx, "NodeGetCapabilities", pod, "", func(ctx context.Context, agent csi.NodeClient) error {
		r, err := agent.NodeGetCapabilities(ctx, &csi.NodeGetCapabilitiesRequest{})
		for _, c := range r.GetCapabilities() {
			all[c.GetRpc().GetType()] = true
		}
		return err
	})
	return all, err
}

func (k *Kubelet) nodeStage(ctx context.Context, e *entry) error {
	has, err := k.capabilities(ctx, "")
	if err != nil {
		return err
	}
	if !has[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		return nil
	}
	return answered(k.call(ctx, "NodeStageVolume", "", e.handle, func(ctx context.Context, agent csi.NodeClient) error {
		_, err := agent.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
			VolumeId: e.handle, StagingTargetPath: e.stagingPath(), VolumeCapability: e.capability(nil, has),
			VolumeContext: e.pv.Load().Spec.CSI.VolumeAttributes,
		})
		return err
	}))
}

func (k *Kubelet) nodePublish(ctx context.Context, e *entry, w *want) error {
	pod, inline := w.pod, w.volume.inline
	has, err := k.capabilities(ctx, pod.UID)
	switch {
	case err != nil && inline != nil:
		return transientError{err}
	case err != nil:
		return err
	}
	request := &csi.NodePublishVolumeRequest{
		VolumeId: e.handle, TargetPath: e.target(pod.UID), Readonly: w.volume.readOnly, VolumeCapability: e.capability(inline, has),
		VolumeContext: map[string]string{},
	}
	if inline != nil {
		maps.Copy(request.VolumeContext, inline.VolumeAttributes)
	} else {
		maps.Copy(request.VolumeContext, e.pv.Load().Spec.CSI.VolumeAttributes)
		request.Readonly = w.volume.readOnly || e.pv.Load().Spec.CSI.ReadOnly
		if has[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
			request.StagingTargetPath = e.stagingPath()
		}
	}
	maps.Copy(request.VolumeContext, map[string]string{ // podInfoOnMount
		"csi.storage.k8s.io/pod.name":            pod.Name,
		"csi.storage.k8s.io/pod.namespace":       pod.Namespace,
		"csi.storage.k8s.io/pod.uid":             string(pod.UID),
		"csi.storage.k8s.io/serviceAccount.name": pod.Spec.ServiceAccountName,
		"csi.storage.k8s.io/ephemeral":           strconv.FormatBool(inline != nil),
	})
	return answered(k.call(ctx, "NodePublishVolume", pod.UID, e.handle, func(ctx context.Context, agent csi.NodeClient) error {
		_, err := agent.NodePublishVolume(ctx, request)
		return err
	}))
}

func (k *Kubelet) nodeUnpublish(ctx context.Context, pod types.UID, handle, target string) error {
	return k.call(ctx, "NodeUnpublishVolume", pod, handle, func(ctx context.Context, agent csi.NodeClient) error {
		_, err := agent.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: handle, TargetPath: target})
		return err
	})
}

func (k *Kubelet) nodeUnstage(ctx context.Context, handle, staging string) error {
	has, err := k.capabilities(ctx, "")
	if err != nil || !has[csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME] {
		return err
	}
	return k.call(ctx, "NodeUnstageVolume", "", handle, func(ctx context.Context, agent csi.NodeClient) error {
		_, err := agent.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: handle, StagingTargetPath: staging})
		return err
	})
}

// nodeExpand lets a volume grow to so many bytes.
func (k *Kubelet) nodeExpand(ctx context.Context, e *entry, w *want, size int64) error {
	pod := w.pod.UID
	has, err := k.capabilities(ctx, pod)
	if err != nil {
		return err
	}
	if !has[csi.NodeServiceCapability_RPC_EXPAND_VOLUME] {
		return fmt.Errorf("volume %s: the driver cannot expand volumes", e.handle)
	}
	return k.call(ctx, "NodeExpandVolume", pod, e.handle, func(ctx context.Context, agent csi.NodeClient) error {
		_, err := agent.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
			VolumeId: e.handle, VolumePath: e.target(pod), StagingTargetPath: e.stagingPath(),
			CapacityRange: &csi.CapacityRange{RequiredBytes: size}, VolumeCapability: e.capability(nil, has),
		})
		return err
	})
}

// capability is how a volume is used, in CSI's words (csi_client.go).
func (e *entry) capability(inline *corev1.CSIVolumeSource, has map[csi.NodeServiceCapability_RPC_Type]bool) *csi.VolumeCapability {
	mode := corev1.ReadWriteOnce
	c := &csi.VolumeCapability{}
	switch {
	case inline != nil:
		fsType := ""
		if inline.FSType != nil {
			fsType = *inline.FSType
		}
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType}}
	case e.block:
		c.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	default:
		c.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: e.pv.Load().Spec.CSI.FSType, MountFlags: e.pv.Load().Spec.MountOptions}}
	}
	if inline == nil && len(e.pv.Load().Spec.AccessModes) > 0 {
		mode = e.pv.Load().Spec.AccessModes[0]
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
