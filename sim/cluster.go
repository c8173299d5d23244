// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"github.com/podlv/podlv/sim/kubelet"
	"github.com/podlv/podlv/sim/oracle"
	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

// Target makes the cluster for a run, and returns when pods can be made in it. What of
// the scenario cannot be had there is an error before anything is made. When ctx ends
// before, or something fails, nothing is left of it. Afterwards ctx means nothing; Run
// calls Stop.
type Target func(ctx context.Context, p Parts) (Cluster, error)

// Parts is what a target is given.
type Parts struct {
	Scenario *scenario.Scenario
	// Observer is to be told what becomes of pods, and which calls of kubelet failed.
	Observer kubelet.Observer
	Log      *slog.Logger
	Progress func(format string, args ...any)
}

// Cluster is what a run needs of the cluster that it runs on.
type Cluster interface {
	// Access is how to get at it. It is always the same.
	Access() Access
	// Happen makes happen to a node's machine what an event says, number of the run's. mend
	// ends it, and is nil for what does not end. A RefusedError is no error of the run.
	Happen(ctx context.Context, e *scenario.Event, node string, number int) (mend func() error, err error)
	// FailedCreates is how many CreateVolume the agents have not answered with OK so far,
	// by code; those left out that only said that it is going on.
	FailedCreates() map[string]int
	// Failed is closed when something that must run has ended, and Err then says why;
	// it is nil before.
	Failed() <-chan struct{}
	Err() error
	// Stop ends the cluster, if it was made for the run. The error says what failed
	// before, or did not end.
	Stop() error
}

// RefusedError is what the machine said that an event was to happen to, as for want of
// room.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// Access is how to get at a cluster, and what is not to be had of it.
type Access struct {
	// TargetName is what --target says: "embedded".
	TargetName string
	// Client may do what the run does: an administrator's, but on a cluster that was there before.
	Client     kubernetes.Interface
	Kubeconfig string // for a person with kubectl
	// Informers are started, and have at least Nodes, PersistentVolumes, and the pods and
	// claims of Namespace.
	Informers informers.SharedInformerFactory
	// Namespace is that of the simulated pods, AgentNamespace that of the capacity
	// objects; "" for any.
	Namespace, AgentNamespace string
	// Nodes is how many nodes there are for the pods.
	Nodes int
	// Names are what the cluster calls the scenario's nodes, where that is something else.
	Names map[string]string
	// Machines are the nodes' disks, by the nodes' names. None: nobody can look at them.
	Machines map[string]oracle.Machine
	// Off, when set, says whether nothing can keep what is published of a node up to date.
	Off func(node string) bool
	// MendAll, when set, gives power to the machines from which an event has taken it for
	// good: what is on one without can be removed only when it is back.
	MendAll func(ctx context.Context) error
	// Phases is what it took to make the cluster.
	Phases []report.Phase
	// PID is the control plane's process; 0 when it is none of this machine.
	PID int
	// Resizes: somebody there does what external-resizer does; else the run does it.
	Resizes bool
	// Unknown are the names of metrics that cannot be known here.
	Unknown []string
	// Quiet is how long nothing must have happened at least before nothing more is waited
	// for: a real kubelet backs off for longer than a scenario counts on.
	Quiet time.Duration
	// Dress, when set, gives a pod's containers something real to run for so long, to the
	// end of the pod if 0, and translates what is the scenario's, such as names of nodes.
	Dress func(spec *corev1.PodSpec, lifetime time.Duration)
}
