// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/yaml"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/e2e/image"
	"github.com/podlv/podlv/fakelvm"
	"github.com/podlv/podlv/sim"
	"github.com/podlv/podlv/sim/embedded"
	"github.com/podlv/podlv/sim/scenario"
	"github.com/podlv/podlv/sim/scenarios"
)

const mixed = `description: mixed
storage:
  pools: [{name: ssd, volumeGroup: vg0}, {name: thin, volumeGroup: vg1, thinPool: pool}]
  classes: [{name: ssd, pool: ssd, default: true}, {name: thin, pool: thin, filesystem: xfs}]
nodes:
- {name: big, count: 2, pods: 50, labels: {disk: fast}, volumeGroups: [{name: vg0, size: 10Gi}, {name: vg1, disks: [2Gi, 1Gi], thinPools: [{name: pool, size: 2Gi}]}]}
- {name: small, volumeGroups: [{name: vg0, disks: [1Gi]}, {name: vg1, size: 1Gi, thinPools: [{name: pool, size: 512Mi}]}]}
workloads: [{name: a, pods: 1, nodeSelector: {kubernetes.io/hostname: big-1}, volumes: [{kind: inline, size: 1Gi}]}]
expectations: [{that: metrics.podsRunning == 1, message: it runs}]
`

func parsed(t *testing.T, text string) *scenario.Scenario {
	t.Helper()
	s, err := sim.Parse("mixed.yaml", []byte(text))
	require.NoError(t, err)
	return s
}

func TestAWorkerForEachNode(t *testing.T) {
	c, err := clusterConfig(parsed(t, mixed))
	require.NoError(t, err)
	var roles []v1alpha4.NodeRole
	for _, n := range c.Nodes {
		roles = append(roles, n.Role)
		require.Empty(t, n.Labels, "kubelet takes few")
		require.Empty(t, n.ExtraMounts, "nothing of the host")
	}
	require.Equal(t, []v1alpha4.NodeRole{"control-plane", "worker", "worker", "worker"}, roles)
	kinds := map[string]map[string]any{}
	for _, document := range strings.Split(c.KubeadmConfigPatches[0], "---\n") {
		var patch map[string]any
		require.NoError(t, yaml.UnmarshalStrict([]byte(document), &patch))
		kinds[patch["kind"].(string)] = patch
	}
	require.Len(t, kinds, 3)
	require.EqualValues(t, mostPods, kinds["KubeletConfiguration"]["maxPods"], "a node has addresses for no more")
	require.Equal(t, false, kinds["KubeletConfiguration"]["failCgroupV1"])
}

// What a node of kind has is what the embedded one has.
func TestSetupMakesTheMachinesOfTheEmbeddedCluster(t *testing.T) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "fakelvm"), "../../fakelvm/lvm")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	s := parsed(t, mixed)
	hosts, err := embedded.Hosts(s)
	require.NoError(t, err)
	s.Each(func(name string, g *scenario.NodeGroup) {
		c := exec.Command("sh", "-c", setup(name, g))
		state := filepath.Join(dir, name)
		c.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "FAKELVM_DIR="+state)
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
		saved, err := os.ReadFile(filepath.Join(state, "state.json"))
		require.NoError(t, err)
		made, err := fakelvm.Load(saved)
		require.NoError(t, err)
		for _, report := range [][]string{
			{"vgs", "-o", "vg_name,vg_size,vg_free"},
			{"lvs", "-o", "vg_name,lv_name,lv_size,lv_layout"},
			{"pvs", "-o", "vg_name,pv_size"},
		} {
			want, _, _ := hosts[name].Setup(report...)
			got, _, _ := made.Setup(report...)
			require.Equal(t, want, got, name)
		}
	})
}

func TestSetupSaysWhatLVMSays(t *testing.T) {
	g := &scenario.NodeGroup{VolumeGroups: []scenario.VolumeGroup{{Name: "vg0", Size: 1 << 30, ThinPools: []scenario.ThinPool{{Name: "p", Size: 2 << 30}}}}}
	require.Equal(t, `export FAKELVM_DISKS=/var/lib/podlv-sim/n/disk0=1077936128
fakelvm vgs >/dev/null &&
fakelvm vgcreate vg0 /var/lib/podlv-sim/n/disk0 &&
fakelvm lvcreate --type thin-pool --size 2147483648b --name p vg0`, setup("n", g))
}

// installed are the objects that are installed, by kind and name.
func installed(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/manifests/podlv.yaml")
	require.NoError(t, err)
	all := map[string]string{}
	for _, document := range strings.Split(string(text), "\n---\n") {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
		}
		require.NoError(t, yaml.Unmarshal([]byte(document), &o))
		all[o.Kind+"/"+o.Metadata.Name] = document
	}
	return all
}

func TestAgentsMayWhatTheyMayInACluster(t *testing.T) {
	all, err := objects("pools: []", "10.0.0.1")
	require.NoError(t, err)
	want, seen := installed(t), 0
	for _, o := range all {
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			theirs := &rbacv1.ClusterRole{}
			require.NoError(t, yaml.UnmarshalStrict([]byte(want["ClusterRole/podlv"]), theirs))
			require.Equal(t, theirs.Rules, o.Rules)
			seen++
		case *rbacv1.Role:
			theirs := &rbacv1.Role{}
			require.NoError(t, yaml.UnmarshalStrict([]byte(want["Role/podlv"]), theirs))
			require.Equal(t, theirs.Rules, o.Rules)
			require.Equal(t, agentNamespace, o.Namespace)
			seen++
		}
	}
	require.Equal(t, 2, seen)
}

func TestTheAgentsAreThoseOfTheScenario(t *testing.T) {
	s := parsed(t, mixed)
	all, err := objects(s.Storage.Text, "10.0.0.1")
	require.NoError(t, err)
	for _, o := range all {
		switch o := o.(type) {
		case *corev1.ConfigMap:
			classes, err := driver.ParseClasses([]byte(o.Data["classes.yaml"]))
			require.NoError(t, err)
			require.Equal(t, s.Storage.Classes, classes, "what the agents read is what the oracle knows")
		case *appsv1.DaemonSet:
			pod := o.Spec.Template.Spec
			c := pod.Containers[0]
			require.Equal(t, imageName, c.Image)
			require.Equal(t, corev1.PullNever, c.ImagePullPolicy, "it is in no registry")
			require.Contains(t, c.Args, "--lvm="+fakePath)
			env := map[string]string{}
			for _, e := range c.Env {
				env[e.Name] = e.Value
			}
			require.Equal(t, "10.0.0.1", env["KUBERNETES_SERVICE_HOST"])
			require.Equal(t, stateDir+"/$(NODE_NAME)", env["FAKELVM_DIR"], "a folder that no other node's is called: loop devices are the host's")
			require.Equal(t, "loop", env["FAKELVM_BACKING"])
			for _, m := range c.VolumeMounts {
				if m.Name == "kubelet" {
					require.Equal(t, corev1.MountPropagationBidirectional, *m.MountPropagation)
				}
			}
		}
	}
	_, err = object("kind: Deployment")
	require.ErrorContains(t, err, `kind "Deployment" is not made here`)
	_, err = object("kind: Role\nrulez: []")
	require.ErrorContains(t, err, "rulez")
}

func TestTheImageHasWhatIsRun(t *testing.T) {
	dir := t.TempDir()
	p := Programs{Podlv: filepath.Join(dir, "podlv"), FakeLVM: filepath.Join(dir, "fakelvm")}
	for _, path := range []string{p.Podlv, p.FakeLVM} {
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755))
	}
	found, err := Find(dir)
	require.NoError(t, err)
	require.Equal(t, p, found)
	first, err := scenarios.Read("first-steps")
	require.NoError(t, err)
	r, err := rootfs(p, parsed(t, string(first)))
	if err != nil {
		t.Skip(err)
	}
	var b bytes.Buffer
	require.NoError(t, r.Write(&b, image.Config{Name: imageName}))
	names := layer(t, &b)
	for _, want := range []string{agentPath, fakePath, "/bin/sh", "/etc/mke2fs.conf"} {
		require.Contains(t, names, strings.TrimPrefix(want, "/"))
	}
	has := func(program string) bool {
		for _, n := range names {
			if filepath.Base(n) == program {
				return true
			}
		}
		return false
	}
	for _, program := range []string{"mkfs.ext4", "mkfs.xfs", "blkid", "sleep"} {
		require.True(t, has(program), program)
	}
	require.False(t, has("mkfs.btrfs"), "no volume of first-steps has it")
	require.False(t, has("lvm"), "the real one is not for these nodes")

	require.NoError(t, os.Remove(p.FakeLVM))
	_, err = Find(dir)
	require.ErrorContains(t, err, "--target kind puts fakelvm into its nodes, which is not beside podlv-sim")
	require.ErrorContains(t, err, "make sim-kind")
}

// layer is the names of the files in an image's archive, which has one layer.
func layer(t *testing.T, archive io.Reader) (names []string) {
	t.Helper()
	files := map[string][]byte{}
	for outer := tar.NewReader(archive); ; {
		h, err := outer.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		files[h.Name], err = io.ReadAll(outer)
		require.NoError(t, err)
	}
	var manifest []struct{ Layers []string }
	require.NoError(t, json.Unmarshal(files["manifest.json"], &manifest))
	for inner := tar.NewReader(bytes.NewReader(files[manifest[0].Layers[0]])); ; {
		h, err := inner.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		require.NoError(t, err)
		names = append(names, h.Name)
	}
}

func TestWhatCannotHappenToContainersIsRefused(t *testing.T) {
	s := parsed(t, mixed+`events:
- {at: 1s, node: big-0, killAgent: {}}
- {at: 2s, node: big-0, powerOff: {}}
- {at: 3s, node: big-0, watchDelay: {delay: 1s}}
settings: {capacityPeriod: 1m}
`)
	_, err := Config{}.Start(t.Context(), sim.Parts{Scenario: s, Progress: func(string, ...any) {}})
	require.NotContains(t, err.Error(), "killAgent")
	require.ErrorContains(t, err, "events[1] (powerOff at 2s): cannot happen to a node of --target kind")
	require.ErrorContains(t, err, "events[2] (watchDelay at 3s)")
	require.ErrorContains(t, err, "settings: with --target kind only inlineAccounting can be set")
	s = parsed(t, mixed)
	s.Nodes[0].Unschedulable = true
	s.Workloads[0].Placed = map[string]string{"x": "big-0"}
	_, err = Config{}.Start(t.Context(), sim.Parts{Scenario: s, Progress: func(string, ...any) {}})
	require.ErrorContains(t, err, "nodes[0]: names, resources, taints and unschedulable cannot be had with --target kind")
	require.ErrorContains(t, err, "workloads[0].placed: pods cannot be placed with --target kind")
}

func TestAHostNameOfTheScenarioIsTranslated(t *testing.T) {
	s := parsed(t, mixed)
	k := &cluster{scenario: s, names: map[string]string{"big-1": "podlv-sim-x-worker2"}}
	spec := corev1.PodSpec{NodeSelector: s.Workloads[0].NodeSelector, Containers: []corev1.Container{{Name: "c"}}}
	k.dress()(&spec, time.Second)
	require.Equal(t, "podlv-sim-x-worker2", spec.NodeSelector[corev1.LabelHostname])
	require.Equal(t, "big-1", s.Workloads[0].NodeSelector[corev1.LabelHostname], "the scenario's is left as it is")
	require.Equal(t, corev1.PullNever, spec.Containers[0].ImagePullPolicy)
}

func TestAMirrorShowsTheLastWholePicture(t *testing.T) {
	h := fakelvm.New(fakelvm.Disk{Path: "/dev/a", Size: 1 << 30})
	picture := func() string {
		b, err := h.Save()
		require.NoError(t, err)
		var line bytes.Buffer
		for _, c := range b {
			if c != '\n' {
				line.WriteByte(c)
			}
		}
		return line.String()
	}
	m := newMirror()
	_, said, code := m.Setup("vgs")
	require.Equal(t, 1, code)
	require.Contains(t, said, "no picture")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, m.ready(ctx), "nothing tells what is on its disks")

	first := picture()
	require.NoError(t, h.CreateVG("vg0", "/dev/a"))
	require.NoError(t, m.show(strings.NewReader(first+"\n"+picture()+"\n"+picture()[:20])))
	require.NoError(t, m.ready(t.Context()))
	out, _, code := m.Setup("vgs", "--noheadings", "-o", "vg_name")
	require.Zero(t, code)
	require.Equal(t, "vg0", strings.TrimSpace(out))
	require.Equal(t, 2, m.Steps())
	require.Error(t, m.show(strings.NewReader("no picture\n")))
}
