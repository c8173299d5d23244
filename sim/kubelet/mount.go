// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	storagehelpers "k8s.io/component-helpers/storage/volume"

	"github.com/podlv/podlv/fakelvm"
)

// mount is one attempt to give a volume to a pod: it is staged if it is not, published,
// and grown if it is to grow (kubernetes 1.36, operation_generator.go,
// GenerateMountVolumeFunc and GenerateMapVolumeFunc).
func (s *volumes) mount(ctx context.Context, e *entry, w *want) error {
	if err := s.k.reachable(e); err != nil {
		return s.complain(e, w, "NodeAffinity check failed", err)
	}
	if e.block {
		if err := s.k.prepareDevice(e); err != nil {
			return s.complain(e, w, "NewBlockVolumeMapper initialization failed", err)
		}
	}
	if !e.inline && !s.isStaged(e) {
		if err := s.stage(ctx, e); err != nil {
			s.stagingFailed(e, err)
			return s.complain(e, w, map[bool]string{false: "MountDevice failed", true: "SetUpDevice failed"}[e.block], err)
		}
		s.stagedIs(e, present)
	}
	if err := s.publish(ctx, e, w); err != nil {
		s.failed(e, w.pod.UID, err)
		return s.complain(e, w, map[bool]string{false: "SetUp failed", true: "MapPodDevice failed"}[e.block], err)
	}
	if e.block {
		if err := s.k.mapDevice(e, w.pod.UID); err != nil {
			s.failed(e, w.pod.UID, uncertainError{err})
			return s.complain(e, w, "MapBlockVolume failed", err)
		}
	}
	if err := s.expandDuringMount(ctx, e, w); err != nil {
		s.mounted(e, w.pod.UID, uncertain)
		return s.complain(e, w, "Setup failed while expanding volume", err)
	}
	if ctx.Err() == nil {
		s.mounted(e, w.pod.UID, present)
	}
	return nil
}

// complain makes an event of what failed, and returns it.
func (s *volumes) complain(e *entry, w *want, what string, err error) error {
	reason, operation := "FailedMount", "MountVolume"
	if e.block {
		reason, operation = "FailedMapVolume", "MapVolume"
	}
	if s.ctx.Err() == nil {
		s.k.Events.Eventf(w.pod, corev1.EventTypeWarning, reason, "%s.%s for volume %q : %v", operation, what, e.spec, err)
	}
	return err
}

// reachable says whether the node has what the PV's node affinity asks for.
func (k *Kubelet) reachable(e *entry) error {
	if e.inline {
		return nil
	}
	node, err := k.Nodes.Get(k.node)
	if err != nil {
		return err
	}
	return storagehelpers.CheckNodeAffinity(e.pv.Load(), node.Labels)
}

// stage stages a persistent volume on the node (csi_attacher.go, MountDevice;
// csi_block.go, SetUpDevice).
func (s *volumes) stage(ctx context.Context, e *entry) error {
	staging := e.stagingPath()
	if err := s.k.Host.MkdirAll(staging); err != nil {
		return err
	}
	if !e.block {
		if err := s.k.keep(path.Dir(staging), data{Handle: e.handle}); err != nil {
			return err
		}
	}
	err := s.k.nodeStage(ctx, e)
	if err == nil || !isFinal(err) {
		return err
	}
	if e.block {
		s.k.removeDevice(e)
		return err
	}
	if e := s.k.removeMount(staging); e != nil {
		s.k.Log.Warn("a staging folder is left", "node", s.k.node, "folder", staging, "error", e)
	}
	return err
}

// publish publishes a volume for a pod (csi_mounter.go, SetUpAt; csi_block.go,
// MapPodDevice).
func (s *volumes) publish(ctx context.Context, e *entry, w *want) error {
	target := e.target(w.pod.UID)
	if err := s.k.Host.MkdirAll(path.Dir(target)); err != nil {
		return err
	}
	d := data{Spec: e.spec, Handle: e.handle, Node: s.k.node, Lifecycle: persistent}
	if e.inline {
		d.Lifecycle = ephemeral
	}
	if !e.block {
		if err := s.k.keep(path.Dir(target), d); err != nil {
			return err
		}
	}
	found := s.wasFound(e, w.pod.UID)
	err := s.k.nodePublish(ctx, e, w)
	if err == nil || !isFinal(err) || e.block || found {
		return err
	}
	if e := s.k.removeMount(target); e != nil {
		s.k.Log.Warn("the folder of a volume is left", "node", s.k.node, "folder", target, "error", e)
	}
	return err
}

// unmount is one attempt to take a volume from a pod.
func (s *volumes) unmount(ctx context.Context, e *entry, pod types.UID) error {
	target := e.target(pod)
	d, err := s.k.kept(e.dataFolder(target))
	if err != nil {
		return fmt.Errorf("unmounter failed to load volume data file: %w", err)
	}
	if e.block {
		s.mounted(e, pod, uncertain)
		if err := s.k.unmapDevice(e, pod); err != nil {
			return fmt.Errorf("UnmapVolume.UnmapBlockVolume: %w", err)
		}
	}
	err = s.k.nodeUnpublish(ctx, pod, d.Handle, target)
	if err == nil && !e.block {
		err = s.k.removeMount(target)
	}
	if err != nil {
		s.mounted(e, pod, uncertain)
		return err
	}
	s.mounted(e, pod, absent)
	s.k.sweep(pod)
	return nil
}

// unstage is one attempt to unstage a volume that no pod has any more.
func (s *volumes) unstage(ctx context.Context, e *entry) error {
	staging := e.stagingPath()
	if e.block {
		if s.k.Host.Exists(staging) {
			if err := s.k.nodeUnstage(ctx, e.handle, staging); err != nil {
				s.stagedIs(e, uncertain)
				return err
			}
			s.k.removeFolders(staging)
		}
		s.k.removeDevice(e)
		s.stagedIs(e, absent)
		return nil
	}
	if d, err := s.k.kept(path.Dir(staging)); err == nil {
		if err := s.k.nodeUnstage(ctx, d.Handle, staging); err != nil {
			s.stagedIs(e, uncertain)
			return err
		}
		if err := s.k.removeMount(staging); err != nil {
			s.stagedIs(e, uncertain)
			return err
		}
	} // else there is nothing to unstage, as kubelet sees it
	s.stagedIs(e, absent)
	return nil
}

func (k *Kubelet) isMounted(target string) bool {
	return slices.ContainsFunc(k.Host.Mounts(), func(m fakelvm.Mount) bool { return m.Target == target })
}

// removeMount removes what the driver left at a path, with the file that kubelet keeps
// beside it and the folder of both. What is mounted stays, and all of it (removeMountDir).
func (k *Kubelet) removeMount(target string) error {
	if k.isMounted(target) {
		return nil
	}
	for _, p := range []string{target, path.Join(path.Dir(target), volumeData), path.Dir(target)} {
		if k.Host.Exists(p) {
			if err := k.Host.Remove(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeFolders removes a folder and what is in it. Something mounted in it keeps it.
func (k *Kubelet) removeFolders(dir string) {
	names, err := k.Host.ReadDir(dir)
	if err != nil && !k.Host.Exists(dir) {
		return
	}
	for _, n := range names {
		k.removeFolders(path.Join(dir, n))
	}
	if err := k.Host.Remove(dir); err != nil {
		k.Log.Warn("a folder is left", "node", k.node, "folder", dir, "error", err)
	}
}
