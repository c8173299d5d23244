// SPDX-License-Identifier: Apache-2.0

package dress

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func TestContainersWaitForTheirLifetimeOrTheirEnd(t *testing.T) {
	spec := corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "i"}, {Name: "side", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}},
		Containers:     []corev1.Container{{Name: "c", Image: "postgres", Args: []string{"-c"}, LivenessProbe: &corev1.Probe{}}},
	}
	With("box:1", corev1.PullNever)(&spec, 300*time.Millisecond)
	c := spec.Containers[0]
	require.Equal(t, "box:1", c.Image)
	require.Equal(t, corev1.PullNever, c.ImagePullPolicy)
	require.Nil(t, c.Args)
	require.Nil(t, c.LivenessProbe)
	require.Equal(t, c.Command, spec.InitContainers[1].Command, "a sidecar runs as long")

	run := func(command []string) (*exec.Cmd, time.Time) {
		p := exec.Command(command[0], command[1:]...)
		require.NoError(t, p.Start())
		return p, time.Now()
	}
	p, begin := run(c.Command)
	require.NoError(t, p.Wait())
	require.GreaterOrEqual(t, time.Since(begin), 300*time.Millisecond)
	p, _ = run(spec.InitContainers[0].Command)
	require.NoError(t, p.Wait())

	With("box:1", corev1.PullNever)(&spec, 0)
	p, begin = run(spec.Containers[0].Command)
	require.Eventually(t, func() bool { // it has set its trap, which comes before its child
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.Process.Pid))
		return err == nil && len(children) > 0
	}, 5*time.Second, time.Millisecond)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait(), "it ends well")
	require.Less(t, time.Since(begin), 5*time.Second)

	With("box:1", corev1.PullNever)(&spec, 1_000_000*time.Second)
	require.Contains(t, spec.Containers[0].Command[2], "sleep 1000000 ")
}
