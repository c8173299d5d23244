// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// apiRetry is how long after an error the API server is asked again.
const apiRetry = 500 * time.Millisecond

// conditions are a pod's own ones, all of them true or all but the first false.
func conditions(ready bool, now metav1.Time) []corev1.PodCondition {
	list := []corev1.PodCondition{{Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: now}}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	for _, t := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.ContainersReady, corev1.PodReady} {
		list = append(list, corev1.PodCondition{Type: t, Status: status, LastTransitionTime: now})
	}
	return list
}

// setRunning says that all containers run.
func (w *worker) setRunning(ctx context.Context) {
	pod, now := w.latest(), w.started
	status := corev1.PodStatus{Phase: corev1.PodRunning, StartTime: cmp.Or(pod.Status.StartTime, &now), Conditions: conditions(true, now)}
	for _, c := range pod.Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, Ready: true, Started: ptr.To(true), RestartCount: w.restarts(c.Name),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	w.write(ctx, status)
}

// setWaiting says that the containers, which a reboot has ended, do not run yet.
func (w *worker) setWaiting(ctx context.Context) {
	status := corev1.PodStatus{Phase: corev1.PodRunning, Conditions: conditions(false, metav1.NewTime(w.k.Clock.Now()))}
	for _, c := range w.latest().Spec.Containers {
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, RestartCount: w.restarts(c.Name) - 1,
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
		})
	}
	w.write(ctx, status)
}

// restarts is how often a container was started before.
func (w *worker) restarts(container string) int32 {
	if w.fate != restarted {
		return 0
	}
	for _, s := range w.before {
		if s.Name == container {
			return s.RestartCount + 1
		}
	}
	return 1
}

// startOf is when a pod's containers were started, as the API has it.
func startOf(pod *corev1.Pod) metav1.Time {
	for _, s := range pod.Status.ContainerStatuses {
		if s.State.Running != nil {
			return s.State.Running.StartedAt
		}
	}
	return metav1.Time{}
}

// setEnded says that all containers have ended, with status 0, or that they never ran.
func (w *worker) setEnded(ctx context.Context, phase corev1.PodPhase) {
	now := metav1.NewTime(w.k.Clock.Now())
	status := corev1.PodStatus{Phase: phase, Conditions: conditions(false, now)}
	for _, c := range w.latest().Spec.Containers {
		end := &corev1.ContainerStateTerminated{Reason: "Completed", StartedAt: w.started, FinishedAt: now}
		switch {
		case w.fate == lost: // as containerd says of a process that it did not see end
			end.ExitCode, end.Reason = 255, "Unknown"
		case phase != corev1.PodSucceeded:
			end = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown", Message: "The container could not be located when the pod was terminated"}
		}
		status.ContainerStatuses = append(status.ContainerStatuses, corev1.ContainerStatus{Name: c.Name, Image: c.Image, State: corev1.ContainerState{Terminated: end}})
	}
	w.write(ctx, status)
}

// setRefused says that the pod was not admitted.
func (w *worker) setRefused(ctx context.Context, reason, message string) {
	w.write(ctx, corev1.PodStatus{Phase: corev1.PodFailed, Reason: reason, Message: "Pod was rejected: " + message})
}

// write patches the pod's status until that has worked, the pod is gone or ctx ends.
func (w *worker) write(ctx context.Context, status corev1.PodStatus) {
	fields, err := json.Marshal(status)
	if err == nil {
		fields, err = json.Marshal(map[string]any{"metadata": map[string]any{"uid": w.uid}, "status": json.RawMessage(fields)})
	}
	if err != nil {
		panic(err) // a PodStatus is always JSON
	}
	w.insist(ctx, "write the status of", func() error {
		p := w.latest()
		_, err := w.k.Client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, fields, metav1.PatchOptions{}, "status")
		return err
	})
}

// remove deletes the pod from the API: its volumes are gone.
func (w *worker) remove(ctx context.Context) {
	w.insist(ctx, "delete", func() error {
		p := w.latest()
		return w.k.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
			GracePeriodSeconds: ptr.To(int64(0)), Preconditions: &metav1.Preconditions{UID: &w.uid},
		})
	})
}

// insist does f until it works, the pod is gone, or another pod has its name.
func (w *worker) insist(ctx context.Context, what string, f func() error) {
	for {
		err := f()
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || ctx.Err() != nil {
			return
		}
		p := w.latest()
		w.k.Log.Warn("cannot "+what+" a pod; it is tried again", "node", w.k.node, "pod", p.Namespace+"/"+p.Name, "error", err)
		if !w.k.sleep(ctx, w.gone, apiRetry) {
			return
		}
	}
}
