// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
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
// by its UID, with a mount point in it for each CSI volume, until kubelet has unpublished
// that. A folder without any is no pod's that has a volume: after a power cut kubelet may
// never get rid of it (kubernetes#127229 is about more of that kind).
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
		has, err := hasMountPoint(filepath.Join(w.pods, e.Name(), "volumes", "kubernetes.io~csi"))
		if err != nil {
			return nil, err
		}
		if has {
			uids[e.Name()] = true
		}
	}
	return uids, nil
}

// hasMountPoint says whether a pod's folder of CSI volumes has one with more in it than
// what kubelet writes down of the volume.
func hasMountPoint(dir string) (bool, error) {
	volumes, err := readFolder(dir)
	if err != nil {
		return false, err
	}
	for _, v := range volumes {
		files, err := readFolder(filepath.Join(dir, v.Name()))
		if err != nil {
			return false, err
		}
		for _, f := range files {
			if f.Name() != "vol_data.json" {
				return true, nil
			}
		}
	}
	return false, nil
}

// readFolder is os.ReadDir of what may be gone, or no folder.
func readFolder(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	return entries, err
}
