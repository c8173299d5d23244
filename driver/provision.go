// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"github.com/kubernetes-csi/csi-lib-utils/rpc"
	csicontroller "github.com/kubernetes-csi/external-provisioner/v6/pkg/controller"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	coreinformers "k8s.io/client-go/informers/core/v1"
	storageinformers "k8s.io/client-go/informers/storage/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	csitranslation "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"
	provisioning "sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// Cluster is the Kubernetes API as provisioning uses it. The informers are the
// caller's: it trims what they keep, and may share them between many agents.
type Cluster struct {
	Client kubernetes.Interface
	// Namespace is where the node's CSIStorageCapacity objects are: the agent's own.
	Namespace string
	// Start starts the informers that have not been started yet; informers of a
	// factory have it.
	Start   func(stop <-chan struct{})
	Claims  coreinformers.PersistentVolumeClaimInformer
	Volumes coreinformers.PersistentVolumeInformer
	Classes storageinformers.StorageClassInformer
	// Pods has those that are bound to the node, and no others.
	Pods coreinformers.PodInformer
	// Snapshots is nil where the cluster has no VolumeSnapshots (their CRDs are not
	// installed): claims cannot have one as their source then.
	Snapshots *SnapshotCluster
}

// snapshots is the client of VolumeSnapshots; nil without them.
func (c *Cluster) snapshots() snapshotclient.Interface {
	if c.Snapshots == nil {
		return nil
	}
	return c.Snapshots.Client
}

const (
	// provisionTime is how long one CreateVolume or DeleteVolume may take before it
	// is called again; zeroing a raw volume goes on meanwhile.
	provisionTime = time.Minute
	// provisionWorkers make volumes at once. lvm works one VG at a time, so more
	// would only wait.
	provisionWorkers = 4
	// provisionRetry and provisionRetryLimit are how long after a failure a claim is
	// tried again: at first, and at most.
	provisionRetry      = time.Second
	provisionRetryLimit = time.Minute
)

// provisioner makes the volumes of the claims whose selected node is this one, and
// removes those of released volumes that are here. It is external-provisioner's own
// controller, in its mode for a driver on each node (--node-deployment, without
// immediate binding), and calls the agent through its socket as the sidecar would.
func (d *Driver) provisioner(ctx context.Context) (run func(context.Context) error, err error) {
	plugin, control := capabilities(d.config.Cluster.snapshots() != nil)
	conn, err := grpc.NewClient("unix:"+d.config.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"))
	if err != nil {
		return nil, err
	}
	cluster, name := d.config.Cluster, d.config.NodeName
	nodes, csiNodes := onlyNode(name)
	provisioner := csicontroller.NewCSIProvisioner(
		cluster.Client,
		provisionTime,
		Name+"-"+name, // identity, an attribute of the PV
		"pvc", -1,     // a volume is named pvc- and the claim's whole UID
		conn,
		cluster.snapshots(),
		Name, plugin, control,
		"",    // migrated from no driver in Kubernetes' tree
		true,  // strict topology: this node, and no other
		false, // no topology for immediate binding, which there is not
		csitranslation.New(),
		cluster.Classes.Lister(), csiNodes, nodes, cluster.Claims.Lister(),
		nil, nil, // volumes are not attached; no claims across namespaces
		true, // tell CreateVolume of which claim it is
		"",   // the class says which filesystem, if the StorageClass does not
		&csicontroller.NodeDeployment{NodeName: name, ClaimInformer: cluster.Claims, NodeInfo: nodeInfo(name)},
		false, true, // as the sidecar's flags are
		csicontroller.NewInMemoryStore(),
	)
	whole, ok := provisioner.(wholeProvisioner)
	if !ok {
		return nil, errors.New("external-provisioner's controller is not what it was: it does not decide any more which claims are this node's")
	}
	keepScheme()
	logger := logr.FromSlogHandler(d.config.Log.Handler())
	c := provisioning.NewProvisionController(
		klog.NewContext(ctx, logger), cluster.Client, Name, follower{newOnce(whole, cluster.Client), name, cluster, d.config.Log},
		provisioning.LeaderElection(false),
		provisioning.FailedProvisionThreshold(0), // never give up: space may be freed
		provisioning.FailedDeleteThreshold(0),
		provisioning.RateLimiter(workqueue.NewTypedItemExponentialFailureRateLimiter[string](provisionRetry, provisionRetryLimit)),
		provisioning.RetryIntervalMax(provisionRetryLimit),
		provisioning.Threadiness(provisionWorkers),
		provisioning.CreateProvisionedPVLimiter(workqueue.DefaultTypedControllerRateLimiter[string]()),
		provisioning.ClaimsInformer(sharedClaims{cluster.Claims.Informer()}),
		provisioning.VolumesInformer(cluster.Volumes.Informer()),
		provisioning.ClassesInformer(cluster.Classes.Informer()),
		provisioning.AddFinalizer(true),
	)
	return func(ctx context.Context) error {
		cluster.Start(ctx.Done())
		c.Run(klog.NewContext(ctx, logger))
		return conn.Close()
	}, nil
}

// keepScheme keeps the provisioner's library from writing to client-go's Scheme. With it
// everything is decoded that comes from an API server, to any agent of the process, and
// it has no lock; but the library (v13.0.0) adds the core types to it again whenever it
// makes a controller, which ends the process when somebody reads it then. Whoever adds
// them to another Scheme gets them.
var keepScheme = sync.OnceFunc(func() {
	add := corev1.AddToScheme
	corev1.AddToScheme = func(s *runtime.Scheme) error {
		if s == scheme.Scheme {
			return nil // it was made with them
		}
		return add(s)
	}
})

// capabilities are the agent's own, as the provisioner's library wants them. Without a
// client for snapshots it must not know of them: it would use the client.
func capabilities(snapshots bool) (rpc.PluginCapabilitySet, rpc.ControllerCapabilitySet) {
	plugin, control := rpc.PluginCapabilitySet{}, rpc.ControllerCapabilitySet{}
	for _, c := range pluginServices {
		plugin[c] = true
	}
	for _, c := range controllerCapabilities {
		control[c] = snapshots || c != csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT
	}
	return plugin, control
}

// onlyNode lists one node, with the driver's topology as its labels, where the
// provisioner would watch all nodes of the cluster. external-provisioner does the
// same for --node-deployment.
func onlyNode(name string) (corelisters.NodeLister, storagelisters.CSINodeLister) {
	nodes := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	csiNodes := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	// Adding to a store in memory cannot fail for objects that have a name.
	_ = nodes.Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: topology(name).GetSegments()}})
	_ = csiNodes.Add(&storagev1.CSINode{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: Name, NodeID: name, TopologyKeys: []string{TopologyKey}}}},
	})
	return corelisters.NewNodeLister(nodes), storagelisters.NewCSINodeLister(csiNodes)
}

// sharedClaims is an informer of claims that many controllers of one process are
// given. Each adds the same index to it, and the library (v13.0.0) ends the process
// when the index is there.
type sharedClaims struct{ cache.SharedIndexInformer }

// AddIndexers adds those indexers whose names are not there yet.
func (s sharedClaims) AddIndexers(wanted cache.Indexers) error {
	missing := func() cache.Indexers {
		left, there := cache.Indexers{}, s.GetIndexer().GetIndexers()
		for name, f := range wanted {
			if _, ok := there[name]; !ok {
				left[name] = f
			}
		}
		return left
	}
	left := missing()
	if len(left) == 0 {
		return nil
	}
	err := s.SharedIndexInformer.AddIndexers(left)
	if err != nil && len(missing()) == 0 {
		return nil // another controller was faster
	}
	return err
}
