// SPDX-License-Identifier: Apache-2.0

// Package trace is what happened in a run of the simulator: what every node's disks held
// and what was published of them, and the life of each pod and claim, all over time.
//
// There are only a Recorder, which is told of it and finds out the rest from informers,
// and the Trace that it makes, which is written to a file and read again.
//
// A trace is bounded: the samples of a node are thinned out when there are many, so that
// peaks stay, and a pod keeps its first and last steps. What a cluster cannot say, as a
// real one the use of its disks, is absent.
package trace

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// File is the name of a trace's file.
const File = "trace.json.gz"

// version is that of the format. It changes when what is there means something else.
const version = 1

// Trace is what happened in a run. All times are milliseconds after Started.
type Trace struct {
	Version  int       `json:"version"`
	Scenario string    `json:"scenario"`
	Started  time.Time `json:"started"`
	End      int64     `json:"end"`
	// Marks are what the scenario did to the cluster.
	Marks    []Mark     `json:"marks,omitempty"`
	Cluster  Cluster    `json:"cluster"`
	Failures []Failures `json:"failures,omitempty"` // by reason
	Nodes    []Node     `json:"nodes"`              // by name
	Pods     []Pod      `json:"pods"`               // as they were made
	Claims   []Claim    `json:"claims,omitempty"`   // as they were made
}

// Mark is something that happened to the cluster.
type Mark struct {
	At   int64  `json:"at"`
	Text string `json:"text"`
}

// Cluster is how many pods were in which state: a sample holds until the next.
type Cluster struct {
	At []int64 `json:"at"`
	// Made counts all pods so far; the others are as it is then.
	Made     []int64 `json:"made"`
	Waiting  []int64 `json:"waiting"`  // have no node
	Starting []int64 `json:"starting"` // have one, and do not run yet
	Running  []int64 `json:"running"`
	Ended    []int64 `json:"ended"` // by themselves, refused, or removed
}

// Failures is how often something had failed by then.
type Failures struct {
	Reason string  `json:"reason"`
	At     []int64 `json:"at"`
	Count  []int64 `json:"count"`
}

// Node is what a node's pools held and what was published of them.
type Node struct {
	Name  string `json:"name"`
	Pools []Pool `json:"pools"`
}

// Pool is one pool of a node, in bytes; a sample holds until the next. A column that is
// absent is 0 throughout, or not known.
type Pool struct {
	Name string  `json:"name"`
	At   []int64 `json:"at"`
	// Total is what there is for LVs: of a thin pool its size, or more if its classes may
	// promise more.
	Total []int64 `json:"total,omitempty"`
	// What LVs take of it: of inline volumes, of generic ephemeral ones, of other claims
	// (and their snapshots), and of everybody else.
	Inline    []int64 `json:"inline,omitempty"`
	Ephemeral []int64 `json:"ephemeral,omitempty"`
	Claims    []int64 `json:"claims,omitempty"`
	Foreign   []int64 `json:"foreign,omitempty"`
	// Allocatable is the extended resource of the pool, and Capacity what is published
	// for claims, by StorageClass; -1: nothing is.
	Allocatable []int64            `json:"allocatable,omitempty"`
	Capacity    map[string][]int64 `json:"capacity,omitempty"`
}

// What a Step is.
const (
	Made       = "made"
	Unplaced   = "unplaced"    // the scheduler found no node; Text is its message
	Selected   = "selected"    // the scheduler has chosen a Node for a claim
	GivenBack  = "given back"  // the claim's node could not make the volume
	VolumeMade = "volume made" // Text is the PersistentVolume's name
	Bound      = "bound"       // a pod to its Node, a claim to its volume
	Refused    = "refused"     // by kubelet; Text is why
	Called     = "called"      // a CSI call was answered
	Told       = "told"        // a warning; Text is its reason and message
	Running    = "running"
	Ended      = "ended"   // the pod has its last phase
	Cleared    = "cleared" // its volumes are unpublished
	Removed    = "removed" // from the API
	LeftOut    = "left out"
)

// How far a pod came.
const (
	Ran      = "ran"      // all its volumes were published
	Rejected = "refused"  // by kubelet
	Starting = "starting" // it has a node, and not all its volumes
	Waiting  = "waiting"  // it has no node
)

// Step is one thing that happened to a pod or a claim.
type Step struct {
	At   int64  `json:"at"`
	What string `json:"what"`
	Node string `json:"node,omitempty"`
	Text string `json:"text,omitempty"`
	// Of a call: its method, the volume's handle, the gRPC code, and how long it took, in
	// milliseconds.
	Method string  `json:"method,omitempty"`
	Volume string  `json:"volume,omitempty"`
	Code   string  `json:"code,omitempty"`
	Took   float64 `json:"took,omitempty"`
}

// Pod is the life of one. A pod that was made again under its name is another.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Workload  string `json:"workload,omitempty"`
	Node      string `json:"node,omitempty"`
	// State is how far it came: Ran, Rejected, Starting or Waiting.
	State string `json:"state"`
	// Claims are the places in the trace's Claims of those that it uses.
	Claims []int  `json:"claims,omitempty"`
	Steps  []Step `json:"steps"`
}

// Claim is the life of a PersistentVolumeClaim.
type Claim struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Class     string `json:"class,omitempty"`
	Size      int64  `json:"size"` // that was asked for at first, bytes
	Steps     []Step `json:"steps"`
}

// Write writes a trace, compressed.
func (t *Trace) Write(w io.Writer) error {
	z := gzip.NewWriter(w)
	return errors.Join(json.NewEncoder(z).Encode(t), z.Close())
}

// ReadFile reads a trace that was written. The error names the file, and is
// fs.ErrNotExist when there is none.
func ReadFile(name string) (*Trace, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s: is no trace: %w", name, err)
	}
	t := &Trace{}
	if err := json.NewDecoder(z).Decode(t); err != nil {
		return nil, fmt.Errorf("%s: is no trace: %w", name, err)
	}
	if t.Version != version {
		return nil, fmt.Errorf("%s: has version %d; this program reads version %d: run the scenario again", name, t.Version, version)
	}
	return t, nil
}
