// SPDX-License-Identifier: Apache-2.0

// Package importer makes a scenario of a live cluster: its nodes, with what they have for
// pods and for volumes, and its pods and volumes, each on the node where it is.
//
// There are only Connect, which finds the cluster, and Import, which reads it and writes
// the scenario. Import only reads, page by page, and no Secret. Published sizes are all
// that it knows of disks: of podlv its extended resources and capacity objects, of any
// other driver that publishes capacity by node the capacity objects. What a scenario
// cannot say is left out and noted.
package importer

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/podlv/podlv/sim/report"
	"github.com/podlv/podlv/sim/scenario"
)

// Options are what an import is told.
type Options struct {
	// Anonymize replaces all names, and the values of labels: the same name by the same
	// throughout. What of labels no selector uses is left out.
	Anonymize bool
	// Labels of nodes that are kept beside those that pods select by.
	Labels []string
	// Now is the time of the import, for the file's head.
	Now time.Time
}

// Result is what an import found.
type Result struct {
	// YAML is the scenario, which scenario.Parse takes.
	YAML []byte
	// Notes are what the scenario does not say as the cluster has it, a sentence each.
	// They are in the YAML, too.
	Notes []string
	// Nodes, Pods and Volumes are how many were imported; Volumes are persistent ones.
	Nodes, Pods, Volumes int
}

// ErrNothing: the cluster has nothing that could be simulated.
var ErrNothing = errors.New("there is nothing to import")

// namespaceLabel of a pod is the namespace that it was imported from, where a selector
// needs it: simulated pods are all in one.
const namespaceLabel = "sim.podlv.dev/namespace"

// OwnerLabel of a pod is the kind of what made it, where that is one for each node: a
// DaemonSet, or the Node itself for a static pod. Such a pod does not go elsewhere.
const OwnerLabel = "sim.podlv.dev/owner"

// Import reads a cluster and makes a scenario of it. The error is ErrNothing when there
// are no nodes or no volumes on nodes, or says what could not be read: of what is
// forbidden it names every permission that is missing.
func Import(ctx context.Context, client kubernetes.Interface, o Options) (*Result, error) {
	l, err := read(ctx, client)
	if err != nil {
		return nil, err
	}
	if len(l.nodes) == 0 {
		return nil, fmt.Errorf("%w: the cluster has no nodes", ErrNothing)
	}
	i := &importer{live: l, Options: o, names: newNames(o.Anonymize)}
	if err := i.storage(); err != nil {
		return nil, err
	}
	i.selectors()
	i.workloads()
	if err := i.sizes(); err != nil {
		return nil, err
	}
	i.groups()
	r := &Result{YAML: i.write(), Notes: i.notes, Nodes: len(l.nodes), Pods: i.podCount, Volumes: i.volumeCount}
	if _, err := scenario.Parse("imported.yaml", r.YAML, report.Compile); err != nil {
		return nil, fmt.Errorf("what was imported is no scenario; this is a bug: %w", err)
	}
	return r, nil
}

// importer is one import.
type importer struct {
	*live
	Options
	names *names

	storageSide
	podSide
	nodeGroups []nodeGroup
	notes      []string
}

// note is something that the scenario does not say as the cluster has it. Names in it
// are those of the scenario.
func (i *importer) note(format string, args ...any) {
	i.notes = append(i.notes, fmt.Sprintf(format, args...))
}

// nodeName is the name of a node in the scenario.
func (i *importer) nodeName(node string) string { return i.names.of(kindNode, node) }

// nodeNamed is the live node of a name, nil if there is none.
func (i *importer) nodeNamed(name string) *corev1.Node {
	for n := range i.nodes {
		if i.nodes[n].Name == name {
			return &i.nodes[n]
		}
	}
	return nil
}
