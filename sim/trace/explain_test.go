// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExplain(t *testing.T) {
	x := &Trace{
		Claims: []Claim{{Name: "db-0-v0", Size: 60 * gib, Steps: []Step{
			{At: 990, What: Made},
			{At: 1100, What: Selected, Node: "node-0"},
			{At: 1300, What: GivenBack, Node: "node-0"},
			{At: 1310, What: Told, Text: "ProvisioningFailed: no space"},
			{At: 1500, What: VolumeMade, Text: "pvc-1", Volume: "vg0/pvc-1"},
			{At: 1550, What: Bound, Text: "pvc-1"},
		}}},
		Pods: []Pod{{Namespace: "default", Name: "db-0", Workload: "db", Node: "node-1", State: Ran, Claims: []int{0}, Steps: []Step{
			{At: 1000, What: Made},
			{At: 1050, What: Unplaced, Text: "0/3 nodes are available: 2 Insufficient podlv.dev/ssd, 1 node(s) did not have enough free storage. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."},
			{At: 1600, What: Bound, Node: "node-1"},
			{At: 1700, What: Called, Method: "NodePublishVolume", Code: "Aborted", Text: "busy", Took: 3.5},
			{At: 1800, What: Running},
		}}},
	}
	var out bytes.Buffer
	require.NoError(t, x.Explain(&out, x.Find("default/db-0")[0]))
	require.Equal(t, `pod default/db-0 of db: ran on node-1
   -0.010 s  claim db-0-v0 (60Gi)  made
    0.000 s  pod                   made
    0.050 s  pod                   the scheduler finds no node
                                     0/3 nodes are available:
                                     2 Insufficient podlv.dev/ssd
                                     1 node(s) did not have enough free storage
                                     preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod
    0.100 s  claim db-0-v0 (60Gi)  the scheduler has chosen node-0
    0.300 s  claim db-0-v0 (60Gi)  given back to the scheduler: node-0 cannot make it
    0.310 s  claim db-0-v0 (60Gi)  warning: ProvisioningFailed: no space
    0.500 s  claim db-0-v0 (60Gi)  volume made: vg0/pvc-1
    0.550 s  claim db-0-v0 (60Gi)  bound to pvc-1
    0.600 s  pod                   bound to node-1
    0.700 s  pod                   NodePublishVolume: Aborted, after 3.5 ms
                                     busy
    0.800 s  pod                   running
`, out.String())
}

func TestRefusals(t *testing.T) {
	require.Equal(t, []string{"something else, 2 of it"}, Refusals("something else, 2 of it"))
	require.Equal(t, []string{"0/1 nodes are available:", `waiting for ephemeral volume controller to create the persistentvolumeclaim "a-v". not found`},
		Refusals(`0/1 nodes are available: waiting for ephemeral volume controller to create the persistentvolumeclaim "a-v". not found`))
	require.Equal(t, []string{"0/5 nodes are available:", "5 Insufficient podlv.dev/ssd"}, Refusals("0/5 nodes are available: 5 Insufficient podlv.dev/ssd."))
}

func TestPodsOfLikeNamesAreNamed(t *testing.T) {
	x := &Trace{Pods: []Pod{{Name: "web-10"}, {Name: "db-0"}, {Name: "web-1"}, {Name: "web-2", Namespace: "a"}, {Name: "web-2", Namespace: "b"}}}
	require.Equal(t, []string{"web-1", "web-2", "web-10"}, x.Like("web", 3))
	require.Equal(t, []string{"web-1", "web-10"}, x.Like("web-11", 2))
	require.Len(t, x.Find("web-2"), 2)
	require.Len(t, x.Find("b/web-2"), 1)
	require.Empty(t, x.Find("web"))
}
