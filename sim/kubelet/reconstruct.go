// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"path"

	"k8s.io/apimachinery/pkg/types"
)

// reconstruct finds out from the folders of pods which volumes a kubelet before this one
// had given to them. Whether they are still mounted it does not ask: for all it knows
// they may be, so that they are published again for pods that want them and unpublished
// for the others (kubernetes 1.36, pkg/kubelet/volumemanager/reconciler/reconstruct.go).
func (s *volumes) reconstruct() {
	s.mu.Lock()
	defer s.mu.Unlock()
	pods, _ := s.k.Host.ReadDir(Dir + "/pods") // it is there: Run makes it
	for _, p := range pods {
		pod := types.UID(p)
		folder := path.Join(podDir(pod), volumesFolder, escapedName)
		names, _ := s.k.Host.ReadDir(folder) // not there: the pod has none
		for _, name := range names {
			d, err := s.k.kept(path.Join(folder, name))
			if err != nil {
				// kubelet tries to unmount it once, which needs the same file.
				s.k.Log.Warn("a volume cannot be reconstructed", "node", s.k.node, "pod", pod, "volume", name, "error", err)
				continue
			}
			s.find(pod, name, d, d.Lifecycle == ephemeral, false)
		}
		names, _ = s.k.Host.ReadDir(path.Join(podDir(pod), devicesFolder, escapedName))
		for _, name := range names {
			d, err := s.k.kept(path.Join(blockDir, name, "data"))
			if err != nil {
				s.k.Log.Warn("a raw block volume cannot be reconstructed", "node", s.k.node, "pod", pod, "volume", name, "error", err)
				continue
			}
			s.find(pod, name, d, false, true)
		}
	}
}

// find takes up a volume of a pod that was found on the disk. s.mu is held.
func (s *volumes) find(pod types.UID, name string, d data, inline, block bool) {
	e := s.entry(pod, name, d.Handle, inline, block)
	e.found = true
	m := s.add(e, pod)
	m.state, m.found = uncertain, true
	if !inline {
		e.staged = uncertain
	}
}

// sweep removes the folder of a pod that is not known any more and has no volumes, not
// even one that is only just being published.
func (k *Kubelet) sweep(pod types.UID) {
	k.mu.Lock()
	known := k.workers[pod] != nil
	k.mu.Unlock()
	if known {
		return
	}
	for _, f := range []string{volumesFolder, devicesFolder} {
		if names, _ := k.Host.ReadDir(path.Join(podDir(pod), f, escapedName)); len(names) > 0 { // or it is not there
			return
		}
	}
	k.removeFolders(podDir(pod))
}
