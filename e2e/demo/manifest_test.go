// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/podlv/podlv/e2e/lab"
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
	var names []string
	for _, o := range objects(t, podsManifest) {
		p, ok := o.(*corev1.Pod)
		if !ok {
			continue
		}
		names = append(names, p.Name)
		require.Equal(t, "podlv.dev", p.Spec.Volumes[0].CSI.Driver)
		require.NotEmpty(t, p.Spec.Volumes[0].CSI.VolumeAttributes["size"])
		require.Equal(t, lab.Busybox, p.Spec.Containers[0].Image)
		require.Equal(t, corev1.PullNever, p.Spec.Containers[0].ImagePullPolicy)
	}
	require.Equal(t, pods, names)
}
