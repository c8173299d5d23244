// SPDX-License-Identifier: Apache-2.0

// Package kube starts the control plane of a Kubernetes cluster without nodes, for
// the simulator: etcd, kube-apiserver, the unmodified kube-scheduler and the
// controllers, in one child process (sim/controlplane, whose package comment says what
// differs from a cluster).
//
// There are only a Config and the ControlPlane that Start makes of it; Find looks
// for the program. A ControlPlane does not outlive the process that started it,
// however that ends. Several run beside each other.
package kube

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Program is the name of the program that Find looks for.
const Program = "podlv-control-plane"

// How long Stop waits for the program to end by itself.
const patience = 15 * time.Second

// Config says which control plane to start.
type Config struct {
	// Program is the path of the program; see Find.
	Program string
	// Dir is a folder for state, keys and logs. It must exist and be empty, and is
	// not removed.
	Dir string
	// FeatureGates of all parts, beyond Kubernetes' defaults.
	FeatureGates map[string]bool
	// SchedulerConfig is a file with a KubeSchedulerConfiguration, "" for the
	// scheduler's defaults.
	SchedulerConfig string
	// NodeMonitorGracePeriod is how long a node may leave its Lease alone before it
	// counts as unreachable; 0 for Kubernetes' 50 s.
	NodeMonitorGracePeriod time.Duration
	// Verbosity of DIR/logs/kubernetes.log, 0 to 10.
	Verbosity int
}

func (c Config) args() []string {
	args := []string{"--dir=" + c.Dir, "--verbosity=" + strconv.Itoa(c.Verbosity)}
	if len(c.FeatureGates) > 0 {
		var gates []string
		for _, name := range slices.Sorted(maps.Keys(c.FeatureGates)) {
			gates = append(gates, fmt.Sprintf("%s=%t", name, c.FeatureGates[name]))
		}
		args = append(args, "--feature-gates="+strings.Join(gates, ","))
	}
	if c.SchedulerConfig != "" {
		args = append(args, "--scheduler-config="+c.SchedulerConfig)
	}
	if c.NodeMonitorGracePeriod != 0 {
		args = append(args, "--node-monitor-grace-period="+c.NodeMonitorGracePeriod.String())
	}
	return args
}

// Find returns the path of the program: beside the executable of this process, on
// the PATH, or in the folder bin of cache, which is what $PODLV_CACHE says or "" for
// ~/.cache/podlv. The error says where it looked and how the program is built.
func Find(cache string) (string, error) {
	var places []string
	if self, err := os.Executable(); err == nil {
		places = append(places, filepath.Dir(self))
	}
	found := func(dir string) (string, bool) {
		p, err := exec.LookPath(filepath.Join(dir, Program))
		return p, err == nil
	}
	for _, dir := range places {
		if p, ok := found(dir); ok {
			return p, nil
		}
	}
	if p, err := exec.LookPath(Program); err == nil {
		return filepath.Abs(p)
	}
	places = append(places, "the PATH")
	if cache == "" {
		if home, err := os.UserHomeDir(); err == nil {
			cache = filepath.Join(home, ".cache", "podlv")
		}
	}
	if cache != "" {
		dir, err := filepath.Abs(filepath.Join(cache, "bin"))
		if err != nil {
			return "", err
		}
		if p, ok := found(dir); ok {
			return p, nil
		}
		places = append(places, dir)
	}
	return "", fmt.Errorf("no %s in %s: build it with make controlplane in podlv's source", Program, strings.Join(places, ", "))
}

// ControlPlane is one that runs.
type ControlPlane struct {
	// Kubeconfig is the path of an administrator's (system:masters).
	Kubeconfig string

	cmd      *exec.Cmd
	stdin    io.Closer
	complain *tail
	stopping sync.Once
	stopped  chan struct{} // closed by the first Stop
	ended    chan struct{} // closed when the process has ended
	err      error         // why; read it after ended
}

// Start starts a control plane and returns when its API server, scheduler and
// controllers work, which takes some seconds. When ctx ends before, or the program
// does, there is nothing left of it but what is in its folder, and the error says
// why. Afterwards ctx means nothing; the caller must call Stop.
func Start(ctx context.Context, cfg Config) (*ControlPlane, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, err
	}
	cfg.Dir = dir
	p := &ControlPlane{complain: &tail{}, stopped: make(chan struct{}), ended: make(chan struct{})}
	p.cmd = exec.Command(cfg.Program, cfg.args()...) //nolint:noctx // Stop ends it in order
	p.cmd.Stderr = p.complain
	// A Ctrl-C is for this process, which stops its child when it is done with it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stdout = w
	err = p.cmd.Start()
	w.Close() // the child has its own
	if err != nil {
		stdout.Close()
		return nil, fmt.Errorf("start the control plane: %w", err)
	}
	ready := make(chan string, 1)
	go func() {
		defer stdout.Close()
		for s := bufio.NewScanner(stdout); s.Scan(); {
			if path, ok := strings.CutPrefix(s.Text(), "ready KUBECONFIG="); ok {
				ready <- path
				break
			}
		}
		_, _ = io.Copy(io.Discard, stdout)
	}()
	go p.wait(dir)
	select {
	case p.Kubeconfig = <-ready:
		return p, nil
	case <-p.ended:
		return nil, p.err
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("wait for the control plane: %w", context.Cause(ctx)), p.Stop())
	}
}

// wait waits until the process has ended and finds out whether that is an error.
func (p *ControlPlane) wait(dir string) {
	defer close(p.ended)
	err := p.cmd.Wait()
	select {
	case <-p.stopped:
		if err == nil {
			return
		}
	default:
	}
	what := "status 0"
	if err != nil {
		what = err.Error()
	}
	p.err = fmt.Errorf("the control plane ended (%s): %s", what, p.complain.text("its logs are in "+filepath.Join(dir, "logs")))
}

// Ended is closed when the control plane has ended, whatever the reason.
func (p *ControlPlane) Ended() <-chan struct{} { return p.ended }

// PID is the process id of the control plane.
func (p *ControlPlane) PID() int { return p.cmd.Process.Pid }

// Stop ends the control plane and returns when it has ended; what it had is in its
// folder. It can be called more than once. An error says why it ended before, or
// that it had to be killed.
func (p *ControlPlane) Stop() error {
	p.stopping.Do(func() {
		close(p.stopped)
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it fails when the process has ended
		_ = p.stdin.Close()
	})
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("the control plane did not end within %s and was killed: %w", patience, p.err)
}

// tail keeps the end of what is written to it, for an error.
type tail struct {
	mu  sync.Mutex
	end []byte
	cut bool // more was written
}

// tailSize is how much a tail keeps, in bytes: a stack trace that says which part
// panicked.
const tailSize = 8 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, b...)
	if more := len(t.end) - tailSize; more > 0 {
		t.end, t.cut = append([]byte(nil), t.end[more:]...), true
	}
	return len(b), nil
}

// text returns what was kept, or without when that is nothing.
func (t *tail) text(without string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := strings.TrimSpace(string(t.end))
	switch {
	case t.cut:
		return "…" + s
	case s != "":
		return s
	}
	return without
}
