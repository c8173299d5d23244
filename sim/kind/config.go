// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"

	"github.com/podlv/podlv/sim/scenario"
)

// kubeadmPatches leave out what a simulation does not need, so that nothing is pulled or
// started that only takes time and memory; and let kubelet start on a host with cgroup v1,
// as without it Kubernetes 1.35 and newer does not.
const kubeadmPatches = `kind: InitConfiguration
skipPhases: [preflight, addon/coredns, addon/kube-proxy]
nodeRegistration: {ignorePreflightErrors: [all]}
---
kind: JoinConfiguration
nodeRegistration: {ignorePreflightErrors: [all]}
---
kind: KubeletConfiguration
failCgroupV1: false
maxPods: %d
`

// mostPods a node can have: what its /24 has addresses for, and some for the system's.
const mostPods = 240

// clusterConfig is a cluster with a worker for each node of the scenario, in its order.
//
// It has no pod network of kind's own and no kube-proxy: podNetwork makes a network that
// suffices, which works with any node image, also with one that has no kindnet. Labels
// are not here: kubelet refuses to give itself many that a scenario may have.
func clusterConfig(s *scenario.Scenario) *v1alpha4.Cluster {
	pods := 0
	c := &v1alpha4.Cluster{
		TypeMeta: v1alpha4.TypeMeta{Kind: "Cluster", APIVersion: "kind.x-k8s.io/v1alpha4"},
		Nodes:    []v1alpha4.Node{{Role: v1alpha4.ControlPlaneRole}},
		Networking: v1alpha4.Networking{
			DisableDefaultCNI: true, KubeProxyMode: "none",
		},
	}
	s.Each(func(_ string, g *scenario.NodeGroup) {
		c.Nodes = append(c.Nodes, v1alpha4.Node{Role: v1alpha4.WorkerRole})
		pods = max(pods, g.Pods)
	})
	c.KubeadmConfigPatches = []string{fmt.Sprintf(kubeadmPatches, min(pods, mostPods))}
	return c
}

// workerName is what kind calls the i-th worker of a cluster, from 0.
func workerName(cluster string, i int) string {
	if i == 0 {
		return cluster + "-worker"
	}
	return fmt.Sprintf("%s-worker%d", cluster, i+1)
}

// network is the configuration of a node's pods' network: they can reach their node, which
// is all that a simulated pod needs. Its plugins are in every node image of kind.
func network(node *corev1.Node) string {
	return fmt.Sprintf(`{"cniVersion":"0.4.0","name":"podlv-sim","plugins":[
 {"type":"ptp","mtu":1500,"ipam":{"type":"host-local","dataDir":"/run/cni-ipam","routes":[{"dst":"0.0.0.0/0"}],"ranges":[[{"subnet":"%s"}]]}}]}
`, node.Spec.PodCIDR)
}
