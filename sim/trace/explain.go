// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/podlv/podlv/lvm"
)

// Find is the pods of a name, or of namespace/name: more than one when it was made again,
// or is in several namespaces.
func (t *Trace) Find(name string) (all []*Pod) {
	for i := range t.Pods {
		if p := &t.Pods[i]; p.Name == name || p.Namespace+"/"+p.Name == name {
			all = append(all, p)
		}
	}
	return all
}

// Like is up to so many names of pods that are most like one that is none.
func (t *Trace) Like(name string, most int) []string {
	likeness := map[string]int{}
	for _, p := range t.Pods {
		n := 0
		for n < min(len(name), len(p.Name)) && name[n] == p.Name[n] {
			n++
		}
		if strings.Contains(p.Name, name) {
			n += len(name)
		}
		likeness[p.Name] = n
	}
	all := make([]string, 0, len(likeness))
	for n := range likeness {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(likeness[b]-likeness[a], natural(a, b)) })
	return all[:min(len(all), most)]
}

// Explain writes the timeline of a pod, with times from its making: each attempt to place
// it and why it failed, what became of its claims, each call and its answer.
func (t *Trace) Explain(w io.Writer, p *Pod) error {
	out := &strings.Builder{}
	fmt.Fprintf(out, "pod %s/%s", p.Namespace, p.Name)
	if p.Workload != "" {
		fmt.Fprintf(out, " of %s", p.Workload)
	}
	switch p.State {
	case Ran:
		fmt.Fprintf(out, ": ran on %s\n", p.Node)
	case Rejected:
		fmt.Fprintf(out, ": refused by the kubelet of %s\n", p.Node)
	case Starting:
		fmt.Fprintf(out, ": bound to %s, and never ran\n", p.Node)
	default:
		fmt.Fprint(out, ": found no node\n")
	}
	type row struct {
		Step
		of string
	}
	var rows []row
	for _, s := range p.Steps {
		rows = append(rows, row{s, "pod"})
	}
	for _, i := range p.Claims {
		if i < 0 || i >= len(t.Claims) {
			continue // of another trace
		}
		c := t.Claims[i]
		for _, s := range c.Steps {
			rows = append(rows, row{s, fmt.Sprintf("claim %s (%s)", c.Name, lvm.FormatSize(c.Size))})
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.At, b.At) })
	made := p.Steps[0].At
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		lines := r.lines()
		fmt.Fprintf(table, "%9.3f s\t%s\t%s\n", float64(r.At-made)/1000, r.of, lines[0])
		for _, l := range lines[1:] {
			fmt.Fprintf(table, "\t\t  %s\n", l)
		}
	}
	_ = table.Flush() // into memory
	_, err := io.WriteString(w, out.String())
	return err
}

// lines are a step in words, one or more.
func (s Step) lines() []string {
	switch s.What {
	case Unplaced:
		return append([]string{"the scheduler finds no node"}, Refusals(s.Text)...)
	case Selected:
		return []string{"the scheduler has chosen " + s.Node}
	case GivenBack:
		return []string{"given back to the scheduler: " + s.Node + " cannot make it"}
	case VolumeMade:
		return []string{"volume made: " + cmp.Or(s.Volume, s.Text)}
	case Bound:
		return []string{"bound to " + cmp.Or(s.Node, s.Text)}
	case Refused:
		return []string{"refused by kubelet: " + s.Text}
	case Called:
		text := fmt.Sprintf("%s: %s, after %g ms", s.Method, s.Code, s.Took)
		if s.Text == "" {
			return []string{text}
		}
		return []string{text, s.Text}
	case Told:
		return []string{"warning: " + s.Text}
	case Cleared:
		return []string{"its volumes are unpublished"}
	case LeftOut:
		return []string{s.Text + " are left out here"}
	}
	if s.Text != "" {
		return []string{s.What + ": " + s.Text}
	}
	return []string{s.What}
}

// The scheduler's message (kubernetes 1.36, pkg/scheduler/framework/types.go, FitError):
// "0/3 nodes are available: 2 Insufficient x, 1 y. preemption: 0/3 nodes are available: …".
var (
	available = regexp.MustCompile(`(?s)^(\d+/\d+ nodes are available): (.*)$`)
	another   = regexp.MustCompile(`, \d+ `)
)

// Refusals are the reasons in a scheduler's message, one for each group of nodes; the
// message itself when it is of another form.
func Refusals(message string) []string {
	m := available.FindStringSubmatch(message)
	if m == nil {
		return []string{message}
	}
	reasons, preemption, preempted := strings.Cut(m[2], "preemption: ")
	reasons = strings.TrimRight(reasons, ", .")
	reasons = strings.TrimSuffix(reasons, ". no new claims to deallocate") // of dynamic resource allocation, said of every pod
	all := []string{m[1] + ":"}
	for {
		at := another.FindStringIndex(reasons)
		if at == nil {
			break
		}
		all = append(all, reasons[:at[0]])
		reasons = reasons[at[0]+2:]
	}
	all = append(all, reasons)
	if preempted {
		all = append(all, "preemption: "+strings.TrimSuffix(preemption, "."))
	}
	return all
}
