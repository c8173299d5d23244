// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

const (
	// publishPoll is how often the disks are looked at; a change is published within
	// it, a report and a write to the API server.
	publishPoll = 500 * time.Millisecond
	// publishTime is how long one round may take.
	publishTime = 30 * time.Second
	// publishRetry is how long after a failure everything is read and written anew,
	// publishRelist how often that is done anyhow, should somebody have changed it.
	publishRetry  = 5 * time.Second
	publishRelist = time.Minute
)

// publisher tells the scheduler what the node has: CSIStorageCapacity objects for
// claims, extended resources for pods with inline and generic ephemeral volumes. And it
// decides between them when a claim's volume is made (take).
type publisher struct {
	node    string
	cluster *Cluster
	classes *ClassSource
	model   *model
	coming  *coming
	period  time.Duration // between two writes of capacity objects, at least
	clock   clock.Clock
	log     *slog.Logger

	health  atomic.Pointer[health]
	changes atomic.Int64 // goes up with every change of what the API server has
	since   atomic.Int64 // when all was last as the disks have it, Unix nanoseconds

	rounds *semaphore.Weighted // of one: who tells what claims are about to take

	mu      sync.Mutex
	next    *round               // that claims can still join
	pending map[string]int64     // pool → bytes that claims are about to take
	ended   map[string]time.Time // LV's UUID → when its pod was first seen to have ended

	writing   *semaphore.Weighted // of one: what follows is its holder's
	objects   capacityObjects
	resources nodeResources
	listed    time.Time
	told      time.Time // when capacity objects were written last
	last      published
}

// published is what was published follows from.
type published struct {
	report, changes, coming int64
	classes                 *Classes
}

func newPublisher(c Config, m *model) (*publisher, error) {
	if c.Cluster.Namespace == "" {
		return nil, fmt.Errorf("%w: the namespace of the capacity objects is empty", errInvalid)
	}
	return &publisher{
		node: c.NodeName, cluster: c.Cluster, classes: c.Classes, model: m, coming: newComing(c.NodeName, c.Clock), period: c.CapacityPeriod, clock: c.Clock, log: c.Log,
		pending: map[string]int64{}, ended: map[string]time.Time{}, writing: semaphore.NewWeighted(1), rounds: semaphore.NewWeighted(1),
		objects:   capacityObjects{node: c.NodeName, client: c.Cluster.Client, namespace: c.Cluster.Namespace, log: c.Log},
		resources: nodeResources{node: c.NodeName, client: c.Cluster.Client},
	}, nil
}

// watch makes the publisher see what changes on the API server. It is called before
// the informers are started.
func (p *publisher) watch() error {
	var errs []error
	for _, informer := range p.informers() {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: p.changed, UpdateFunc: func(_, o any) { p.changed(o) }, DeleteFunc: p.changed,
		})
		errs = append(errs, err)
	}
	_, err := p.cluster.Claims.Informer().AddEventHandler(p.coming.handler())
	return errors.Join(append(errs, err)...)
}

func (p *publisher) informers() []cache.SharedIndexInformer {
	return []cache.SharedIndexInformer{p.cluster.Classes.Informer(), p.cluster.Pods.Informer(), p.cluster.Claims.Informer()}
}

// changed counts a change, but for those of other drivers' claims.
func (p *publisher) changed(object any) {
	if c, ok := object.(*corev1.PersistentVolumeClaim); ok && c.Annotations[annProvisioner] != Name {
		return
	}
	p.changes.Add(1)
}

func (p *publisher) synced() bool {
	for _, i := range p.informers() {
		if !i.HasSynced() {
			return false
		}
	}
	return true
}

// run publishes until ctx ends. What is published stays then: the agent comes back,
// and with the Node it goes.
func (p *publisher) run(ctx context.Context) {
	failed := ""
	for {
		wait, last := publishPoll, p.clock.Now()
		if p.synced() && !p.classes.Get().unknown {
			err := p.publish(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				failed = ""
			default:
				wait = publishRetry
				if err.Error() != failed {
					failed = err.Error()
					p.log.Error("cannot tell the scheduler what this node has; it is tried again", "error", err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-p.coming.news:
			if gap := comingGap - p.clock.Since(last); gap > 0 { // more of them, perhaps
				select {
				case <-ctx.Done():
					return
				case <-p.clock.After(gap):
				}
			}
		case <-p.clock.After(wait):
		}
	}
}

// publish writes what has changed, and nothing when nothing has.
func (p *publisher) publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	if err := p.lock(ctx); err != nil {
		return err
	}
	defer p.writing.Release(1)
	if err := p.read(ctx); err != nil {
		return err
	}
	// Neither keeps the other from being told.
	return errors.Join(p.tellHealth(ctx), p.publishCapacity(ctx))
}

// tellHealth writes whether the node's pools are ready, once that is known.
func (p *publisher) tellHealth(ctx context.Context) error {
	h := p.health.Load()
	if h == nil {
		return nil
	}
	return p.resources.tell(ctx, *h, metav1.NewTime(p.clock.Now()))
}

// publishCapacity is publish of what the pools have; the caller holds the turn to write.
func (p *publisher) publishCapacity(ctx context.Context) error {
	start := p.clock.Now()
	now := published{changes: p.changes.Load(), coming: p.coming.version(), classes: p.classes.Get()}
	groups, report, err := p.model.volumeGroups(ctx)
	if err != nil {
		return err
	}
	now.report = report
	if now != p.last || p.lingering() {
		pods, err := p.pods(now.classes)
		if err != nil {
			return err
		}
		accounts := p.accounts(now.classes, groups, pods)
		// Neither keeps the other from being told.
		told := p.resources.write(ctx, allocatableOf(accounts))
		capacity, err := p.capacity(now.classes, groups, accounts)
		due := p.clock.Since(p.told) >= p.period
		if err == nil && due {
			err = p.objects.write(ctx, capacity)
		}
		if err := errors.Join(told, err); err != nil {
			return err
		}
		if !due {
			return nil // this is done again until the objects are written, too
		}
		p.last, p.told = now, start
	}
	p.since.Store(start.UnixNano())
	return nil
}

// lock waits for the turn to write.
func (p *publisher) lock(ctx context.Context) error {
	if err := p.writing.Acquire(ctx, 1); err != nil {
		return fmt.Errorf("wait for what is being published: %w", err)
	}
	return nil
}

// read takes up what is published, if that is not known or may have changed.
func (p *publisher) read(ctx context.Context) error {
	if p.objects.have != nil && p.resources.have != nil && p.clock.Since(p.listed) < publishRelist {
		return nil
	}
	if err := errors.Join(p.resources.read(ctx), p.objects.list(ctx)); err != nil {
		return err
	}
	p.listed, p.last = p.clock.Now(), published{}
	return nil
}

// pods are the bound pods as the informer has them.
func (p *publisher) pods(classes *Classes) ([]podCharge, error) {
	list, err := p.cluster.Pods.Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	return p.charges(list, classes), nil
}

// livePods are the bound pods as the API server has them now.
func (p *publisher) livePods(ctx context.Context, classes *Classes) ([]podCharge, error) {
	list, err := podsOn(ctx, p.cluster.Client, p.node)
	if err != nil {
		return nil, err
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return p.charges(pods, classes), nil
}

func (p *publisher) charges(pods []*corev1.Pod, classes *Classes) []podCharge {
	charges := make([]podCharge, 0, len(pods))
	for _, pod := range pods {
		if pod.Spec.NodeName == p.node { // a fake API server selects by no field
			charges = append(charges, chargeOf(pod, classes, p.cluster.Classes.Lister()))
		}
	}
	return charges
}

// accounts are those of the node's pools.
func (p *publisher) accounts(classes *Classes, groups []lvm.VolumeGroup, pods []podCharge) map[string]account {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, ended := p.clock.Now(), map[string]time.Time{}
	l := ledger{
		classes: classes, groups: groups, pods: pods, pending: p.pending,
		covered: func(claim string) bool { return p.covered(claim, pods) },
		lingers: func(lv lvm.LogicalVolume) bool {
			since, seen := p.ended[lv.UUID]
			if !seen {
				since = now
			}
			ended[lv.UUID] = since
			return now.Sub(since) < lingerTime
		},
	}
	accounts := l.accounts()
	p.ended = ended
	return accounts
}

// lingering says whether time alone may change an account.
func (p *publisher) lingering() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ended) > 0
}

// covered says whether the LV of a generic ephemeral claim is its pod's to answer for:
// from when it is made, before the pod is bound, until the pod ends.
func (p *publisher) covered(claim string, pods []podCharge) bool {
	namespace, name, _ := strings.Cut(claim, "/")
	c, err := p.cluster.Claims.Lister().PersistentVolumeClaims(namespace).Get(name)
	if err != nil || c.DeletionTimestamp != nil {
		return false
	}
	owner := metav1.GetControllerOf(c)
	if owner == nil || owner.Kind != "Pod" {
		return false
	}
	for _, pod := range pods {
		if pod.uid == owner.UID {
			return !pod.ended
		}
	}
	return true
}

func allocatableOf(accounts map[string]account) map[string]int64 {
	wanted := map[string]int64{}
	for pool, a := range accounts {
		wanted[pool] = a.allocatable
	}
	return wanted
}

// capacity is the largest volume of each StorageClass of ours that this node can
// serve, in bytes.
func (p *publisher) capacity(classes *Classes, groups []lvm.VolumeGroup, accounts map[string]account) (map[string]int64, error) {
	all, err := p.cluster.Classes.Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	ours := map[string]Class{} // by StorageClass
	for _, s := range all {
		if s.Provisioner != Name {
			continue
		}
		parameters, err := decodeParameters(s.Parameters)
		if err != nil {
			continue // its claims say what is wrong
		}
		class, err := classes.Named(parameters.class)
		if err != nil {
			continue // this node does not have the class
		}
		ours[s.Name] = class
	}
	coming := p.coming.bytes(groups, func(storageClass string) (Class, bool) { c, ok := ours[storageClass]; return c, ok })
	wanted := map[string]int64{}
	for name, class := range ours {
		wanted[name] = 0
		if g, err := lvm.Find(groups, class.Pool.VolumeGroup); err == nil {
			wanted[name] = largest(g, class, accounts[class.Pool.Name].owed+coming[class.Pool.Name])
		}
	}
	return wanted, nil
}

// owed is what bound pods will still make of a pool, in bytes, as far as is known.
func (p *publisher) owed(ctx context.Context, pool string) (int64, error) {
	classes := p.classes.Get()
	groups, _, err := p.model.volumeGroups(ctx)
	if err != nil {
		return 0, err
	}
	pods, err := p.pods(classes)
	if err != nil {
		return 0, err
	}
	return p.accounts(classes, groups, pods)[pool].owed, nil
}

// staleness is how many seconds ago what is published was as the disks had it.
func (p *publisher) staleness() float64 {
	since := p.since.Load()
	if since == 0 {
		return -1
	}
	return p.clock.Since(time.Unix(0, since)).Seconds()
}
