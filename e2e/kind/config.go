// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"fmt"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/yaml"
)

// kubeadmPatches leave out what no test needs, so that nothing is pulled or started that
// only takes time and memory.
const kubeadmPatches = `kind: InitConfiguration
skipPhases: [preflight, addon/coredns, addon/kube-proxy]
nodeRegistration: {ignorePreflightErrors: [all]}
---
kind: JoinConfiguration
nodeRegistration: {ignorePreflightErrors: [all]}
---
`

// ClusterConfig is a cluster with a worker for each name that its Node shall have; where
// that is "", it is called as its container is (WorkerName). kubelet has fields of the
// nodes' KubeletConfiguration, which may be none.
//
// It has no pod network of kind's own and no kube-proxy: Connect makes a network that
// suffices, which works with any node image, also with one that has no kindnet. Labels
// are not here: kubelet refuses to give itself many that one may want.
func ClusterConfig(workers []string, kubelet map[string]any) (*v1alpha4.Cluster, error) {
	c := &v1alpha4.Cluster{
		TypeMeta: v1alpha4.TypeMeta{Kind: "Cluster", APIVersion: "kind.x-k8s.io/v1alpha4"},
		Nodes:    []v1alpha4.Node{{Role: v1alpha4.ControlPlaneRole}},
		Networking: v1alpha4.Networking{
			DisableDefaultCNI: true, KubeProxyMode: "none",
		},
	}
	for _, name := range workers {
		n := v1alpha4.Node{Role: v1alpha4.WorkerRole}
		if name != "" {
			n.KubeadmConfigPatches = []string{fmt.Sprintf("kind: JoinConfiguration\nnodeRegistration: {name: %s}\n", name)}
		}
		c.Nodes = append(c.Nodes, n)
	}
	// On a host with cgroup v1, kubelet of Kubernetes 1.35 and newer does not start unless
	// it is told to.
	patch := map[string]any{"kind": "KubeletConfiguration", "failCgroupV1": false}
	for key, value := range kubelet {
		patch[key] = value
	}
	text, err := yaml.Marshal(patch)
	if err != nil {
		return nil, fmt.Errorf("configuration of kubelet: %w", err)
	}
	c.KubeadmConfigPatches = []string{kubeadmPatches + string(text)}
	return c, nil
}

// WorkerName is what kind calls the i-th worker of a cluster, from 0.
func WorkerName(cluster string, i int) string {
	if i == 0 {
		return cluster + "-worker"
	}
	return fmt.Sprintf("%s-worker%d", cluster, i+1)
}

// ControlPlaneName is what kind calls the node of a cluster's control plane.
func ControlPlaneName(cluster string) string { return cluster + "-control-plane" }
