// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// Objects are of Kubernetes.
type Objects []runtime.Object

// Kinds are those of the objects that a workload may have: what has pods, and what pods
// need.
var kinds = []string{
	"Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job",
	"PersistentVolumeClaim", "ConfigMap", "Secret", "Service", "ServiceAccount", "ResourceQuota", "LimitRange", "PodDisruptionBudget", "PriorityClass",
}

// UnmarshalYAML implements yaml.NodeUnmarshaler.
func (o *Objects) UnmarshalYAML(node ast.Node) error {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		return at(node, "must be a list of Kubernetes objects")
	}
	for _, n := range list.Values {
		var plain map[string]any
		if err := yaml.NodeToValue(n, &plain); err != nil {
			return err
		}
		data, err := json.Marshal(plain)
		if err != nil {
			return at(n, "%w", err)
		}
		object, err := decodeObject(data)
		if err != nil {
			return at(n, "%w", err)
		}
		*o = append(*o, object)
	}
	return nil
}

// decodeObject reads one object, strictly.
func decodeObject(data []byte) (runtime.Object, error) {
	decoder := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	object, kind, err := decoder.Decode(data, nil, nil)
	switch {
	case runtime.IsNotRegisteredError(err), err == nil && !supported(object, kind.Kind):
		name := "this"
		if kind != nil {
			name = kind.Kind + " of " + kind.GroupVersion().String()
		}
		return nil, fmt.Errorf("%s is not supported; these are: %s", name, strings.Join(kinds, ", "))
	case err != nil:
		return nil, err
	}
	return object, nil
}

// supported says whether an object is of a kind that a workload may have. The API groups
// are those that client-go calls by these names and that are not superseded.
func supported(object runtime.Object, kind string) bool {
	switch object.GetObjectKind().GroupVersionKind().GroupVersion().String() {
	case "v1", "apps/v1", "batch/v1", "policy/v1", "scheduling.k8s.io/v1":
	default:
		return false
	}
	for _, k := range kinds {
		if k == kind {
			return true
		}
	}
	return false
}

// ReadManifests reads the Kubernetes objects of a file, strictly, which has any number of
// documents. The error names the document, and of a kind that is not supported all that
// are.
func ReadManifests(file string) (all Objects, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	documents := utilyaml.NewYAMLReader(bufio.NewReader(f))
	for n := 1; ; n++ {
		data, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		if blank(data) {
			continue
		}
		object, err := decodeObject(data)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n, err)
		}
		all = append(all, object)
	}
}

// blank says whether a document has nothing but comments.
func blank(data []byte) bool {
	for line := range bytes.Lines(data) {
		if l := bytes.TrimSpace(line); len(l) > 0 && l[0] != '#' && string(l) != "---" {
			return false
		}
	}
	return true
}

// hasObjects says whether the workload is written as objects.
func (w *Workload) hasObjects() bool { return w.Manifests != "" || len(w.Objects) > 0 }

// readObjects reads the manifests of all workloads. folder is that of the scenario.
func (c *checker) readObjects(folder string, s *Scenario) {
	for i := range s.Workloads {
		w := &s.Workloads[i]
		if w.Manifests == "" {
			continue
		}
		file := w.Manifests
		if !filepath.IsAbs(file) {
			file = filepath.Join(folder, file)
		}
		objects, err := ReadManifests(file)
		if err != nil {
			c.add(fmt.Sprintf("workloads[%d].manifests", i), "%s: %w", w.Manifests, err)
		}
		w.Objects = append(w.Objects, objects...)
	}
}

func (c *checker) objects(path string, w *Workload) {
	if w.Pods != 0 || w.Controller != "" || len(w.Volumes) > 0 || w.Arrival != 0 || w.NodeSelector != nil {
		c.add(path, "manifests and objects take the place of pods, controller, volumes, arrival and nodeSelector")
	}
}

// PodsOf is how many pods come of an object in a cluster of so many nodes; those of a
// DaemonSet are one a node, whatever its selector says.
func PodsOf(object runtime.Object, nodes int) int {
	count := func(n *int32) int {
		if n == nil {
			return 1
		}
		return int(*n)
	}
	switch o := object.(type) {
	case *corev1.Pod:
		return 1
	case *appsv1.Deployment:
		return count(o.Spec.Replicas)
	case *appsv1.ReplicaSet:
		return count(o.Spec.Replicas)
	case *appsv1.StatefulSet:
		return count(o.Spec.Replicas)
	case *appsv1.DaemonSet:
		return nodes
	case *batchv1.Job:
		return count(o.Spec.Completions)
	}
	return 0
}

// Template is the pod template of an object, nil when it has none: a Pod has its own
// spec.
func Template(object runtime.Object) *corev1.PodTemplateSpec {
	switch o := object.(type) {
	case *appsv1.Deployment:
		return &o.Spec.Template
	case *appsv1.ReplicaSet:
		return &o.Spec.Template
	case *appsv1.StatefulSet:
		return &o.Spec.Template
	case *appsv1.DaemonSet:
		return &o.Spec.Template
	case *batchv1.Job:
		return &o.Spec.Template
	}
	return nil
}

// PodSpec is the spec of the pods that an object is or makes, nil when it makes none.
func PodSpec(object runtime.Object) *corev1.PodSpec {
	if pod, ok := object.(*corev1.Pod); ok {
		return &pod.Spec
	}
	if template := Template(object); template != nil {
		return &template.Spec
	}
	return nil
}
