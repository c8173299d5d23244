// SPDX-License-Identifier: Apache-2.0

package existing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/scenario"
)

// classParameter is that of a StorageClass which names the device class.
const classParameter = "podlv.dev/class"

// checkScenario refuses what changes more than what is in the run's namespace.
func checkScenario(s *scenario.Scenario) error {
	var wrong error
	for i, e := range s.Events {
		if e.Grow == nil && e.Scale == nil {
			wrong = errors.Join(wrong, fmt.Errorf("events[%d] (%s at %s): --target kubeconfig changes no node; only grow and scale can happen there", i, e.What(), time.Duration(e.At)))
		}
	}
	for i, w := range s.Workloads {
		if len(w.Placed) > 0 {
			wrong = errors.Join(wrong, fmt.Errorf("workloads[%d].placed: --target kubeconfig leaves it to the cluster's scheduler where pods go; use --target embedded", i))
		}
		for _, o := range w.Objects {
			if p, ok := o.(*schedulingv1.PriorityClass); ok {
				wrong = errors.Join(wrong, fmt.Errorf("workloads[%d]: PriorityClass %s is the whole cluster's, in which --target kubeconfig makes nothing: take it out, and name one that is there", i, p.Name))
			}
		}
	}
	if !*s.Settings.InlineAccounting || s.Settings.Embedded() {
		wrong = errors.Join(wrong, errors.New("settings: they are the cluster's own with --target kubeconfig, and cannot be set"))
	}
	return wrong
}

// check says what of the scenario the cluster has not, all of it, and else how many nodes
// have podlv.
func check(ctx context.Context, client kubernetes.Interface, s *scenario.Scenario) (count int, err error) {
	storage := client.StorageV1()
	if _, err := storage.CSIDrivers().Get(ctx, driver.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("the cluster has no CSIDriver %s: install podlv there first, with pools and classes as in the scenario", driver.Name)
	} else if err != nil {
		return 0, err
	}
	list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: driver.TopologyKey})
	if err != nil {
		return 0, err
	}
	if len(list.Items) == 0 {
		return 0, fmt.Errorf("no node of the cluster has the label %s: no agent of podlv has registered there", driver.TopologyKey)
	}
	classes, err := storage.StorageClasses().List(ctx, metav1.ListOptions{})
	if err != nil {
		return 0, err
	}
	var wrong error
	for _, name := range slices.Sorted(maps.Keys(used(s))) {
		wrong = errors.Join(wrong, checkClass(name, used(s)[name], classes.Items, list.Items, s))
	}
	for i, w := range s.Workloads {
		if !slices.ContainsFunc(list.Items, func(n corev1.Node) bool { return labels.SelectorFromSet(w.NodeSelector).Matches(labels.Set(n.Labels)) }) {
			wrong = errors.Join(wrong, fmt.Errorf("workloads[%d].nodeSelector: no node with podlv has the labels %s", i, labels.FormatLabels(w.NodeSelector)))
		}
	}
	return len(list.Items), wrong
}

// uses is how a class is used.
type uses struct{ claims, pods bool }

// used are the device classes of the scenario's volumes, by name.
func used(s *scenario.Scenario) map[string]uses {
	all := map[string]uses{}
	for _, w := range s.Workloads {
		for _, v := range w.Volumes {
			class, err := s.Storage.Named(v.Class)
			if err != nil {
				continue // the scenario was checked
			}
			u := all[class.Name]
			u.claims, u.pods = u.claims || v.Kind != scenario.Inline, u.pods || v.Kind != scenario.Claim
			all[class.Name] = u
		}
	}
	return all
}

// checkClass says what a device class lacks: of claims a StorageClass, of pods that are
// charged a resource to charge.
func checkClass(name string, u uses, classes []storagev1.StorageClass, nodes []corev1.Node, s *scenario.Scenario) error {
	var wrong error
	if u.claims {
		i := slices.IndexFunc(classes, func(c storagev1.StorageClass) bool { return c.Name == name })
		switch {
		case i < 0:
			wrong = fmt.Errorf("the cluster has no StorageClass %s, which claims of device class %s have in a simulation", name, name)
		case classes[i].Provisioner != driver.Name:
			wrong = fmt.Errorf("StorageClass %s is of provisioner %s; it must be %s", name, classes[i].Provisioner, driver.Name)
		case classes[i].Parameters[classParameter] != "" && classes[i].Parameters[classParameter] != name:
			wrong = fmt.Errorf("StorageClass %s is of device class %s; it must be of %s", name, classes[i].Parameters[classParameter], name)
		}
	}
	class, err := s.Storage.Named(name)
	if err != nil || !u.pods || !class.Pool.Counted() {
		return errors.Join(wrong, err)
	}
	if !slices.ContainsFunc(nodes, func(n corev1.Node) bool {
		_, ok := n.Status.Allocatable[corev1.ResourceName(class.Pool.Resource())]
		return ok
	}) {
		wrong = errors.Join(wrong, fmt.Errorf("no node has %s: device class %s needs pool %s, and the agents there have %s", class.Pool.Resource(), name, class.Pool.Name, pools(nodes)))
	}
	return wrong
}

// pools are the resources of podlv's that nodes have, for a person.
func pools(nodes []corev1.Node) string {
	all := map[string]bool{}
	for _, n := range nodes {
		for r := range n.Status.Allocatable {
			if strings.HasPrefix(string(r), "podlv.dev/") {
				all[string(r)] = true
			}
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(all)), ", ")
}
