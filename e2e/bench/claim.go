// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/uuid"
)

// claimClasses has a reserve so that the agent does for each claim what inlinePool:
// reserved does with a Kubernetes API: it looks whether the volume fits beside what
// others are owed, and only then makes it. What is missing is to add up the node's
// pods, out of a cache.
const claimClasses = `pools: [{name: bench, volumeGroup: ` + volumeGroup + `, reserve: 64Mi}]
classes: [{name: bench, pool: bench, default: true}]
`

// grownSize is what volumes are expanded to.
const grownSize = 2 * volumeSize

// claim is a claim for a persistent volume.
type claim struct{ name, uid string }

func newClaim(n int) claim {
	return claim{name: fmt.Sprintf("bench-%05d", n), uid: uuid.NewString()}
}

// lv is the PV's name and the LV's (external-provisioner, makeVolumeName).
func (c claim) lv() string { return "pvc-" + c.uid }

func (c claim) id() string { return volumeGroup + "/" + c.lv() }

// staging and target are kubelet's paths (kubernetes 1.36, pkg/volume/csi).
func (c claim) staging() string {
	return filepath.Join(kubeletDir, "plugins/kubernetes.io/csi/podlv.dev", fmt.Sprintf("%x", sha256.Sum256([]byte(c.id()))), "globalmount")
}

func (c claim) target() string {
	return filepath.Join(kubeletDir, "pods", c.uid, "volumes/kubernetes.io~csi", c.lv(), "mount")
}

func (c claim) capability() *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: "ext4"}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
	}
}

// create is external-provisioner's CreateVolume.
func (a *agent) create(ctx context.Context, c claim) (time.Duration, error) {
	request := &csi.CreateVolumeRequest{
		Name: c.lv(), CapacityRange: &csi.CapacityRange{RequiredBytes: volumeSize},
		VolumeCapabilities: []*csi.VolumeCapability{c.capability()},
		Parameters: map[string]string{
			"csi.storage.k8s.io/pvc/name": c.name, "csi.storage.k8s.io/pvc/namespace": "default", "csi.storage.k8s.io/pv/name": c.lv(),
		},
	}
	start := time.Now()
	r, err := a.control.CreateVolume(ctx, request)
	took := time.Since(start)
	if v := r.GetVolume(); err == nil && (v.GetVolumeId() != c.id() || v.GetCapacityBytes() != volumeSize) {
		err = fmt.Errorf("volume %s of %d bytes was made, want %s of %d", v.GetVolumeId(), v.GetCapacityBytes(), c.id(), volumeSize)
	}
	return took, err
}

// remove is external-provisioner's DeleteVolume.
func (a *agent) remove(ctx context.Context, c claim) (time.Duration, error) {
	start := time.Now()
	_, err := a.control.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: c.id()})
	return time.Since(start), err
}

func (a *agent) capacity(ctx context.Context) error {
	_, err := a.control.GetCapacity(ctx, &csi.GetCapacityRequest{})
	return err
}

func (a *agent) stage(ctx context.Context, c claim) error {
	if err := os.MkdirAll(c.staging(), 0o750); err != nil {
		return err
	}
	_, err := a.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: c.id(), StagingTargetPath: c.staging(), VolumeCapability: c.capability()})
	return err
}

func (a *agent) publishStaged(ctx context.Context, c claim) error {
	if err := os.MkdirAll(filepath.Dir(c.target()), 0o750); err != nil {
		return err
	}
	_, err := a.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
		VolumeId: c.id(), StagingTargetPath: c.staging(), TargetPath: c.target(), VolumeCapability: c.capability(),
	})
	return err
}

// takeBack is unpublish and unstage.
func (a *agent) takeBack(ctx context.Context, c claim) error {
	if _, err := a.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: c.id(), TargetPath: c.target()}); err != nil {
		return err
	}
	_, err := a.node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: c.id(), StagingTargetPath: c.staging()})
	return err
}

// stats also checks that the filesystem has at least so many bytes.
func (a *agent) stats(ctx context.Context, c claim, least int64) error {
	r, err := a.node.NodeGetVolumeStats(ctx, &csi.NodeGetVolumeStatsRequest{VolumeId: c.id(), VolumePath: c.target()})
	if err != nil {
		return err
	}
	if len(r.GetUsage()) == 0 || r.GetUsage()[0].GetTotal() < least {
		return fmt.Errorf("volume %s: the filesystem has %v, want at least %d bytes", c.id(), r.GetUsage(), least)
	}
	return nil
}

func (a *agent) expand(ctx context.Context, c claim) error {
	r, err := a.node.NodeExpandVolume(ctx, &csi.NodeExpandVolumeRequest{
		VolumeId: c.id(), VolumePath: c.target(), StagingTargetPath: c.staging(), CapacityRange: &csi.CapacityRange{RequiredBytes: grownSize},
	})
	if err == nil && r.GetCapacityBytes() != grownSize {
		err = fmt.Errorf("volume %s has %d bytes, want %d", c.id(), r.GetCapacityBytes(), grownSize)
	}
	return err
}
