// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"

	"github.com/podlv/podlv/lvm"
)

// events are said to people, on the pod or snapshot where they look.
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

// snapshotTrouble: a thick snapshot is lost, or is about to be. That is said on the
// VolumeSnapshot, if it is known: its UID is in the LV's name.
func (e events) snapshotTrouble(l lvm.LogicalVolume, trouble string) {
	object, ok := l.TagValue(tagObject)
	name := "snapshot-" + strings.TrimPrefix(l.Name, snapshotPrefix)
	if e.recorder == nil || !ok || !plainSnapshot.MatchString(name) {
		return
	}
	space, object, _ := strings.Cut(object, "/")
	ref := &corev1.ObjectReference{
		Kind: "VolumeSnapshot", APIVersion: "snapshot.storage.k8s.io/v1", Namespace: space, Name: object, UID: types.UID(strings.TrimPrefix(l.Name, snapshotPrefix)),
	}
	e.recorder.Eventf(ref, corev1.EventTypeWarning, "PodlvSnapshotFull", "on node %s: %s (%.0f%% of %s; see %s of the VolumeSnapshotClass)", e.node, trouble, l.DataPercent, lvm.FormatSize(l.Size), parameterSnapshotSize)
}

// trouble: a pool of the node is not as it should be. It is said on the Node.
func (e events) trouble(t trouble) {
	e.onNode(corev1.EventTypeWarning, t.reason, t.String())
}

// setUp: something was made on the node.
func (e events) setUp(reason, what string) { e.onNode(corev1.EventTypeNormal, reason, what) }

func (e events) onNode(kind, reason, words string) {
	if e.recorder == nil {
		return
	}
	// The UID is the name, as in kubelet's own events: kubectl describe node finds them so.
	e.recorder.Event(&corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: e.node, UID: types.UID(e.node)}, kind, reason, words)
}
