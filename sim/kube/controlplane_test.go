// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package kube

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// bound is within what a control plane must be ready on a busy machine; see
// docs/performance.md for a quiet one.
const bound = time.Minute

// parentDir, when it is in the environment, makes this test binary a process that
// starts a control plane in that folder, prints its process id and does nothing more.
const parentDir = "PODLV_TEST_PARENT_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentDir); dir != "" {
		p, err := Start(context.Background(), Config{Program: os.Getenv("PODLV_TEST_PROGRAM"), Dir: dir})
		if err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(p.PID())
		select {}
	}
	os.Exit(m.Run())
}

// program is the path of the real program.
func program(t *testing.T) string {
	t.Helper()
	path, err := Find(os.Getenv("PODLV_CACHE"))
	require.NoError(t, err)
	return path
}

// start starts a control plane that ends with the test, and returns an
// administrator's client.
func start(t *testing.T, cfg Config) (*ControlPlane, kubernetes.Interface) {
	t.Helper()
	cfg.Program, cfg.Dir = program(t), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	began := time.Now()
	p, err := Start(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Stop()) })
	t.Logf("ready after %.1f s, %d MiB resident", time.Since(began).Seconds(), resident(t, p.PID())>>20)
	config, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig)
	require.NoError(t, err)
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return p, client
}

// resident is the memory of a process, in bytes.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(b), "VmRSS:")
	require.True(t, ok)
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return kib << 10
}

// eventually polls f until it returns nil, at most for a minute.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// gone waits until a process has ended, at most so long.
func gone(t *testing.T, pid int, within time.Duration) {
	t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil { // a zombie has ended, too: whoever adopted it has not asked yet
			return
		}
		if _, state, _ := strings.Cut(string(b), ") "); strings.HasPrefix(state, "Z") {
			return
		}
	}
	t.Fatalf("process %d is there after %s", pid, within)
}

func TestReady(t *testing.T) {
	p, admin := start(t, Config{})
	v, err := admin.Discovery().ServerVersion()
	require.NoError(t, err)
	require.Equal(t, "v1.36.3", v.GitVersion)

	_, err = admin.RbacV1().ClusterRoles().Get(t.Context(), "cluster-admin", metav1.GetOptions{})
	require.NoError(t, err, "an administrator may do anything")

	t.Run("others may do what RBAC lets them", func(t *testing.T) {
		config, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig)
		require.NoError(t, err)
		config.Impersonate.UserName = "system:serviceaccount:default:default"
		other, err := kubernetes.NewForConfig(config)
		require.NoError(t, err)
		_, err = other.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		require.True(t, apierrors.IsForbidden(err), "%v", err)
	})
	t.Run("without a certificate nobody is an administrator", func(t *testing.T) {
		config, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig)
		require.NoError(t, err)
		nobody, err := kubernetes.NewForConfig(rest.AnonymousClientConfig(config))
		require.NoError(t, err)
		_, err = nobody.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
		require.True(t, apierrors.IsForbidden(err), "%v", err)
	})
	t.Run("Priority is resolved", func(t *testing.T) {
		pod := podOf("important", nil)
		pod.Spec.PriorityClassName = "system-cluster-critical"
		pod, err := admin.CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), pod, metav1.CreateOptions{})
		require.NoError(t, err)
		require.EqualValues(t, 2000000000, *pod.Spec.Priority)
	})
	t.Run("it listens on loopback only", func(t *testing.T) {
		for _, address := range listening(t, p.PID()) {
			require.Contains(t, []string{"0100007F", "00000000000000000000000001000000"}, address)
		}
	})
}

// listening returns the local addresses of a process's listening TCP sockets, as
// /proc/net/tcp has them.
func listening(t *testing.T, pid int) (addresses []string) {
	t.Helper()
	sockets := map[string]bool{}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	require.NoError(t, err)
	for _, fd := range fds {
		target, _ := os.Readlink(fd) // it may be closed meanwhile
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		require.NoError(t, err)
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && sockets[f[9]] {
				address, _, _ := strings.Cut(f[1], ":")
				addresses = append(addresses, address)
			}
		}
	}
	require.NotEmpty(t, addresses)
	return addresses
}

func TestSeveralRunBesideEachOther(t *testing.T) {
	p, first := start(t, Config{})
	q, second := start(t, Config{})
	require.NotEqual(t, p.Kubeconfig, q.Kubeconfig)
	_, err := first.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = second.CoreV1().ConfigMaps(metav1.NamespaceDefault).Get(t.Context(), "mine", metav1.GetOptions{})
	require.True(t, apierrors.IsNotFound(err), "%v", err)
}

func TestWrongFlagsAreExplained(t *testing.T) {
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	require.NoError(t, os.WriteFile(wrong, []byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nparalelism: 3\n"), 0o600))
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "a"), nil, 0o600))
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, `required flag(s) "dir" not set`},
		{[]string{"--dir=" + t.TempDir(), "--etcd-servers=x"}, "unknown flag: --etcd-servers"},
		{[]string{"--dir=" + t.TempDir(), "--log-dir=x"}, "unknown flag: --log-dir"},
		{[]string{"--dir=" + t.TempDir(), "more"}, `"more"`},
		{[]string{"--dir=/nowhere/at/all"}, "--dir: open /nowhere/at/all: no such file or directory"},
		{[]string{"--dir=" + full}, "must be empty; it has a"},
		{[]string{"--dir=" + t.TempDir(), "--feature-gates=NoSuch=true"}, "--feature-gates NoSuch=true: unrecognized feature gate: NoSuch"},
		{[]string{"--dir=" + t.TempDir(), "--scheduler-config=" + wrong}, `unknown field "paralelism"`},
		{[]string{"--dir=" + t.TempDir(), "--verbosity=11"}, "--verbosity 11: must be 0 to 10"},
		{[]string{"--dir=" + t.TempDir(), "--node-monitor-grace-period=-1s"}, "must be more than 0"},
	} {
		out, err := exec.Command(program(t), c.args...).CombinedOutput()
		require.Error(t, err, "%q", c.args)
		require.Contains(t, string(out), c.says, "%q", c.args)
	}
}

func TestSchedulerConfigAndFeatureGates(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scheduler.yaml")
	require.NoError(t, os.WriteFile(file, []byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- schedulerName: another\n"), 0o600))
	_, admin := start(t, Config{SchedulerConfig: file, FeatureGates: map[string]bool{"StorageCapacityScoring": true}})
	metrics, err := admin.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	require.NoError(t, err)
	_, gate, _ := strings.Cut(string(metrics), `kubernetes_feature_enabled{name="StorageCapacityScoring"`)
	gate, _, _ = strings.Cut(gate, "\n")
	require.True(t, strings.HasSuffix(gate, "} 1"), "the metric of the feature gate ends with %q", gate)
	makeNode(t, admin, "n", nil)
	pod := podOf("p", nil)
	pod.Spec.SchedulerName = "another"
	require.Equal(t, "n", scheduled(t, admin, makePod(t, admin, metav1.NamespaceDefault, pod)))
}

func TestItEndsWithItsParent(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentDir+"="+t.TempDir(), "PODLV_TEST_PROGRAM="+program(t))
	stdout, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err, line)
	require.NoError(t, syscall.Kill(pid, 0))
	require.NoError(t, parent.Process.Kill())
	_ = parent.Wait() // killed
	gone(t, pid, 10*time.Second)
}

func TestItEndsOnASignal(t *testing.T) {
	p, _ := start(t, Config{})
	began := time.Now()
	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGTERM))
	<-p.Ended()
	t.Logf("ended after %.1f s", time.Since(began).Seconds())
	require.Less(t, time.Since(began), 10*time.Second)
	require.ErrorContains(t, p.err, "ended (status 0)", "it ended cleanly, but nobody here had called Stop")
	p.err = nil // for the cleanup of the test
	require.NoFileExists(t, filepath.Join(filepath.Dir(p.Kubeconfig), "etcd.sock"))
}

func TestAPartThatEndsIsNamed(t *testing.T) {
	// A file where etcd wants its folder.
	dir := t.TempDir()
	cfg := Config{Program: program(t), Dir: dir}
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // after the check that the folder is empty
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := os.Stat(filepath.Join(dir, "logs")); err == nil {
				_ = os.WriteFile(filepath.Join(dir, "etcd"), nil, 0o600)
				return
			}
		}
	}()
	_, err := Start(ctx, cfg)
	require.ErrorContains(t, err, "etcd: ")
}
