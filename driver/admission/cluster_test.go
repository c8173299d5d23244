// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package admission_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/admission"
	"github.com/podlv/podlv/sim/kube/kubetest"
)

// The device classes of the tests: of every layout, two pools with several.
const classesFile = `
pools:
- {name: ssd, volumeGroup: vg0}
- {name: hdd, volumeGroup: vg1}
- {name: thin, volumeGroup: vg1, thinPool: pool}
- {name: untold, volumeGroup: vg2, inlinePool: none}
classes:
- {name: fast, pool: ssd, default: true}
- {name: sized, pool: ssd, unit: 1Gi, defaultSize: 2.5Gi}
- {name: mirror, pool: ssd, layout: raid1, copies: 2}
- {name: plain, pool: hdd}
- {name: stripes, pool: hdd, layout: striped, stripes: 3}
- {name: cheap, pool: thin, unit: 64Ki}
- {name: quiet, pool: untold}
`

// cluster is a real API server with the policies of those classes.
type cluster struct {
	*testing.T
	config  *rest.Config
	api     kubernetes.Interface
	classes *driver.Classes
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	plane, ctx := kubetest.Start(t), t.Context()
	c := &cluster{T: t, config: plane.Config, api: plane.Client}
	var err error
	c.classes, err = driver.ParseClasses([]byte(classesFile))
	require.NoError(t, err)
	for name, class := range map[string]string{"local": "fast", "local-mirror": "mirror", "local-striped": "stripes", "local-quiet": "quiet"} {
		meta := metav1.ObjectMeta{Name: name}
		if name == "local" {
			meta.Annotations = map[string]string{"storageclass.kubernetes.io/is-default-class": "true"}
		}
		_, err := c.api.StorageV1().StorageClasses().Create(ctx, &storagev1.StorageClass{
			ObjectMeta: meta, Provisioner: driver.Name, Parameters: map[string]string{"podlv.dev/class": class},
			VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	for _, space := range []string{"exempt", "podlv-system"} {
		_, err = c.api.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: space}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	for _, space := range []string{"exempt", "default"} {
		c.eventually("a service account in "+space, func() error {
			_, err := c.api.CoreV1().ServiceAccounts(space).Get(ctx, "default", metav1.GetOptions{})
			return err
		})
	}
	c.apply()
	return c
}

// apply creates the policies and waits until each of them holds: an API server takes
// up a policy a second or so after it was made.
func (c *cluster) apply() {
	c.Helper()
	objects, err := admission.Objects(admission.Config{
		Classes:             c.classes,
		StorageClasses:      map[string]string{"local": "", "local-mirror": "mirror", "local-striped": "stripes", "local-quiet": "quiet"},
		DefaultStorageClass: "local",
		AgentNamespace:      "podlv-system", AgentAccount: "podlv",
		ExemptNamespaces: []string{"exempt"},
	})
	require.NoError(c, err)
	for _, o := range objects {
		plural := strings.ToLower(o.GetObjectKind().GroupVersionKind().Kind) + "s"
		plural = strings.Replace(plural, "policys", "policies", 1)
		require.NoError(c, c.api.AdmissionregistrationV1().RESTClient().Post().Resource(plural).Body(o).Do(c.Context()).Error())
	}
	for _, pool := range []string{"ssd", "hdd", "thin"} {
		class := map[string]string{"ssd": "fast", "hdd": "plain", "thin": "cheap"}[pool]
		c.eventually("the mutating policy of pool "+pool, func() error {
			pod, err := c.dryRun(podOf("probe", inline("a", class, "1Gi")))
			if err == nil && pod.Spec.Containers[0].Resources.Requests.Name(corev1.ResourceName("podlv.dev/"+pool), resource.BinarySI).IsZero() {
				err = fmt.Errorf("no request: %v", pod.Spec.Containers[0].Resources)
			}
			return err
		})
		c.eventually("the validating policy of pool "+pool, func() error {
			return denied(c.dryRun(podOf("probe", inline("a", class, "8Pi"), inline("b", class, "8Pi"))))
		})
	}
	c.eventually("the policy of inline volumes", func() error {
		return denied(c.dryRun(podOf("probe", inline("a", "fast", "lots"))))
	})
}

// denied is nil when a policy has refused a pod.
func denied(_ *corev1.Pod, err error) error {
	if err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
		return nil
	}
	return fmt.Errorf("not refused by a policy: %v", err)
}

// dryRun is the pod that the API server would make.
func (c *cluster) dryRun(pod *corev1.Pod) (*corev1.Pod, error) {
	return c.api.CoreV1().Pods(or(pod.Namespace, "default")).Create(c.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

func (c *cluster) eventually(what string, f func() error) {
	c.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	require.Fail(c, what, "%v", err)
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// podOf is a pod of one container with these volumes.
func podOf(name string, volumes ...corev1.Volume) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Name: "c", Image: "none"}}, Volumes: volumes,
	}}
}

// inline is an inline volume of ours; what is "" is left out.
func inline(name, class, size string) corev1.Volume {
	attributes := map[string]string{}
	if class != "" {
		attributes["class"] = class
	}
	if size != "" {
		attributes["size"] = size
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: driver.Name, VolumeAttributes: attributes}}}
}

// claim is a generic ephemeral volume; storageClass is nil when none is named.
func claim(name string, storageClass *string, size string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{
		VolumeClaimTemplate: &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: storageClass, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		}},
	}}}
}

// asking is a container that asks for resources, both requests and limits.
func asking(name string, list map[string]string) corev1.Container {
	has := corev1.ResourceList{}
	for k, v := range list {
		has[corev1.ResourceName(k)] = resource.MustParse(v)
	}
	return corev1.Container{Name: name, Image: "none", Resources: corev1.ResourceRequirements{Requests: has, Limits: has.DeepCopy()}}
}
