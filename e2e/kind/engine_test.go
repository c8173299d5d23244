// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	kindcluster "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/exec"
)

// docker puts a script in the place of all container engines.
func docker(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if script != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\n"+script), 0o755))
	}
	t.Setenv("PATH", dir)
}

func TestWithoutAnEngineAPersonIsToldWhatToDo(t *testing.T) {
	docker(t, "")
	_, err := Find("", "use --target embedded", t.Logf)
	require.ErrorContains(t, err, "no container engine is here: kind needs a container engine: install Docker")
	require.ErrorContains(t, err, "or use --target embedded")

	docker(t, `case "$1" in -v) echo "Docker version 28"; exit 0;; esac
echo "permission denied while trying to connect to the Docker daemon socket" >&2; exit 1`)
	_, err = Find("", "use --target embedded", t.Logf)
	require.ErrorContains(t, err, "no container engine answers:")
	require.ErrorContains(t, err, "permission denied while trying to connect")
	require.ErrorContains(t, err, "a member of group docker")

	_, err = Find("rkt", "do without", t.Logf)
	require.ErrorContains(t, err, `container engine "rkt": must be docker, podman or nerdctl`)
}

func TestAnImageThatCannotBePulledIsSaidSo(t *testing.T) {
	err := explainCreate(fmt.Errorf("failed to pull image %q: %w", "kindest/node:v1", &exec.RunError{Command: []string{"docker", "pull"}, Output: []byte("no such host\n"), Inner: errors.New("exit status 1")}), "kindest/node:v1")
	require.ErrorContains(t, err, "the node image kindest/node:v1 is not here and cannot be pulled")
	require.ErrorContains(t, err, "no such host")
	require.ErrorContains(t, err, "KIND_NODE_IMAGE")
	require.ErrorContains(t, explainCreate(errors.New("x"), ""), "kind could not make the cluster: x")
	require.NoError(t, explainCreate(nil, ""))
}

// fakeEngine is one with a cluster of two nodes.
type fakeEngine struct {
	does    []string
	scripts []string          // what was run on the nodes
	said    map[string]string // by node: why its commands fail
	hangs   chan struct{}
	deleted chan struct{}
}

func (f *fakeEngine) Create(string, ...kindcluster.CreateOption) error {
	if f.hangs == nil {
		return nil
	}
	close(f.hangs)
	<-f.deleted
	return errors.New("no such container")
}

func (f *fakeEngine) Delete(name, _ string) error {
	f.does = append(f.does, "delete "+name)
	if f.deleted != nil {
		close(f.deleted)
	}
	return nil
}

func (f *fakeEngine) List() ([]string, error) { return []string{"kind", "podlv-sim-x"}, nil }

func (f *fakeEngine) ListInternalNodes(string) ([]nodes.Node, error) {
	return []nodes.Node{fakeNode{name: "a", f: f}, fakeNode{name: "b", f: f}}, nil
}

type fakeNode struct {
	nodes.Node
	name string
	f    *fakeEngine
}

func (n fakeNode) String() string { return n.name }
func (n fakeNode) CommandContext(_ context.Context, _ string, args ...string) exec.Cmd {
	return &fakeCmd{n: n, script: args[len(args)-1]}
}

type fakeCmd struct {
	exec.Cmd
	n      fakeNode
	script string
	out    io.Writer
	in     io.Reader
}

func (c *fakeCmd) SetStdout(w io.Writer) exec.Cmd { c.out = w; return c }
func (c *fakeCmd) SetStderr(io.Writer) exec.Cmd   { return c }
func (c *fakeCmd) SetStdin(r io.Reader) exec.Cmd  { c.in = r; return c }
func (c *fakeCmd) Run() error {
	script := c.script
	if c.in != nil {
		b, err := io.ReadAll(c.in)
		if err != nil {
			return err
		}
		script += "\n<" + string(b)
	}
	c.n.f.scripts = append(c.n.f.scripts, script)
	if strings.Contains(c.script, "fakelvm destroy") {
		c.n.f.does = append(c.n.f.does, "free "+c.n.name)
	}
	if said := c.n.f.said[c.n.name]; said != "" {
		fmt.Fprintln(c.out, said)
		return errors.New("exit status 1")
	}
	return nil
}

// The kernel's loop devices outlive the containers.
func TestDevicesAreFreedBeforeTheirNodeIsGone(t *testing.T) {
	f := &fakeEngine{}
	require.NoError(t, (&Engine{f}).Remove("podlv-sim-x", ""))
	require.Equal(t, []string{"free a", "free b", "delete podlv-sim-x"}, f.does)

	f = &fakeEngine{said: map[string]string{"a": "losetup: busy"}}
	err := (&Engine{f}).Remove("podlv-sim-x", "")
	require.ErrorContains(t, err, "free the loop devices on node a")
	require.ErrorContains(t, err, "losetup: busy")
	require.Equal(t, []string{"free a", "free b", "delete podlv-sim-x"}, f.does, "the rest is done all the same")
}

func TestAnEngineWithoutLoopDevicesIsSaidSo(t *testing.T) {
	f := &fakeEngine{said: map[string]string{"a": "fakelvm: vg0/x: open /dev/loop-control: permission denied"}}
	err := Probe(t.Context(), fakeNode{name: "a", f: f})
	require.ErrorContains(t, err, "make a volume on node a")
	require.ErrorContains(t, err, "load the kernel's module loop, and use a container engine that runs as root, not a rootless one")
}

// kind itself cannot be told to stop.
func TestAClusterThatIsBeingMadeIsGoneAfterCtrlC(t *testing.T) {
	f := &fakeEngine{hangs: make(chan struct{}), deleted: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-f.hangs; cancel() }()
	config, err := ClusterConfig([]string{""}, nil)
	require.NoError(t, err)
	require.ErrorIs(t, (&Engine{f}).Create(ctx, "podlv-sim-x", "", "", config), context.Canceled)
	require.Equal(t, []string{"delete podlv-sim-x"}, f.does)
}

func TestWhatKindBeginsIsTold(t *testing.T) {
	var said []string
	l := logger{func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	l.V(0).Infof(" • Preparing nodes 📦 📦  ...\n")
	l.V(0).Info(" ✓ Preparing nodes 📦 📦")
	l.V(1).Info("Pulling image")
	l.Warn("cgroup v1 is deprecated")
	require.Equal(t, []string{"kind: Preparing nodes"}, said)
}

// How kind calls them is kind's own.
func TestWorkersAreCalledAsKindCallsThem(t *testing.T) {
	require.Equal(t, []string{"x-worker", "x-worker2", "x-worker3"}, []string{WorkerName("x", 0), WorkerName("x", 1), WorkerName("x", 2)})
}

func TestANodeMayHaveANameOfItsOwn(t *testing.T) {
	c, err := ClusterConfig([]string{"node-1", ""}, map[string]any{"maxPods": 7})
	require.NoError(t, err)
	require.Len(t, c.Nodes, 3)
	require.Equal(t, []string{"kind: JoinConfiguration\nnodeRegistration: {name: node-1}\n"}, c.Nodes[1].KubeadmConfigPatches)
	require.Empty(t, c.Nodes[2].KubeadmConfigPatches)
	require.Contains(t, c.KubeadmConfigPatches[0], "kind: KubeletConfiguration\nmaxPods: 7\n")
}
