// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	v1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
)

// Config is what the policies are made from.
type Config struct {
	Classes *driver.Classes
	// StorageClasses are the names of podlv's StorageClasses, with the device class of
	// each; "" is the default one. CEL cannot look a StorageClass up.
	StorageClasses map[string]string
	// DefaultStorageClass is the one of StorageClasses that is the cluster's default: what
	// a claim means that names none. "" when the default is not podlv's.
	DefaultStorageClass string
	// AgentNamespace and AgentAccount are the agents' ServiceAccount.
	AgentNamespace, AgentAccount string
	// ExemptNamespaces are those whose pods no policy looks at.
	ExemptNamespaces []string
}

// Labels and annotations of the policies, by which podlv controller finds them and
// knows what they were made from.
const (
	// PoolLabel is the pool of a mutating policy.
	PoolLabel = "podlv.dev/pool"
	// StorageClassesAnnotation of a mutating policy is what StorageClassList gives.
	StorageClassesAnnotation = "podlv.dev/storage-classes"
)

// Objects are the policies and their bindings, always in the same order. The error
// names everything in the Config that does not fit together.
func Objects(c Config) ([]runtime.Object, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	var all []runtime.Object
	for _, pool := range c.Classes.Pools() {
		p := c.charging(pool)
		if len(p.rates) == 0 || !pool.Counted() {
			continue // a pool without classes has no volumes
		}
		all = append(all, c.mutating(p)...)
		all = append(all, c.validating(p.name(), p.label(), podCreation(), v1.ValidatingAdmissionPolicySpec{
			MatchConditions: p.matchConditions(), Variables: p.variables(), Validations: p.validations(),
		}, true)...)
	}
	all = append(all, c.validating("podlv-inline-volumes", nil, podCreation(), c.inlineVolumes(), true)...)
	all = append(all, c.validating("podlv-agent-node", nil, nodeUpdate(), c.ownNode(), false)...)
	all = append(all, c.validating("podlv-agent-capacity", nil, capacityChange(), c.ownCapacity(), false)...)
	return all, nil
}

func (c Config) check() error {
	var wrong []error
	for _, name := range slices.Sorted(maps.Keys(c.StorageClasses)) {
		if name == "" {
			wrong = append(wrong, errors.New("a StorageClass has an empty name"))
		}
		if _, err := c.Classes.Named(c.StorageClasses[name]); err != nil {
			wrong = append(wrong, fmt.Errorf("StorageClass %q: %w", name, err))
		}
	}
	if _, listed := c.StorageClasses[c.DefaultStorageClass]; !listed && c.DefaultStorageClass != "" {
		wrong = append(wrong, fmt.Errorf("default StorageClass %q: is not among podlv's StorageClasses; leave it out when the cluster's default is another driver's", c.DefaultStorageClass))
	}
	if c.AgentNamespace == "" || c.AgentAccount == "" {
		wrong = append(wrong, fmt.Errorf("the agents' ServiceAccount %q: must be NAMESPACE/NAME", c.AgentNamespace+"/"+c.AgentAccount))
	}
	return errors.Join(wrong...)
}

// mutating is a pool's mutating policy with its binding. It may run again: it then
// finds that the pod asks for enough.
func (c Config) mutating(p charging) []runtime.Object {
	meta := metav1.ObjectMeta{
		Name: p.name(), Labels: p.label(),
		Annotations: map[string]string{StorageClassesAnnotation: StorageClassList(c.StorageClasses, c.DefaultStorageClass)},
	}
	return []runtime.Object{
		&v1.MutatingAdmissionPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1.SchemeGroupVersion.String(), Kind: "MutatingAdmissionPolicy"},
			ObjectMeta: meta,
			Spec: v1.MutatingAdmissionPolicySpec{
				FailurePolicy:      ptr.To(v1.Fail),
				ReinvocationPolicy: v1.IfNeededReinvocationPolicy,
				MatchConstraints:   podCreation(),
				MatchConditions:    p.matchConditions(),
				Variables:          p.variables(),
				Mutations: []v1.Mutation{{
					PatchType:          v1.PatchTypeApplyConfiguration,
					ApplyConfiguration: &v1.ApplyConfiguration{Expression: p.mutation()},
				}},
			},
		},
		&v1.MutatingAdmissionPolicyBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1.SchemeGroupVersion.String(), Kind: "MutatingAdmissionPolicyBinding"},
			ObjectMeta: metav1.ObjectMeta{Name: p.name()},
			Spec:       v1.MutatingAdmissionPolicyBindingSpec{PolicyName: p.name(), MatchResources: c.namespaces()},
		},
	}
}

// validating is a validating policy with its binding, which denies. Of pods it may
// leave namespaces out.
func (c Config) validating(name string, labels map[string]string, rules *v1.MatchResources, spec v1.ValidatingAdmissionPolicySpec, ofPods bool) []runtime.Object {
	spec.FailurePolicy, spec.MatchConstraints = ptr.To(v1.Fail), rules
	binding := v1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []v1.ValidationAction{v1.Deny}}
	if ofPods {
		binding.MatchResources = c.namespaces()
	}
	return []runtime.Object{
		&v1.ValidatingAdmissionPolicy{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicy"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Spec:       spec,
		},
		&v1.ValidatingAdmissionPolicyBinding{
			TypeMeta:   metav1.TypeMeta{APIVersion: v1.SchemeGroupVersion.String(), Kind: "ValidatingAdmissionPolicyBinding"},
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       binding,
		},
	}
}

// namespaces leaves the exempt ones out; nil when there are none.
func (c Config) namespaces() *v1.MatchResources {
	if len(c.ExemptNamespaces) == 0 {
		return nil
	}
	return &v1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: slices.Sorted(slices.Values(c.ExemptNamespaces)),
	}}}}
}

// matching matches operations on resources of an API group.
func matching(group string, operations []v1.OperationType, resources ...string) *v1.MatchResources {
	return &v1.MatchResources{ResourceRules: []v1.NamedRuleWithOperations{{RuleWithOperations: v1.RuleWithOperations{
		Operations: operations,
		Rule:       v1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources},
	}}}}
}

// podCreation: neither a pod's volumes nor its request of an extended resource can be
// changed later.
func podCreation() *v1.MatchResources {
	return matching("", []v1.OperationType{v1.Create}, "pods")
}
