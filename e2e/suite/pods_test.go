// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/e2e/lab"
)

// volume is one of a pod's.
type volume struct {
	name   string
	source corev1.VolumeSource
	block  bool
}

// inline is an inline volume; attributes are key, value, key, value, …
func inline(name, fsType, size string, attributes ...string) volume {
	all := map[string]string{"size": size}
	for i := 0; i+1 < len(attributes); i += 2 {
		all[attributes[i]] = attributes[i+1]
	}
	return volume{name: name, source: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "podlv.dev", FSType: ptr.To(fsType), VolumeAttributes: all}}}
}

// ephemeral is a generic ephemeral volume.
func ephemeral(name, class, size string) volume {
	return volume{name: name, source: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: claimSpec(class, size, corev1.PersistentVolumeFilesystem)},
	}}}
}

// claimed is a claim's volume.
func claimed(claim string, block bool) volume {
	return volume{name: claim, block: block, source: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}
}

func claimSpec(class, size string, mode corev1.PersistentVolumeMode) corev1.PersistentVolumeClaimSpec {
	return corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &class, VolumeMode: &mode,
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}
}

// claim makes a claim.
func (c *kase) claim(name, class, size string, mode corev1.PersistentVolumeMode) {
	c.Helper()
	_, err := the.Client.CoreV1().PersistentVolumeClaims(c.namespace).Create(c.ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: claimSpec(class, size, mode),
	}, metav1.CreateOptions{})
	require.NoError(c, err)
}

// sound is the shell program of a pod's container. Of each volume it says "new" when it
// finds nothing there, and leaves 4 MiB with their sum; "kept", with the sum, when it
// finds what it left there; and "broken" when it finds anything else. It ends with a line
// "done", and waits.
const sound = `
check() { # NAME FILE SUM: FILE has what was left there, and SUM says so
  if [ -s $3 ]; then
    [ "$(head -c 4194304 $2 | sha256sum)" = "$(cat $3)" ] && echo "kept $1 $(cut -c1-16 $3)" || echo "broken $1"
  else
    head -c 4194304 /dev/urandom >/tmp/data; sha256sum </tmp/data >/tmp/sum
    cat /tmp/data >$2; sync $2; cat /tmp/sum >$3; sync $3 $(dirname $3)
    echo "new $1 $(cut -c1-16 $3)"
  fi
}
device() { # NAME DEVICE: its sum is behind its data, and before that the word that it is being written
  mark=$(dd if=$2 bs=1M skip=4 count=1 2>/dev/null | head -c 19 | tr -d '\0')
  case $mark in
  sum*)
    [ "sum$(head -c 4194304 $2 | sha256sum | cut -c1-16)" = "$mark" ] && echo "kept $1 ${mark#sum}" || echo "broken $1"
    return ;;
  writing) ;; # the container was ended in the middle of it
  *) [ -z "$(head -c 4194304 $2 | tr -d '\0' | head -c 1)" ] || { echo "broken $1: a new device has bytes"; return; } ;;
  esac
  printf writing | dd of=$2 bs=1M seek=4 conv=fsync 2>/dev/null
  head -c 4194304 /dev/urandom >/tmp/data
  dd if=/tmp/data of=$2 bs=1M conv=fsync 2>/dev/null
  printf 'sum%s' $(sha256sum </tmp/data | cut -c1-16) | dd of=$2 bs=1M seek=4 conv=fsync 2>/dev/null
  echo "new $1 $(sha256sum </tmp/data | cut -c1-16)"
}
`

// pod is a pod with volumes whose container checks them (sound).
func (c *kase) pod(name string, volumes ...volume) *corev1.Pod {
	script := sound
	container := corev1.Container{Name: "c", Image: lab.Busybox, ImagePullPolicy: corev1.PullNever, Command: []string{"sh", "-c"}}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.namespace, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: ptr.To[int64](1), AutomountServiceAccountToken: ptr.To(false)},
	}
	for _, v := range volumes {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: v.name, VolumeSource: v.source})
		if v.block {
			script += fmt.Sprintf("device %s /dev/%s\n", v.name, v.name)
			container.VolumeDevices = append(container.VolumeDevices, corev1.VolumeDevice{Name: v.name, DevicePath: "/dev/" + v.name})
		} else {
			script += fmt.Sprintf("check %s /%s/data /%s/sum\n", v.name, v.name, v.name)
			container.VolumeMounts = append(container.VolumeMounts, corev1.VolumeMount{Name: v.name, MountPath: "/" + v.name})
		}
	}
	container.Args = []string{script + "echo done\ntrap exit TERM\nsleep infinity & wait\n"}
	pod.Spec.Containers = []corev1.Container{container}
	return pod
}

// create makes a pod.
func (c *kase) create(p *corev1.Pod) {
	c.Helper()
	_, err := the.Client.CoreV1().Pods(c.namespace).Create(c.ctx, p, metav1.CreateOptions{})
	require.NoError(c, err)
}

// start makes a pod and gives what its container says (sound).
func (c *kase) start(p *corev1.Pod) map[string]string {
	c.Helper()
	c.create(p)
	return c.says(p.Name, time.Time{})
}

// says waits until the container of a pod, started after since, has said what its volumes
// have: volume → "new SUM", "kept SUM".
func (c *kase) says(pod string, since time.Time) map[string]string {
	c.Helper()
	said := map[string]string{}
	c.until("pod "+pod+" runs and has checked its volumes", func() error {
		if err := c.running(pod, since); err != nil {
			return err
		}
		log, err := the.Client.CoreV1().Pods(c.namespace).GetLogs(pod, &corev1.PodLogOptions{}).DoRaw(c.ctx)
		if err != nil {
			return err
		}
		clear(said)
		done := false
		for _, l := range strings.Split(string(log), "\n") {
			f := strings.Fields(l)
			switch {
			case len(f) == 3 && (f[0] == "new" || f[0] == "kept"):
				said[f[1]] = f[0] + " " + f[2]
			case l == "done":
				done = true
			case l != "":
				require.FailNow(c, "pod "+pod+" says: "+l)
			}
		}
		if !done {
			return fmt.Errorf("it says %q", log)
		}
		return nil
	})
	return said
}

// running says why a pod's container, started after since, does not run.
func (c *kase) running(pod string, since time.Time) error {
	p, err := the.Client.CoreV1().Pods(c.namespace).Get(c.ctx, pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if len(p.Status.ContainerStatuses) == 0 {
		return fmt.Errorf("pod %s is %s", pod, p.Status.Phase)
	}
	state := p.Status.ContainerStatuses[0].State
	if state.Running == nil || state.Running.StartedAt.Time.Before(since.Truncate(time.Second)) {
		return fmt.Errorf("pod %s: its container does not run: %+v", pod, state)
	}
	return nil
}

// kept is what a container says later whose pod said this.
func kept(said map[string]string) map[string]string {
	all := map[string]string{}
	for v, s := range said {
		all[v] = "kept " + strings.Fields(s)[1]
	}
	return all
}

// fresh requires that a pod found nothing on any of so many volumes.
func (c *kase) fresh(said map[string]string, number int) {
	c.Helper()
	require.Len(c, said, number)
	for v, s := range said {
		require.True(c, strings.HasPrefix(s, "new "), "volume %s: %s", v, s)
	}
}
