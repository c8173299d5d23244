// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// away is how long the driver or kubelet is away.
const away = 6 * time.Second

func driverKilled() Case {
	return Case{"driver-killed", "the driver is killed and comes back; meanwhile a pod is made and one deleted", func(k *kase) { k.withoutDriver(true) }, false}
}

func driverGone() Case {
	return Case{"driver-gone", "the driver ends in order and comes back; meanwhile a pod is made and one deleted", func(k *kase) { k.withoutDriver(false) }, false}
}

func (k *kase) withoutDriver(killed bool) {
	k.claim("data", "32Mi")
	k.pod("old", []corev1.Volume{inline("data", "32Mi")})
	k.pod("claim", []corev1.Volume{k.uses("data")})
	k.running("old", "claim")
	k.must(k.Driver().Stop(k.ctx, killed))
	k.sleep(time.Second)
	k.pod("new", []corev1.Volume{inline("data", "32Mi")}, here)
	k.remove("old", "claim")
	k.sleep(away)
	k.must(k.Driver().Start(k.ctx))
	k.gone("old", "claim")
	k.running("new")
	k.remove("new")
	k.gone("new")
	k.sleep(time.Second)
}

// set is what restart and reboot begin with.
func (k *kase) set() map[string]string {
	k.claim("data", "32Mi")
	k.claim("raw", "32Mi")
	k.claim("left", "32Mi")
	k.claim("rawleft", "32Mi")
	uids := map[string]string{
		"inline":  k.pod("inline", []corev1.Volume{inline("data", "32Mi")}, asks("30")),
		"claims":  k.pod("claims", []corev1.Volume{k.uses("data"), k.uses("raw")}, asks("30")),
		"deleted": k.pod("deleted", []corev1.Volume{inline("data", "32Mi")}),
		"forced":  k.pod("forced", []corev1.Volume{inline("data", "32Mi"), k.uses("left"), k.uses("rawleft")}),
		"never":   k.pod("never", []corev1.Volume{inline("data", "32Mi")}, never),
	}
	k.running("inline", "claims", "deleted", "forced", "never")
	k.sleep(2 * time.Second) // so that pods have different ages
	uids["young"] = k.pod("young", []corev1.Volume{inline("data", "32Mi")}, asks("30"))
	k.running("young")
	return uids
}

func restart() Case {
	return Case{"restart", "kubelet is killed and started again: pods that run, that were deleted meanwhile, that do not fit any more, whose volume fails then", func(k *kase) {
		uids := k.set()
		uids["ended"] = k.pod("ended", []corev1.Volume{inline("data", "32Mi")}, ends(8*time.Second))
		uids["fails"] = k.pod("fails", []corev1.Volume{inline("data", "32Mi")})
		k.running("ended", "fails")
		k.must(k.StopKubelet(k.ctx))
		k.mark("no kubelet")
		k.things("80") // of 90 that are asked for
		k.remove("deleted")
		k.force("forced")
		k.sleep(away)
		k.rule("NodePublishVolume", k.name+"-fails", slow("Internal")...)
		k.mark("kubelet")
		k.must(k.StartKubelet(k.ctx))
		k.called("NodePublishVolume", Handle(uids["inline"], "data"), 2)
		k.gone("deleted")
		k.phase("young", corev1.PodFailed)
		p := k.get("young")
		k.found("reason", p.Status.Reason)
		k.found("message", p.Status.Message)
		k.phase("ended", corev1.PodSucceeded)
		k.called("NodePublishVolume", Handle(uids["fails"], "data"), 3)
		k.mark("pods are deleted")
		k.remove("fails")
		k.gone("fails")
		k.states("inline", "claims", "never")
		k.remove("inline", "claims", "never", "young", "ended")
		k.gone("inline", "claims", "never", "young", "ended")
		k.sleep(time.Second)
	}, true}
}

func reboot() Case {
	return Case{"reboot", "the node's power is cut", func(k *kase) {
		k.things("100")
		uids := k.set()
		k.mark("power off")
		k.must(k.Reboot(k.ctx, func() {
			k.remove("deleted")
			k.force("forced")
		}))
		k.must(k.Driver().Start(k.ctx))
		k.called("NodePublishVolume", Handle(uids["inline"], "data"), 2)
		k.gone("deleted")
		for _, name := range []string{"inline", "claims", "young"} {
			k.until("containers of "+name, func() error {
				p := k.get(name)
				if p == nil || len(p.Status.ContainerStatuses) == 0 || p.Status.ContainerStatuses[0].RestartCount == 0 || !p.Status.ContainerStatuses[0].Ready {
					return errors.New("they do not run again")
				}
				return nil
			})
		}
		k.phase("never", corev1.PodFailed)
		k.states("inline", "claims", "never")
		k.mark("pods are deleted")
		k.remove("inline", "claims", "never", "young")
		k.gone("inline", "claims", "never", "young")
		k.sleep(2 * time.Second)
	}, true}
}

// things says how many things the node has.
func (k *kase) things(n string) {
	k.patch("node", map[string]any{"status": map[string]any{"capacity": map[string]any{thing: n}, "allocatable": map[string]any{thing: n}}}, func(p []byte) error {
		_, err := k.Client().CoreV1().Nodes().Patch(k.ctx, Node, types.MergePatchType, p, metav1.PatchOptions{}, "status")
		return err
	})
}

// states keeps what the API says of pods.
func (k *kase) states(names ...string) {
	for _, name := range names {
		p := k.get(name)
		if p == nil {
			k.must(fmt.Errorf("there is no pod %s", name))
		}
		state := string(p.Status.Phase)
		for _, c := range p.Status.ContainerStatuses {
			state += fmt.Sprintf(", %s restarted %d times", c.Name, c.RestartCount)
			if t := c.State.Terminated; t != nil {
				state += fmt.Sprintf(", ended with %d (%s)", t.ExitCode, t.Reason)
			}
		}
		k.found("state of "+name, state)
	}
	n, err := k.Client().CoreV1().Nodes().Get(k.ctx, Node, metav1.GetOptions{})
	k.must(err)
	things := n.Status.Allocatable[thing]
	k.found("things", things.String())
}
