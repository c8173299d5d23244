// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/driver"
)

// Config is all that a controller is given.
type Config struct {
	Client kubernetes.Interface
	// Classes gives the device classes of the cluster as they are now.
	Classes func() (*driver.Classes, error)
	// NodeLossDelay is how long a Node must have been gone before anything of it is
	// deleted. It begins anew when the controller does.
	NodeLossDelay time.Duration
	// Lease makes sure that one of several controllers works. Nil: there is only this one.
	Lease    *Lease
	Registry prometheus.Registerer
	Clock    clock.Clock
	Log      *slog.Logger
}

// Lease is what several controllers compete for.
type Lease struct{ Namespace, Name, Identity string }

const (
	// passInterval is how often a pass is made when nothing has changed; passPause is
	// how long at least is between two, so that many changes make one pass.
	passInterval = 30 * time.Second
	passPause    = time.Second
	// How long a leader that is silent stays the leader, and when it gives up itself:
	// Kubernetes' own controllers have these.
	leaseDuration, leaseRenewal, leaseRetry = 15 * time.Second, 10 * time.Second, 2 * time.Second
)

// Controller is one of perhaps several in the cluster, of which one works.
type Controller struct {
	config  Config
	watched *watched
	events  *events
	metrics *metrics
	lost    map[string]time.Time // Nodes that are gone → since when it is known
	ready   atomic.Bool
	failure string // what the last pass has logged
}

// New puts a controller together. It asks the API server for nothing yet.
func New(c Config) (*Controller, error) {
	if c.NodeLossDelay < 0 {
		return nil, fmt.Errorf("the delay after a node's loss is %s: must not be negative", c.NodeLossDelay)
	}
	m, err := newMetrics(c.Registry)
	if err != nil {
		return nil, err
	}
	k := &Controller{config: c, metrics: m, lost: map[string]time.Time{}}
	k.events = &events{client: c.Client, clock: c.Clock, metrics: m}
	k.watched, err = watch(c.Client)
	return k, err
}

// Ready is nil when the controller knows the cluster, as a leader or not.
func (k *Controller) Ready(context.Context) error {
	if !k.ready.Load() {
		return errors.New("the cluster's objects have not been read yet")
	}
	return nil
}

// Run works until ctx ends, and returns an error when it had to stop by itself: when
// another controller has taken over, too.
func (k *Controller) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer k.watched.shutdown() // waits for the informers, which stop ends
	defer stop()
	if err := k.watched.start(ctx); err != nil {
		return err
	}
	k.ready.Store(true)
	l := k.config.Lease
	if l == nil {
		k.work(ctx)
		return nil
	}
	return k.lead(ctx, l)
}

// lead works for as long as this is the leader.
func (k *Controller) lead(ctx context.Context, l *Lease) error {
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name},
			Client:    k.config.Client.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
		},
		LeaseDuration: leaseDuration, RenewDeadline: leaseRenewal, RetryPeriod: leaseRetry,
		ReleaseOnCancel: true,
		Name:            l.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				k.config.Log.Info("this is the leader", "identity", l.Identity)
				k.work(ctx)
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	elector.Run(ctx) // ends the work when it ends; it need not wait, for all steps can be repeated
	if ctx.Err() == nil {
		return fmt.Errorf("lease %s/%s: another controller may lead now", l.Namespace, l.Name)
	}
	return nil
}

// work makes a pass whenever something has changed.
func (k *Controller) work(ctx context.Context) {
	for {
		if err := k.Pass(ctx); err != nil && ctx.Err() == nil && err.Error() != k.failure {
			k.failure = err.Error()
			k.config.Log.Error("a pass was not complete; what is missing is tried again", "error", err)
		} else if err == nil {
			k.failure = ""
		}
		select {
		case <-ctx.Done():
			return
		case <-k.watched.changed:
		case <-k.config.Clock.After(k.untilDue()):
		}
		select {
		case <-ctx.Done():
			return
		case <-k.config.Clock.After(passPause):
		}
	}
}

// Pass looks at everything once. It can be repeated: what is done is not done again.
// The error names all that could not be done now.
func (k *Controller) Pass(ctx context.Context) error {
	k.events.begin()
	classes, err := k.config.Classes()
	if err == nil {
		err = errors.Join(k.claims(ctx, classes), k.storageClasses(ctx, classes))
	}
	err = errors.Join(err, k.lostNodes(ctx), k.capacities(ctx))
	k.events.end()
	k.metrics.pass(err)
	return err
}
