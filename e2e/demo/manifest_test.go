// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
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
		require.Equal(t, busyboxImage, p.Spec.Containers[0].Image)
		require.Equal(t, corev1.PullNever, p.Spec.Containers[0].ImagePullPolicy)
	}
	require.Equal(t, pods, names)
}

// Helm takes the chart's own values for all that these do not say.
func TestValuesNameTheImagesThatAreMade(t *testing.T) {
	type image struct{ Repository, Tag, PullPolicy string }
	type part struct{ Image image }
	var v struct {
		Image                       image
		Resizer, SnapshotController part
	}
	require.NoError(t, yaml.Unmarshal([]byte(values), &v))
	for name, i := range map[string]image{podlvImage: v.Image, resizerImage: v.Resizer.Image, snapshotterImage: v.SnapshotController.Image} {
		require.Equal(t, name, i.Repository+":"+i.Tag)
		require.Equal(t, "Never", i.PullPolicy)
	}
	dir := t.TempDir()
	require.NoError(t, keepChart("../..", dir))
	for _, f := range []string{"Chart.yaml", "values.schema.json", valuesFile, "templates/_policies.tpl"} {
		_, err := os.Stat(dir + "/" + chartFolder + "/" + f)
		require.NoError(t, err)
	}
}
