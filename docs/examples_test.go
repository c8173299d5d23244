// SPDX-License-Identifier: Apache-2.0

// Package docs_test reads the examples in the documentation as the programs do,
// so that what is shown there works.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/sim"
)

// example is a fenced block of YAML.
type example struct{ file, text string }

// examples returns the YAML blocks of all documents.
func examples(t *testing.T) []example {
	t.Helper()
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```")
	files, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	for _, f := range append(files, "../README.md", "../CONTRIBUTING.md") {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatch(string(text), -1) {
			all = append(all, example{f, m[1]})
		}
	}
	return all
}

func TestExamplesOfConfigurationParse(t *testing.T) {
	seen := 0
	for _, e := range examples(t) {
		if !strings.HasPrefix(e.text, "pools:") {
			continue
		}
		seen++
		if _, err := driver.ParseClasses([]byte(e.text)); err != nil {
			t.Errorf("%s: %v\n%s", e.file, err, e.text)
		}
	}
	if seen < 2 {
		t.Errorf("%d examples of a configuration found, want those of README.md and device-classes.md", seen)
	}
}

func TestExamplesOfPodsParse(t *testing.T) {
	seen := 0
	for _, e := range examples(t) {
		var volumes []corev1.Volume
		var err error
		switch {
		case strings.Contains(e.text, "kind: Pod\n"):
			var pod corev1.Pod
			err = yaml.UnmarshalStrict([]byte(e.text), &pod)
			volumes = pod.Spec.Volumes
		case strings.HasPrefix(e.text, "volumes:"):
			var spec corev1.PodSpec
			err = yaml.UnmarshalStrict([]byte(e.text), &spec)
			volumes = spec.Volumes
		default:
			continue
		}
		if err != nil {
			t.Errorf("%s: %v\n%s", e.file, err, e.text)
		}
		for _, v := range volumes {
			if v.PersistentVolumeClaim != nil {
				continue
			}
			seen++
			if v.CSI == nil || v.CSI.Driver != "podlv.dev" || v.CSI.VolumeAttributes["size"] == "" {
				t.Errorf("%s: volume %s is no inline volume of ours with a size", e.file, v.Name)
			}
		}
	}
	if seen < 2 {
		t.Errorf("%d example volumes found, want those of README.md and inline-volumes.md", seen)
	}
}

func TestExamplesOfScenariosParse(t *testing.T) {
	seen := 0
	for _, e := range examples(t) {
		if !strings.HasPrefix(e.text, "description:") {
			continue
		}
		seen++
		if _, err := sim.Parse(e.file, []byte(e.text)); err != nil {
			t.Errorf("%v\n%s", err, e.text)
		}
	}
	if seen == 0 {
		t.Error("no example of a scenario found, want that of simulate.md")
	}
}

// Every metric is explained, and nothing is that is none.
func TestMetricsOfSimulationsAreDocumented(t *testing.T) {
	text := read(t, "simulate.md")
	metrics := regexp.MustCompile(`json:"([a-zA-Z]+)"`).FindAllStringSubmatch(read(t, "../sim/report/metrics.go"), -1)
	for _, m := range metrics {
		if !strings.Contains(text, "`"+m[1]+"`") && m[1] != "nodes" {
			t.Errorf("metric %s is not in simulate.md", m[1])
		}
	}
	if len(metrics) < 20 {
		t.Errorf("%d metrics found: is the pattern wrong?", len(metrics))
	}
}

// What is written as code and looks like one of these must be in the sources.
func TestNamedFlagsMetricsAndEventsExist(t *testing.T) {
	for _, c := range []struct{ what, pattern, sources string }{
		{"flag", "`--([a-z-]+)", "../cmd/podlv/*.go"},
		{"metric", "`(podlv_[a-z_]+)`", "../driver/*.go ../driver/controller/*.go"},
		{"event", "`(Podlv[A-Za-z]+)`", "../driver/*.go ../driver/controller/*.go"},
	} {
		sources := read(t, strings.Fields(c.sources)...)
		found := regexp.MustCompile(c.pattern).FindAllStringSubmatch(read(t, "operations.md", "inline-volumes.md", "device-classes.md", "scheduling.md"), -1)
		if len(found) == 0 {
			t.Errorf("no %s is documented any more: is the pattern wrong?", c.what)
		}
		for _, m := range found {
			if !strings.Contains(sources, `"`+m[1]+`"`) {
				t.Errorf("%s %s is documented, but not in %s", c.what, m[1], c.sources)
			}
		}
	}
}

// read returns what the files of some patterns hold, tests left out.
func read(t *testing.T, patterns ...string) string {
	t.Helper()
	var all strings.Builder
	for _, p := range patterns {
		files, err := filepath.Glob(p)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no such file (%v)", p, err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}
