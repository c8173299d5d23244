// SPDX-License-Identifier: Apache-2.0

//go:build e2e && soak

package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// life is one of pods with volumes, from their making to their end.
type life struct {
	*soak
	random *rand.Rand
	name   string
}

// live lives one life after the other, until the soak is to end.
func (s *soak) live(random *rand.Rand, name string) {
	for i := 0; time.Now().Before(s.end); i++ {
		l := &life{soak: s, random: random, name: fmt.Sprintf("%s-%d", name, i)}
		kind, do := "pod", l.pods
		if random.IntN(3) > 0 {
			kind, do = "claim", l.claims
		}
		if err := do(); err != nil {
			s.stuck(fmt.Sprintf("%s %s: %v", kind, l.name, err))
			return // its volumes stay in the way of what comes next
		}
	}
}

// pods is a pod whose volumes go with it.
func (l *life) pods() error {
	choices := []volume{
		inline("inline", "ext4", "64Mi"), inline("inline", "xfs", "320Mi"), inline("inline", "btrfs", "160Mi"),
		inline("inline", "ext4", "64Mi", "class", "thin"), ephemeral("ephemeral", "ssd", "64Mi"), ephemeral("ephemeral", "thin", "64Mi"),
	}
	var has []volume
	for i := range 1 + l.random.IntN(3) {
		v := choices[l.random.IntN(len(choices))]
		kind := "inline"
		if v.source.Ephemeral != nil {
			kind = "ephemeral"
		}
		v.name = fmt.Sprintf("v%d", i)
		has = append(has, v)
		l.counted.add(&l.counted.made, kind)
	}
	said, err := l.begin(l.name, has...)
	if err != nil {
		return err
	}
	pause(l.ctx, l.random, 10*time.Second)
	if err := l.still(l.name, said); err != nil {
		return err
	}
	return l.finish(l.name)
}

// claims is a claim with a pod, then with another, and what comes of its volume.
func (l *life) claims() error {
	class, mode, kind := "ssd", corev1.PersistentVolumeFilesystem, "claim"
	if l.random.IntN(2) == 0 {
		class = "thin"
	}
	if l.random.IntN(3) == 0 {
		mode, kind = corev1.PersistentVolumeBlock, "raw block"
	}
	block := mode == corev1.PersistentVolumeBlock
	if err := l.makeClaim(l.name, class, "64Mi", mode, nil, kind+" "+class); err != nil {
		return err
	}
	said, err := l.begin(l.name, renamed(claimed(l.name, block)))
	if err != nil {
		return err
	}
	copies := map[string]*corev1.TypedLocalObjectReference{}
	if l.random.IntN(3) == 0 && (block || ext4Growth.there()) {
		if err := l.grow(); err != nil {
			return err
		}
	}
	if l.random.IntN(2) == 0 {
		if err := l.snapshot(); err != nil {
			return err
		}
		copies["restore"] = &corev1.TypedLocalObjectReference{APIGroup: ptr.To("snapshot.storage.k8s.io"), Kind: "VolumeSnapshot", Name: l.name}
	}
	if err := l.still(l.name, said); err != nil {
		return err
	}
	if err := l.finish(l.name); err != nil {
		return err
	}
	if l.random.IntN(3) == 0 {
		copies["clone"] = &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: l.name}
	}
	for _, kind := range []string{"restore", "clone"} { // not in a map's order: the seed decides
		source := copies[kind]
		if source == nil {
			continue
		}
		name := l.name + "-" + kind
		if err := l.makeClaim(name, class, "128Mi", mode, source, kind+" "+class); err != nil {
			return err
		}
		if err := l.keeps(name, said, block); err != nil {
			return err
		}
		if err := l.removeClaim(name); err != nil {
			return err
		}
	}
	if err := l.keeps(l.name, said, block); err != nil {
		return err
	}
	if copies["restore"] != nil {
		if err := l.gone("snapshot "+l.name, func(ctx context.Context) error {
			_, err := l.snapshots.SnapshotV1().VolumeSnapshots(l.namespace).Get(ctx, l.name, metav1.GetOptions{})
			return err
		}, func(ctx context.Context) error {
			return l.snapshots.SnapshotV1().VolumeSnapshots(l.namespace).Delete(ctx, l.name, metav1.DeleteOptions{})
		}); err != nil {
			return err
		}
	}
	return l.removeClaim(l.name)
}

// renamed is a claim's volume under a name that is the same in each pod.
func renamed(v volume) volume {
	v.name = "v"
	return v
}

// keeps is another pod with a claim, which finds what the first one left.
func (l *life) keeps(claim string, said map[string]string, block bool) error {
	pod := claim + "-again"
	now, err := l.begin(pod, renamed(claimed(claim, block)))
	if err != nil {
		return err
	}
	l.compare(pod, said, now)
	return l.finish(pod)
}

// begin makes a pod and gives what its container says of its volumes.
func (l *life) begin(name string, volumes ...volume) (said map[string]string, err error) {
	if _, err := the.Client.CoreV1().Pods(l.namespace).Create(l.ctx, l.pod(name, volumes...), metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	err = await(l.ctx, soakLimit, "pod "+name+" has checked its volumes", func() error {
		if err := l.running(name, time.Time{}); err != nil {
			return err
		}
		log, err := the.Client.CoreV1().Pods(l.namespace).GetLogs(name, &corev1.PodLogOptions{}).DoRaw(l.ctx)
		if err != nil {
			return err
		}
		if !strings.HasSuffix(string(log), "done\n") {
			return fmt.Errorf("it says %q", log)
		}
		said = l.read(name, string(log))
		return nil
	})
	return said, err
}

// still lets a pod that runs check its volumes again.
func (l *life) still(name string, said map[string]string) error {
	p, err := the.Client.CoreV1().Pods(l.namespace).Get(l.ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	check, _, _ := strings.Cut(p.Spec.Containers[0].Args[0], "echo done\n")
	return await(l.ctx, soakLimit, "pod "+name+" has checked its volumes again", func() error {
		// Not while the container itself does so, after a power cut.
		if log, err := the.Client.CoreV1().Pods(l.namespace).GetLogs(name, &corev1.PodLogOptions{}).DoRaw(l.ctx); err != nil || !strings.HasSuffix(string(log), "done\n") {
			return fmt.Errorf("it says %q (%v)", log, err)
		}
		ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
		defer cancel()
		out, err := the.Kubectl(ctx, nil, "exec", "-n", l.namespace, name, "--", "sh", "-c", check+"echo done\n")
		if err != nil {
			return err
		}
		if !strings.HasSuffix(out, "done\n") {
			return fmt.Errorf("it says %q", out)
		}
		l.compare(name, said, l.read(name, out))
		return nil
	})
}

// read is what a container says, volume → sum. What it finds broken is a data error.
func (l *life) read(pod, log string) map[string]string {
	said := map[string]string{}
	for _, line := range strings.Split(strings.TrimSuffix(log, "done\n"), "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 3 && (f[0] == "new" || f[0] == "kept"):
			said[f[1]] = f[2]
		case line != "":
			l.counted.checked(0, fmt.Sprintf("%s says: %s", pod, line))
			l.print("DATA ERROR: %s says: %s", pod, line)
		}
	}
	return said
}

// compare holds what volumes have to what they had.
func (l *life) compare(pod string, had, have map[string]string) {
	var wrong []string
	for v, sum := range had {
		if have[v] != sum {
			wrong = append(wrong, fmt.Sprintf("%s: volume %s had %s and has %q", pod, v, sum, have[v]))
			l.print("DATA ERROR: %s", wrong[len(wrong)-1])
		}
	}
	l.counted.checked(len(had), wrong...)
}

// finish deletes a pod, some by force while they run, and waits until it is gone.
func (l *life) finish(name string) error {
	options := metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](1)}
	if l.random.IntN(5) == 0 {
		options.GracePeriodSeconds = ptr.To[int64](0)
		l.counted.add(&l.counted.faults, "Pod deleted by force")
	}
	pods := the.Client.CoreV1().Pods(l.namespace)
	return l.gone("pod "+name, func(ctx context.Context) error {
		_, err := pods.Get(ctx, name, metav1.GetOptions{})
		return err
	}, func(ctx context.Context) error { return pods.Delete(ctx, name, options) })
}

// gone removes an object and waits until it is gone.
func (l *life) gone(what string, get, remove func(context.Context) error) error {
	if err := remove(l.ctx); err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return await(l.ctx, soakLimit, what+" is gone", func() error {
		if err := get(l.ctx); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there (%v)", err)
		}
		return nil
	})
}

// makeClaim makes a claim, of a source or of none.
func (l *life) makeClaim(name, class, size string, mode corev1.PersistentVolumeMode, source *corev1.TypedLocalObjectReference, kind string) error {
	spec := claimSpec(class, size, mode)
	spec.DataSource = source
	_, err := the.Client.CoreV1().PersistentVolumeClaims(l.namespace).Create(l.ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	if err == nil {
		l.counted.add(&l.counted.made, kind)
	}
	return err
}

// removeClaim deletes a claim and waits until it and its volume are gone.
func (l *life) removeClaim(name string) error {
	claims := the.Client.CoreV1().PersistentVolumeClaims(l.namespace)
	claim, err := claims.Get(l.ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := l.gone("claim "+name, func(ctx context.Context) error {
		_, err := claims.Get(ctx, name, metav1.GetOptions{})
		return err
	}, func(ctx context.Context) error { return claims.Delete(ctx, name, metav1.DeleteOptions{}) }); err != nil {
		return err
	}
	return await(l.ctx, soakLimit, "the volume of claim "+name+" is gone", func() error {
		if _, err := the.Client.CoreV1().PersistentVolumes().Get(l.ctx, claim.Spec.VolumeName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there (%v)", err)
		}
		return nil
	})
}

// grow doubles the claim while its pod has it.
func (l *life) grow() error {
	claims := the.Client.CoreV1().PersistentVolumeClaims(l.namespace)
	if err := await(l.ctx, soakLimit, "claim "+l.name+" is asked to grow", func() error {
		claim, err := claims.Get(l.ctx, l.name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		claim.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse("128Mi")
		_, err = claims.Update(l.ctx, claim, metav1.UpdateOptions{})
		return err
	}); err != nil {
		return err
	}
	if err := await(l.ctx, soakLimit, "claim "+l.name+" has grown", func() error {
		claim, err := claims.Get(l.ctx, l.name, metav1.GetOptions{})
		if err == nil && claim.Status.Capacity.Storage().Cmp(resource.MustParse("128Mi")) < 0 {
			err = fmt.Errorf("it has %s: %+v", claim.Status.Capacity.Storage(), claim.Status.Conditions)
		}
		return err
	}); err != nil {
		return err
	}
	l.counted.add(&l.counted.did, "grown")
	return nil
}

// snapshot takes a snapshot of the claim while its pod has it.
func (l *life) snapshot() error {
	all := l.snapshots.SnapshotV1().VolumeSnapshots(l.namespace)
	if _, err := all.Create(l.ctx, &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{Name: l.name},
		Spec:       snapshotv1.VolumeSnapshotSpec{VolumeSnapshotClassName: ptr.To("podlv"), Source: snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: &l.name}},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if err := await(l.ctx, soakLimit, "snapshot "+l.name+" is ready", func() error {
		s, err := all.Get(l.ctx, l.name, metav1.GetOptions{})
		if err == nil && (s.Status == nil || !ptr.Deref(s.Status.ReadyToUse, false)) {
			err = fmt.Errorf("it is not: %+v", s.Status)
		}
		return err
	}); err != nil {
		return err
	}
	l.counted.add(&l.counted.did, "snapshot taken")
	return nil
}
