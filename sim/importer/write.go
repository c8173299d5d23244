// SPDX-License-Identifier: Apache-2.0

package importer

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// write is the scenario, an object a line.
func (i *importer) write() []byte {
	w := &strings.Builder{}
	line := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	line("# A cluster of Kubernetes %s, as it was at %s, for podlv-sim run and podlv-sim fit.", oneLine(i.version), i.Now.UTC().Format(time.RFC3339))
	line("# It has %d nodes, %d pods and %d persistent volumes.", len(i.nodes), i.podCount, i.volumeCount)
	if len(i.notes) > 0 {
		line("# What is not as it is there:")
		for _, n := range i.notes {
			line("# - %s", oneLine(n))
		}
	}
	line("description: A cluster of %d nodes and %d pods, as it was on %s.", len(i.nodes), i.podCount, i.Now.UTC().Format(time.DateOnly))
	line("storage:\n  pools:")
	for _, p := range i.file.Pools {
		line("  - %s", flow(p))
	}
	line("  classes:")
	for _, c := range i.file.Classes {
		line("  - %s", flow(c))
	}
	more := map[string]any{}
	for s, name := range i.storageClass {
		if class := i.classOf[s]; name != class {
			more[name] = class
		}
	}
	if len(more) > 0 {
		line("storageClasses: %s", flow(more))
	}
	line("nodes:")
	for _, g := range i.nodeGroups {
		line("- names: %s", flow(g.names))
		text, _ := json.Marshal(g) // of plain values
		var fields map[string]any
		_ = json.Unmarshal(text, &fields)
		for _, k := range []string{"labels", "cpu", "memory", "pods", "resources", "taints", "unschedulable", "volumeGroups"} {
			if v, has := fields[k]; has {
				line("  %s: %s", k, flow(v))
			}
		}
	}
	line("workloads:")
	if len(i.work) == 0 { // a scenario must have one
		line("- name: none\n  objects:\n  - %s", flow(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "none"}}))
	}
	for _, of := range i.work {
		line("- name: %s", flow(of.name))
		line("  placed: %s", flow(of.placed))
		line("  objects:")
		for _, o := range of.objects {
			line("  - %s", flow(o))
		}
	}
	line("until: {quiet: 15s, timeout: 15m}")
	line("expectations:\n- that: metrics.podsRunning == metrics.pods\n  message: every pod runs where it ran")
	return []byte(w.String())
}

// oneLine is text that cannot end a comment.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

var (
	// bare are strings that YAML reads as such without quotes.
	bare  = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_./-]*[A-Za-z0-9]|[0-9]+(Ki|Mi|Gi|Ti|Pi|m))$`)
	other = regexp.MustCompile(`(?i)^(true|false|null|yes|no|on|off|y|n|nan|inf)$`) // are something else
)

// flow is a value in YAML's form for one line. What an API object leaves empty is left
// out.
func flow(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return "null" // of values that JSON has not: there are none in what is written
	}
	var plain any
	_ = json.Unmarshal(text, &plain) // what was written just now
	b := &strings.Builder{}
	flowTo(b, plain)
	return b.String()
}

func flowTo(b *strings.Builder, value any) {
	switch v := value.(type) {
	case map[string]any:
		keys := slices.SortedFunc(maps.Keys(v), func(a, b string) int { return 100*(rank(a)-rank(b)) + strings.Compare(a, b) })
		b.WriteByte('{')
		first := true
		for _, k := range keys {
			if leftOut(k, v[k]) {
				continue
			}
			if !first {
				b.WriteString(", ")
			}
			first = false
			flowTo(b, k)
			b.WriteString(": ")
			flowTo(b, v[k])
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for n, item := range v {
			if n > 0 {
				b.WriteString(", ")
			}
			flowTo(b, item)
		}
		b.WriteByte(']')
	case string:
		if bare.MatchString(v) && !other.MatchString(v) {
			b.WriteString(v)
			return
		}
		text, _ := json.Marshal(v) // a string always is
		b.Write(text)
	default:
		text, _ := json.Marshal(v) // a number, true, false or null
		b.Write(text)
	}
}

// rank is where a key stands before others.
func rank(key string) int {
	if n := slices.Index([]string{"apiVersion", "kind", "metadata", "name"}, key); n >= 0 {
		return n
	}
	return 9
}

// leftOut says whether a key of an API object has nothing in it.
func leftOut(key string, value any) bool {
	m, isMap := value.(map[string]any)
	switch key {
	case "status":
		return isMap && len(m) == 0 || isMap && m["phase"] == nil
	case "resources":
		return isMap && len(m) == 0
	case "creationTimestamp":
		return value == nil
	case "metadata":
		return isMap && (len(m) == 0 || len(m) == 1 && m["creationTimestamp"] == nil && m["name"] == nil)
	}
	return value == nil
}
