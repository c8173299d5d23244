// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/driver"
)

// What kubelet leaves of a pod after a power cut is no pod: where its vol_data.json was
// lost, it takes the mount point away, and then neither the rest nor what is left of the
// volume, for ever ("orphaned pod found, but error occurred when trying to remove the
// volumes dir: not a directory"; seen with kubelet 1.36.3). An LV that waited for that
// folder to go was never removed.
func TestKubeletsFoldersSayWhichPodsHaveVolumes(t *testing.T) {
	dir := t.TempDir()
	make := func(path string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "pods", path), 0o750))
	}
	write := func(path string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "pods", path), nil, 0o600))
	}
	w := driver.NewKubeletWitness(dir)
	_, err := w.Alive(t.Context())
	require.ErrorContains(t, err, "kubelet's folder of pods is not there")

	const csi = "/volumes/kubernetes.io~csi/"
	make("published" + csi + "data/mount")
	write("published" + csi + "data/vol_data.json")
	make("published" + csi + "gone")
	write("published" + csi + "gone/vol_data.json")
	make("left" + csi + "data")
	write("left" + csi + "data/vol_data.json")
	make("empty" + csi + "data")
	make("without/volumes/kubernetes.io~empty-dir/data")
	make("bare")
	write("file")
	make("unknown" + csi + "data/other")
	make("known" + csi + "data")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "pods/known"+csi+"data/vol_data.json"), []byte(`{"driverName":"podlv.dev"}`), 0o600))
	alive, err := w.Alive(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"published": true, "unknown": true, "known": true, "empty": true, "without": true, "bare": true, "file": true}, alive)
}
