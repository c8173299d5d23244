// SPDX-License-Identifier: Apache-2.0

// Command populator stands in for hello-populator of kubernetes-csi/lib-volume-populator,
// whose module is not to be had, in the suite's test of claims with a data source of a
// kind that no driver knows. It has that program's flags and does what it does:
//
//   - for a claim whose dataSourceRef is a Hello and whose node the scheduler has chosen,
//     it makes a claim of its own, without a source, for the same node;
//   - a pod of its own writes the Hello's file to it;
//   - it hands the PersistentVolume over to the claim, and removes its own when that is
//     bound.
//
// It does each step that is due, once a second, and keeps nothing in memory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// selectedNode is the annotation by which the scheduler says where a claim's pod is to
// run.
const selectedNode = "volume.kubernetes.io/selected-node"

// mountPath is where the populating pod has the volume.
const mountPath = "/mnt"

func main() {
	mode := flag.String("mode", "", "controller or populate")
	image := flag.String("image-name", "", "image of the populating pod")
	namespace := flag.String("namespace", "hello", "namespace for its own claims and pods")
	file := flag.String("file-name", "", "file to write")
	contents := flag.String("file-contents", "", "what to write to it")
	_ = flag.String("http-endpoint", "", "not served: there are no metrics")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch *mode {
	case "populate":
		err = os.WriteFile(*file, []byte(*contents+"\n"), 0o644) //nolint:gosec // anybody may read it
	case "controller":
		err = control(ctx, *namespace, *image)
	default:
		err = fmt.Errorf("--mode=%s: must be controller or populate", *mode)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func control(ctx context.Context, namespace, image string) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	p := &populator{client, objects.Resource(schema.GroupVersionResource{Group: "hello.example.com", Version: "v1alpha1", Resource: "hellos"}), namespace, image}
	for ctx.Err() == nil {
		if err := p.all(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

type populator struct {
	client    kubernetes.Interface
	hellos    dynamic.NamespaceableResourceInterface
	namespace string
	image     string
}

// all does the next step of every claim.
func (p *populator) all(ctx context.Context) error {
	claims, err := p.client.CoreV1().PersistentVolumeClaims("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var all error
	for i := range claims.Items {
		c := &claims.Items[i]
		if s := c.Spec.DataSourceRef; s != nil && s.Kind == "Hello" {
			if err := p.step(ctx, c, s.Name); err != nil {
				all = errors.Join(all, fmt.Errorf("claim %s/%s: %w", c.Namespace, c.Name, err))
			}
		}
	}
	return all
}

// step does the next step of one claim.
func (p *populator) step(ctx context.Context, claim *corev1.PersistentVolumeClaim, source string) error {
	own := p.client.CoreV1().PersistentVolumeClaims(p.namespace)
	name := "prime-" + string(claim.UID)
	pods := p.client.CoreV1().Pods(p.namespace)
	if claim.Spec.VolumeName != "" { // bound
		return errors.Join(ignoreNotFound(pods.Delete(ctx, name, metav1.DeleteOptions{})), ignoreNotFound(own.Delete(ctx, name, metav1.DeleteOptions{})))
	}
	node := claim.Annotations[selectedNode]
	if node == "" {
		return nil // its pod is not there yet
	}
	prime, err := own.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		spec := *claim.Spec.DeepCopy()
		spec.DataSource, spec.DataSourceRef = nil, nil
		_, err = own.Create(ctx, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{selectedNode: node}}, Spec: spec,
		}, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	pod, err := pods.Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		hello, err := p.hellos.Namespace(claim.Namespace).Get(ctx, source, metav1.GetOptions{})
		if err != nil {
			return err
		}
		_, err = pods.Create(ctx, p.pod(name, hello), metav1.CreateOptions{})
		return err
	case err != nil:
		return err
	case pod.Status.Phase != corev1.PodSucceeded:
		return nil
	}
	return p.handOver(ctx, prime.Spec.VolumeName, claim)
}

// pod is the one that writes a Hello's file.
func (p *populator) pod(name string, hello *unstructured.Unstructured) *corev1.Pod {
	file, _, _ := unstructured.NestedString(hello.Object, "spec", "fileName")
	contents, _, _ := unstructured.NestedString(hello.Object, "spec", "fileContents")
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{{
				Name: "populate", Image: p.image, ImagePullPolicy: corev1.PullIfNotPresent,
				Args:         []string{"--mode=populate", "--file-name=" + mountPath + "/" + file, "--file-contents=" + contents},
				VolumeMounts: []corev1.VolumeMount{{Name: "target", MountPath: mountPath}},
			}},
			Volumes: []corev1.Volume{{Name: "target", VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
			}}},
		},
	}
}

// handOver makes a PersistentVolume the claim's.
func (p *populator) handOver(ctx context.Context, volume string, claim *corev1.PersistentVolumeClaim) error {
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"claimRef": map[string]any{
		"namespace": claim.Namespace, "name": claim.Name, "uid": claim.UID, "resourceVersion": claim.ResourceVersion,
	}}})
	if err != nil {
		return err
	}
	_, err = p.client.CoreV1().PersistentVolumes().Patch(ctx, volume, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
	return err
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
