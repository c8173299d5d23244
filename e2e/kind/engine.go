// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// provider is what is needed of kind's Provider.
type provider interface {
	Create(name string, options ...kindcluster.CreateOption) error
	Delete(name, kubeconfig string) error
	List() ([]string, error)
	ListInternalNodes(name string) ([]nodes.Node, error)
}

// Engine is a container engine, with the clusters that kind has on it.
type Engine struct{ provider provider }

// howToGetOne is what a person can do who has no container engine.
const howToGetOne = "kind needs a container engine: install Docker (https://docs.docker.com/engine/install), Podman or nerdctl, start it, and see that `docker ps` works for you (root, or a member of group docker)"

// Find finds the container engine of that name (docker, podman, nerdctl; "" for the one
// that is here), and whether it answers. The error says what a person can do, also what
// instead. What kind does is told to progress.
func Find(name, instead string, progress func(string, ...any)) (*Engine, error) {
	advice := howToGetOne + "; or " + instead
	var option kindcluster.ProviderOption
	switch name {
	case "docker":
		option = kindcluster.ProviderWithDocker()
	case "podman":
		option = kindcluster.ProviderWithPodman()
	case "nerdctl":
		option = kindcluster.ProviderWithNerdctl("")
	case "":
		var err error
		if option, err = kindcluster.DetectNodeProvider(); err != nil {
			return nil, fmt.Errorf("no container engine is here: %s", advice)
		}
	default:
		return nil, fmt.Errorf("container engine %q: must be docker, podman or nerdctl", name)
	}
	p := kindcluster.NewProvider(kindcluster.ProviderWithLogger(logger{progress}), option)
	if _, err := p.List(); err != nil {
		return nil, fmt.Errorf("no container engine answers: %w; %s", Explain(err), advice)
	}
	return &Engine{p}, nil
}

// Explain adds to an error of kind what the command said that failed.
func Explain(err error) error {
	if err == nil {
		return nil
	}
	failed := exec.RunErrorForError(err)
	if failed != nil || errors.As(err, &failed) {
		if said := strings.TrimSpace(string(failed.Output)); said != "" {
			const most = 2000
			return fmt.Errorf("%w: %s", err, said[max(0, len(said)-most):])
		}
	}
	return err
}

// Create makes a cluster and returns when its API server answers; nodeImage is "" for
// kind's own. kind cannot be told to stop: when ctx ends, its nodes are taken from under it.
func (e *Engine) Create(ctx context.Context, name, kubeconfig, nodeImage string, config *v1alpha4.Cluster) error {
	done := make(chan error, 1)
	go func() {
		done <- e.provider.Create(name, kindcluster.CreateWithV1Alpha4Config(config), kindcluster.CreateWithNodeImage(nodeImage),
			kindcluster.CreateWithKubeconfigPath(kubeconfig), kindcluster.CreateWithDisplayUsage(false), kindcluster.CreateWithDisplaySalutation(false))
	}()
	select {
	case err := <-done:
		return explainCreate(err, cmp.Or(nodeImage, defaults.Image))
	case <-ctx.Done():
	}
	_ = e.provider.Delete(name, kubeconfig) // again when kind has ended
	<-done
	return context.Cause(ctx)
}

// explainCreate is what a person can do about a cluster that could not be made.
func explainCreate(err error, nodeImage string) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "failed to pull image"):
		return fmt.Errorf("the node image %s is not here and cannot be pulled: %w; load one with docker load, and name it in KIND_NODE_IMAGE", nodeImage, Explain(err))
	}
	return fmt.Errorf("kind could not make the cluster: %w", Explain(err))
}

// How often a cluster's deletion is tried, and the time between.
const (
	deleteTries = 4
	deletePause = 3 * time.Second
)

// Remove frees what the nodes of a cluster have of the host, and deletes it.
func (e *Engine) Remove(name, kubeconfig string) error {
	list, err := e.Nodes(name)
	if err != nil {
		return fmt.Errorf("delete cluster %s: %w", name, err)
	}
	var wrong error
	for _, n := range list {
		if err := Run(context.Background(), n, "free the loop devices", free); err != nil {
			wrong = errors.Join(wrong, err)
		}
	}
	for range deleteTries {
		if err = e.provider.Delete(name, kubeconfig); err == nil {
			break
		}
		time.Sleep(deletePause) // Docker gives up on a container that takes long to end, and it ends all the same
	}
	if err != nil {
		return fmt.Errorf("delete cluster %s: %w; delete it by hand: kind delete cluster --name %s", name, Explain(err), name)
	}
	return wrong
}

// Nodes are those of a cluster, the one of the control plane too.
func (e *Engine) Nodes(cluster string) ([]nodes.Node, error) {
	list, err := e.provider.ListInternalNodes(cluster)
	return list, Explain(err)
}

// Clusters are those whose names begin with prefix.
func (e *Engine) Clusters(prefix string) ([]string, error) {
	all, err := e.provider.List()
	if err != nil {
		return nil, Explain(err)
	}
	return slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, prefix) }), nil
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
