// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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

// NewKubeletWitness is the witness that asks kubelet's own folders: a pod has
// one, named by its UID, for as long as kubelet has not cleaned up after it.
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
		uids[e.Name()] = true
	}
	return uids, nil
}
