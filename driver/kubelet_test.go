// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// kubelet makes kubelet's calls with kubelet's paths and handles (kubernetes
// 1.36, pkg/volume/csi).
type kubelet struct {
	t       testing.TB
	dir     string
	node    csi.NodeClient
	control csi.ControllerClient // external-provisioner's calls
	id      csi.IdentityClient
	// mkdir makes the folder that kubelet makes before it calls: the target's
	// parent.
	mkdir func(path string) error
}

// dial connects to an agent's socket, and waits until it answers.
func dial(t testing.TB, socket string) (csi.NodeClient, csi.IdentityClient) {
	t.Helper()
	conn := connect(t, socket)
	return csi.NewNodeClient(conn), csi.NewIdentityClient(conn)
}

func connect(t testing.TB, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err = csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err, "the agent does not answer on %s", socket)
	return conn
}

// volume is an inline volume of a pod.
type volume struct {
	pod, uid, name string
	fsType         string
	readOnly       bool
	attributes     map[string]string
}

func newVolume(pod, size string) volume {
	return volume{pod: pod, uid: pod + "-uid", name: "data", attributes: map[string]string{"size": size}}
}

func (v volume) with(key, value string) volume {
	v.attributes = maps.Clone(v.attributes)
	v.attributes[key] = value
	return v
}

func (v volume) fs(name string) volume {
	v.fsType = name
	return v
}

// handle is kubelet's makeVolumeHandle.
func (v volume) handle() string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(v.uid+v.name)))
}

func (k *kubelet) target(v volume) string {
	return filepath.Join(k.dir, "pods", v.uid, "volumes", "kubernetes.io~csi", v.name, "mount")
}

func (k *kubelet) request(v volume) *csi.NodePublishVolumeRequest {
	context := map[string]string{
		"csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.name": v.pod,
		"csi.storage.k8s.io/pod.namespace": "default", "csi.storage.k8s.io/pod.uid": v.uid,
		"csi.storage.k8s.io/serviceAccount.name": "default",
	}
	maps.Copy(context, v.attributes)
	return &csi.NodePublishVolumeRequest{
		VolumeId: v.handle(), TargetPath: k.target(v), Readonly: v.readOnly, VolumeContext: context,
		VolumeCapability: &csi.VolumeCapability{
			AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: v.fsType}},
			AccessMode: &csi.VolumeCapability_AccessMode{Mode: csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER},
		},
	}
}

// publish is one NodePublishVolume.
func (k *kubelet) publish(v volume) error {
	if err := k.mkdir(filepath.Dir(k.target(v))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := k.node.NodePublishVolume(ctx, k.request(v))
	return err
}

// unpublish is one NodeUnpublishVolume.
func (k *kubelet) unpublish(v volume) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := k.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: v.handle(), TargetPath: k.target(v)})
	return err
}

// requireCode checks an RPC's error: its code, and words that its message has.
func requireCode(t testing.TB, err error, code codes.Code, words ...string) {
	t.Helper()
	require.Equal(t, code, status.Code(err), "%v", err)
	for _, w := range words {
		require.ErrorContains(t, err, w)
	}
}
