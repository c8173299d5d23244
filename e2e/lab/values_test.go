// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// Helm takes the chart's own values for all that these do not say.
func TestValuesNameTheImagesThatAreMade(t *testing.T) {
	type image struct{ Repository, Tag, PullPolicy string }
	type part struct{ Image image }
	var v struct {
		Image                       image
		Resizer, SnapshotController part
	}
	require.NoError(t, yaml.Unmarshal([]byte(values), &v))
	for name, i := range map[string]image{PodlvImage: v.Image, resizerImage: v.Resizer.Image, snapshotterImage: v.SnapshotController.Image} {
		require.Equal(t, name, i.Repository+":"+i.Tag)
		require.Equal(t, "Never", i.PullPolicy)
	}
}

func TestOfABareLabNodesHaveOneImage(t *testing.T) {
	p := plan{Config: Config{Bare: true}, Dir: "lab", Images: []string{"further.tar"}}
	require.Equal(t, []string{ImageFile("lab", Busybox), "further.tar"}, p.imageFiles())
	p.Bare = false
	require.Len(t, p.imageFiles(), 5)
}
