// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// apiWitness: the API server has the pod, bound to this node. A pod that is
// ending counts as alive: kubelet unpublishes its volumes before it is gone.
type apiWitness struct{ pods Pods }

func (w apiWitness) Alive(ctx context.Context) (map[string]bool, error) {
	pods, err := w.pods.List(ctx)
	if err != nil {
		return nil, err
	}
	uids := map[string]bool{}
	for _, p := range pods {
		uids[p.UID] = true
	}
	return uids, nil
}

// NewKubeletWitness is the witness that asks kubelet's own folders: a pod has one, named
// by its UID, for as long as kubelet has not cleaned up after it. Of some pods it never
// does: see forgotten.
// That the folder of all pods is missing, as when it was not mounted into the
// agent's container, is an error: it must not look like a node without pods.
func NewKubeletWitness(kubeletDir string) Witness {
	return kubeletWitness{pods: filepath.Join(kubeletDir, "pods")}
}

type kubeletWitness struct{ pods string }

func (w kubeletWitness) Alive(context.Context) (map[string]bool, error) {
	entries, err := os.ReadDir(w.pods)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("kubelet's folder of pods is not there: %w", err)
	}
	if err != nil {
		return nil, err
	}
	uids := map[string]bool{}
	for _, e := range entries {
		gone, err := forgotten(filepath.Join(w.pods, e.Name(), "volumes", "kubernetes.io~csi"))
		if err != nil {
			return nil, err
		}
		if !gone {
			uids[e.Name()] = true
		}
	}
	return uids, nil
}

// forgotten says whether kubelet has forgotten all CSI volumes of a pod, whose folder of
// them is dir. Where a power cut took what it had written down of one (vol_data.json), it
// takes the mount point away when it starts, and then neither unpublishes the volume nor
// gets rid of the folder ("orphaned pod found, but error occurred when trying to remove the
// volumes dir: not a directory", every 2 s; seen with kubelet 1.36.3).
func forgotten(dir string) (bool, error) {
	volumes, err := readFolder(dir)
	if err != nil || len(volumes) == 0 {
		return false, err
	}
	for _, v := range volumes {
		files, err := readFolder(filepath.Join(dir, v.Name()))
		if err != nil {
			return false, err
		}
		if len(files) != 1 || files[0].Name() != "vol_data.json" {
			return false, nil // a mount point; or nothing, of which kubelet does get rid
		}
		text, err := os.ReadFile(filepath.Join(dir, v.Name(), files[0].Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if json.Valid(text) {
			return false, nil
		}
	}
	return true, nil
}

// readFolder is os.ReadDir of what may be gone, or no folder.
func readFolder(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	return entries, err
}
