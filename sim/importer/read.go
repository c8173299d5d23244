// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"github.com/podlv/podlv/driver"
)

// live is what was read of a cluster.
type live struct {
	version    string
	nodes      []corev1.Node
	pods       []corev1.Pod
	claims     []corev1.PersistentVolumeClaim
	volumes    []corev1.PersistentVolume
	classes    []storagev1.StorageClass
	capacities []storagev1.CSIStorageCapacity
	// config is podlv's configuration of device classes, nil when it was not found;
	// unread is why it could not be read.
	config []byte
	unread string
}

// Where podlv is installed keeps its configuration there.
const (
	configNamespace = "podlv-system"
	configName      = "podlv"
)

// read lists all that matters.
func read(ctx context.Context, client kubernetes.Interface) (*live, error) {
	l := &live{version: "unknown"}
	if v, err := client.Discovery().ServerVersion(); err == nil {
		l.version = v.GitVersion
	}
	r := reader{ctx: ctx}
	core, storage := client.CoreV1(), client.StorageV1()
	list(&r, "nodes", &l.nodes, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return core.Nodes().List(ctx, o)
	})
	list(&r, "pods", &l.pods, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return core.Pods("").List(ctx, o)
	})
	list(&r, "persistentvolumeclaims", &l.claims, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return core.PersistentVolumeClaims("").List(ctx, o)
	})
	list(&r, "persistentvolumes", &l.volumes, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return core.PersistentVolumes().List(ctx, o)
	})
	list(&r, "storageclasses.storage.k8s.io", &l.classes, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return storage.StorageClasses().List(ctx, o)
	})
	list(&r, "csistoragecapacities.storage.k8s.io", &l.capacities, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return storage.CSIStorageCapacities("").List(ctx, o)
	})
	if r.err != nil {
		return nil, r.err
	}
	if len(r.forbidden) > 0 {
		return nil, fmt.Errorf("this user may not read the cluster: list is not allowed, in all namespaces, for %s; a ClusterRole that allows it has verbs: [list] for these resources", strings.Join(r.forbidden, ", "))
	}
	return l, l.readConfig(ctx, client)
}

// reader reads lists until one fails; what is forbidden it collects.
type reader struct {
	ctx       context.Context
	forbidden []string
	err       error
}

// list reads a list page by page.
func list[T any, P interface {
	*T
	runtime.Object
}](r *reader, what string, all *[]T, page pager.ListPageFunc,
) {
	if r.err != nil {
		return
	}
	err := pager.New(page).EachListItem(r.ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		item, ok := o.(P)
		if !ok {
			return fmt.Errorf("the server answers with %T", o)
		}
		*all = append(*all, *item)
		return nil
	})
	switch {
	case apierrors.IsForbidden(err):
		r.forbidden = append(r.forbidden, what)
	case err != nil:
		r.err = fmt.Errorf("list %s: %w", what, err)
	}
}

// readConfig looks for podlv's configuration where its agents publish from. That it is
// not there, or may not be read, is no error: the sizes that are published tell most.
func (l *live) readConfig(ctx context.Context, client kubernetes.Interface) error {
	namespaces := []string{configNamespace}
	for _, c := range l.capacities {
		if s := l.class(c.StorageClassName); s != nil && s.Provisioner == driver.Name && !slices.Contains(namespaces, c.Namespace) {
			namespaces = append([]string{c.Namespace}, namespaces...)
		}
	}
	for _, ns := range namespaces {
		m, err := client.CoreV1().ConfigMaps(ns).Get(ctx, configName, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			continue
		case apierrors.IsForbidden(err):
			l.unread = fmt.Sprintf("this user may not get ConfigMap %s of namespace %s", configName, ns)
			continue
		case err != nil:
			return fmt.Errorf("get ConfigMap %s/%s: %w", ns, configName, err)
		}
		for _, text := range m.Data {
			if _, err := driver.ParseClasses([]byte(text)); err == nil {
				l.config = []byte(text)
				return nil
			}
		}
	}
	return nil
}

// class is the StorageClass of a name, nil if there is none.
func (l *live) class(name string) *storagev1.StorageClass {
	for i := range l.classes {
		if l.classes[i].Name == name {
			return &l.classes[i]
		}
	}
	return nil
}
