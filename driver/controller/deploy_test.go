// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

// The manifest is one that the API server takes, and the resizer is the one that was
// looked at.
func TestTheManifestIsRead(t *testing.T) {
	text, err := os.ReadFile("../../deploy/controller.yaml")
	require.NoError(t, err)
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, document := range strings.Split(string(text), "\n---\n") {
		o, _, err := decoder.Decode([]byte(document), nil, nil)
		require.NoError(t, err, document)
		if d, ok := o.(*appsv1.Deployment); ok {
			require.Equal(t, "registry.k8s.io/sig-storage/csi-resizer:v2.2.0", d.Spec.Template.Spec.Containers[1].Image)
		}
	}
}
