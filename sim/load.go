// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/scenario"
)

// makers make pods of one workload at once. The API server, on the same processors, is
// not faster with more.
const makers = 8

// settlePoll is how often it is looked whether the pods have come to rest.
const settlePoll = 50 * time.Millisecond

// simulatedPod is a pod that is to be made, with the claims that it needs.
type simulatedPod struct {
	pod    *corev1.Pod
	claims []*corev1.PersistentVolumeClaim
}

// podsOf are the pods of a workload, with their sizes drawn: by the seed and the place
// of the workload in the scenario, so that the same are drawn always.
func podsOf(s *scenario.Scenario, i int) []simulatedPod {
	w := &s.Workloads[i]
	random := rand.New(rand.NewPCG(uint64(s.Seed), uint64(i))) //nolint:gosec // it is to be repeatable
	all := make([]simulatedPod, w.Pods)
	for n := range all {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", w.Name, n), Labels: map[string]string{"app": w.Name}},
			Spec:       corev1.PodSpec{NodeSelector: w.NodeSelector, RestartPolicy: corev1.RestartPolicyNever},
		}
		if w.Lifetime > 0 {
			p.Annotations = map[string]string{kubelet.LifetimeAnnotation: time.Duration(w.Lifetime).String()}
		}
		c := corev1.Container{Name: "c", Image: "none"}
		for j, v := range w.Volumes {
			name := fmt.Sprintf("v%d", j)
			size := v.Size.Draw(random)
			source, claim := sourceOf(s, v, p.Name+"-"+name, size)
			if claim != nil {
				all[n].claims = append(all[n].claims, claim)
			}
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: source})
			if v.Block {
				c.VolumeDevices = append(c.VolumeDevices, corev1.VolumeDevice{Name: name, DevicePath: "/dev/" + name})
			} else {
				c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, MountPath: "/" + name})
			}
		}
		p.Spec.Containers = []corev1.Container{c}
		all[n].pod = p
	}
	return all
}

// sourceOf is a volume as a pod has it, and the claim that must be made for it, if one
// must. claim is that one's name.
func sourceOf(s *scenario.Scenario, v scenario.Volume, claim string, size int64) (corev1.VolumeSource, *corev1.PersistentVolumeClaim) {
	if v.Kind == scenario.Inline {
		attributes := map[string]string{"size": resource.NewQuantity(size, resource.BinarySI).String()}
		if v.Class != "" {
			attributes["class"] = v.Class
		}
		inline := &corev1.CSIVolumeSource{Driver: driver.Name, VolumeAttributes: attributes}
		if v.FSType != "" {
			inline.FSType = &v.FSType
		}
		return corev1.VolumeSource{CSI: inline}, nil
	}
	class, err := s.Storage.Named(v.Class) // a StorageClass is named as its device class
	if err != nil {
		panic(err) // the scenario was checked
	}
	spec := corev1.PersistentVolumeClaimSpec{
		StorageClassName: &class.Name, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: *resource.NewQuantity(size, resource.BinarySI)}},
	}
	if v.Block {
		spec.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
	}
	if v.Kind == scenario.Ephemeral {
		return corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: spec}}}, nil
	}
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}},
		&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: claim}, Spec: spec}
}

// load makes the pods of all workloads, removes those that end, and returns when all
// have come to rest, or nothing happens any more, or ctx ends, which is no error.
func (r *run) load(ctx context.Context) error {
	total := 0
	for _, w := range r.Scenario.Workloads {
		total += w.Pods
	}
	r.Progress("making %d pods", total)
	r.report.Metrics.Pods = total
	r.tracker.ended = make(chan string, total)
	deadline, cancel := context.WithTimeout(ctx, time.Duration(r.Scenario.Until.Timeout))
	defer cancel()
	work, workCtx := errgroup.WithContext(deadline)
	removing, stopRemoving := context.WithCancel(workCtx)
	work.Go(func() error { return r.removeEnded(removing) })
	made := make(chan struct{})
	work.Go(func() error {
		makingPods, ctx := errgroup.WithContext(workCtx)
		for i := range r.Scenario.Workloads {
			makingPods.Go(func() error { return r.make(ctx, i) })
		}
		err := makingPods.Wait()
		if err == nil {
			close(made)
		}
		return err
	})
	happened := make(chan struct{})
	work.Go(func() error {
		defer close(happened)
		return r.happen(workCtx)
	})
	work.Go(func() error {
		defer stopRemoving()
		return r.settle(workCtx, total, made, happened)
	})
	err := work.Wait()
	switch {
	case deadline.Err() == nil:
		return err
	case ctx.Err() == nil:
		c, _ := r.tracker.counts()
		r.Progress("the time is up (%s); %d of %d pods are where they are to be", time.Duration(r.Scenario.Until.Timeout), c.Done, total)
	}
	return nil
}

// make makes the pods of one workload, at its rate.
func (r *run) make(ctx context.Context, i int) error {
	w := r.Scenario.Workloads[i]
	start := time.Now()
	making, ctx := errgroup.WithContext(ctx)
	making.SetLimit(makers)
	for n, p := range podsOf(r.Scenario, i) {
		if w.Arrival > 0 {
			due := start.Add(time.Duration(float64(n) / float64(w.Arrival) * float64(time.Second)))
			select {
			case <-time.After(time.Until(due)):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		making.Go(func() error { return r.makeOne(ctx, w, p) })
	}
	return making.Wait()
}

func (r *run) makeOne(ctx context.Context, w scenario.Workload, p simulatedPod) error {
	var claims []string
	for _, c := range p.claims {
		claims = append(claims, c.Name)
		if _, err := r.Client.CoreV1().PersistentVolumeClaims(r.Namespace).Create(ctx, c, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("make claim %s: %w", c.Name, err)
		}
	}
	if r.Dress != nil {
		r.Dress(&p.pod.Spec, time.Duration(w.Lifetime))
	}
	r.tracker.making(w.Name, p.pod, claims, w.Lifetime > 0)
	if _, err := r.Client.CoreV1().Pods(r.Namespace).Create(ctx, p.pod, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make pod %s: %w", p.pod.Name, err)
	}
	return nil
}

// settle returns when every pod has come to what is to become of it, or nothing has
// happened for long enough, and in neither case before all pods were made and all events
// have happened.
func (r *run) settle(ctx context.Context, total int, made, happened <-chan struct{}) error {
	over := func() bool {
		for _, c := range []<-chan struct{}{made, happened} {
			select {
			case <-c:
			default:
				return false
			}
		}
		return true
	}
	tick := time.NewTicker(settlePoll)
	defer tick.Stop()
	quiet := max(time.Duration(r.Scenario.Until.Quiet), r.Quiet)
	var told time.Time
	for {
		c, since := r.tracker.counts()
		c.Pods = total
		if r.Counts != nil && time.Since(told) >= countsPeriod {
			told = time.Now()
			r.Counts(c)
		}
		switch {
		case !over():
		case c.Done == total && c.Growing == 0:
			return nil
		case time.Since(since) > quiet:
			r.Progress("nothing has happened for %s; %d of %d pods are where they are to be", quiet, c.Done, total)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// removeEnded removes the pods that have ended by themselves, and their claims, as the
// controllers do that make such pods.
func (r *run) removeEnded(ctx context.Context) error {
	for {
		select {
		case name := <-r.tracker.ended:
			if err := r.removePod(ctx, name); err != nil && ctx.Err() == nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (r *run) removePod(ctx context.Context, name string) error {
	if err := r.Client.CoreV1().Pods(r.Namespace).Delete(ctx, name, metav1.DeleteOptions{}); ignoreNotFound(err) != nil {
		return fmt.Errorf("remove pod %s: %w", name, err)
	}
	for _, c := range r.tracker.claimsOf(name) {
		if err := r.Client.CoreV1().PersistentVolumeClaims(r.Namespace).Delete(ctx, c, metav1.DeleteOptions{}); ignoreNotFound(err) != nil {
			return fmt.Errorf("remove claim %s: %w", c, err)
		}
	}
	r.tracker.removed(name)
	return nil
}
