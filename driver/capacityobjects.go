// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	typedstoragev1 "k8s.io/client-go/kubernetes/typed/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

const (
	// capacityPoll is how often the disks are looked at; a change is published within
	// it, a report and a write to the API server.
	capacityPoll = 500 * time.Millisecond
	// capacityRetry is how long after a failure the objects are read and written anew,
	// capacityRelist how often that is done anyhow, should somebody have changed them.
	capacityRetry  = 5 * time.Second
	capacityRelist = 10 * time.Minute
)

// Labels of a CSIStorageCapacity, the ones that external-provisioner has for them.
const (
	labelDriver    = "csi.storage.k8s.io/drivername"
	labelManagedBy = "csi.storage.k8s.io/managed-by"
)

// capacityPublisher keeps a CSIStorageCapacity for each StorageClass of ours: how
// large a volume of it can be made on this node. The scheduler reads them.
type capacityPublisher struct {
	node    string
	cluster *Cluster
	classes *ClassSource
	model   *model
	clock   clock.Clock
	log     *slog.Logger

	storageClasses atomic.Int64 // goes up when one changes
	since          atomic.Int64 // when all was last as the disks have it, Unix nanoseconds

	have   map[string]int64 // StorageClass → bytes in its object; nil: not read yet
	listed time.Time
	last   capacityState
}

// capacityState is what the objects follow from.
type capacityState struct {
	report, storageClasses int64
	classes                *Classes
}

// watch makes the publisher see changes of StorageClasses. It is called before the
// informers are started.
func (p *capacityPublisher) watch() error {
	changed := func() { p.storageClasses.Add(1) }
	_, err := p.cluster.Classes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { changed() }, UpdateFunc: func(any, any) { changed() }, DeleteFunc: func(any) { changed() },
	})
	return err
}

// run publishes until ctx ends. The objects stay then: the agent comes back, and the
// Node takes them with it.
func (p *capacityPublisher) run(ctx context.Context) {
	wait, failed := capacityPoll, ""
	for {
		if p.cluster.Classes.Informer().HasSynced() {
			err := p.publish(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				wait, failed = capacityPoll, ""
			default:
				p.have = nil // what was written is not known
				wait = capacityRetry
				if err.Error() != failed {
					failed = err.Error()
					p.log.Error("cannot publish capacity yet; it is tried again", "error", err)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-p.clock.After(wait):
		}
	}
}

// publish writes what has changed, and nothing when nothing has.
func (p *capacityPublisher) publish(ctx context.Context) error {
	if p.have == nil || p.clock.Since(p.listed) > capacityRelist {
		if err := p.list(ctx); err != nil {
			return err
		}
		p.last = capacityState{}
	}
	now := capacityState{storageClasses: p.storageClasses.Load(), classes: p.classes.Get()}
	start := p.clock.Now()
	groups, report, err := p.model.volumeGroups(ctx)
	if err != nil {
		return err
	}
	now.report = report
	if now != p.last {
		if err := p.write(ctx, groups, now.classes); err != nil {
			return err
		}
		p.last = now
	}
	p.since.Store(start.UnixNano())
	return nil
}

// write makes the objects what the VGs say.
func (p *capacityPublisher) write(ctx context.Context, groups []lvm.VolumeGroup, classes *Classes) error {
	wanted, err := p.wanted(groups, classes)
	if err != nil {
		return err
	}
	var owner *metav1.OwnerReference
	for name, size := range wanted {
		had, there := p.have[name]
		switch {
		case there && had == size:
			continue
		case there:
			err = p.update(ctx, name, size)
		default:
			if owner == nil {
				if owner, err = p.owner(ctx); err != nil {
					return err
				}
			}
			err = p.create(ctx, name, size, *owner)
		}
		if err != nil {
			return fmt.Errorf("capacity of StorageClass %s: %w", name, err)
		}
		p.log.Debug("capacity", "storageclass", name, "bytes", size)
		p.have[name] = size
	}
	for name := range p.have {
		if _, ok := wanted[name]; ok {
			continue
		}
		if err := p.objects().Delete(ctx, p.objectName(name), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("capacity of StorageClass %s, which is gone: %w", name, err)
		}
		delete(p.have, name)
	}
	return nil
}

// wanted is the capacity of each StorageClass of ours that this node can serve, in
// bytes.
func (p *capacityPublisher) wanted(groups []lvm.VolumeGroup, classes *Classes) (map[string]int64, error) {
	all, err := p.cluster.Classes.Lister().List(labels.Everything())
	if err != nil {
		return nil, err
	}
	wanted := map[string]int64{}
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
		wanted[s.Name] = 0
		if g, err := lvm.Find(groups, class.Pool.VolumeGroup); err == nil {
			wanted[s.Name] = largest(g, class)
		}
	}
	return wanted, nil
}

// list reads the objects of this node. One that names its StorageClass otherwise
// than we would is removed: nothing of it can be changed.
func (p *capacityPublisher) list(ctx context.Context) error {
	selector := labels.SelectorFromSet(p.labels()).String()
	found, err := p.objects().List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return fmt.Errorf("list the capacity objects of node %s: %w", p.node, err)
	}
	node, err := p.owner(ctx)
	if err != nil {
		return err
	}
	have := map[string]int64{}
	for i := range found.Items {
		o := &found.Items[i]
		if o.Name == p.objectName(o.StorageClassName) && len(o.OwnerReferences) == 1 && o.OwnerReferences[0].UID == node.UID {
			have[o.StorageClassName] = -1
			if o.Capacity != nil && o.MaximumVolumeSize != nil && o.Capacity.Cmp(*o.MaximumVolumeSize) == 0 {
				have[o.StorageClassName] = o.Capacity.Value()
			}
			continue
		}
		if err := p.objects().Delete(ctx, o.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &o.UID}}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("remove capacity object %s, which is not this node's: %w", o.Name, err)
		}
	}
	p.have, p.listed = have, p.clock.Now()
	return nil
}

// owner is the Node, which takes the objects with it when it goes.
func (p *capacityPublisher) owner(ctx context.Context) (*metav1.OwnerReference, error) {
	node, err := p.cluster.Client.CoreV1().Nodes().Get(ctx, p.node, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("node %s, which owns the capacity objects: %w", p.node, err)
	}
	return metav1.NewControllerRef(node, corev1.SchemeGroupVersion.WithKind("Node")), nil
}

func (p *capacityPublisher) create(ctx context.Context, class string, size int64, owner metav1.OwnerReference) error {
	owner.BlockOwnerDeletion = nil // would need leave to change the Node's finalizers
	q := resource.NewQuantity(size, resource.BinarySI)
	_, err := p.objects().Create(ctx, &storagev1.CSIStorageCapacity{
		ObjectMeta:       metav1.ObjectMeta{Name: p.objectName(class), Labels: p.labels(), OwnerReferences: []metav1.OwnerReference{owner}},
		NodeTopology:     &metav1.LabelSelector{MatchLabels: map[string]string{TopologyKey: p.node}},
		StorageClassName: class,
		// The scheduler takes the one and scores by the other, and dies of a nil.
		Capacity: q, MaximumVolumeSize: q,
	}, metav1.CreateOptions{})
	return err
}

// update changes the sizes alone: an object's other fields cannot be changed.
func (p *capacityPublisher) update(ctx context.Context, class string, size int64) error {
	q := resource.NewQuantity(size, resource.BinarySI)
	patch, err := json.Marshal(map[string]any{"capacity": q, "maximumVolumeSize": q})
	if err != nil {
		return err
	}
	_, err = p.objects().Patch(ctx, p.objectName(class), types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func (p *capacityPublisher) objects() typedstoragev1.CSIStorageCapacityInterface {
	return p.cluster.Client.StorageV1().CSIStorageCapacities(p.cluster.Namespace)
}

// objectName is the same for a node and StorageClass always, so that no crash makes
// two of them.
func (p *capacityPublisher) objectName(class string) string {
	return "podlv-" + digest(p.node+"\x00"+class, 16)
}

func (p *capacityPublisher) labels() map[string]string {
	return map[string]string{labelDriver: Name, labelManagedBy: labelValue("podlv-" + p.node)}
}

// labelValue is text as the value of a label, which has room for less than the name
// of a node.
func labelValue(text string) string {
	if len(text) <= 63 {
		return text
	}
	return text[:40] + "-" + digest(text, 11)
}

// digest is so many bytes of a hash, in hexadecimal digits.
func digest(text string, n int) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:n])
}

// staleness is how many seconds ago the objects were as the disks had it.
func (p *capacityPublisher) staleness() float64 {
	since := p.since.Load()
	if since == 0 {
		return -1
	}
	return p.clock.Since(time.Unix(0, since)).Seconds()
}

var errNoNamespace = errors.New("the namespace of the capacity objects is empty")
