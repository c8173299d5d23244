// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/podlv/podlv/e2e/conformance/record"
)

// failures are lives of pods in which calls fail.
func failures() []Case {
	all := []Case{
		{"retried", "publish of an inline volume fails four times", func(k *kase) {
			k.rule("NodePublishVolume", k.name+"-p", "Internal", "Internal", "Aborted", "Internal")
			k.pod("p", []corev1.Volume{inline("data", "32Mi")})
			k.running("p")
			k.remove("p")
			k.gone("p")
		}, false},
		{"lost-answer", "publish is done, but the answer is lost", func(k *kase) {
			k.must(k.Driver().Add(k.ctx, record.Rule{Method: "NodePublishVolume", Contains: k.name + "-p", Code: "DeadlineExceeded", After: true, Times: 1}))
			k.pod("p", []corev1.Volume{inline("data", "32Mi")})
			k.running("p")
			k.remove("p")
			k.gone("p")
		}, false},
		{"uncertain-then-final", "publish fails, maybe, and then for certain; the pod is deleted", func(k *kase) {
			k.rule("NodePublishVolume", k.name+"-p", append([]string{"Aborted"}, slow("Internal")...)...)
			uid := k.pod("p", []corev1.Volume{inline("data", "32Mi")})
			k.called("NodePublishVolume", Handle(uid, "data"), 2)
			k.remove("p")
			k.gone("p")
		}, true},
		{"final-then-uncertain", "publish fails for certain, and then maybe; the pod is deleted", func(k *kase) {
			k.rule("NodePublishVolume", k.name+"-p", append([]string{"Internal"}, slow("Aborted")...)...)
			uid := k.pod("p", []corev1.Volume{inline("data", "32Mi")})
			k.called("NodePublishVolume", Handle(uid, "data"), 2)
			k.remove("p")
			k.gone("p")
		}, true},
		{"slow", "the pod is deleted while its volume is being published", func(k *kase) {
			k.must(k.Driver().Add(k.ctx, record.Rule{Method: "NodePublishVolume", Contains: k.name + "-p", Delay: 15 * time.Second, Times: 1}))
			uid := k.pod("p", []corev1.Volume{inline("data", "32Mi")}, here)
			k.sleep(2 * time.Second)
			k.remove("p")
			k.gone("p")
			k.called("NodeUnpublishVolume", Handle(uid, "data"), 1)
		}, false},
	}
	for _, name := range []string{"data", "raw"} {
		all = append(all, Case{"failing-" + name, "every call for a claim fails, maybe and for certain (" + name + ")", func(k *kase) {
			k.claim(name, "32Mi")
			id := k.handle(name)
			k.rule("NodeStageVolume", id, "Internal", "Aborted", "Internal")
			k.rule("NodePublishVolume", id, "Internal", "Aborted", "Internal")
			k.rule("NodeUnpublishVolume", id, "Internal", "NotFound", "Aborted")
			k.rule("NodeUnstageVolume", id, "Internal", "NotFound", "Aborted")
			k.pod("p", []corev1.Volume{k.uses(name)})
			k.running("p")
			k.remove("p")
			k.gone("p")
			k.called("NodeUnstageVolume", id, 4)
		}, false})
		for _, method := range []string{"Stage", "Publish"} {
			for _, code := range []string{"Internal", "Aborted"} {
				all = append(all, Case{strings.ToLower(method + "-" + code + "-" + name), method + " of a claim fails with " + code + " and the pod is deleted (" + name + ")", func(k *kase) {
					k.claim(name, "32Mi")
					id := k.handle(name)
					k.rule("Node"+method+"Volume", id, slow(code)...)
					k.pod("p", []corev1.Volume{k.uses(name)})
					k.called("Node"+method+"Volume", id, 3)
					k.remove("p")
					k.gone("p")
					k.sleep(3 * time.Second) // for what comes after the pod
				}, true})
			}
		}
	}
	return all
}

// slow is a code many times: it is over only when the pod is.
func slow(code string) []string {
	return strings.Split(strings.TrimSuffix(strings.Repeat(code+" ", 20), " "), " ")
}

// codesOfPublish are all codes that publish can fail with before the pod is deleted.
func codesOfPublish() (all []Case) {
	for _, code := range record.Codes() {
		all = append(all, Case{"code-" + strings.ToLower(code), "publish of an inline volume fails with " + code + " and the pod is deleted", func(k *kase) {
			k.rule("NodePublishVolume", k.name+"-p", slow(code)...)
			uid := k.pod("p", []corev1.Volume{inline("data", "32Mi")}, here)
			k.called("NodePublishVolume", Handle(uid, "data"), 3)
			k.remove("p")
			k.gone("p")
		}, true})
	}
	return all
}
