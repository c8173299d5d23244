// SPDX-License-Identifier: Apache-2.0

// Package report is what a run of the simulator says in the end: its figures, which of
// its expectations held, what was found wrong, for people and for programs.
//
// There are only the Report, its Metrics, and the Result of an expectation, which is
// CEL over the metrics.
package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/podlv/podlv/sim/trace"
)

// Report is what came of a run.
type Report struct {
	Scenario    string `json:"scenario"`
	Description string `json:"description,omitempty"`
	Seed        int64  `json:"seed"`
	// Target is what kind of cluster it was: embedded, kind or kubeconfig.
	Target string `json:"target"`
	// Unknown are the names of metrics that cannot be known there. They are absent.
	Unknown []string  `json:"unknown,omitempty"`
	Started time.Time `json:"started"`
	// Interrupted: the run was ended before it was over, and the figures are those of
	// that moment.
	Interrupted  bool     `json:"interrupted,omitempty"`
	Phases       []Phase  `json:"phases"`
	Metrics      Metrics  `json:"metrics"`
	Expectations []Result `json:"expectations"`
	// Workloads are the figures of each.
	Workloads []Workload `json:"workloads"`
	// Waiting is why pods waited in the end, as the scheduler or kubelet says it.
	Waiting []Reason `json:"waiting,omitempty"`
	// Failures are the calls that failed, by method, code and words.
	Failures []Reason `json:"failures,omitempty"`
	// APIRequests are the requests that write, without those for Leases, from the first pod
	// until all had come to rest; the most frequent first. Absent when they are not known.
	APIRequests []APIRequests `json:"apiRequests,omitempty"`
	// Problems is what the oracle found, each in a sentence.
	Problems []string `json:"problems,omitempty"`
	// Simulator and ControlPlane are what the two processes took; the latter is absent when
	// it was none of this machine.
	Simulator    Usage `json:"simulator"`
	ControlPlane Usage `json:"controlPlane,omitzero"`
	// Trace is what happened, in a file of its own; nil when nobody has recorded it.
	Trace *trace.Trace `json:"-"`
}

// Phase is a part of a run.
type Phase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Workload is the figures of the pods of one workload.
type Workload struct {
	Name      string  `json:"name"`
	Pods      int     `json:"pods"`
	Running   int     `json:"running"`
	Waiting   int     `json:"waiting"`
	Refused   int     `json:"refused"`
	ToRunning Seconds `json:"toRunning"`
	// Seconds is the time from the making of the first of its pods until the last ran.
	Seconds float64 `json:"seconds"`
}

// Reason is why something did not happen, and how often that was so.
type Reason struct {
	Text  string `json:"text"`
	Count int    `json:"count"`
}

// APIRequests is how often the API server was asked for something.
type APIRequests struct {
	Verb     string `json:"verb"`     // as PATCH
	Resource string `json:"resource"` // as pods, or nodes/status
	Count    int    `json:"count"`
}

// Usage is what a process took of its machine.
type Usage struct {
	PeakMemory int64   `json:"peakMemory"` // resident at most, bytes
	CPUSeconds float64 `json:"cpuSeconds"`
}

// Passed says whether every expectation held of which that can be known, and the run came
// to its end.
func (r *Report) Passed() bool {
	for _, e := range r.Expectations {
		if !e.Held && e.Skipped == "" {
			return false
		}
	}
	return !r.Interrupted
}

// Took is a phase that took so long.
func Took(name string, d time.Duration) Phase { return Phase{name, round(d.Seconds())} }

// Add puts a phase that began at start at the end.
func (r *Report) Add(name string, start time.Time) {
	r.Phases = append(r.Phases, Took(name, time.Since(start)))
}

// Seconds is how long all phases took.
func (r *Report) Seconds() float64 {
	sum := 0.0
	for _, p := range r.Phases {
		sum += p.Seconds
	}
	return round(sum)
}

// Write writes the report's files into a folder, which is made if need be.
func (r *Report) Write(dir string) error {
	all := Prepare(dir)
	for name, write := range map[string]func(io.Writer) error{
		"report.json": r.JSON, "junit.xml": r.JUnit, "report.html": r.Page, "report.md": r.Markdown, "metrics.prom": r.Prometheus,
	} {
		all = errors.Join(all, r.file(dir, name, write))
	}
	if r.Trace != nil {
		all = errors.Join(all, r.file(dir, trace.File, r.Trace.Write))
	}
	return all
}

// Prepare makes the folder, and finds out whether it can be written into, before a run
// whose report would be lost.
func Prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("output folder: %w", err)
	}
	f, err := os.CreateTemp(dir, ".podlv-sim-*")
	if err != nil {
		return fmt.Errorf("output folder: %w", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (r *Report) file(dir, name string, write func(io.Writer) error) error {
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// MarshalJSON leaves out the metrics that are unknown: a 0 would be taken for one that was
// counted.
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report // which has no such method
	all, err := json.Marshal(r.Metrics)
	if err != nil || len(r.Unknown) == 0 {
		return marshal(plain(r), err)
	}
	var known map[string]json.RawMessage
	err = json.Unmarshal(all, &known)
	for _, name := range r.Unknown {
		delete(known, name)
	}
	return marshal(struct {
		plain
		Metrics map[string]json.RawMessage `json:"metrics"` // in place of the other
	}{plain(r), known}, err)
}

func marshal(v any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err = e.Encode(v)
	return b.Bytes(), err
}

// JSON writes the whole report.
func (r *Report) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// The parts of JUnit's XML that CI systems read.
type (
	testSuite struct {
		XMLName  xml.Name   `xml:"testsuite"`
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Time     float64    `xml:"time,attr"`
		Stamp    string     `xml:"timestamp,attr"`
		Cases    []testCase `xml:"testcase"`
	}
	testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Failure *failure `xml:"failure,omitempty"`
		Skipped *skipped `xml:"skipped,omitempty"`
	}
	skipped struct {
		Message string `xml:"message,attr"`
	}
	failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes the expectations as test cases, and an interruption as one that failed.
func (r *Report) JUnit(w io.Writer) error {
	s := testSuite{Name: r.Scenario, Time: r.Seconds(), Stamp: r.Started.UTC().Format("2006-01-02T15:04:05")}
	add := func(name string, f *failure) {
		s.Tests++
		if f != nil {
			s.Failures++
		}
		s.Cases = append(s.Cases, testCase{Class: "podlv-sim." + r.Scenario, Name: name, Failure: f})
	}
	for _, e := range r.Expectations {
		var f *failure
		if !e.Held && e.Skipped == "" {
			f = &failure{Message: e.That, Text: e.Error}
		}
		add(e.Message, f)
		if e.Skipped != "" {
			s.Skipped++
			s.Cases[len(s.Cases)-1].Skipped = &skipped{e.Skipped}
		}
	}
	if r.Interrupted {
		add("the run comes to its end", &failure{Message: "it was interrupted"})
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
