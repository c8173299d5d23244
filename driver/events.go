// SPDX-License-Identifier: Apache-2.0

package driver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/podlv/podlv/lvm"
)

// events are said to people, on the pod where they look.
type events struct {
	recorder record.EventRecorder // nil without a Kubernetes API
	node     string
}

// noSpace: somebody must free space, or ask for less.
func (e events) noSpace(q inlineRequest, cause error) {
	if e.recorder == nil {
		return
	}
	pod := &corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: q.Pod.Namespace, Name: q.Pod.Name, UID: types.UID(q.Pod.UID)}
	e.recorder.Eventf(pod, corev1.EventTypeWarning, "PodlvNoSpace",
		"an inline volume asks for %s of device class %q, which node %s cannot give: %v. It is tried again until there is space: free some, ask for less, or let the pod run on another node",
		lvm.FormatSize(q.Size), q.Class.Name, e.node, briefly(cause))
}
