// SPDX-License-Identifier: Apache-2.0

package fit

import (
	"fmt"
	"io"
	"strings"
)

// Write writes the answer for a person.
func (a *Answer) Write(w io.Writer) error {
	b := &strings.Builder{}
	line := func(format string, args ...any) { fmt.Fprintf(b, format+"\n", args...) }
	switch {
	case a.Fits && a.Nodes != nil:
		line("It fits with %s of this shape.", count(a.Nodes.Needed, "node"))
	case a.Fits:
		line("It fits.")
	default:
		line("It does not fit.")
	}
	if a.New != nil {
		line("New pods: %d of %d run.", a.New.Running, a.New.Pods)
	}
	if a.Moved != nil {
		line("Pods that must go elsewhere: %d of %d run there.", a.Moved.Running, a.Moved.Pods)
	}
	if len(a.Stays) > 0 {
		line("Pods that wait until the drained node is back, because their claims' volumes are there: %d (%s).", len(a.Stays), some(a.Stays))
	}
	if a.NodeBound > 0 {
		line("Pods of DaemonSets and of the nodes themselves, which go nowhere else: %d.", a.NodeBound)
	}
	if a.Cluster.Pods > 0 {
		line("Pods that stay where they are: %d of %d run.", a.Cluster.Running, a.Cluster.Pods)
		if !a.Cluster.whole() {
			line("  That is not as it is in the cluster, so this answer is doubtful: the import says what it left out.")
		}
	}
	for _, r := range a.Waiting {
		if len(r.Pods) > 0 {
			line("%s (%s):", wait(len(r.Pods)), some(r.Pods))
		} else {
			line("Pods wait:")
		}
		for _, l := range r.Reason {
			line("    %s", l)
		}
	}
	if c := a.Copies; c != nil {
		least := ""
		if c.AtLeast {
			least = "at least "
		}
		line("Copies that fit beside what there is: %s%d.", least, c.Fit)
	}
	if n := a.Nodes; n != nil {
		if n.Needed < 0 {
			line("Up to %s of shape %s do not make it fit.", count(n.Tried, "node"), n.Shape)
		} else {
			line("Nodes of shape %s that are needed: %d; the sums of requests alone ask for %d.", n.Shape, n.Needed, n.Bound)
		}
	}
	line("That took %s.", count(a.Runs, "simulation"))
	_, err := io.WriteString(w, b.String())
	return err
}

func wait(n int) string {
	if n == 1 {
		return "1 pod waits"
	}
	return fmt.Sprintf("%d pods wait", n)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// some are up to five names.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
