// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/sim/kube/kubetest"
)

// BenchmarkMemory measures the built agent's memory: against a real API server, on the
// fake lvm program; idle, with 10,000 claims of other drivers in the cluster, with 200
// volumes of its own.
func BenchmarkMemory(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("kubelet's folder must be shared, which takes root to mount")
	}
	for b.Loop() { //nolint:revive // there is nothing to repeat; it would forget what was reported before
	}
	ctx := b.Context()
	dir := b.TempDir()
	build := func(name, what string) string {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, name), what)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(b, err, "%s", out)
		return filepath.Join(dir, name)
	}
	agent, fakeLVM := build("podlv", "."), build("lvm", "../../fakelvm/lvm")
	env := append(os.Environ(), "FAKELVM_DIR="+filepath.Join(dir, "machine"), "FAKELVM_DISKS=/dev/fake0=1t")
	vgcreate := exec.Command(fakeLVM, "vgcreate", "vg0", "/dev/fake0")
	vgcreate.Env = env
	out, err := vgcreate.CombinedOutput()
	require.NoError(b, err, "%s", out)
	kubeletDir := filepath.Join(dir, "kubelet")
	require.NoError(b, os.Mkdir(kubeletDir, 0o750))
	require.NoError(b, syscall.Mount(kubeletDir, kubeletDir, "", syscall.MS_BIND, ""))
	b.Cleanup(func() { require.NoError(b, syscall.Unmount(kubeletDir, syscall.MNT_DETACH)) })
	require.NoError(b, syscall.Mount("", kubeletDir, "", syscall.MS_SHARED, ""))
	classes := filepath.Join(dir, "classes.yaml")
	require.NoError(b, os.WriteFile(classes, []byte("pools: [{name: ssd, volumeGroup: vg0}]\nclasses: [{name: ssd, pool: ssd, default: true}]\n"), 0o600))

	plane := kubetest.Start(b)
	api := plane.Client
	makeCluster(b, api)

	address := freeAddress(b)
	log, err := os.Create(filepath.Join(dir, "agent.log"))
	require.NoError(b, err)
	cmd := exec.Command(agent, "node", "--node-name=node1", "--config="+classes, "--kubeconfig="+plane.Kubeconfig, "--kubelet-dir="+kubeletDir,
		"--lvm="+fakeLVM, "--http-address="+address)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if text, err := os.ReadFile(log.Name()); b.Failed() && err == nil {
			b.Logf("%s", text[max(0, len(text)-3000):])
		}
	})
	wait(b, "publish capacity", func() bool {
		l, err := api.StorageV1().CSIStorageCapacities("podlv-system").List(ctx, metav1.ListOptions{})
		return err == nil && len(l.Items) == 1
	})
	measure := func(when string) {
		time.Sleep(10 * time.Second) // garbage is collected, informers have settled
		b.ReportMetric(status(b, cmd.Process.Pid, "RssAnon"), when+"-RssAnon-MiB")
		b.ReportMetric(status(b, cmd.Process.Pid, "VmRSS"), when+"-VmRSS-MiB")
	}
	measure("idle")
	makeClaims(b, api, 200, "own", "fast", map[string]string{
		"volume.kubernetes.io/storage-provisioner": "podlv.dev", "volume.kubernetes.io/selected-node": "node1",
	})
	wait(b, "make 200 volumes", func() bool { return countVolumes(ctx, api) == 200 })
	measure("200-volumes")
	makeClaims(b, api, 10_000, "foreign", "else", map[string]string{"volume.kubernetes.io/storage-provisioner": "csi.example.com"})
	measure("200-volumes-10000-foreign-claims")
}

func makeCluster(tb testing.TB, api kubernetes.Interface) {
	tb.Helper()
	ctx := tb.Context()
	_, err := api.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "podlv-system"}}, metav1.CreateOptions{})
	require.NoError(tb, err)
	_, err = api.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", Labels: map[string]string{"topology.podlv.dev/node": "node1"}}}, metav1.CreateOptions{})
	require.NoError(tb, err)
	_, err = api.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "fast"}, Provisioner: "podlv.dev", VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
	}, metav1.CreateOptions{})
	require.NoError(tb, err)
}

// makeClaims makes claims as many clients would.
func makeClaims(tb testing.TB, api kubernetes.Interface, n int, prefix, class string, annotations map[string]string) {
	tb.Helper()
	var work sync.WaitGroup
	var next, failed atomic.Int64
	for range 16 {
		work.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				_, err := api.CoreV1().PersistentVolumeClaims("default").Create(tb.Context(), &corev1.PersistentVolumeClaim{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", prefix, i), Annotations: annotations, Labels: map[string]string{"app.kubernetes.io/name": prefix}},
					Spec: corev1.PersistentVolumeClaimSpec{
						AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &class,
						Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("64Mi")}},
					},
				}, metav1.CreateOptions{})
				if err != nil {
					failed.Add(1)
				}
			}
		})
	}
	work.Wait()
	require.Zero(tb, failed.Load())
}

func countVolumes(ctx context.Context, api kubernetes.Interface) int {
	l, err := api.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return -1
	}
	return len(l.Items)
}

func wait(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	require.Eventually(tb, done, 5*time.Minute, 200*time.Millisecond, what)
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer l.Close()
	return l.Addr().String()
}

// status is a line of a process's /proc/PID/status, in MiB.
func status(tb testing.TB, pid int, key string) float64 {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(tb, err)
	m := regexp.MustCompile(`(?m)^` + key + `:\s+(\d+) kB$`).FindStringSubmatch(string(text))
	require.NotNil(tb, m, "%s in %s", key, strings.TrimSpace(string(text)))
	kib, err := strconv.ParseFloat(m[1], 64)
	require.NoError(tb, err)
	return kib / 1024
}
