// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"path"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// runtimeDir is where the machine keeps which pods' containers run, and since when. They
// outlive a kubelet, and no reboot: the folder is in memory.
const runtimeDir = "/run/containers"

// startContainers starts a pod's containers.
func (k *Kubelet) startContainers(pod types.UID, now time.Time) error {
	if err := k.Host.MkdirAll(runtimeDir); err != nil {
		return err
	}
	return k.Host.WriteFile(path.Join(runtimeDir, string(pod)), []byte(now.Format(time.RFC3339Nano)))
}

// containersRun says whether a pod's containers run, and since when.
func (k *Kubelet) containersRun(pod types.UID) (since time.Time, run bool) {
	text, err := k.Host.ReadFile(path.Join(runtimeDir, string(pod)))
	if err != nil {
		return since, false
	}
	since, err = time.Parse(time.RFC3339Nano, string(text))
	return since, err == nil
}

// endContainers ends a pod's containers, if they run.
func (k *Kubelet) endContainers(pod types.UID) {
	if p := path.Join(runtimeDir, string(pod)); k.Host.Exists(p) {
		if err := k.Host.Remove(p); err != nil {
			k.Log.Warn("containers do not end", "node", k.node, "pod", pod, "error", err)
		}
	}
}
