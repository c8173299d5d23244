// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/admissionregistration/v1"

	"github.com/podlv/podlv/driver"
)

// What RBAC cannot say: which node an agent is of. The token of a pod's ServiceAccount
// names the node that the pod is bound to (Kubernetes 1.32 and later); a token that
// names none has no business here.

// isAgent matches the requests of the agents' ServiceAccount.
func (c Config) isAgent() []v1.MatchCondition {
	return []v1.MatchCondition{{
		Name:       "is-agent",
		Expression: fmt.Sprintf(`request.userInfo.username == "system:serviceaccount:%s:%s"`, c.AgentNamespace, c.AgentAccount),
	}}
}

// agentNode is the node of the agent that asks, "" when its token names none.
func agentNode() v1.Variable {
	return v1.Variable{Name: "node", Expression: `request.userInfo.extra[?"authentication.kubernetes.io/node-name"][0].orValue("")`}
}

// nodeUpdate: updates and patches, of the whole object and of its status.
func nodeUpdate() *v1.MatchResources {
	return matching("", []v1.OperationType{v1.Update}, "nodes", "nodes/status")
}

// ownNode lets an agent change podlv.dev/* in capacity and allocatable of its own Node, and
// the condition that is its own, and nothing else.
func (c Config) ownNode() v1.ValidatingAdmissionPolicySpec {
	same := []string{}
	for _, field := range []string{
		"spec",
		"metadata.?labels", "metadata.?annotations", "metadata.?finalizers", "metadata.?ownerReferences",
		"status.?addresses", "status.?config", "status.?daemonEndpoints", "status.?declaredFeatures", "status.?features",
		"status.?images", "status.?nodeInfo", "status.?phase", "status.?runtimeHandlers", "status.?volumesAttached", "status.?volumesInUse",
	} {
		same = append(same, fmt.Sprintf("object.?%[1]s == oldObject.?%[1]s", field))
	}
	for _, list := range []string{"capacity", "allocatable"} {
		same = append(same, fmt.Sprintf(`object.?status.?%[1]s.orValue({}).all(k, k.startsWith("%[2]s") || oldObject.?status.?%[1]s[?k] == object.?status.?%[1]s[?k])`, list, driver.ResourcePrefix),
			fmt.Sprintf(`oldObject.?status.?%[1]s.orValue({}).all(k, k.startsWith("%[2]s") || k in object.?status.?%[1]s.orValue({}))`, list, driver.ResourcePrefix))
	}
	others := fmt.Sprintf(`.?status.?conditions.orValue([]).filter(c, c.type != "%s")`, driver.ReadyCondition)
	same = append(same, "object"+others+" == oldObject"+others)
	return v1.ValidatingAdmissionPolicySpec{
		MatchConditions: c.isAgent(),
		Variables:       []v1.Variable{agentNode()},
		Validations: []v1.Validation{
			{
				Expression:        `variables.node == object.metadata.name`,
				MessageExpression: `"the agent of node \"" + variables.node + "\" may not change node \"" + object.metadata.name + "\""`,
			},
			{
				Expression: strings.Join(same, "\n&& "),
				Message:    "the agent may change nothing of its node but " + driver.ResourcePrefix + "* in status.capacity and status.allocatable, and the condition " + string(driver.ReadyCondition),
			},
		},
	}
}

// capacityChange: all that changes a CSIStorageCapacity.
func capacityChange() *v1.MatchResources {
	return matching("storage.k8s.io", []v1.OperationType{v1.Create, v1.Update, v1.Delete}, "csistoragecapacities")
}

// ownCapacity lets an agent publish capacity of its own node only, owned by its Node.
func (c Config) ownCapacity() v1.ValidatingAdmissionPolicySpec {
	own := func(o string) string {
		return fmt.Sprintf(`%[1]s.?nodeTopology.?matchLabels.orValue({}) == {"%[2]s": variables.node} && !has(%[1]s.nodeTopology.matchExpressions)`, o, driver.TopologyKey)
	}
	return v1.ValidatingAdmissionPolicySpec{
		MatchConditions: c.isAgent(),
		Variables:       []v1.Variable{agentNode()},
		Validations: []v1.Validation{
			{
				Expression: `request.operation == "DELETE" || (` + own("object") + `
&& object.metadata.?ownerReferences.orValue([]).exists(r, r.kind == "Node" && r.name == variables.node))`,
				MessageExpression: `"the agent of node \"" + variables.node + "\" may publish the capacity of that node only, in an object that its Node owns"`,
			},
			{
				Expression:        `request.operation == "CREATE" || (` + own("oldObject") + `)`,
				MessageExpression: `"the agent of node \"" + variables.node + "\" may change or delete that node's capacity only"`,
			},
		},
	}
}
