// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/e2e/conformance/record"
)

// poll is how often something is waited for.
const poll = 50 * time.Millisecond

// patience is how long anything may take.
const patience = 4 * time.Minute

// bench is what cases work with.
type bench struct {
	Target
	note func(format string, args ...any)

	mu     sync.Mutex
	result Recording
	pods   map[string]*corev1.Pod // as they are now
	calls  []record.Call          // as far as is known
}

// kase is one case at work. Its first failure ends it.
type kase struct {
	*bench
	name string
	ctx  context.Context
}

// failure is how a case ends before its end.
type failure struct{ error }

func (k *kase) must(err error) {
	if err != nil {
		panic(failure{fmt.Errorf("case %s: %w", k.name, err)})
	}
}

// do runs a case.
func (b *bench) do(ctx context.Context, c Case) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer func() {
		switch f := recover().(type) {
		case nil:
		case failure:
			err = f.error
		default:
			panic(f)
		}
	}()
	k := &kase{bench: b, name: c.Name, ctx: ctx}
	defer k.clear()
	c.do(k)
	return nil
}

// clear removes the pods that a case has left, which did not come to its end.
func (k *kase) clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.result.Pods {
		if p.Case == k.name && k.pods[p.Name] != nil {
			_ = k.Client().CoreV1().Pods("default").Delete(context.WithoutCancel(k.ctx), p.Name, metav1.DeleteOptions{})
		}
	}
}

// until waits for something; the error says what was still missing.
func (k *kase) until(what string, f func() error) {
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-k.ctx.Done():
			k.must(fmt.Errorf("wait for %s: %w", what, err))
		case <-time.After(poll):
		}
	}
}

func (k *kase) sleep(d time.Duration) {
	select {
	case <-k.ctx.Done():
		k.must(k.ctx.Err())
	case <-time.After(d):
	}
}

// found keeps what was seen besides calls.
func (k *kase) found(what, is string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.result.Found[k.name+"/"+what] = is
}

// inline is an inline volume of a pod.
func inline(name, size string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: Driver, VolumeAttributes: map[string]string{"size": size}}}}
}

// uses is a volume of a pod that has a claim of the case. Its name is the claim's.
func (k *kase) uses(claim string) corev1.Volume {
	return corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: k.name + "-" + claim}}}
}

func claimSpec(size string, block bool) corev1.PersistentVolumeClaimSpec {
	s := corev1.PersistentVolumeClaimSpec{
		StorageClassName: ptr.To("standard"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: quantity(size)}},
	}
	if block {
		s.VolumeMode = ptr.To(corev1.PersistentVolumeBlock)
	}
	return s
}

// claim makes a claim of the case, and a volume for it. One whose name begins with "raw"
// is a block device.
func (k *kase) claim(name, size string) {
	_, err := k.Client().CoreV1().PersistentVolumeClaims("default").Create(k.ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: k.name + "-" + name}, Spec: claimSpec(size, isBlock(name)),
	}, metav1.CreateOptions{})
	k.must(err)
	k.volume(k.name+"-"+name, size, isBlock(name))
}

// handle is the id of the volume of a claim of the case.
func (k *kase) handle(claim string) string { return "vol-" + k.name + "-" + claim }

// volume makes a volume for a claim.
func (k *kase) volume(claim, size string, block bool) {
	pv := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-" + claim},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: "standard", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, MountOptions: []string{"noatime"},
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: quantity(size)},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			ClaimRef:                      &corev1.ObjectReference{Namespace: "default", Name: claim},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: Driver, VolumeHandle: "vol-" + claim, FSType: "ext4", VolumeAttributes: map[string]string{"made": "by hand"},
			}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: TopologyKey, Operator: corev1.NodeSelectorOpIn, Values: []string{Node}}},
			}}}},
		},
	}
	if block {
		pv.Spec.VolumeMode, pv.Spec.CSI.FSType, pv.Spec.MountOptions = ptr.To(corev1.PersistentVolumeBlock), "", nil
	}
	_, err := k.Client().CoreV1().PersistentVolumes().Create(k.ctx, pv, metav1.CreateOptions{})
	k.must(err)
}

func isBlock(volume string) bool { return strings.HasPrefix(volume, "raw") }

// option changes a pod before it is made.
type option func(*corev1.Pod)

// pod makes a pod of the case, whose containers use all its volumes, and returns its UID.
func (k *kase) pod(name string, volumes []corev1.Volume, options ...option) string {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: k.name + "-" + name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: ptr.To(int64(1)), AutomountServiceAccountToken: ptr.To(false), HostNetwork: true,
			Containers: []corev1.Container{{Name: "c", Image: Image, ImagePullPolicy: corev1.PullNever, Command: []string{"sh", "-c", "trap 'exit 1' TERM; sleep infinity & wait"}}},
			Volumes:    volumes,
		},
	}
	c := &p.Spec.Containers[0]
	for _, v := range volumes {
		if isBlock(v.Name) {
			c.VolumeDevices = append(c.VolumeDevices, corev1.VolumeDevice{Name: v.Name, DevicePath: "/dev/" + v.Name})
		} else {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
		}
	}
	for _, o := range options {
		o(p)
	}
	made, err := k.Client().CoreV1().Pods("default").Create(k.ctx, p, metav1.CreateOptions{})
	k.must(err)
	is := Pod{Case: k.name, Name: made.Name, UID: string(made.UID)}
	for _, v := range volumes {
		if v.CSI != nil {
			is.Inline = append(is.Inline, v.Name)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.result.Pods = append(k.result.Pods, is)
	return is.UID
}

// ends makes the containers end by themselves.
func ends(after time.Duration) option {
	return func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Annotations = map[string]string{Lifetime: after.String()}
		p.Spec.Containers[0].Command = []string{"sleep", fmt.Sprint(after.Seconds())}
	}
}

// never makes the containers not to be started again.
func never(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }

// here binds the pod to the node without the scheduler.
func here(p *corev1.Pod) { p.Spec.NodeName = Node }

// get is a pod as it is now, nil if there is none.
func (k *kase) get(name string) *corev1.Pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.pods[k.name+"-"+name]
}

// running waits until a pod runs.
func (k *kase) running(names ...string) {
	for _, name := range names {
		k.phase(name, corev1.PodRunning)
	}
}

// phase waits until a pod has a phase.
func (k *kase) phase(name string, phase corev1.PodPhase) {
	k.until("pod "+name, func() error {
		p := k.get(name)
		if p == nil {
			return errors.New("there is none")
		}
		if p.Status.Phase != phase {
			return fmt.Errorf("it is %s, want %s (%s)", p.Status.Phase, phase, p.Status.Message)
		}
		return nil
	})
}

// remove begins to delete pods.
func (k *kase) remove(names ...string) {
	for _, name := range names {
		k.must(k.Client().CoreV1().Pods("default").Delete(k.ctx, k.name+"-"+name, metav1.DeleteOptions{}))
	}
}

// force deletes a pod without waiting for kubelet.
func (k *kase) force(name string) {
	k.mu.Lock()
	for i := range k.result.Pods {
		if p := &k.result.Pods[i]; p.Name == k.name+"-"+name {
			p.Forced = true
		}
	}
	k.mu.Unlock()
	k.must(k.Client().CoreV1().Pods("default").Delete(k.ctx, k.name+"-"+name, metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))}))
}

// gone waits until pods are gone from the API.
func (k *kase) gone(names ...string) {
	for _, name := range names {
		k.until("pod "+name, func() error {
			if k.get(name) != nil {
				return errors.New("it is still there")
			}
			return nil
		})
	}
}

// rule spoils calls.
func (k *kase) rule(method, contains string, codes ...string) {
	for _, c := range codes {
		k.must(k.Driver().Add(k.ctx, record.Rule{Method: method, Contains: contains, Code: c, Times: 1}))
	}
}

// called waits until so many calls of a method were answered whose requests contain
// something.
func (k *kase) called(method, contains string, times int) {
	k.until(fmt.Sprintf("%d × %s", times, method), func() error {
		k.mu.Lock()
		defer k.mu.Unlock()
		n := 0
		for _, c := range k.calls {
			if c.Method == method && strings.Contains(string(c.Request), contains) {
				n++
			}
		}
		if n < times {
			return fmt.Errorf("there were %d of %s", n, contains)
		}
		return nil
	})
}

func (k *kase) mark(format string, args ...any) {
	k.must(k.Driver().Mark(k.ctx, k.name+": "+fmt.Sprintf(format, args...)))
}
