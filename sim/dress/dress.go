// SPDX-License-Identifier: Apache-2.0

// Package dress gives the containers of a simulated pod something real to run, for a
// cluster whose kubelets are real. There is only With.
package dress

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// With makes containers wait in an image with /bin/sh and sleep: for a pod's lifetime, or
// until the pod is deleted if that is 0. A shell that waits hears the signal at once,
// where a sleep that is process 1 would take the whole of the grace period.
func With(image string, pull corev1.PullPolicy) func(spec *corev1.PodSpec, lifetime time.Duration) {
	return func(spec *corev1.PodSpec, lifetime time.Duration) {
		spec.AutomountServiceAccountToken = new(bool) // nobody uses it, and it is a volume, too
		long := "infinity"
		if lifetime > 0 {
			long = strconv.FormatFloat(lifetime.Seconds(), 'f', -1, 64)
		}
		for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
			for i := range list {
				c := &list[i]
				c.Image, c.ImagePullPolicy = image, pull
				c.Command, c.Args = []string{"/bin/sh", "-c", "trap 'exit 0' TERM; sleep " + long + " & wait $!"}, nil
				c.LivenessProbe, c.ReadinessProbe, c.StartupProbe, c.Lifecycle = nil, nil, nil, nil // nobody would answer
			}
		}
		for i := range spec.InitContainers {
			if c := &spec.InitContainers[i]; c.RestartPolicy == nil { // it must end; a sidecar must not
				c.Command = []string{"/bin/sh", "-c", ":"}
			}
		}
	}
}
