// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package controller

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim/kube/kubetest"
)

// real is a real API server with its controllers, and podlv's controllers that may do
// what deploy/manifests/podlv.yaml lets them.
type real struct {
	*testing.T
	config *rest.Config
	api    kubernetes.Interface
}

func newReal(t *testing.T) *real {
	t.Helper()
	plane, ctx := kubetest.Start(t), t.Context()
	c := &real{T: t, config: plane.Config, api: plane.Client}
	_, err := c.api.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "podlv-system"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	manifest, err := os.ReadFile("../../deploy/manifests/podlv.yaml")
	require.NoError(t, err)
	for _, document := range strings.Split(string(manifest), "\n---\n")[1:] {
		o, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		require.NoError(t, err)
		if m, ok := o.(metav1.Object); !ok || m.GetName() != "podlv-controller" {
			continue
		}
		switch o := o.(type) {
		case *rbacv1.ClusterRole:
			_, err = c.api.RbacV1().ClusterRoles().Create(ctx, o, metav1.CreateOptions{})
		case *rbacv1.ClusterRoleBinding:
			_, err = c.api.RbacV1().ClusterRoleBindings().Create(ctx, o, metav1.CreateOptions{})
		case *rbacv1.Role:
			_, err = c.api.RbacV1().Roles(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
		case *rbacv1.RoleBinding:
			_, err = c.api.RbacV1().RoleBindings(o.Namespace).Create(ctx, o, metav1.CreateOptions{})
		}
		require.NoError(t, err)
	}
	return c
}

// start runs a controller until stop is called.
func (c *real) start(identity string, delay time.Duration) (stop func()) {
	c.Helper()
	config := rest.CopyConfig(c.config)
	config.Impersonate.UserName = "system:serviceaccount:podlv-system:podlv-controller"
	config.Impersonate.Groups = []string{"system:serviceaccounts", "system:authenticated"}
	client, err := kubernetes.NewForConfig(config)
	require.NoError(c, err)
	k, err := New(Config{
		Client: client, NodeLossDelay: delay, Registry: prometheus.NewRegistry(), Clock: clock.RealClock{},
		Log:     slog.New(slog.NewTextHandler(c.Output(), nil)),
		Classes: func() (*driver.Classes, error) { return driver.ParseClasses([]byte(classesFile)) },
		Lease:   &Lease{Namespace: "podlv-system", Name: "podlv-controller", Identity: identity},
	})
	require.NoError(c, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	return func() {
		cancel()
		require.NoError(c, <-ended)
	}
}

func (c *real) eventually(what string, f func() error) {
	c.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	require.Fail(c, what, "%v", err)
}

func (c *real) gone(what string, get func() error) {
	c.Helper()
	c.eventually(what+" goes", func() error {
		if err := get(); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there, %v", err)
		}
		return nil
	})
}

// bound makes a claim of a StorageClass and its volume on a node, as that node's agent
// would have.
func (c *real) bound(name, class, node string) {
	c.Helper()
	ctx := c.Context()
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	v := volumeOn(node)
	v.ObjectMeta = metav1.ObjectMeta{Name: name, Annotations: v.Annotations, Finalizers: []string{finalizerProvisioner}}
	v.Spec.StorageClassName, v.Spec.Capacity, v.Spec.AccessModes = class, size, modes
	v.Spec.ClaimRef = &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: "default", Name: name}
	_, err := c.api.CoreV1().PersistentVolumes().Create(ctx, v, metav1.CreateOptions{})
	require.NoError(c, err)
	_, err = c.api.CoreV1().PersistentVolumeClaims("default").Create(ctx, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, AccessModes: modes, VolumeName: name, Resources: corev1.VolumeResourceRequirements{Requests: size},
		},
	}, metav1.CreateOptions{})
	require.NoError(c, err)
	c.eventually("bind "+name, func() error {
		claim, err := c.api.CoreV1().PersistentVolumeClaims("default").Get(ctx, name, metav1.GetOptions{})
		if err == nil && claim.Status.Phase != corev1.ClaimBound {
			err = fmt.Errorf("it is %s", claim.Status.Phase)
		}
		return err
	})
}

func (c *real) claim(name string) error {
	_, err := c.api.CoreV1().PersistentVolumeClaims("default").Get(c.Context(), name, metav1.GetOptions{})
	return err
}

func (c *real) volume(name string) error {
	_, err := c.api.CoreV1().PersistentVolumes().Get(c.Context(), name, metav1.GetOptions{})
	return err
}

// reasons are those of all events about an object.
func (c *real) reasons(name string) (all []string) {
	c.Helper()
	events, err := c.api.CoreV1().Events("default").List(c.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	require.NoError(c, err)
	for _, e := range events.Items {
		if e.Source.Component == component {
			all = append(all, e.Reason)
		}
	}
	slices.Sort(all)
	return all
}

func TestControlPlaneNodeLoss(t *testing.T) {
	c := newReal(t)
	for name, policy := range map[string]string{"lossy": lossDelete, "kept": lossRetain} {
		_, err := c.api.StorageV1().StorageClasses().Create(t.Context(), &storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{annotationNodeLoss: policy}}, Provisioner: driver.Name,
			Parameters: map[string]string{"podlv.dev/class": "fast"}, VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	_, err := c.api.StorageV1().StorageClasses().Create(t.Context(), &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "immediate"}, Provisioner: driver.Name, Parameters: map[string]string{"podlv.dev/class": "fast"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	nodes := c.api.CoreV1().Nodes()
	for _, name := range []string{"stays", "goes", "returns"} {
		_, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		require.NoError(t, err)
		c.bound("lossy-on-"+name, "lossy", name)
		c.bound("kept-on-"+name, "kept", name)
	}
	_, err = c.api.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "now"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To("immediate"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	for name, node := range map[string]string{"of-one-that-stays": "stays", "of-none": "never-was"} {
		q := resource.MustParse("1Gi")
		_, err := c.api.StorageV1().CSIStorageCapacities("podlv-system").Create(t.Context(), &storagev1.CSIStorageCapacity{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{labelDriver: driver.Name}}, StorageClassName: "lossy", Capacity: &q, MaximumVolumeSize: &q,
			NodeTopology: &metav1.LabelSelector{MatchLabels: map[string]string{driver.TopologyKey: node}},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	capacity := func(name string) error {
		_, err := c.api.StorageV1().CSIStorageCapacities("podlv-system").Get(t.Context(), name, metav1.GetOptions{})
		return err
	}

	const delay = 3 * time.Second
	stop := c.start("first", delay)
	c.gone("capacity of no node", func() error { return capacity("of-none") })
	c.eventually("an event on the claim that is to be bound at once", func() error {
		if r := c.reasons("now"); len(r) != 1 || r[0] != reasonImmediate {
			return fmt.Errorf("%v", r)
		}
		return nil
	})

	// One Node goes for good, one comes back before the delay is over.
	for _, name := range []string{"goes", "returns"} {
		require.NoError(t, nodes.Delete(t.Context(), name, metav1.DeleteOptions{}))
	}
	_, err = nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "returns"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	c.gone("the claim of the node that is gone", func() error { return c.claim("lossy-on-goes") })
	c.gone("its volume", func() error { return c.volume("lossy-on-goes") })
	require.Equal(t, []string{reasonLostDeleted}, c.reasons("lossy-on-goes"))
	c.eventually("an event on the claim that is kept", func() error {
		if r := c.reasons("kept-on-goes"); len(r) != 1 || r[0] != reasonLost {
			return fmt.Errorf("%v", r)
		}
		return nil
	})
	stop()

	// Another controller finds what is done done.
	stop = c.start("second", 0)
	_, err = nodes.Patch(t.Context(), "stays", types.MergePatchType, []byte(`{"status":{"conditions":[{"type":"Ready","status":"Unknown","reason":"x","message":"x","lastHeartbeatTime":null,"lastTransitionTime":null}]}}`), metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	require.NoError(t, nodes.Delete(t.Context(), "returns", metav1.DeleteOptions{}))
	c.gone("the claim of the node that is gone now", func() error { return c.claim("lossy-on-returns") })
	c.gone("its volume", func() error { return c.volume("lossy-on-returns") })
	stop()
	for _, name := range []string{"kept-on-goes", "kept-on-returns", "kept-on-stays", "lossy-on-stays"} {
		require.NoError(t, c.claim(name), name)
		require.NoError(t, c.volume(name), name)
	}
	require.NoError(t, capacity("of-one-that-stays"))
	require.Equal(t, []string{reasonImmediate}, c.reasons("now"), "once")
	require.Equal(t, []string{reasonLost}, c.reasons("kept-on-goes"), "once")
	require.Empty(t, c.reasons("lossy-on-stays"), "its node is not ready, but there")
}
