// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kind/pkg/apis/config/defaults"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	kindcluster "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/exec"
	"sigs.k8s.io/kind/pkg/log"
)

// engine is what is needed of kind's Provider.
type engine interface {
	Create(name string, options ...kindcluster.CreateOption) error
	Delete(name, kubeconfig string) error
	List() ([]string, error)
	ListInternalNodes(name string) ([]nodes.Node, error)
}

// howToGetOne is what a person can do who has no container engine.
const howToGetOne = "kind needs a container engine: install Docker (https://docs.docker.com/engine/install), Podman or nerdctl, start it, and see that `docker ps` works for you (root, or a member of group docker); or use --target embedded, which needs none"

// engine finds the container engine and whether it answers.
func (c Config) engine(progress func(string, ...any)) (engine, error) {
	var option kindcluster.ProviderOption
	switch c.Provider {
	case "docker":
		option = kindcluster.ProviderWithDocker()
	case "podman":
		option = kindcluster.ProviderWithPodman()
	case "nerdctl":
		option = kindcluster.ProviderWithNerdctl("")
	case "":
		var err error
		if option, err = kindcluster.DetectNodeProvider(); err != nil {
			return nil, fmt.Errorf("no container engine is here: %s", howToGetOne)
		}
	default:
		return nil, fmt.Errorf("container engine %q: must be docker, podman or nerdctl", c.Provider)
	}
	p := kindcluster.NewProvider(kindcluster.ProviderWithLogger(logger{progress}), option)
	if _, err := p.List(); err != nil {
		return nil, fmt.Errorf("no container engine answers: %w; %s", explain(err), howToGetOne)
	}
	return p, nil
}

// explain adds to an error of kind what the command said that failed.
func explain(err error) error {
	failed := exec.RunErrorForError(err)
	if failed != nil || errors.As(err, &failed) {
		if said := strings.TrimSpace(string(failed.Output)); said != "" {
			const most = 2000
			return fmt.Errorf("%w: %s", err, said[max(0, len(said)-most):])
		}
	}
	return err
}

// create makes a cluster. kind cannot be told to stop: when ctx ends, its nodes are taken
// from under it.
func create(ctx context.Context, e engine, name, kubeconfig, nodeImage string, config *v1alpha4.Cluster) error {
	done := make(chan error, 1)
	go func() {
		done <- e.Create(name, kindcluster.CreateWithV1Alpha4Config(config), kindcluster.CreateWithNodeImage(nodeImage),
			kindcluster.CreateWithKubeconfigPath(kubeconfig), kindcluster.CreateWithDisplayUsage(false), kindcluster.CreateWithDisplaySalutation(false))
	}()
	select {
	case err := <-done:
		return explainCreate(err, cmp.Or(nodeImage, defaults.Image))
	case <-ctx.Done():
	}
	_ = e.Delete(name, kubeconfig) // again when kind has ended
	<-done
	return context.Cause(ctx)
}

// explainCreate is what a person can do about a cluster that could not be made.
func explainCreate(err error, nodeImage string) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "failed to pull image"):
		return fmt.Errorf("the node image %s is not here and cannot be pulled: %w; load one with docker load, and name it in KIND_NODE_IMAGE", nodeImage, explain(err))
	}
	return fmt.Errorf("kind could not make the cluster: %w", explain(err))
}

// How often a cluster's deletion is tried, and the time between.
const (
	deleteTries = 4
	deletePause = 3 * time.Second
)

// remove frees what the nodes of a cluster have of the host, and deletes it.
func remove(e engine, name, kubeconfig string) error {
	list, err := e.ListInternalNodes(name)
	if err != nil {
		return fmt.Errorf("delete cluster %s: %w", name, explain(err))
	}
	var wrong error
	for _, n := range list {
		if err := onNode(context.Background(), n, "free the loop devices", free); err != nil {
			wrong = errors.Join(wrong, err)
		}
	}
	for range deleteTries {
		if err = e.Delete(name, kubeconfig); err == nil {
			break
		}
		time.Sleep(deletePause) // Docker gives up on a container that takes long to end, and it ends all the same
	}
	if err != nil {
		return fmt.Errorf("delete cluster %s: %w; delete it by hand: kind delete cluster --name %s", name, explain(err), name)
	}
	return wrong
}

// free frees the loop devices of a node: those that kubelet has put on raw block volumes
// (kubernetes 1.36, pkg/volume/util/volumepathhandler) and those behind the LVs. All nodes
// of all clusters see all loop devices; kubelet's files have the UIDs of claim and pod in
// their names, so that what is there is this node's. A device in use is free when the
// node's mounts are gone, with its container.
//
// It lets runc end what it has begun: with cgroup v1 a container is frozen while it is
// made, and one that stays so nobody can kill, nor the node around it.
const free = `[ -x /usr/local/bin/fakelvm ] || exit 0
systemctl stop kubelet
i=0
while [ $i -lt 50 ] && grep -qsx runc /proc/[0-9]*/comm; do sleep 0.1; i=$((i+1)); done
for b in /sys/block/loop*/loop/backing_file; do
  [ -e "$b" ] || continue
  f=$(cat "$b"); d=${b#/sys/block/}; d=${d%%/*}
  case $f in /var/lib/kubelet/plugins/kubernetes.io/csi/volumeDevices/*) ;; *) continue ;; esac
  [ -e "$f" ] || continue
  [ -b /dev/$d ] || mknod /dev/$d b 7 ${d#loop}
  losetup -d /dev/$d || exit 1
done
fakelvm fakelvm destroy`

// ours are the clusters that this package made.
func ours(e engine) ([]string, error) {
	all, err := e.List()
	if err != nil {
		return nil, explain(err)
	}
	return slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, Prefix) }), nil
}

// leftovers tells a person of clusters that may be those of runs that have died.
func leftovers(e engine, progress func(string, ...any)) error {
	names, err := ours(e)
	for _, name := range names {
		progress("there is a cluster %s: of a run that goes on, or that was killed; then free what it has with podlv-sim clean %s", name, name)
	}
	return err
}

// Leftovers are the clusters and the loop devices of runs, also of those that go on. The
// latter are in the form DEVICE FILE.
func (c Config) Leftovers() (clusters, devices []string, err error) {
	e, err := c.engine(func(string, ...any) {})
	if err != nil {
		return nil, nil, err
	}
	if clusters, err = ours(e); err != nil {
		return nil, nil, err
	}
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		file, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(file), "/"+Prefix) {
			continue
		}
		devices = append(devices, fmt.Sprintf("/dev/%s %s", strings.Split(f, "/")[3], strings.TrimSpace(string(file))))
	}
	return clusters, devices, nil
}

// Remove deletes a cluster that a run has left, and frees its loop devices.
func (c Config) Remove(name string) error {
	if !strings.HasPrefix(name, Prefix) {
		return fmt.Errorf("cluster %q was not made by podlv-sim: the names of those that were begin with %s", name, Prefix)
	}
	e, err := c.engine(func(string, ...any) {})
	if err != nil {
		return err
	}
	names, err := ours(e)
	if err != nil {
		return err
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("there is no cluster %q; there are: %s", name, cmp.Or(strings.Join(names, ", "), "none"))
	}
	return remove(e, name, "")
}

// logger is kind's, for what a person is to know.
type logger struct{ say func(string, ...any) }

func (l logger) Warn(string)               {}
func (l logger) Warnf(string, ...any)      {}
func (l logger) Error(m string)            { l.say("kind: %s", m) }
func (l logger) Errorf(f string, a ...any) { l.say("kind: "+f, a...) }

// V implements log.Logger.
func (l logger) V(level log.Level) log.InfoLogger { return infoLogger{l.say, level == 0} }

type infoLogger struct {
	say func(string, ...any)
	on  bool
}

func (l infoLogger) Enabled() bool { return l.on }
func (l infoLogger) Info(m string) { l.Infof("%s", m) }

// Infof passes what kind begins to do on, and not that it has done it.
func (l infoLogger) Infof(format string, args ...any) {
	text := strings.Trim(fmt.Sprintf(format, args...), " \n•.")
	if l.on && text != "" && !strings.HasPrefix(text, "✓") {
		l.say("kind: %s", strings.TrimRightFunc(text, func(r rune) bool { return r > 127 || r == ' ' }))
	}
}
