// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podlv/podlv/fakelvm"
)

// claimPoll is how often it is looked whether a claim is bound: kubelet's populator of
// the desired state.
const claimPoll = 100 * time.Millisecond

// mount publishes all volumes of the pod, beside each other. It says whether all are;
// if not, the pod is to end.
func (w *worker) mount(ctx context.Context, volumes []*volume) bool {
	results := make([]bool, len(volumes))
	var all sync.WaitGroup
	for i, v := range volumes {
		all.Add(1)
		go func() {
			defer all.Done()
			results[i] = w.setUp(ctx, v)
		}()
	}
	all.Wait()
	select {
	case <-w.stop:
		return false
	default:
		return ctx.Err() == nil && !slices.Contains(results, false)
	}
}

// setUp tries until the volume is published, or the pod is to end. A call that runs is
// not broken off.
func (w *worker) setUp(ctx context.Context, v *volume) bool {
	for {
		select {
		case <-w.stop:
			return false
		case <-ctx.Done():
			return false
		default:
		}
		pod := w.latest()
		err := w.k.setUp(ctx, pod, v)
		if err == nil {
			return true
		}
		wait := claimPoll
		if !errors.Is(err, errWait) {
			wait = v.backoff.next()
			w.k.Events.Eventf(pod, corev1.EventTypeWarning, "FailedMount", "MountVolume.SetUp failed for volume %q : %v", v.name, err)
			w.k.Log.Warn("a volume is not mounted; it is tried again", "node", w.k.node, "pod", pod.Namespace+"/"+pod.Name, "volume", v.name, "in", wait, "error", err)
		}
		if !w.k.sleep(ctx, w.stop, wait) {
			return false
		}
	}
}

// setUp is one attempt to publish a volume.
func (k *Kubelet) setUp(ctx context.Context, pod *corev1.Pod, v *volume) error {
	if v.inline != nil {
		return k.publish(ctx, pod, v)
	}
	if v.pv == nil {
		if err := k.resolve(pod, v); err != nil {
			return err
		}
	}
	v.device.op.Lock()
	defer v.device.op.Unlock()
	if v.device.staged != present {
		if err := k.stage(ctx, pod, v); err != nil {
			return err
		}
	}
	if err := k.publish(ctx, pod, v); err != nil {
		return err
	}
	if v.block {
		if err := k.mapDevice(pod, v); err != nil {
			return err
		}
	}
	return k.expand(ctx, pod, v)
}

// stage stages a persistent volume on the node.
func (k *Kubelet) stage(ctx context.Context, pod *corev1.Pod, v *volume) error {
	staging := v.stagingPath()
	if err := k.Host.MkdirAll(staging); err != nil {
		return err
	}
	if !v.block {
		if err := k.Host.MakeFile(path.Join(path.Dir(staging), volumeData)); err != nil {
			return err
		}
	}
	err := k.nodeStage(ctx, pod, v)
	switch {
	case err == nil:
		v.device.staged = present
	case !final(err):
		v.device.staged = uncertain
	default:
		v.device.staged = absent
		err = errors.Join(err, k.clean(staging, !v.block))
	}
	return err
}

// publish publishes a volume for a pod.
func (k *Kubelet) publish(ctx context.Context, pod *corev1.Pod, v *volume) error {
	if v.state == present {
		return nil // what came after it has failed
	}
	target := v.target(pod.UID)
	if err := k.Host.MkdirAll(path.Dir(target)); err != nil {
		return err
	}
	if !v.block {
		if err := k.Host.MakeFile(path.Join(path.Dir(target), volumeData)); err != nil {
			return err
		}
	}
	err := k.nodePublish(ctx, pod, v)
	switch {
	case err == nil:
		v.state = present
		k.publishedAt(target, publication{v.handle, pod.UID})
	case !final(err):
		v.state = uncertain
	default:
		v.state = absent
		err = errors.Join(err, k.clean(target, !v.block))
	}
	return err
}

// mapDevice binds a published device to where kubelet holds it.
func (k *Kubelet) mapDevice(pod *corev1.Pod, v *volume) error {
	to := v.mapPath(pod.UID)
	if k.isMounted(to) {
		return nil
	}
	if err := k.Host.MkdirAll(path.Dir(to)); err != nil {
		return err
	}
	if err := k.Host.MakeFile(to); err != nil {
		return err
	}
	return k.Host.Mount(v.target(pod.UID), to, "", []string{"bind"})
}

// unmapDevice undoes mapDevice, as far as that came.
func (k *Kubelet) unmapDevice(pod *corev1.Pod, v *volume) error {
	to := v.mapPath(pod.UID)
	if k.isMounted(to) {
		if err := k.Host.Unmount(to); err != nil {
			return err
		}
	}
	return k.clean(to, true)
}

func (k *Kubelet) isMounted(target string) bool {
	return slices.ContainsFunc(k.Host.Mounts(), func(m fakelvm.Mount) bool { return m.Target == target })
}

// unmount takes back what there is of the pod's volumes, until all of it is gone.
func (w *worker) unmount(ctx context.Context, volumes []*volume) {
	var all sync.WaitGroup
	for _, v := range volumes {
		all.Add(1)
		go func() {
			defer all.Done()
			w.tearDown(ctx, v)
		}()
	}
	all.Wait()
	if ctx.Err() == nil {
		w.k.removeFolders(podDir(w.uid))
	}
}

// tearDown tries until the volume is gone from the pod, and from the node if no other
// pod uses it.
func (w *worker) tearDown(ctx context.Context, v *volume) {
	v.backoff = 0
	for ctx.Err() == nil {
		pod := w.latest()
		err := w.k.tearDown(ctx, pod, v)
		if err == nil {
			return
		}
		wait := v.backoff.next()
		w.k.Log.Warn("a volume is not unmounted; it is tried again", "node", w.k.node, "pod", pod.Namespace+"/"+pod.Name, "volume", v.name, "in", wait, "error", err)
		w.k.sleep(ctx, nil, wait)
	}
}

func (k *Kubelet) tearDown(ctx context.Context, pod *corev1.Pod, v *volume) error {
	if v.inline == nil && v.device == nil {
		return nil // its claim was never bound
	}
	if v.device != nil {
		v.device.op.Lock()
		defer v.device.op.Unlock()
	}
	if v.state != absent {
		if v.block {
			if err := k.unmapDevice(pod, v); err != nil {
				return fmt.Errorf("UnmapVolume.UnmapBlockVolume: %w", err)
			}
		}
		target := v.target(pod.UID)
		k.forgetAt(target)
		if err := k.nodeUnpublish(ctx, pod, v, target); err != nil {
			return err
		}
		if err := k.clean(target, true); err != nil {
			return err
		}
		v.state = absent
	}
	if v.device == nil {
		return nil
	}
	if v.device.staged != absent && !k.used(v.device, pod.UID) {
		if err := k.nodeUnstage(ctx, v); err != nil {
			return err
		}
		if err := k.clean(v.stagingPath(), !v.block); err != nil {
			return err
		}
		if v.block { // what is left is the volume's own
			k.removeFolders(path.Join(blockDir, v.pv.Name))
		}
		v.device.staged = absent
	}
	k.unuse(v.handle, v.device, pod.UID)
	return nil
}

// clean removes what the driver left at a path, and with parent the file that kubelet
// keeps beside it and the folder of both, when nothing else is in it (removeMountDir).
func (k *Kubelet) clean(target string, parent bool) error {
	if k.isMounted(target) {
		return fmt.Errorf("%s is mounted", target)
	}
	paths := []string{target}
	if parent {
		paths = append(paths, path.Join(path.Dir(target), volumeData))
	}
	for _, p := range paths {
		if k.Host.Exists(p) {
			if err := k.Host.Remove(p); err != nil {
				return err
			}
		}
	}
	if names, err := k.Host.ReadDir(path.Dir(target)); parent && err == nil && len(names) == 0 {
		return k.Host.Remove(path.Dir(target))
	}
	return nil
}

// removeFolders removes a folder of a pod that has no volumes any more, and what is in
// it. Something mounted in it keeps it.
func (k *Kubelet) removeFolders(dir string) {
	names, err := k.Host.ReadDir(dir)
	if err != nil {
		return // it is a file, or not there
	}
	for _, n := range names {
		k.removeFolders(path.Join(dir, n))
	}
	if err := k.Host.Remove(dir); err != nil {
		k.Log.Warn("a folder of a pod is left", "node", k.node, "folder", dir, "error", err)
	}
}
