// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/podlv/podlv/sim/controlplane/supervise"
)

// config is what the flags say.
type config struct {
	dir             string
	featureGates    string
	schedulerConfig string
	nodeGrace       time.Duration
	verbosity       int
}

// patience is how long a part that was told to end may take. Nothing is lost with
// one that takes longer: the API server would wait a minute for whoever watches.
const patience = 2 * time.Second

// errTold is the cause when the process was told to end.
var errTold = errors.New("told to end")

// check completes c: afterwards all paths are absolute.
func (c *config) check() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("--dir %s: must be empty; it has %s", c.dir, entries[0].Name())
	}
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	if c.schedulerConfig != "" {
		if c.schedulerConfig, err = filepath.Abs(c.schedulerConfig); err != nil {
			return fmt.Errorf("--scheduler-config: %w", err)
		}
	}
	if c.nodeGrace <= 0 {
		return fmt.Errorf("--node-monitor-grace-period %s: must be more than 0", c.nodeGrace)
	}
	if c.verbosity < 0 || c.verbosity > 10 {
		return fmt.Errorf("--verbosity %d: must be 0 to 10", c.verbosity)
	}
	return nil
}

// path returns the path of a file or folder in the folder of the control plane.
func (c *config) path(elements ...string) string {
	return filepath.Join(append([]string{c.dir}, elements...)...)
}

// kubeconfig is the path of the administrator's.
func (c *config) kubeconfig() string { return c.path("kubeconfig") }

// kubeconfigOf is the path of that of a part.
func (c *config) kubeconfigOf(part string) string { return c.path("pki", part+".conf") }

// runControlPlane starts everything, prints the line that says so, and returns when
// ctx ends (errTold) or a part does (which, and why). All parts have ended then, or
// were given up.
func runControlPlane(ctx context.Context, c config, stdout io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := setFeatureGates(c.featureGates); err != nil {
		return fmt.Errorf("--feature-gates %s: %w", c.featureGates, err)
	}
	scheduler, err := loadSchedulerConfig(c.schedulerConfig)
	if err != nil {
		return fmt.Errorf("--scheduler-config %s: %w", c.schedulerConfig, err)
	}
	if err := os.Mkdir(c.path("logs"), 0o755); err != nil {
		return err
	}
	closeLog, err := logToFile(&c)
	if err != nil {
		return err
	}
	defer closeLog()
	// etcd listens on a socket in this folder. By a relative name it has no limit of
	// some 100 bytes to its path.
	if err := os.Chdir(c.dir); err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	if err := makeCredentials(&c, "https://"+listener.Addr().String()); err != nil {
		return fmt.Errorf("keys and certificates: %w", err)
	}
	if err := scheduler.write(&c); err != nil {
		return err
	}

	parts := supervise.New()
	err = func() error {
		ctx := parts.Context(ctx)
		if err := startEtcd(ctx, &c, parts); err != nil {
			return err
		}
		startAPIServer(&c, listener, parts)
		if err := waitReady(ctx, &c); err != nil {
			return err
		}
		synced := startScheduler(&c, parts)
		startControllers(&c, parts)
		if err := waitControllers(ctx, &c, synced); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(stdout, "ready KUBECONFIG=%s\n", c.kubeconfig()); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	}()
	parts.Stop(patience)
	if ctx.Err() != nil {
		return errTold
	}
	return err
}

// makeCredentials makes all keys, certificates and kubeconfigs.
func makeCredentials(c *config, server string) error {
	a, err := newAuthority(c.path("pki"))
	if err != nil {
		return err
	}
	if err := a.serving(); err != nil {
		return err
	}
	if err := a.signingKeys(); err != nil {
		return err
	}
	for _, u := range []struct{ path, user, group string }{
		{c.kubeconfig(), "admin", "system:masters"},
		{c.kubeconfigOf(schedulerName), "system:kube-scheduler", ""},
		{c.kubeconfigOf(controllersName), "system:kube-controller-manager", ""},
	} {
		if err := a.kubeconfig(u.path, server, u.user, u.group); err != nil {
			return err
		}
	}
	return nil
}

// waitReady waits until the API server answers an administrator that it is ready.
func waitReady(ctx context.Context, c *config) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	return poll(ctx, "the API server", func() error {
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// waitControllers waits until the scheduler has read the cluster and the controllers
// have made the first service account, without which no pod can be made.
func waitControllers(ctx context.Context, c *config, synced <-chan struct{}) error {
	select {
	case <-synced:
	case <-ctx.Done():
		return fmt.Errorf("wait for the scheduler: %w", context.Cause(ctx))
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	return poll(ctx, "the controllers", func() error {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// client returns an administrator's.
func (c *config) client() (kubernetes.Interface, error) {
	r, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		return nil, err
	}
	r.QPS = -1 // a few polls
	return kubernetes.NewForConfig(rest.AddUserAgent(r, "podlv-control-plane"))
}

// poll calls f until it returns nil. When ctx ends before, the error has its cause
// and f's last.
func poll(ctx context.Context, what string, f func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (while waiting for %s: %s)", context.Cause(ctx), what, strings.TrimSpace(err.Error()))
		case <-tick.C:
		}
	}
}
