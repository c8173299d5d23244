// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/podlv/podlv/driver"
)

// The reasons of the events. Each is written once for an object.
const (
	reasonImmediate        = "PodlvImmediate"
	reasonNoClass          = "PodlvNoClass"
	reasonUnknownClass     = "PodlvUnknownClass"
	reasonUnknownParameter = "PodlvUnknownParameter"
	reasonUnlisted         = "PodlvUnlisted"
	reasonUnlistedDefault  = "PodlvUnlistedDefault"
	reasonNodeLoss         = "PodlvNodeLossPolicy"
	reasonLost             = "PodlvNodeLost"
	reasonLostDeleted      = "PodlvNodeLostDeleted"
)

// component is who writes the events.
const component = "podlv-controller"

// events writes each event once. Its name follows from the object and the reason, so that
// one that was written before a restart is found to be there; after the hour that an API
// server keeps events it would be written again then, and only then.
type events struct {
	client  kubernetes.Interface
	clock   clock.Clock
	metrics *metrics

	written, kept map[string]bool // names; of the last pass, and of the one that runs
}

// begin and end enclose a pass: what it does not say again is forgotten, since its
// object is gone or has been put right.
func (e *events) begin() { e.kept = map[string]bool{} }
func (e *events) end()   { e.written = e.kept }

// once says something about an object, in its namespace or, where it has none, in
// "default".
func (e *events) once(ctx context.Context, about corev1.ObjectReference, reason, format string, args ...any) error {
	sum := sha256.Sum256([]byte(string(about.UID) + " " + reason))
	name := "podlv-" + hex.EncodeToString(sum[:16])
	if e.written[name] || e.kept[name] {
		e.kept[name] = true
		return nil
	}
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	now := metav1.NewTime(e.clock.Now())
	_, err := e.client.CoreV1().Events(namespace).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: name},
		InvolvedObject: about,
		Type:           corev1.EventTypeWarning, Reason: reason, Message: fmt.Sprintf(format, args...),
		Source: corev1.EventSource{Component: component}, ReportingController: driver.Name + "/" + component,
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	switch {
	case err == nil:
		e.metrics.events.WithLabelValues(reason).Inc()
	case apierrors.IsAlreadyExists(err):
	default:
		return fmt.Errorf("write an event about %s %s: %w", about.Kind, about.Name, err)
	}
	e.kept[name] = true
	return nil
}

func claimRef(c *corev1.PersistentVolumeClaim) corev1.ObjectReference {
	return corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: c.Namespace, Name: c.Name, UID: c.UID}
}
