// SPDX-License-Identifier: Apache-2.0

package deploy_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/admission"
)

// rendered is what the chart makes of some values.
type rendered struct {
	file    string
	objects []runtime.Object
	// others are the kinds that Kubernetes itself does not have.
	others []string
	values struct {
		Policies struct{ ExemptNamespaces []string }
	}
}

// all are the renderings that are kept, decoded as strictly as the API server can.
func all(t *testing.T) map[string]*rendered {
	t.Helper()
	files := map[string]string{"default": "manifests/podlv.yaml"}
	values, err := filepath.Glob("testdata/*-values.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, values)
	for _, v := range values {
		files[strings.TrimSuffix(filepath.Base(v), "-values.yaml")] = strings.TrimSuffix(v, "-values.yaml") + ".yaml"
	}
	found := map[string]*rendered{}
	for name, file := range files {
		found[name] = read(t, file)
		text, err := os.ReadFile(strings.TrimSuffix(file, ".yaml") + "-values.yaml")
		if name == "default" {
			text, err = os.ReadFile("chart/values.yaml")
		}
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(text, &found[name].values))
	}
	return found
}

func read(t *testing.T, file string) *rendered {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, clientscheme.AddToScheme(scheme))
	require.NoError(t, snapshotv1.AddToScheme(scheme))
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	r := &rendered{file: file}
	for _, document := range strings.Split(string(text), "\n---\n")[1:] {
		o, _, err := decoder.Decode([]byte(document), nil, nil)
		if runtime.IsNotRegisteredError(err) {
			var other metav1.TypeMeta
			require.NoError(t, yaml.Unmarshal([]byte(document), &other))
			r.others = append(r.others, other.Kind)
			continue
		}
		require.NoError(t, err, document)
		r.objects = append(r.objects, o)
	}
	return r
}

// of are the objects of one type, by name.
func of[T metav1.Object](r *rendered) map[string]T {
	found := map[string]T{}
	for _, o := range r.objects {
		if o, ok := o.(T); ok {
			found[o.GetName()] = o
		}
	}
	return found
}

func classes(t *testing.T, c *corev1.ConfigMap) *driver.Classes {
	t.Helper()
	require.NotNil(t, c)
	parsed, err := driver.ParseClasses([]byte(c.Data["classes.yaml"]))
	require.NoError(t, err)
	return parsed
}

func TestPoliciesAreThoseOfTheProgram(t *testing.T) {
	for name, r := range all(t) {
		t.Run(name, func(t *testing.T) {
			c := admission.Config{
				Classes: classes(t, of[*corev1.ConfigMap](r)["podlv-controller"]), StorageClasses: map[string]string{},
				AgentNamespace: "podlv-system", AgentAccount: "podlv", ExemptNamespaces: r.values.Policies.ExemptNamespaces,
			}
			for name, s := range of[*storagev1.StorageClass](r) {
				c.StorageClasses[name] = s.Parameters["podlv.dev/class"]
				if s.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
					c.DefaultStorageClass = name
				}
			}
			want, err := admission.Objects(c)
			require.NoError(t, err)
			var has []runtime.Object
			for _, o := range r.objects {
				if strings.Contains(o.GetObjectKind().GroupVersionKind().Kind, "AdmissionPolicy") {
					has = append(has, o)
				}
			}
			require.ElementsMatch(t, printed(t, want), printed(t, has))
		})
	}
}

func printed(t *testing.T, objects []runtime.Object) []string {
	t.Helper()
	var documents []string
	for _, o := range objects {
		var b bytes.Buffer
		require.NoError(t, admission.Print(&b, []runtime.Object{o}))
		documents = append(documents, b.String())
	}
	return documents
}

func TestEachKindOfNodeHasItsPools(t *testing.T) {
	r := all(t)["nodes"]
	whole := classes(t, of[*corev1.ConfigMap](r)["podlv"])
	for _, row := range []struct {
		labels map[string]string
		places map[string]string
	}{
		{map[string]string{"role": "compute"}, map[string]string{"scratch": "vg0"}},
		{map[string]string{"role": "storage", "disks": ""}, map[string]string{"scratch": "vg-ssd", "bulk": "vg0"}},
		{map[string]string{"role": "storage"}, map[string]string{"bulk": "vg0"}},
		{nil, map[string]string{}},
	} {
		on, err := whole.On(row.labels)
		require.NoError(t, err)
		places := map[string]string{}
		for _, p := range on.Pools() {
			places[p.Name] = p.VolumeGroup
			require.Equal(t, row.labels["role"] == "compute", p.Reserve == 5<<30)
		}
		require.Equal(t, row.places, places)
	}
	require.Len(t, of[*appsv1.DaemonSet](r), 1)
}

func TestAgentHasWhatItNeedsOfTheNode(t *testing.T) {
	for name, r := range all(t) {
		for _, set := range of[*appsv1.DaemonSet](r) {
			pod := set.Spec.Template.Spec
			require.Len(t, pod.Containers, 1, name)
			require.Zero(t, set.Spec.UpdateStrategy.RollingUpdate.MaxSurge.IntValue(), "two would have one socket")
			c := pod.Containers[0]
			require.True(t, *c.SecurityContext.Privileged)
			require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
			require.NotContains(t, c.Resources.Limits, corev1.ResourceMemory, "lvm must not be killed in the middle of a write")
			require.Equal(t, "/healthz", c.LivenessProbe.HTTPGet.Path, "which does not ask LVM")
			paths := map[string]string{}
			for _, v := range pod.Volumes {
				if v.HostPath != nil {
					paths[v.Name] = v.HostPath.Path
				}
			}
			mounts := map[string]corev1.VolumeMount{}
			for _, m := range c.VolumeMounts {
				mounts[m.MountPath] = m
				if path, ofNode := paths[m.Name]; ofNode && m.MountPath != "/etc/lvm" {
					require.Equal(t, path, m.MountPath, "kubelet and lvm pass paths of the node")
				}
			}
			require.Contains(t, mounts, "/dev")
			require.Contains(t, mounts, "/run/lock/lvm")
			require.Contains(t, mounts, "/run/lvm")
			require.NotContains(t, mounts, "/run/udev", "with it lvm waits for udev (docs/lvm-behaviour.md)")
			require.Equal(t, corev1.MountPropagationBidirectional, *mounts["/var/lib/kubelet"].MountPropagation)
		}
	}
}

func TestOnlyTheAgentIsPrivileged(t *testing.T) {
	for name, r := range all(t) {
		for _, d := range of[*appsv1.Deployment](r) {
			pod := d.Spec.Template.Spec
			require.True(t, *pod.SecurityContext.RunAsNonRoot, name)
			for _, v := range pod.Volumes {
				require.Nil(t, v.HostPath)
			}
			for _, c := range pod.Containers {
				require.Equal(t, []corev1.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop)
				require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
				require.False(t, *c.SecurityContext.AllowPrivilegeEscalation)
			}
		}
	}
}

func TestWhatEveryClusterHas(t *testing.T) {
	for name, r := range all(t) {
		d := of[*storagev1.CSIDriver](r)[driver.Name]
		require.NotNil(t, d, name)
		require.False(t, *d.Spec.AttachRequired)
		require.True(t, *d.Spec.PodInfoOnMount)
		require.True(t, *d.Spec.StorageCapacity)
		require.Equal(t, storagev1.FileFSGroupPolicy, *d.Spec.FSGroupPolicy)
		require.Equal(t, []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral, storagev1.VolumeLifecyclePersistent}, d.Spec.VolumeLifecycleModes)
		for _, s := range of[*storagev1.StorageClass](r) {
			require.Equal(t, driver.Name, s.Provisioner)
			require.Equal(t, storagev1.VolumeBindingWaitForFirstConsumer, *s.VolumeBindingMode)
		}
		accounts := of[*corev1.ServiceAccount](r)
		for _, b := range of[*rbacv1.ClusterRoleBinding](r) {
			require.Contains(t, accounts, b.Subjects[0].Name)
			require.Contains(t, of[*rbacv1.ClusterRole](r), b.RoleRef.Name)
		}
		for _, b := range of[*rbacv1.RoleBinding](r) {
			require.Contains(t, accounts, b.Subjects[0].Name)
			require.Contains(t, of[*rbacv1.Role](r), b.RoleRef.Name)
		}
		for _, role := range of[*rbacv1.ClusterRole](r) {
			for _, rule := range role.Rules {
				for _, wide := range [][]string{rule.APIGroups, rule.Resources, rule.Verbs} {
					require.NotContains(t, wide, "*")
				}
				require.NotContains(t, rule.Resources, "secrets")
			}
		}
		for _, b := range of[*policyv1.PodDisruptionBudget](r) {
			require.NotZero(t, b.Spec.MaxUnavailable.IntValue(), "or no node could be drained")
		}
	}
	everything := all(t)["everything"]
	require.Equal(t, []string{"PodMonitor", "PrometheusRule"}, everything.others)
	require.Len(t, of[*snapshotv1.VolumeSnapshotClass](everything), 2)
	require.Equal(t, "privileged", of[*corev1.Namespace](everything)["podlv-system"].Labels["pod-security.kubernetes.io/enforce"])
	require.Equal(t, "registry.k8s.io/sig-storage/csi-resizer:v2.2.0", of[*appsv1.Deployment](everything)["podlv-controller"].Spec.Template.Spec.Containers[1].Image)
}

// An alert on a metric that is called otherwise would never fire.
func TestAlertsAreOnMetricsThatThereAre(t *testing.T) {
	source := ""
	for _, pattern := range []string{"../driver/*.go", "../driver/controller/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, f := range files {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			source += string(text)
		}
	}
	rules, err := os.ReadFile("chart/templates/prometheusrule.yaml")
	require.NoError(t, err)
	names := regexp.MustCompile(`podlv_[a-z_]+`).FindAllString(string(rules), -1)
	require.Greater(t, len(names), 6)
	for _, name := range names {
		require.Regexp(t, "\\b"+name+"\\b", source)
	}
}
