// SPDX-License-Identifier: Apache-2.0

// Package install does what an administrator does who installs podlv in a cluster of the
// simulator, and waits until it works: the CSIDriver, StorageClasses and admission
// policies. Agents are others' to start.
//
// There is only a Config, with what is done in its order: Driver, Admitted, Published.
package install

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/admission"
	"github.com/podlv/podlv/sim/scenario"
)

// Config is what is installed, and where.
type Config struct {
	Client kubernetes.Interface
	// Scenario says which device classes all agents are told of, which StorageClasses there
	// are, and whether there are policies.
	Scenario *scenario.Scenario
	// Namespace is the agents', Account their ServiceAccount.
	Namespace, Account string
}

// Driver makes the namespace, the CSIDriver, the StorageClasses and the admission
// policies. None may be there yet.
func (c Config) Driver(ctx context.Context) error {
	_, err := c.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.Namespace}}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = c.Client.StorageV1().CSIDrivers().Create(ctx, &storagev1.CSIDriver{
		ObjectMeta: metav1.ObjectMeta{Name: driver.Name},
		Spec: storagev1.CSIDriverSpec{
			AttachRequired: ptr.To(false), PodInfoOnMount: ptr.To(true), StorageCapacity: ptr.To(true),
			FSGroupPolicy:        ptr.To(storagev1.FileFSGroupPolicy),
			VolumeLifecycleModes: []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent, storagev1.VolumeLifecycleEphemeral},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	names := c.storageClasses()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		_, err := c.Client.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: driver.Name, Parameters: map[string]string{"podlv.dev/class": names[name]},
			VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer), ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete),
			AllowVolumeExpansion: ptr.To(true),
		}, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("StorageClass %s: %w", name, err)
		}
	}
	if !*c.Scenario.Settings.InlineAccounting {
		return nil
	}
	policies, err := admission.Objects(admission.Config{Classes: c.Scenario.Storage.Classes, StorageClasses: names, AgentNamespace: c.Namespace, AgentAccount: c.Account})
	if err != nil {
		return err
	}
	for _, o := range policies {
		plural := strings.ToLower(o.GetObjectKind().GroupVersionKind().Kind) + "s"
		plural = strings.Replace(plural, "policys", "policies", 1)
		if err := c.Client.AdmissionregistrationV1().RESTClient().Post().Resource(plural).Body(o).Do(ctx).Error(); err != nil {
			return fmt.Errorf("admission policies: %w", err)
		}
	}
	return nil
}

// storageClasses are the device classes by the names of their StorageClasses: one of
// its own for each, and those that the scenario adds.
func (c Config) storageClasses() map[string]string {
	names := maps.Clone(c.Scenario.StorageClasses)
	if names == nil {
		names = map[string]string{}
	}
	for _, class := range c.Scenario.Storage.All() {
		names[class.Name] = class.Name
	}
	return names
}

// Admitted waits until every policy holds: an API server takes one up a second or so
// after it was made, and lets pods pass until then.
func (c Config) Admitted(ctx context.Context) error {
	if !*c.Scenario.Settings.InlineAccounting {
		return nil // there are none
	}
	for _, class := range c.Scenario.Storage.All() {
		if !class.Pool.Counted() {
			continue
		}
		err := eventually(ctx, "wait for the admission policy of device class "+class.Name, func() error {
			made, err := c.probe(ctx, class.Name, "1Mi")
			if err != nil {
				return err
			}
			if q := made.Spec.Containers[0].Resources.Requests[corev1.ResourceName(class.Pool.Resource())]; q.IsZero() {
				return fmt.Errorf("a pod does not ask for %s", class.Pool.Resource())
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return eventually(ctx, "wait for the admission policy of inline volumes", func() error {
		if _, err := c.probe(ctx, "", "lots"); err == nil || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			return fmt.Errorf("a pod with a wrong size is not refused (%v)", err)
		}
		return nil
	})
}

// probe is what the API server would make of a pod with an inline volume.
func (c Config) probe(ctx context.Context, class, size string) (*corev1.Pod, error) {
	attributes := map[string]string{"size": size}
	if class != "" {
		attributes["class"] = class
	}
	return c.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "podlv-sim-probe"},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "none"}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
				CSI: &corev1.CSIVolumeSource{Driver: driver.Name, VolumeAttributes: attributes},
			}}},
		},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// Published waits until so many of the nodes have their topology label, their resources
// and their capacity objects.
func (c Config) Published(ctx context.Context, lister corelisters.NodeLister, count int) error {
	return eventually(ctx, "wait until every node has said what it has", func() error {
		nodes, err := lister.List(labels.Everything())
		if err != nil {
			return err
		}
		ready := 0
		for _, n := range nodes {
			has := n.Labels[driver.TopologyKey] != ""
			for _, p := range c.Scenario.Storage.Pools() {
				_, told := n.Status.Allocatable[corev1.ResourceName(p.Resource())]
				has = has && (told || !p.Counted())
			}
			if has {
				ready++
			}
		}
		if ready < count {
			return fmt.Errorf("%d of %d nodes have", ready, count)
		}
		capacities, err := c.Client.StorageV1().CSIStorageCapacities(c.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if want := count * len(c.storageClasses()); len(capacities.Items) < want {
			return errors.New("capacity objects are missing")
		}
		return nil
	})
}

// eventually does f until it returns nil. When ctx ends before, the error has f's last
// words.
func eventually(ctx context.Context, what string, f func() error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w (%w)", what, err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
