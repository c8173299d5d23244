// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/lvm"
)

func TestBadNodePartsNameEveryProblem(t *testing.T) {
	const class = "\nclasses: [{name: a, pool: p}]"
	for name, row := range map[string]struct {
		text  string
		words []string
	}{
		"devices": {`
pools:
- name: p
  volumeGroup: vg0
  devices:
  - {path: sdb}
  - {path: /dev/../etc/passwd}
  - {path: "/dev/sd[", count: 1}
  - {path: "/dev/sd*"}
  - {path: /dev/sdc, count: 2}
  - {path: "/dev/vd?", count: -1, media: tape, minSize: big}
  - {path: /dev/sdc}
  - {path: /dev/sdd, size: 1Gi}
`, []string{
			`pools[0].devices[0].path: "sdb": must be the path of a device, or a pattern, below /dev`,
			`pools[0].devices[1].path: "/dev/../etc/passwd": must be`,
			`pools[0].devices[2].path: "/dev/sd[": syntax error in pattern`,
			`pools[0].devices[3].count: "": of a pattern it must be how many devices it is to match, exactly`,
			`pools[0].devices[4].count: "2": only a pattern has one`,
			`pools[0].devices[5].count: "-1": must be a whole number`, `pools[0].devices[5].media: "tape": must be ssd or hdd`, `pools[0].devices[5].minSize: invalid: "big"`,
			`pools[0].devices[6].path: "/dev/sdc": is that of devices[4] already`,
			`unknown field "pools[0].devices[7].size"`,
		}},
		"thin pools": {`
pools:
- {name: p, volumeGroup: vg0, thinPoolSize: 50%}
- {name: q, volumeGroup: vg0, thinPool: q, thinPoolSize: 0%}
- {name: r, volumeGroup: vg0, thinPool: r, thinPoolSize: 101%, thinPoolMetadataSize: 1Mi}
- {name: s, volumeGroup: vg0, thinPool: s, thinPoolSize: 10Gi}
- {name: t, volumeGroup: vg0, thinPool: t, thinPoolMetadataSize: 1Gi}
`, []string{
			`pools[0].thinPoolSize: "50%": is of a thinPool, and none is named`,
			`pools[1].thinPoolSize: "0%": must be a share of the VG, from 1% to 100%`,
			`pools[2].thinPoolSize: "101%"`, `pools[2].thinPoolMetadataSize: "1Mi": must be from 2Mi to`,
			`pools[3].thinPoolSize: "10Gi"`, `pools[4].thinPoolMetadataSize: "1Gi": is of a thin pool that podlv makes: thinPoolSize is missing`,
		}},
		"nodes": {`
pools:
- name: p
  reserve: 1Gi
  devices: [{path: /dev/sdb}]
  nodes:
  - {selector: "a in", volumeGroup: vg0}
  - {volumeGroup: vg0, thinPool: pool}
  - {selector: b, volumeGroup: ""}
  - {selector: b, volumeGroup: vg0, name: x}
- {name: q, nodes: [{selector: a, volumeGroup: vg1, inlinePool: none}, {selector: b, volumeGroup: vg1, inlinePool: some}]}
- {name: r, inlinePool: none, nodes: [{selector: a, volumeGroup: vg2, inlinePool: reserved=1Gi}]}
`, []string{
			`pools[0].reserve, devices: the pool has nodes, so that this belongs into each of them`,
			`pools[0].nodes[0].selector: "a in":`, `pools[0].nodes[1].thinPool: a pool is a thin pool on all nodes, or on none`,
			`pools[0].nodes[2]: is of no node: the one before it has no selector and is of all`, `pools[0].nodes[2].volumeGroup or thinPool: invalid`,
			`unknown field "pools[0].nodes[3].name"`,
			`pools[1].nodes[0].inlinePool: "none": the scheduler is told of a pool on all nodes or, with none, on none; the pool has "shared"`,
			`pools[1].nodes[1].inlinePool: "some": must be shared, none or reserved=`,
			`pools[2].nodes[0].inlinePool: "reserved=1Gi": the scheduler is told of a pool on all nodes or, with none, on none; the pool has "none"`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := driver.ParseClasses([]byte(row.text + class))
			require.Error(t, err)
			for _, w := range row.words {
				require.ErrorContains(t, err, w)
			}
		})
	}
}

const byLabels = `
pools:
- name: fast
  nodes:
  - {selector: disk=nvme, volumeGroup: vg0, reserve: 1Gi}
  - {selector: "disk in (ssd, sata)", volumeGroup: vg1}
- {name: slow, volumeGroup: vg2}
classes:
- {name: fast, pool: fast, default: true}
- {name: slow, pool: slow}
`

func TestPoolsAreWhereTheLabelsSay(t *testing.T) {
	whole, err := driver.ParseClasses([]byte(byLabels))
	require.NoError(t, err)
	require.Len(t, whole.Pools(), 2, "of the policies, which know no node")
	for _, row := range []struct {
		labels map[string]string
		vg     string
	}{
		{map[string]string{"disk": "nvme"}, "vg0"},
		{map[string]string{"disk": "sata"}, "vg1"},
		{map[string]string{"disk": "tape"}, ""},
		{nil, ""},
	} {
		on, err := whole.On(row.labels)
		require.NoError(t, err)
		class, err := on.Named("")
		if row.vg == "" {
			require.ErrorContains(t, err, "none is named and this node has no default class; name one of slow")
			require.Equal(t, []string{"vg2"}, on.VolumeGroups())
			continue
		}
		require.NoError(t, err)
		require.Equal(t, row.vg, class.Pool.VolumeGroup)
		require.Equal(t, []string{row.vg, "vg2"}, on.VolumeGroups())
	}
	twice, err := driver.ParseClasses([]byte(`
pools:
- {name: a, nodes: [{selector: x, volumeGroup: vg0}, {volumeGroup: vg1}]}
- {name: b, volumeGroup: vg0}
classes: [{name: a, pool: a}]
`))
	require.NoError(t, err)
	_, err = twice.On(map[string]string{"x": ""})
	require.ErrorContains(t, err, `pool "b": VG "vg0" thin pool "" is pool "a" already`)
	_, err = twice.On(nil)
	require.NoError(t, err)
}

func TestNodesMayShareAPoolDifferently(t *testing.T) {
	parsed := func(text string) *driver.Classes {
		t.Helper()
		c, err := driver.ParseClasses([]byte(text))
		require.NoError(t, err)
		return c
	}
	inline := func(c *driver.Classes) driver.InlinePool {
		t.Helper()
		require.Len(t, c.Pools(), 1)
		return c.Pools()[0].Inline
	}
	of := func(mode string) driver.InlinePool {
		return inline(parsed("pools: [{name: p, volumeGroup: vg0, inlinePool: " + mode + "}]\nclasses: [{name: p, pool: p}]"))
	}
	whole := parsed(`
pools:
- name: p
  inlinePool: reserved=5Gi
  nodes:
  - {selector: size=large, volumeGroup: vg0, inlinePool: reserved=50Gi}
  - {selector: size=odd, volumeGroup: vg0, inlinePool: shared}
  - {volumeGroup: vg0}
classes: [{name: p, pool: p}]
`)
	for size, mode := range map[string]string{"large": "reserved=50Gi", "odd": "shared", "small": "reserved=5Gi"} {
		on, err := whole.On(map[string]string{"size": size})
		require.NoError(t, err)
		require.Equal(t, of(mode), inline(on), size)
	}
}

// An agent that cannot read its node's labels serves what does not depend on them, and
// says of the rest that it does not know.
func TestLabelsThatCannotBeReadYet(t *testing.T) {
	n := newFakeNodeOn(t, 1, onePool)
	client := n.inCluster().Clientset
	label := func(labels map[string]string) {
		_, err := client.CoreV1().Nodes().Update(context.Background(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1", Labels: labels}}, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	label(map[string]string{"disk": "nvme"})
	down := true
	client.PrependReactor("get", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return down, nil, errors.New("no route to host")
	})
	n.classes = classes(t, `
pools:
- {name: fast, nodes: [{selector: disk=nvme, volumeGroup: vg0}]}
- {name: other, volumeGroup: vg1}
classes: [{name: fast, pool: fast}, {name: other, pool: other}]
`)
	n.restart()
	ctx, v := context.Background(), newVolume("a", "64Mi").with("class", "fast")
	n.agent.Reload(ctx)
	require.ErrorContains(t, n.publish(v), "depends on its labels")
	require.ErrorContains(t, n.publish(v), "unavailable")
	down = false
	n.agent.Reload(ctx)
	require.NoError(t, n.publish(v))

	label(nil) // VG vg1, which the pool that is left is on, is not there: the old ones hold
	n.agent.Reload(ctx)
	n.clock.Step(2 * time.Minute)
	n.agent.Reload(ctx)
	require.NoError(t, n.publish(newVolume("b", "64Mi").with("class", "fast")))
	n.lvm("vgcreate", "vg1", n.addDisk("/dev/other"))
	n.agent.Reload(ctx)
	requireCode(t, n.publish(newVolume("c", "64Mi").with("class", "fast")), codes.InvalidArgument)
	require.NoError(t, n.publish(newVolume("d", "64Mi").with("class", "other")))
	require.NoError(t, n.unpublish(v), "what is there already goes all the same")
}

// What the file says of a pool that has nodes is compared with this node only.
func TestOnlyTheNodesOwnPartIsChecked(t *testing.T) {
	c, err := driver.ParseClasses([]byte(byLabels))
	require.NoError(t, err)
	on, err := c.On(map[string]string{"disk": "ssd"})
	require.NoError(t, err)
	err = on.Check([]lvm.VolumeGroup{{Name: "vg2", ExtentSize: 4 << 20}})
	require.ErrorContains(t, err, `there is no VG "vg1"`)
	require.NotContains(t, err.Error(), "vg0")
}
