// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"cmp"
	"context"
	"path"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
)

const mib = 1 << 20

// claim is a PVC, and the volume that it became.
type claim struct {
	name   string
	params map[string]string
	size   int64
	limit  int64
	block  bool
	fsType string
	flags  []string
	mode   csi.VolumeCapability_AccessMode_Mode
	// content is what it is made from; nil: nothing.
	content func() *csi.VolumeContentSource

	id      string
	context map[string]string
	dir     string // kubelet's folder; the fake machine's when empty
}

func (c *claim) kubeletDir() string { return cmp.Or(c.dir, fakeKubeletDir) }

func newClaim(name string, size int64) *claim {
	return &claim{
		name: "pvc-" + name, size: size, params: map[string]string{},
		mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
	}
}

func (c *claim) ofClass(name string) *claim { c.params["podlv.dev/class"] = name; return c }
func (c *claim) raw() *claim                { c.block = true; return c }
func (c *claim) as(fs string) *claim        { c.fsType = fs; return c }

func (c *claim) device() string { return "/dev/" + c.id }

// staging and target are kubelet's paths.
func (c *claim) staging() string {
	return c.kubeletDir() + "/plugins/kubernetes.io/csi/podlv.dev/" + c.name + "/globalmount"
}

func (c *claim) target(pod string) string {
	if c.block {
		return c.kubeletDir() + "/plugins/kubernetes.io/csi/volumeDevices/publish/" + c.name + "/" + pod
	}
	return c.kubeletDir() + "/pods/" + pod + "/volumes/kubernetes.io~csi/" + c.name + "/mount"
}

func (c *claim) capability() *csi.VolumeCapability {
	v := &csi.VolumeCapability{AccessMode: &csi.VolumeCapability_AccessMode{Mode: c.mode}}
	if c.block {
		v.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
	} else {
		v.AccessType = &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: c.fsType, MountFlags: c.flags}}
	}
	return v
}

func (k *kubelet) createRequest(c *claim) *csi.CreateVolumeRequest {
	var content *csi.VolumeContentSource
	if c.content != nil {
		content = c.content()
	}
	return &csi.CreateVolumeRequest{
		VolumeContentSource: content,
		Name:                c.name, Parameters: c.params, VolumeCapabilities: []*csi.VolumeCapability{c.capability()},
		CapacityRange: &csi.CapacityRange{RequiredBytes: c.size, LimitBytes: c.limit},
	}
}

// callTime is how long a call may take in tests.
func callTime() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}

// create is external-provisioner's CreateVolume.
func (k *kubelet) create(c *claim) error {
	ctx, cancel := callTime()
	defer cancel()
	r, err := k.control.CreateVolume(ctx, k.createRequest(c))
	if err == nil {
		c.id, c.context = r.GetVolume().GetVolumeId(), r.GetVolume().GetVolumeContext()
	}
	return err
}

func (k *kubelet) delete(c *claim) error {
	ctx, cancel := callTime()
	defer cancel()
	_, err := k.control.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: c.id})
	return err
}

// stage is kubelet's NodeStageVolume: it makes the path first.
func (k *kubelet) stage(c *claim) error {
	if err := k.mkdir(c.staging()); err != nil {
		return err
	}
	ctx, cancel := callTime()
	defer cancel()
	_, err := k.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{
		VolumeId: c.id, StagingTargetPath: c.staging(), VolumeCapability: c.capability(), VolumeContext: c.context,
	})
	return err
}

func (k *kubelet) unstage(c *claim) error {
	ctx, cancel := callTime()
	defer cancel()
	_, err := k.node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: c.id, StagingTargetPath: c.staging()})
	return err
}

func (k *kubelet) publishRequest(c *claim, pod string) *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{
		VolumeId: c.id, StagingTargetPath: c.staging(), TargetPath: c.target(pod), VolumeCapability: c.capability(), VolumeContext: c.context,
	}
}

// give is kubelet's NodePublishVolume for a pod: it makes the target's parent.
func (k *kubelet) give(c *claim, pod string) error {
	if err := k.mkdir(path.Dir(c.target(pod))); err != nil {
		return err
	}
	ctx, cancel := callTime()
	defer cancel()
	_, err := k.node.NodePublishVolume(ctx, k.publishRequest(c, pod))
	return err
}

// take is kubelet's NodeUnpublishVolume.
func (k *kubelet) take(c *claim, pod string) error {
	ctx, cancel := callTime()
	defer cancel()
	_, err := k.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: c.id, TargetPath: c.target(pod)})
	return err
}

func (k *kubelet) expand(c *claim, size int64) (int64, error) {
	ctx, cancel := callTime()
	defer cancel()
	r, err := k.node.NodeExpandVolume(ctx, expandRequestFor(c, size))
	return r.GetCapacityBytes(), err
}

func expandRequestFor(c *claim, size int64) *csi.NodeExpandVolumeRequest {
	return &csi.NodeExpandVolumeRequest{
		VolumeId: c.id, VolumePath: c.target("a"), StagingTargetPath: c.staging(), CapacityRange: &csi.CapacityRange{RequiredBytes: size},
	}
}

// inUse is a claim that pod a uses, with data, its tag dropped.
func (n *fakeNode) inUse(c *claim) {
	n.t.Helper()
	require.NoError(n.t, n.create(c))
	require.NoError(n.t, n.stage(c))
	require.NoError(n.t, n.give(c, "a"))
	n.agent.Settle(context.Background())
	require.NotContains(n.t, n.lvTags(c), "podlv.state")
	n.put(c, dataAt, "data of "+c.name)
}

// free takes the claim from pod a and deletes it.
func (n *fakeNode) free(c *claim) {
	n.t.Helper()
	require.NoError(n.t, n.take(c, "a"))
	require.NoError(n.t, n.unstage(c))
	require.NoError(n.t, n.delete(c))
	require.False(n.t, n.host.Exists(c.target("a")), "the target is left")
}

func (n *fakeNode) lvTags(c *claim) string {
	n.t.Helper()
	return n.lvm("lvs", "--noheadings", "-o", "lv_tags", c.id)
}

// put writes up to 64 characters to a volume's device, at reads from it.
func (n *fakeNode) put(c *claim, offset int64, text string) {
	n.t.Helper()
	d, err := n.host.Open(c.device())
	require.NoError(n.t, err)
	_, err = d.WriteAt([]byte(text+strings.Repeat("\x00", 64-len(text))), offset)
	require.NoError(n.t, err)
	require.NoError(n.t, d.Close())
}

func (n *fakeNode) at(c *claim, offset int64) string {
	n.t.Helper()
	return string(bytes.TrimRight(n.bytes(c, offset, 64), "\x00"))
}

func (n *fakeNode) bytes(c *claim, offset, length int64) []byte {
	n.t.Helper()
	d, err := n.host.Open(c.device())
	require.NoError(n.t, err)
	buf := make([]byte, length)
	_, err = d.ReadAt(buf, offset)
	require.NoError(n.t, err)
	require.NoError(n.t, d.Close())
	return buf
}

// dirty leaves somebody's bytes in every extent of the free space of vg0.
func (n *fakeNode) dirty(size int64) {
	n.t.Helper()
	n.lvm("lvcreate", "--yes", "--name", "former", "--size", sizeArg(size), "vg0")
	d, err := n.host.Open("/dev/vg0/former")
	require.NoError(n.t, err)
	pattern := []byte(strings.Repeat("secret! ", 512))
	for at := int64(0); at < size; at += 4 * mib {
		_, err := d.WriteAt(pattern, at)
		require.NoError(n.t, err)
	}
	require.NoError(n.t, d.Close())
	n.lvm("lvremove", "--yes", "vg0/former")
}

// clean checks that nobody's bytes are on a volume, from an offset on.
func (n *fakeNode) clean(c *claim, from, to int64) {
	n.t.Helper()
	for at := from; at < to; at += 4 * mib {
		require.NotContains(n.t, string(n.bytes(c, at, 4096)), "secret", "old bytes at MiB %d", at/mib)
	}
}

// visiblyClean is clean for all of a volume's device as it is now, if it has one.
func (n *fakeNode) visiblyClean(c *claim) {
	n.t.Helper()
	size, err := n.host.DeviceSize(c.device())
	if err == nil {
		n.clean(c, 0, size)
	}
}

// mountTargets are the paths at which something is mounted.
func (n *fakeNode) mountTargets() []string {
	var list []string
	for _, m := range n.host.Mounts() {
		list = append(list, m.Target)
	}
	return list
}
