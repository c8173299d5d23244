// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
)

// admit counts a pod against the node's allocatable, or says why it does not fit:
// kubelet's reason ("OutOfcpu", "OutOfpodlv.dev/ssd") and a message. As kubelet, it
// lets pass what is asked of an extended resource that the node does not have
// (kubernetes 1.36, pkg/kubelet/lifecycle/predicate.go).
func (k *Kubelet) admit(pod *corev1.Pod) (reason, message string, ok bool) {
	node, err := k.Nodes.Get(k.node)
	if err != nil {
		return "InvalidNodeInfo", "Kubelet cannot get node info.", false
	}
	k.admission.Lock()
	defer k.admission.Unlock()
	used := corev1.ResourceList{}
	for _, p := range k.admitted {
		add(used, p)
	}
	if limit, has := node.Status.Allocatable[corev1.ResourcePods]; has && int64(len(k.admitted))+1 > limit.Value() {
		return "OutOfpods", fmt.Sprintf("Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", len(k.admitted), limit.Value()), false
	}
	wants := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range names(wants) {
		want := wants[name]
		limit, has := node.Status.Allocatable[name]
		if !has && strings.Contains(string(name), "/") || want.IsZero() {
			continue
		}
		all := used[name].DeepCopy()
		all.Add(want)
		if all.Cmp(limit) > 0 {
			u := used[name]
			return "OutOf" + string(name), fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, want.Value(), u.Value(), limit.Value()), false
		}
	}
	k.admitted[pod.UID] = pod
	return "", "", true
}

// release takes a pod that has ended off the account.
func (k *Kubelet) release(uid types.UID) {
	k.admission.Lock()
	defer k.admission.Unlock()
	delete(k.admitted, uid)
}

func add(sum corev1.ResourceList, pod *corev1.Pod) {
	for name, q := range resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}) {
		all := sum[name].DeepCopy()
		all.Add(q)
		sum[name] = all
	}
}

func names(list corev1.ResourceList) []corev1.ResourceName {
	var all []corev1.ResourceName
	for n := range list {
		all = append(all, n)
	}
	slices.Sort(all)
	return all
}
