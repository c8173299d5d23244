// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

// objects decodes a manifest as strictly as the API server can.
func objects(t *testing.T, manifest string) []runtime.Object {
	t.Helper()
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	var all []runtime.Object
	for _, document := range strings.Split(manifest, "\n---\n") {
		o, _, err := decoder.Decode([]byte(document), nil, nil)
		require.NoError(t, err, document)
		all = append(all, o)
	}
	return all
}

func TestPodsAskForInlineVolumesOfTheDriver(t *testing.T) {
	var driver *storagev1.CSIDriver
	for _, o := range objects(t, podlvManifest) {
		if d, ok := o.(*storagev1.CSIDriver); ok {
			driver = d
		}
	}
	require.NotNil(t, driver)
	require.Equal(t, []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral, storagev1.VolumeLifecyclePersistent}, driver.Spec.VolumeLifecycleModes)
	var names []string
	for _, o := range objects(t, podsManifest) {
		p, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		names = append(names, p.Name)
		require.Equal(t, driver.Name, p.Spec.Volumes[0].CSI.Driver)
		require.NotEmpty(t, p.Spec.Volumes[0].CSI.VolumeAttributes["size"])
		require.Equal(t, busyboxImage, p.Spec.Containers[0].Image)
		require.Equal(t, corev1.PullNever, p.Spec.Containers[0].ImagePullPolicy)
	}
	require.Equal(t, pods, names)
}

func TestAgentHasWhatItNeedsOfTheNode(t *testing.T) {
	var agent *appsv1.DaemonSet
	for _, o := range objects(t, podlvManifest) {
		if d, ok := o.(*appsv1.DaemonSet); ok {
			agent = d
		}
	}
	require.NotNil(t, agent)
	c := agent.Spec.Template.Spec.Containers[0]
	require.Equal(t, podlvImage, c.Image)
	require.True(t, *c.SecurityContext.Privileged)
	mounts := map[string]corev1.VolumeMount{}
	for _, m := range c.VolumeMounts {
		mounts[m.MountPath] = m
	}
	for _, v := range agent.Spec.Template.Spec.Volumes {
		for path, m := range mounts {
			// kubelet and lvm pass paths of the node, lvm.conf alone has another one here.
			if m.Name == v.Name && v.HostPath != nil && path != "/etc/lvm" {
				require.Equal(t, v.HostPath.Path, path)
			}
		}
	}
	require.Contains(t, mounts, "/dev")
	require.Contains(t, mounts, "/run/lock/lvm")
	require.Equal(t, corev1.MountPropagationBidirectional, *mounts["/var/lib/kubelet"].MountPropagation)
}
