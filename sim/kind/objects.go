// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"text/template"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// What the manifest names.
const (
	agentNamespace = "podlv-system"
	agentAccount   = "podlv"
	agentSelector  = "app=podlv"
	metricsPort    = 9808
	nodeLabel      = "sim.podlv.dev/node" // its value is the scenario's name of the node
	stateDir       = "/var/lib/podlv-sim" // on a node, with a folder named after the node
)

//go:embed podlv.yaml
var manifest string

// objects are the agents: their rights, their configuration, their DaemonSet. What is the
// same on all targets is package install's. classes is the file of pools and device
// classes; apiServer the address of the API server, for there is no kube-proxy.
func objects(classes, apiServer string) ([]runtime.Object, error) {
	t, err := template.New("podlv.yaml").Parse(manifest)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, map[string]any{
		"Namespace": agentNamespace, "Image": imageName, "APIServer": apiServer, "Port": metricsPort,
		"NodeLabel": nodeLabel, "StateDir": stateDir, "FakeLVM": fakePath,
	}); err != nil {
		return nil, err
	}
	all := []runtime.Object{}
	for _, document := range strings.Split(text.String(), "\n---\n") {
		o, err := object(document)
		if err != nil {
			return nil, err
		}
		if c, ok := o.(*corev1.ConfigMap); ok {
			c.Data = map[string]string{"classes.yaml": classes}
		}
		all = append(all, o)
	}
	return all, nil
}

// object reads one, strictly.
func object(document string) (runtime.Object, error) {
	var kind struct {
		Kind string `json:"kind"`
	}
	if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
		return nil, err
	}
	var o runtime.Object
	switch kind.Kind {
	case "ConfigMap":
		o = &corev1.ConfigMap{}
	case "ServiceAccount":
		o = &corev1.ServiceAccount{}
	case "ClusterRole":
		o = &rbacv1.ClusterRole{}
	case "ClusterRoleBinding":
		o = &rbacv1.ClusterRoleBinding{}
	case "Role":
		o = &rbacv1.Role{}
	case "RoleBinding":
		o = &rbacv1.RoleBinding{}
	case "DaemonSet":
		o = &appsv1.DaemonSet{}
	default:
		return nil, fmt.Errorf("podlv.yaml: kind %q is not made here", kind.Kind)
	}
	return o, yaml.UnmarshalStrict([]byte(document), o)
}
