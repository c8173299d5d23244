// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/podlv/podlv/driver"
)

// addSnapshots adds VolumeSnapshots to a cluster that has them.
func (f *nodeFlags) addSnapshots(c *driver.Cluster, client kubernetes.Interface, log *slog.Logger) error {
	_, err := client.Discovery().ServerResourcesForGroupVersion(snapshotv1.SchemeGroupVersion.String())
	if apierrors.IsNotFound(err) {
		log.Info("the cluster has no VolumeSnapshots; where their CRDs are installed later, start the agent again", "group", snapshotv1.SchemeGroupVersion)
		return nil
	}
	// Any other error is an API server that does not answer now: the informers wait.
	config, err := restConfig(f.kubeconfig, standaloneRemedy)
	if err != nil {
		return err
	}
	snapshots, err := snapshotclient.NewForConfig(config)
	if err != nil {
		return err
	}
	// For events on their objects. Nothing is decoded meanwhile: no informer runs yet.
	if err := snapshotv1.AddToScheme(scheme.Scheme); err != nil {
		return err
	}
	classes := snapshotinformers.NewSharedInformerFactory(snapshots, 0)
	contents := snapshotinformers.NewSharedInformerFactoryWithOptions(snapshots, 0, snapshotinformers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = driver.ManagedByLabel + "=" + f.name
	}))
	unmanaged := snapshotinformers.NewSharedInformerFactoryWithOptions(snapshots, 0, snapshotinformers.WithTransform(driver.TrimContent), snapshotinformers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = "!" + driver.ManagedByLabel
	}))
	c.Snapshots = &driver.SnapshotCluster{
		Client: snapshots, Contents: contents.Snapshot().V1().VolumeSnapshotContents(),
		Unmanaged: unmanaged.Snapshot().V1().VolumeSnapshotContents(), Classes: classes.Snapshot().V1().VolumeSnapshotClasses(),
	}
	start := c.Start
	c.Start = func(stop <-chan struct{}) {
		start(stop)
		classes.Start(stop)
		contents.Start(stop)
		unmanaged.Start(stop)
	}
	return nil
}
