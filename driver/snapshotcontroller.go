// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"sync"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions/volumesnapshot/v1"
	snapshotcontroller "github.com/kubernetes-csi/external-snapshotter/v8/pkg/sidecar-controller"
	"github.com/kubernetes-csi/external-snapshotter/v8/pkg/snapshotter"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/util/workqueue"
)

// ManagedByLabel is the label by which a snapshot-controller that runs with
// --enable-distributed-snapshotting says whose VolumeSnapshotContent it is: the value
// is the node's name.
const ManagedByLabel = "snapshot.storage.kubernetes.io/managed-by"

// SnapshotCluster is the Kubernetes API as snapshots use it. Cluster.Start starts its
// informers, too. For events on its objects, client-go's Scheme must know their types:
// they are added to it once, before anything is decoded with it.
type SnapshotCluster struct {
	Client snapshotclient.Interface
	// Contents are those with the ManagedByLabel of this node, and no others: the
	// controller works on all of the driver's that it is told of.
	Contents snapshotinformers.VolumeSnapshotContentInformer
	// Unmanaged are those without the label, of all drivers: see contentFinder. nil where
	// nobody makes contents of snapshots that are there already.
	Unmanaged snapshotinformers.VolumeSnapshotContentInformer
	Classes   snapshotinformers.VolumeSnapshotClassInformer
}

const (
	// snapshotTime is how long one CreateSnapshot or DeleteSnapshot may take before it
	// is called again.
	snapshotTime = time.Minute
	// snapshotResync is how often all contents are looked at again: what else has to
	// be repeated, is.
	snapshotResync = 15 * time.Minute
	// snapshotWorkers take snapshots at once. lvm works one VG at a time, so more would
	// only wait.
	snapshotWorkers = 2
)

// snapshotter takes the snapshots of the VolumeSnapshotContents that are this node's,
// and removes them. It is external-snapshotter's own sidecar controller, in its mode
// for a driver on each node (--node-deployment), and calls the agent through its socket
// as the sidecar would.
func (d *Driver) snapshotter() (run func(context.Context) error, err error) {
	cluster := d.config.Cluster
	conn, err := grpc.NewClient("unix:"+d.config.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"))
	if err != nil {
		return nil, err
	}
	c := snapshotcontroller.NewCSISnapshotSideCarController(
		cluster.Snapshots.Client, cluster.Client, Name,
		cluster.Snapshots.Contents, cluster.Snapshots.Classes,
		snapshotter.NewSnapshotter(conn), nil,
		snapshotTime, snapshotResync,
		"snapshot", -1, // a snapshot is named snapshot- and the VolumeSnapshot's whole UID
		"", 0, // no group snapshots
		true, // with the VolumeSnapshot's name, for a tag
		workqueue.NewTypedItemExponentialFailureRateLimiter[string](provisionRetry, provisionRetryLimit),
		false, nil, nil, nil, // no group snapshots
	)
	guard, err := newRestoreGuard(cluster, d.config.Log)
	if err != nil {
		return nil, err
	}
	find := func(context.Context) {}
	if cluster.Snapshots.Unmanaged != nil {
		f, err := newContentFinder(d.config.NodeName, d.control.persistent, cluster.Snapshots, d.config.Log)
		if err != nil {
			return nil, err
		}
		find = f.run
	}
	return func(ctx context.Context) error {
		var workers sync.WaitGroup
		workers.Go(func() { guard.run(ctx) })
		workers.Go(func() { find(ctx) })
		c.Run(snapshotWorkers, ctx.Done(), &workers)
		workers.Wait()
		return conn.Close()
	}, nil
}
