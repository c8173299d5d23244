// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/sim/scenario"
)

// apiObject is an object of the API server's: of which group's client, of which plural
// name, of what name.
type apiObject struct {
	client     rest.Interface
	plural     string
	name       string
	namespaced bool
	controls   bool // pods, which come again as long as it is there
}

// locate says where an object belongs. It knows those that a scenario may have.
func locate(client kubernetes.Interface, object runtime.Object) (o apiObject, err error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		return o, err
	}
	m, err := meta.Accessor(object)
	if err != nil {
		return o, err
	}
	plural, _ := meta.UnsafeGuessKindToResource(kinds[0]) // right for all these kinds
	o = apiObject{plural: plural.Resource, name: m.GetName(), namespaced: kinds[0].Kind != "PriorityClass"}
	switch kinds[0].Group {
	case "":
		o.client = client.CoreV1().RESTClient()
	case "apps":
		o.client, o.controls = client.AppsV1().RESTClient(), true
	case "batch":
		o.client, o.controls = client.BatchV1().RESTClient(), true
	case "policy":
		o.client = client.PolicyV1().RESTClient()
	case "scheduling.k8s.io":
		o.client = client.SchedulingV1().RESTClient()
	default:
		return o, fmt.Errorf("%s is not supported", kinds[0])
	}
	return o, nil
}

func (o apiObject) String() string { return strings.TrimSuffix(o.plural, "s") + " " + o.name }

// create makes an object in the run's namespace, and remembers it.
func (r *run) create(ctx context.Context, object runtime.Object) error {
	o, err := locate(r.Client, object)
	if err != nil {
		return err
	}
	if err := o.client.Post().NamespaceIfScoped(r.Namespace, o.namespaced).Resource(o.plural).Body(object).Do(ctx).Error(); err != nil {
		return fmt.Errorf("make %s: %w", o, err)
	}
	r.mu.Lock()
	r.created = append(r.created, o)
	r.mu.Unlock()
	if o.plural == "resourcequotas" {
		return r.quotaHolds(ctx, o.name)
	}
	return nil
}

// quotaHolds waits until a ResourceQuota is counted: until then it limits nothing.
func (r *run) quotaHolds(ctx context.Context, name string) error {
	for {
		q, err := r.Client.CoreV1().ResourceQuotas(r.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil || len(q.Status.Hard) > 0 {
			return err
		}
		if err := r.later(ctx, settlePoll, ctx.Err); err != nil {
			return err
		}
	}
}

// removeCreated removes what create made, that which makes pods first.
func (r *run) removeCreated(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, controls := range []bool{true, false} {
		for _, o := range r.created {
			if o.controls != controls {
				continue
			}
			options := &metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}
			err := o.client.Delete().NamespaceIfScoped(r.Namespace, o.namespaced).Resource(o.plural).Name(o.name).Body(options).Do(ctx).Error()
			if ignoreNotFound(err) != nil {
				return fmt.Errorf("remove %s: %w", o, err)
			}
		}
	}
	return nil
}

// scale tells the controller of a workload how many pods to have.
func (r *run) scale(ctx context.Context, workload string, pods int) error {
	i := slices.IndexFunc(r.Scenario.Workloads, func(w scenario.Workload) bool { return w.Name == workload })
	plural := strings.ToLower(string(r.Scenario.Workloads[i].Controller)) + "s"
	err := r.Client.AppsV1().RESTClient().Patch(types.MergePatchType).Namespace(r.Namespace).Resource(plural).Name(workload).
		Body(fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, pods)).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("scale %s to %d pods: %w", workload, pods, err)
	}
	r.tracker.expect(workload, pods)
	return nil
}
