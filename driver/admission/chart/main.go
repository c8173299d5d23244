// SPDX-License-Identifier: Apache-2.0

// Command chart writes the admission policies as a template of the Helm chart: chart FILE.
//
// What they say is package admission's alone. The template has its text, with actions
// where a cluster's pools, classes and names go; the chart computes only those. A test of
// package deploy compares what the chart renders with what admission makes.
package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/admission"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: chart FILE")
		os.Exit(2)
	}
	text, err := templates()
	if err == nil {
		err = os.WriteFile(os.Args[1], []byte(text), 0o644) //nolint:gosec // anybody may read it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// Names that stand for those of a cluster.
const (
	pool, class, storageClass = "placeholder-pool", "placeholder-class", "placeholder-storageclass"
	namespace, exempt         = "placeholder-namespace", "placeholder-exempt"
)

// classesFile has one class on the pool, and one that is on another.
const classesFile = `
pools: [{name: placeholder-pool, volumeGroup: a}, {name: other, volumeGroup: b}]
classes: [{name: placeholder-class, pool: placeholder-pool}, {name: elsewhere, pool: other}]
`

// hole is a text that stands for a value of the template's data.
type hole struct{ text, key string }

// holes of all policies, the longest text first.
var holes = []hole{
	{`{"placeholder-class": [4194304.0, 1.0, 0.0]}`, "rates"},
	{`{"elsewhere": "", "placeholder-class": ""}`, "sizes"},
	{`{"placeholder-class": ""}`, "sizes"},
	{`{"placeholder-storageclass": "placeholder-class"}`, "claims"},
	{`"none is named, and there is no default class"`, "noClass"},
	{`"placeholder-storageclass"`, "default"},
	{"*placeholder-storageclass=placeholder-class", "list"},
	{"*placeholder-storageclass=elsewhere", "list"},
	{"placeholder-class, elsewhere", "names"},
	{"placeholder-namespace", "namespace"},
	{"placeholder-pool", "pool"},
}

// templates are three: of a pool that claims have, too; of one that they have not; and
// of what a cluster has once.
func templates() (string, error) {
	both, err := objects(class)
	if err != nil {
		return "", err
	}
	inline, err := objects("elsewhere")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("{{/*\nSPDX-License-Identifier: Apache-2.0\nMade by go generate from package driver/admission. DO NOT EDIT.\n*/}}\n")
	for _, t := range []struct {
		name    string
		objects []runtime.Object
		ofPool  bool
	}{{"pool", both, true}, {"poolWithoutClaims", inline, true}, {"cluster", both, false}} {
		fmt.Fprintf(&b, "\n{{- define \"podlv.policies.%s\" }}\n", t.name)
		for _, o := range t.objects {
			if err := write(&b, o, t.ofPool); err != nil {
				return "", err
			}
		}
		b.WriteString("{{- end }}\n")
	}
	if left := regexp.MustCompile(`placeholder\S*`).FindString(b.String()); left != "" {
		return "", fmt.Errorf("%q is left: admission writes it in a way that is unknown here", left)
	}
	return b.String(), nil
}

// objects are the policies of a cluster whose StorageClass has a class.
func objects(of string) ([]runtime.Object, error) {
	classes, err := driver.ParseClasses([]byte(classesFile))
	if err != nil {
		return nil, err
	}
	return admission.Objects(admission.Config{
		Classes: classes, StorageClasses: map[string]string{storageClass: of}, DefaultStorageClass: storageClass,
		AgentNamespace: namespace, AgentAccount: "podlv", ExemptNamespaces: []string{exempt},
	})
}

// write writes an object, if it is the pool's, or the cluster's.
func write(b *strings.Builder, o runtime.Object, ofPool bool) error {
	asJSON, err := json.Marshal(o)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal(asJSON, &fields); err != nil {
		return err
	}
	delete(fields, "status")
	metadata := fields["metadata"].(map[string]any)
	name := metadata["name"].(string)
	if name == "podlv-pool-other" || strings.HasPrefix(name, "podlv-pool-") != ofPool {
		return nil
	}
	b.WriteString("---\n")
	return mapping(b, fields, 0)
}

// mapping writes a map in block style, so that what is rendered can be read.
func mapping(b *strings.Builder, m map[string]any, indent int) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		margin := strings.Repeat(" ", indent)
		if key == "matchResources" {
			if err := exempted(b, m[key], margin); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(b, "%s%s:", margin, key)
		if err := value(b, m[key], indent+2); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	return nil
}

// exempted writes which namespaces a policy leaves out, if it does.
func exempted(b *strings.Builder, v any, margin string) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	list := `["` + exempt + `"]`
	if strings.Count(string(text), list) != 1 {
		return fmt.Errorf("matchResources: %s: does not name the exempt namespaces", text)
	}
	fmt.Fprintf(b, "%[1]s{{- with .exempt }}\n%[1]smatchResources: %[2]s\n%[1]s{{- end }}\n", margin,
		strings.Replace(string(text), list, "{{ sortAlpha . | toRawJson }}", 1))
	return nil
}

// value writes what stands behind "key:" or "-".
func value(b *strings.Builder, v any, indent int) error {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			b.WriteString(" {}\n")
			return nil
		}
		b.WriteString("\n")
		return mapping(b, v, indent)
	case []any:
		b.WriteString("\n")
		for _, e := range v {
			margin := strings.Repeat(" ", indent)
			if m, ok := e.(map[string]any); ok {
				var element strings.Builder
				if err := mapping(&element, m, indent+2); err != nil {
					return err
				}
				b.WriteString(margin + "- " + strings.TrimLeft(element.String(), " "))
				continue
			}
			b.WriteString(margin + "-")
			if err := value(b, e, indent+2); err != nil {
				return err
			}
		}
		return nil
	case string:
		return scalar(b, v, indent)
	default:
		text, err := json.Marshal(v)
		fmt.Fprintf(b, " %s\n", text)
		return err
	}
}

// scalar writes a string: expressions as they are, over as many lines as they have.
func scalar(b *strings.Builder, s string, indent int) error {
	if strings.ContainsRune(s, '`') || strings.HasPrefix(s, " ") || strings.HasSuffix(s, "\n") {
		return fmt.Errorf("%q: a template of raw strings cannot have that", s)
	}
	plain := regexp.MustCompile(`^[A-Z][A-Za-z]+$|^[a-z]+[a-zA-Z.0-9/-]+$`)
	action, filled := s, ""
	for _, h := range holes {
		mark := "@" + h.key + "@"
		if strings.Contains(action, h.text) {
			action = strings.ReplaceAll(action, h.text, mark)
			filled += fmt.Sprintf(" | replace %q .%s", mark, h.key)
		}
	}
	switch {
	case filled == "" && plain.MatchString(s):
		fmt.Fprintf(b, " %s\n", s)
	case filled == "" && len(s) < 60 && !strings.Contains(s, "\n"):
		text, err := json.Marshal(s)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, " %s\n", unescape(text))
	case len(s) < 60 && !strings.Contains(s, "\n"):
		fmt.Fprintf(b, " {{ `%s`%s | toRawJson }}\n", action, filled)
	default:
		fmt.Fprintf(b, " |-\n%s{{- `%s`%s | nindent %d }}\n", strings.Repeat(" ", indent), action, filled, indent)
	}
	return nil
}

// unescape takes back what package json does for browsers.
func unescape(text []byte) string {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(text))
}
