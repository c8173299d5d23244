// SPDX-License-Identifier: Apache-2.0

package importer_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	ktesting "k8s.io/client-go/testing"

	"github.com/podlv/podlv/sim/importer"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

// cluster is a client of a cluster with these objects, YAML documents.
func cluster(t *testing.T, texts ...string) *fake.Clientset {
	t.Helper()
	var objects []runtime.Object
	for _, text := range texts {
		for _, document := range strings.Split(text, "\n---\n") {
			o, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
			require.NoError(t, err, document)
			objects = append(objects, o)
		}
	}
	return fake.NewClientset(objects...)
}

func imported(t *testing.T, client *fake.Clientset, o importer.Options) (*scenario.Scenario, *importer.Result) {
	t.Helper()
	o.Now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r, err := importer.Import(t.Context(), client, o)
	require.NoError(t, err)
	s, err := scenario.Parse("cluster.yaml", r.YAML, report.Compile)
	require.NoError(t, err, "%s", r.YAML)
	return s, r
}

// node is a Node with an agent's figures.
func node(name, more string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Node
metadata: {name: %s, labels: {kubernetes.io/hostname: %s, topology.kubernetes.io/zone: z1, tier: gold, topology.podlv.dev/node: %s, secret: plan9}}
%s`, name, name, name, more)
}

const resources = `status: {allocatable: {cpu: "8", memory: 16Gi, pods: "110", podlv.dev/disk: 60Gi}, conditions: [{type: Ready, status: "True"}]}`

func capacity(node, class, size string) string {
	return fmt.Sprintf(`apiVersion: storage.k8s.io/v1
kind: CSIStorageCapacity
metadata: {name: c-%s-%s, namespace: podlv-system}
nodeTopology: {matchLabels: {topology.podlv.dev/node: %s}}
storageClassName: %s
capacity: %s
maximumVolumeSize: %s`, node, strings.ReplaceAll(class, ".", "-"), node, class, size, size)
}

func class(name, provisioner, parameters string) string {
	return fmt.Sprintf("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: %s}\nprovisioner: %s\nparameters: {%s}", name, provisioner, parameters)
}

// claim is a claim with its volume, on a node.
func claim(name, class, driver, node, size string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %[1]s, namespace: shop}
spec: {storageClassName: %[2]s, volumeName: pv-%[1]s, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv-%[1]s}
spec:
  storageClassName: %[2]s
  capacity: {storage: %[5]s}
  claimRef: {namespace: shop, name: %[1]s}
  csi: {driver: %[3]s, volumeHandle: vg/%[1]s}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: topology.podlv.dev/node, operator: In, values: [%[4]s]}]}]}}`, name, class, driver, node, size)
}

func pod(name, owner, node, spec string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: shop, labels: {app: shop, pod-template-hash: abc, other: x}, ownerReferences: [%s]}
spec:
  nodeName: %s
%s
status: {phase: Running}`, name, owner, node, spec)
}

func owner(kind, name string) string {
	return fmt.Sprintf("{apiVersion: apps/v1, kind: %s, name: %s, uid: u, controller: true}", kind, name)
}

// shop is a cluster that runs podlv.
func shop(t *testing.T, more ...string) *fake.Clientset {
	return cluster(t, append([]string{
		node("a.example", resources),
		node("b.example", "spec: {unschedulable: true, taints: [{key: dedicated, value: shop, effect: NoSchedule}, {key: node.kubernetes.io/unschedulable, effect: NoSchedule}]}\n"+resources),
		class("local", "podlv.dev", ""),
		capacity("a.example", "local", "35Gi"), capacity("b.example", "local", "60Gi"),
		claim("data-db-0", "local", "podlv.dev", "a.example", "20Gi"),
		claim("old", "local", "podlv.dev", "b.example", "8Gi"),
		pod("db-0", owner("StatefulSet", "db"), "a.example", `  containers:
  - {name: db, image: secret.example/db, resources: {requests: {cpu: "2", memory: 1Gi}, limits: {cpu: "4"}}}
  volumes:
  - {name: data, persistentVolumeClaim: {claimName: data-db-0}}
  - {name: config, configMap: {name: db}}`),
		pod("web-abc-x1", owner("ReplicaSet", "web-abc"), "a.example", `  nodeSelector: {tier: gold}
  tolerations: [{key: dedicated, operator: Exists}, {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]
  affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: shop}}, matchLabelKeys: [pod-template-hash]}]}}
  containers: [{name: c, image: i, resources: {requests: {cpu: 500m, podlv.dev/disk: 25Gi}, limits: {podlv.dev/disk: 25Gi}}}]
  volumes: [{name: cache, csi: {driver: podlv.dev, volumeAttributes: {size: 25Gi}}}]`),
	}, more...)...)
}

func TestAClusterThatRunsPodlv(t *testing.T) {
	s, r := imported(t, shop(t), importer.Options{})
	require.Equal(t, 2, r.Nodes)
	require.Equal(t, 2, r.Pods)
	require.Equal(t, 2, r.Volumes)
	text := string(r.YAML)
	require.Contains(t, text, "at 2026-01-02T03:04:05Z")
	require.NotContains(t, text, "secret", "neither what no selector uses nor images")

	// 60Gi that pods can have, of which 25Gi are had, and the claim's 20Gi.
	require.Len(t, s.Nodes, 2)
	a, b := s.Nodes[0], s.Nodes[1]
	require.Equal(t, []string{"a.example"}, a.Names)
	require.EqualValues(t, 80<<30, a.VolumeGroups[0].Size)
	require.EqualValues(t, 68<<30, b.VolumeGroups[0].Size)
	require.Equal(t, "8", a.CPU.String())
	require.EqualValues(t, 16<<30, a.Memory)
	require.Equal(t, 110, a.Pods)
	require.Equal(t, map[string]string{"topology.kubernetes.io/zone": "z1", "tier": "gold"}, a.Labels)
	require.False(t, a.Unschedulable)
	require.True(t, b.Unschedulable)
	require.Equal(t, []scenario.Taint{{Key: "dedicated", Value: "shop", Effect: "NoSchedule"}}, b.Taints)
	require.Equal(t, 111, b.Pods, "one more, for the claim that no pod uses")

	require.Len(t, s.Workloads, 3)
	db, web, unused := s.Workloads[0], s.Workloads[1], s.Workloads[2]
	require.Equal(t, "shop-db", db.Name)
	require.Equal(t, map[string]string{"db-0": "a.example"}, db.Placed)
	require.Len(t, db.Objects, 2)
	require.Equal(t, "20Gi", quantity(db.Objects[0].(*corev1.PersistentVolumeClaim).Spec.Resources.Requests, "storage"), "what the volume has")
	p := db.Objects[1].(*corev1.Pod)
	require.Len(t, p.Spec.Volumes, 1)
	require.Equal(t, "2", quantity(p.Spec.Containers[0].Resources.Requests, "cpu"))
	require.Equal(t, "shop-web", web.Name, "of its Deployment")
	p = web.Objects[0].(*corev1.Pod)
	require.Equal(t, map[string]string{"tier": "gold"}, p.Spec.NodeSelector)
	require.Equal(t, []corev1.Toleration{{Key: "dedicated", Operator: corev1.TolerationOpExists}}, p.Spec.Tolerations)
	require.NotContains(t, p.Spec.Containers[0].Resources.Requests, corev1.ResourceName("podlv.dev/disk"), "the policies add it")
	require.Equal(t, map[string]string{"app": "shop", "pod-template-hash": "abc", "sim.podlv.dev/namespace": "shop"}, p.Labels)
	term := p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0]
	require.Empty(t, term.MatchLabelKeys)
	require.Equal(t, []metav1.LabelSelectorRequirement{
		{Key: "pod-template-hash", Operator: metav1.LabelSelectorOpIn, Values: []string{"abc"}},
		{Key: "sim.podlv.dev/namespace", Operator: metav1.LabelSelectorOpIn, Values: []string{"shop"}},
	}, term.LabelSelector.MatchExpressions)
	require.Equal(t, map[string]string{"unused-claims-0": "b.example"}, unused.Placed)
	for _, part := range []string{"configuration was not found", "1 volumes are used by no pod", "1 volumes of pods are left out"} {
		require.True(t, slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, part) }), "%s: %q", part, r.Notes)
		require.Contains(t, text, part)
	}
}

func quantity(l corev1.ResourceList, name corev1.ResourceName) string {
	q := l[name]
	return q.String()
}

// podlv's own configuration says what cannot be seen.
func TestPodlvsConfiguration(t *testing.T) {
	config := `apiVersion: v1
kind: ConfigMap
metadata: {name: podlv, namespace: podlv-system}
data:
  classes.yaml: |
    pools:
    - {name: disk, volumeGroup: data, reserve: 10Gi, inlinePool: reserved=60Gi}
    - {name: thin, volumeGroup: data, thinPool: tp}
    classes:
    - {name: fast, pool: disk, default: true, layout: raid1, copies: 2}
    - {name: cheap, pool: thin, overprovision: 2}`
	client := cluster(
		t, node("a", strings.Replace(resources, "podlv.dev/disk: 60Gi", "podlv.dev/disk: 60Gi, podlv.dev/thin: 80Gi", 1)), config,
		class("local.fast", "podlv.dev", "podlv.dev/class: fast"), class("cheap", "podlv.dev", "podlv.dev/class: cheap"),
		capacity("a", "local.fast", "4088Mi"), capacity("a", "cheap", "80Gi"),
		claim("x", "local.fast", "podlv.dev", "a", "1Gi"), claim("w", "cheap", "podlv.dev", "a", "20Gi"),
	)
	s, r := imported(t, client, importer.Options{})
	require.Equal(t, map[string]string{"local.fast": "fast"}, s.StorageClasses)
	vg := s.Nodes[0].VolumeGroups[0]
	require.Equal(t, "data", vg.Name)
	require.Equal(t, []scenario.ThinPool{{Name: "tp", Size: 50 << 30}}, vg.ThinPools, "half of 80Gi that can be promised and 20Gi that are")
	require.Len(t, vg.Disks, 2, "a copy on each")
	// 2 × 4088Mi and their metadata free for claims, 2 × 1Gi and its metadata had, 60Gi
	// for pods, 10Gi of reserve; and the thin pool with its metadata.
	const thick = 2*4088 + 8 + 2*1024 + 8 + 60<<10 + 10<<10
	sum := int64(vg.Disks[0]+vg.Disks[1])>>20 - 2*4
	require.InDelta(t, thick+50<<10, sum, 2*256, "%s", r.YAML)
	require.Equal(t, "local.fast", *s.Workloads[0].Objects[1].(*corev1.PersistentVolumeClaim).Spec.StorageClassName)
	require.NotContains(t, strings.Join(r.Notes, " "), "derived")
}

// Without it, what nodes publish tells a part that is reserved from one that is shared.
func TestAReservedPartIsSeen(t *testing.T) {
	client := cluster(
		t, node("a", resources), node("b", resources), class("local", "podlv.dev", ""),
		capacity("a", "local", "120Gi"), capacity("b", "local", "140Gi"), claim("x", "local", "podlv.dev", "a", "20Gi"),
	)
	s, _ := imported(t, client, importer.Options{})
	require.False(t, s.Storage.Pools()[0].Inline.Shared())
	require.Len(t, s.Nodes, 2, "they differ in the room for the holder of the claim")
	for _, n := range s.Nodes {
		require.EqualValues(t, 200<<30, n.VolumeGroups[0].Size)
	}
}

// Clusters of other drivers have a pool for each StorageClass that publishes capacity by
// node; nodes without one have a stand-in.
func TestOtherDrivers(t *testing.T) {
	client := cluster(
		t, node("a", resourcesOfOthers), node("b", resourcesOfOthers), node("c", resourcesOfOthers),
		class("fast", "topolvm.io", "csi.storage.k8s.io/fstype: xfs"), class("fast-ext4", "topolvm.io", ""),
		class("slow", "topolvm.io", "topolvm.io/device-class: hdd"), class("nfs", "nfs.example", ""),
		capacity("a", "fast", "30Gi"), capacity("b", "fast", "50Gi"), capacity("a", "fast-ext4", "30Gi"), capacity("b", "fast-ext4", "50Gi"), capacity("a", "slow", "1Ti"),
		claim("x", "fast", "topolvm.io", "a", "20Gi"), claim("w", "fast-ext4", "topolvm.io", "b", "1500Mi"), claim("z", "nfs", "nfs.example", "b", "1Gi"),
	)
	s, r := imported(t, client, importer.Options{})
	require.Len(t, s.Storage.Pools(), 2, "those that differ in the filesystem are on the same disks")
	require.Len(t, s.Storage.All(), 3)
	sizes := map[string][]scenario.Size{}
	s.Each(func(name string, g *scenario.NodeGroup) {
		for _, v := range g.VolumeGroups {
			sizes[name] = append(sizes[name], v.Size)
		}
	})
	require.Equal(t, map[string][]scenario.Size{"a": {50 << 30, 1 << 40}, "b": {50<<30 + 1500<<20, 4 << 20}, "c": {4 << 20, 4 << 20}}, sizes)
	notes := strings.Join(r.Notes, "\n")
	require.Contains(t, notes, "1 of 3 nodes have no pool fast")
	require.Contains(t, notes, "1 PersistentVolumes are left out: they are of nfs.example")
	require.Contains(t, notes, "StorageClass fast is of topolvm.io")
}

const resourcesOfOthers = `status: {allocatable: {cpu: "8", memory: 16Gi, pods: "110", example.com/gpu: "2"}, conditions: [{type: Ready, status: "True"}]}`

// What a scenario cannot have as it is there is noted.
func TestOddNodes(t *testing.T) {
	long := strings.Repeat("long-name-", 7) + "x"
	client := cluster(
		t, strings.Replace(strings.Replace(node("a", ""), "name: a", "name: "+long, 1), "node: a", "node: b", 1), node("b", resources), class("local", "podlv.dev", ""),
		capacity("b", "local", "60Gi"), pod("whole", owner("Job", "x"), "b", "  resources: {requests: {cpu: \"2\"}}\n  overhead: {cpu: 100m}\n  containers: [{name: c, image: i}]"),
	)
	s, r := imported(t, client, importer.Options{})
	notes := strings.Join(r.Notes, "\n")
	require.Contains(t, notes, "node "+long+" is called "+long[:63]+" here")
	require.Contains(t, notes, "publishes no cpu, memory or pods")
	require.Contains(t, notes, "is not ready: here it works, and takes no new pods")
	i := slices.IndexFunc(s.Nodes, func(g scenario.NodeGroup) bool { return g.Names[0] == long[:63] })
	require.Equal(t, "1m", s.Nodes[i].CPU.String())
	require.Equal(t, 1, s.Nodes[i].Pods)
	require.True(t, s.Nodes[i].Unschedulable)
	p := s.Workloads[0].Objects[0].(*corev1.Pod)
	require.Equal(t, "2", quantity(p.Spec.Resources.Requests, "cpu"))
	require.Equal(t, "100m", quantity(p.Spec.Containers[0].Resources.Requests, "cpu"))
}

func TestAnonymousImport(t *testing.T) {
	s, r := imported(t, shop(t), importer.Options{Anonymize: true})
	require.Equal(t, []string{"node-0"}, s.Nodes[0].Names)
	require.Equal(t, "node-0", s.Workloads[0].Placed["pod-0"])
	for _, word := range []string{"example", "shop", "gold", "tier", "dedicated", "db", "web", "local", "z1", "data"} {
		require.NotContains(t, strings.NewReplacer("metadata", "", "kubernetes.io/hostname", "").Replace(string(r.YAML)), word)
	}
	p := s.Workloads[1].Objects[0].(*corev1.Pod)
	require.Equal(t, s.Nodes[0].Labels, p.Spec.NodeSelector, "the same by the same")
	require.Len(t, p.Spec.NodeSelector, 1)
	require.Equal(t, s.Nodes[1].Taints[0].Key, p.Spec.Tolerations[0].Key)
	again, err := importer.Import(t.Context(), shop(t), importer.Options{Anonymize: true, Now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	require.NoError(t, err)
	require.Equal(t, string(r.YAML), string(again.YAML))
}

func TestOnlyReading(t *testing.T) {
	client := shop(t)
	imported(t, client, importer.Options{})
	require.NotEmpty(t, client.Actions())
	for _, a := range client.Actions() {
		require.Contains(t, []string{"get", "list"}, a.GetVerb(), "%v", a)
		require.NotEqual(t, "secrets", a.GetResource().Resource)
	}
}

// A list comes in pages.
func TestPages(t *testing.T) {
	client := shop(t)
	asked := 0
	client.PrependReactor("list", "nodes", func(a ktesting.Action) (bool, runtime.Object, error) {
		o := a.(ktesting.ListActionImpl).ListOptions
		require.Positive(t, o.Limit)
		asked++
		l := &corev1.NodeList{Items: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", asked)}}}}
		if asked < 3 {
			l.Continue = fmt.Sprint(asked)
		}
		return true, l, nil
	})
	client.PrependReactor("list", "pods", func(ktesting.Action) (bool, runtime.Object, error) { return true, &corev1.PodList{}, nil })
	client.PrependReactor("list", "csistoragecapacities", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, &storagev1.CSIStorageCapacityList{}, nil
	})
	_, err := importer.Import(context.Background(), client, importer.Options{})
	require.ErrorIs(t, err, importer.ErrNothing)
	require.Equal(t, 3, asked)
}

func TestMissingPermissionsAreAllNamed(t *testing.T) {
	client := shop(t)
	for _, what := range []string{"pods", "csistoragecapacities"} {
		client.PrependReactor("list", what, func(ktesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: what}, "", nil)
		})
	}
	_, err := importer.Import(t.Context(), client, importer.Options{})
	require.ErrorContains(t, err, "list is not allowed, in all namespaces, for pods, csistoragecapacities.storage.k8s.io;")
	client = shop(t)
	client.PrependReactor("get", "configmaps", func(ktesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "podlv", nil)
	})
	_, r := imported(t, client, importer.Options{})
	require.Contains(t, strings.Join(r.Notes, "\n"), "this user may not get ConfigMap podlv of namespace podlv-system")
}

func TestNothingToImport(t *testing.T) {
	_, err := importer.Import(t.Context(), fake.NewClientset(), importer.Options{})
	require.ErrorContains(t, err, "there is nothing to import: the cluster has no nodes")
	_, err = importer.Import(t.Context(), cluster(t, node("a", resourcesOfOthers), class("x", "ebs.example", "")), importer.Options{})
	require.ErrorContains(t, err, "there is nothing to import: no driver publishes what nodes have for volumes")
}
