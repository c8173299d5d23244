// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"path"

	"k8s.io/apimachinery/pkg/types"
)

// prepareDevice keeps what is needed to undo it, before a raw block volume is staged
// (csi_plugin.go, NewBlockVolumeMapper).
func (k *Kubelet) prepareDevice(e *entry) error {
	folder := e.dataFolder("")
	if err := k.Host.MkdirAll(folder); err != nil {
		return err
	}
	return k.keep(folder, data{Spec: e.spec, Handle: e.handle, Node: k.node})
}

// mapDevice binds a published device to where kubelet holds it, and keeps in the pod's
// folder that the pod has it: there kubelet makes a link, here it is a file.
func (k *Kubelet) mapDevice(e *entry, pod types.UID) error {
	to, link := e.mapPath(pod), e.linkPath(pod)
	for _, p := range []string{to, link} {
		if err := k.Host.MkdirAll(path.Dir(p)); err != nil {
			return err
		}
		if err := k.Host.MakeFile(p); err != nil {
			return err
		}
	}
	if k.isMounted(to) {
		return nil
	}
	return k.Host.Mount(e.target(pod), to, "", []string{"bind"})
}

// unmapDevice undoes mapDevice, as far as that came.
func (k *Kubelet) unmapDevice(e *entry, pod types.UID) error {
	to := e.mapPath(pod)
	if k.isMounted(to) {
		if err := k.Host.Unmount(to); err != nil {
			return err
		}
	}
	for _, p := range []string{to, e.linkPath(pod)} {
		if k.Host.Exists(p) {
			if err := k.Host.Remove(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeDevice removes the folders of a raw block volume that is not staged
// (csi_block.go, cleanupOrphanDeviceFiles).
func (k *Kubelet) removeDevice(e *entry) {
	for _, dir := range []string{path.Dir(e.target("pod")), e.stagingPath(), path.Join(blockDir, e.spec)} {
		k.removeFolders(dir)
	}
}
