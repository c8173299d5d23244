// SPDX-License-Identifier: Apache-2.0

// Package existing runs a scenario on a cluster that is there already, with podlv, with
// real kubelets and real disks: --target kubeconfig.
//
// There are only a Config and the sim.Target that it is. It makes a namespace, in it all
// pods and claims, and removes it. It changes no node and nothing in another namespace.
// So the scenario's nodes and storage are not made: the cluster must have its classes,
// which is checked before anything is made. Nobody can look at the disks here: what only
// they tell is absent from the report.
package existing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/apiwatch"
	"github.com/podlv/podlv/sim/dress"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

// DefaultImage is what pods run: any with a shell and sleep.
const DefaultImage = "busybox:1.37"

// Config is which cluster it is.
type Config struct {
	// Kubeconfig is the path of a file; its current context counts.
	Kubeconfig string
	// Image is what pods run, which needs /bin/sh and sleep; "" for DefaultImage.
	Image string
	// Patience is how long the API server's first answer may take; 0 for DefaultPatience.
	Patience time.Duration
}

// DefaultPatience is for an API server that is not there and does not say so.
const DefaultPatience = 10 * time.Second

// How long things may take.
const (
	startTime   = 30 * time.Second // until a pod can be made in a new namespace
	removalTime = 3 * time.Minute  // of the namespace
	quiet       = 20 * time.Second // without which nothing more is to come
	poll        = 200 * time.Millisecond
)

// unknown are the metrics that neither events nor objects tell, or of which others have a
// part.
func unknown() []string {
	return slices.Concat(report.FromDisks, report.OfControlPlane, []string{"unpublishFailures"})
}

// Start is a sim.Target.
func (c Config) Start(ctx context.Context, p sim.Parts) (sim.Cluster, error) {
	start := time.Now()
	if err := checkScenario(p.Scenario); err != nil {
		return nil, err
	}
	p.Progress("reaching the cluster of %s", c.Kubeconfig)
	client, err := c.reach(ctx)
	if err != nil {
		return nil, err
	}
	nodes, err := check(ctx, client, p.Scenario)
	if err != nil {
		return nil, err
	}
	p.Progress("podlv is on %d nodes there; the scenario's own nodes and storage are not made", nodes)
	ns, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "podlv-sim-", Labels: map[string]string{"app.kubernetes.io/managed-by": "podlv-sim"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("make a namespace for the pods: %w", err)
	}
	p.Progress("all is made in namespace %s, which is removed in the end", ns.Name)
	cluster := &cluster{progress: p.Progress, access: sim.Access{
		TargetName: "kubeconfig", Client: client, Kubeconfig: c.Kubeconfig, Namespace: ns.Name, Nodes: nodes,
		Resizes: true, Quiet: quiet, Unknown: unknown(), Dress: dress.With(cmp.Or(c.Image, DefaultImage), corev1.PullIfNotPresent),
	}}
	if err := cluster.start(ctx, p); err != nil {
		return nil, errors.Join(err, cluster.Stop())
	}
	cluster.access.Phases = []report.Phase{report.Took("cluster", time.Since(start))}
	return cluster, nil
}

// reach makes a client and finds out whether somebody answers.
func (c Config) reach(ctx context.Context) (kubernetes.Interface, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s: %w", c.Kubeconfig, err)
	}
	config.UserAgent, config.WarningHandler = "podlv-sim", rest.NoWarnings{}
	config.QPS, config.Burst = 100, 200 // a cluster that others use, too
	quick := rest.CopyConfig(config)
	quick.Timeout = cmp.Or(c.Patience, DefaultPatience)
	probe, err := kubernetes.NewForConfig(quick)
	if err != nil {
		return nil, fmt.Errorf("--kubeconfig %s: %w", c.Kubeconfig, err)
	}
	if _, err := probe.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("--kubeconfig %s: the cluster at %s cannot be reached: %w", c.Kubeconfig, config.Host, err)
	}
	return kubernetes.NewForConfig(config)
}

// cluster is one that is there.
type cluster struct {
	progress func(string, ...any)
	access   sim.Access
	watcher  *apiwatch.Watcher
	end      context.CancelFunc
	stopping sync.Once
	stopErr  error
}

// start waits until pods can be made and watches what becomes of them.
func (c *cluster) start(ctx context.Context, p sim.Parts) error {
	limited, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := c.admits(limited); err != nil {
		return err
	}
	watching, end := context.WithCancel(context.WithoutCancel(ctx))
	c.end = end
	defer context.AfterFunc(ctx, end)() // until all is started
	var err error
	c.watcher, err = apiwatch.Watch(watching, apiwatch.Config{Client: c.access.Client, Namespace: c.access.Namespace, Observer: p.Observer})
	if err == nil {
		c.access.Informers = c.watcher.Informers
	}
	return err
}

// admits waits until a pod can be made: a new namespace has no ServiceAccount at first.
func (c *cluster) admits(ctx context.Context) error {
	for {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "podlv-sim-probe"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
		c.access.Dress(&pod.Spec, 0)
		_, err := c.access.Client.CoreV1().Pods(c.access.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil {
			return nil
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return fmt.Errorf("a pod cannot be made in namespace %s: %w", c.access.Namespace, err)
		}
	}
}

// Access implements sim.Cluster.
func (c *cluster) Access() sim.Access { return c.access }

// Happen implements sim.Cluster. Start has refused all that could come here.
func (c *cluster) Happen(context.Context, *scenario.Event, string, int) (mend func() error, err error) {
	return nil, errors.New("there are no fake machines")
}

// FailedCreates implements sim.Cluster.
func (c *cluster) FailedCreates() map[string]int { return c.watcher.FailedCreates() }

// Failed implements sim.Cluster. A cluster that is not the run's does not end with it.
func (c *cluster) Failed() <-chan struct{} { return nil }

// Err implements sim.Cluster.
func (c *cluster) Err() error { return nil }

// Stop implements sim.Cluster: it removes the namespace, with all that is in it.
func (c *cluster) Stop() error {
	c.stopping.Do(func() {
		if c.end != nil {
			c.end()
		}
		if c.watcher != nil {
			c.watcher.Stop()
		}
		c.stopErr = c.remove()
	})
	return c.stopErr
}

func (c *cluster) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), removalTime)
	defer cancel()
	c.progress("removing namespace %s", c.access.Namespace)
	namespaces := c.access.Client.CoreV1().Namespaces()
	if err := namespaces.Delete(ctx, c.access.Namespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove namespace %s: %w; remove it by hand", c.access.Namespace, err)
	}
	for {
		_, err := namespaces.Get(ctx, c.access.Namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return fmt.Errorf("namespace %s is still there after %s; see what it waits for with kubectl describe namespace", c.access.Namespace, removalTime)
		}
	}
}
