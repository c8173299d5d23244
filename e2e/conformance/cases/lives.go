// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// lives are lives of pods in which nothing fails.
func lives() []Case {
	return []Case{
		{"inline", "inline volumes: ext4, xfs, read-only, and one that no container uses; with an fsGroup", func(k *kase) {
			xfs, readOnly := inline("xfs", "320Mi"), inline("readonly", "32Mi")
			xfs.CSI.FSType, readOnly.CSI.ReadOnly = ptr.To("xfs"), ptr.To(true)
			k.pod("p", []corev1.Volume{inline("ext4", "32Mi"), xfs, readOnly, inline("unused", "32Mi")}, func(p *corev1.Pod) {
				c := &p.Spec.Containers[0]
				c.VolumeMounts = c.VolumeMounts[:3]
				p.Spec.SecurityContext = &corev1.PodSecurityContext{FSGroup: ptr.To(int64(1000))}
			})
			k.running("p")
			k.remove("p")
			k.gone("p")
		}, false},
		{"claims", "a claim as a filesystem and one as a block device, in two containers", func(k *kase) {
			k.claim("data", "64Mi")
			k.claim("raw", "32Mi")
			k.pod("p", []corev1.Volume{k.uses("data"), k.uses("raw")}, func(p *corev1.Pod) {
				second := *p.Spec.Containers[0].DeepCopy()
				second.Name = "d"
				p.Spec.Containers = append(p.Spec.Containers, second)
			})
			k.running("p")
			k.remove("p")
			k.gone("p")
		}, false},
		{"ephemeral", "a generic ephemeral volume", func(k *kase) {
			k.pod("p", []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
				VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{
					ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"case": k.name}}, Spec: claimSpec("32Mi", false),
				},
			}}}})
			k.volume(k.name+"-p-data", "32Mi", false)
			k.running("p")
			k.remove("p")
			k.gone("p")
		}, false},
		{"shared", "two pods with one claim, the second reads only; the first goes first", func(k *kase) {
			k.claim("data", "32Mi")
			k.pod("p", []corev1.Volume{k.uses("data")})
			k.running("p")
			second := k.uses("data")
			second.PersistentVolumeClaim.ReadOnly = true
			k.pod("q", []corev1.Volume{second})
			k.running("q")
			k.remove("p")
			k.gone("p")
			k.remove("q")
			k.gone("q")
		}, false},
		{"ends", "a pod that ends by itself; unpublish fails first, so that it can be seen that the pod has ended before", func(k *kase) {
			uid := k.pod("p", []corev1.Volume{inline("data", "32Mi")}, ends(time.Second))
			k.rule("NodeUnpublishVolume", Handle(uid, "data"), "Internal", "NotFound", "Aborted")
			k.phase("p", corev1.PodSucceeded)
			k.called("NodeUnpublishVolume", Handle(uid, "data"), 4)
			k.remove("p")
			k.gone("p")
		}, false},
		{"forced", "a pod that runs and is deleted by force", func(k *kase) {
			uid := k.pod("p", []corev1.Volume{inline("data", "32Mi")})
			k.running("p")
			k.force("p")
			k.called("NodeUnpublishVolume", Handle(uid, "data"), 1)
		}, false},
		{"grown", "claims that are made larger under their pod; and one between two pods", func(k *kase) {
			var volumes []corev1.Volume
			codes := map[string][]string{"data": {"Internal", "Aborted"}, "raw": {"Internal"}, "invalid": {"InvalidArgument"}, "inuse": {"FailedPrecondition"}}
			for _, name := range []string{"data", "raw", "invalid", "inuse"} {
				k.claim(name, "32Mi")
				volumes = append(volumes, k.uses(name))
				k.rule("NodeExpandVolume", k.handle(name), codes[name]...)
			}
			k.claim("late", "32Mi")
			k.pod("p", append(volumes, k.uses("late")))
			k.running("p")
			for name := range codes {
				k.grow(name, "64Mi")
			}
			k.stir("p", "grown")
			k.grown("data", "64Mi")
			k.grown("raw", "64Mi")
			k.sleep(2 * time.Second) // for the others not to be tried again
			k.found("turn after InvalidArgument", k.turnOf("invalid"))
			k.found("turn after FailedPrecondition", k.turnOf("inuse"))
			k.remove("p")
			k.gone("p")
			k.rule("NodeExpandVolume", k.handle("late"), "Internal")
			k.grow("late", "64Mi")
			k.pod("q", []corev1.Volume{k.uses("late")})
			k.running("q")
			k.grown("late", "64Mi")
			k.remove("q")
			k.gone("q")
		}, false},
	}
}

// statistics is a pod that lives until kubelet has asked how full its volumes are.
func statistics() Case {
	return Case{"statistics", "statistics of an inline volume, a claim and a block device", func(k *kase) {
		k.claim("data", "32Mi")
		k.claim("raw", "32Mi")
		uid := k.pod("p", []corev1.Volume{inline("inline", "32Mi"), k.uses("data"), k.uses("raw")})
		k.running("p")
		for _, id := range []string{Handle(uid, "inline"), k.handle("data"), k.handle("raw")} {
			k.called("NodeGetVolumeStats", id, 1)
		}
		k.remove("p")
		k.gone("p")
	}, false}
}

// refused is a pod that is not admitted, long after kubelet was started.
func refused() Case {
	return Case{"refused", "a pod that the node has no room for", func(k *kase) {
		k.sleep(10 * time.Second) // kubelet may only just have been started
		k.pod("p", []corev1.Volume{inline("data", "32Mi")}, here, asks("1000"))
		k.phase("p", corev1.PodFailed)
		p := k.get("p")
		k.found("reason", p.Status.Reason)
		k.found("message", p.Status.Message)
		k.remove("p")
		k.gone("p")
	}, false}
}

// thing is an extended resource that nobody but the cases knows, of which the node has
// 100.
const thing = "conformance.podlv.dev/thing"

// asks makes the pod ask for so many things.
func asks(n string) option {
	return func(p *corev1.Pod) {
		list := corev1.ResourceList{thing: quantity(n)}
		p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
	}
}
