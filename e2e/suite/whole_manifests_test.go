// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/podlv/podlv/e2e/lab"
)

// yamlBlock is an example in a document.
var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// What the documentation shows is what a cluster takes: its pods and claims run with the
// device classes of the README, its configurations are the chart's values, and the manifests
// for kubectl are accepted. An example of a new kind needs a place here.
func TestManifestsOfTheDocumentation(t *testing.T) {
	c := newCase(t)
	c.restoresPodlv()
	const repository = "../.."
	documents, err := filepath.Glob(filepath.Join(repository, "docs", "*.md"))
	require.NoError(t, err)
	documents = append(documents, filepath.Join(repository, "README.md"))
	var examples []any // pods, and manifests as they are written, in their order
	var configurations []string
	readme := ""
	for _, file := range documents {
		if filepath.Base(file) == "simulate.md" {
			continue // scenarios: docs/examples_test.go has them
		}
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			block := m[1]
			switch {
			case strings.Contains(block, "kind: Pod\n"):
				pod := &corev1.Pod{}
				require.NoError(t, yaml.UnmarshalStrict([]byte(block), pod), file)
				examples = append(examples, pod)
			case strings.HasPrefix(block, "volumes:"):
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("example-%d", len(examples))}}
				require.NoError(t, yaml.UnmarshalStrict([]byte(block), &pod.Spec), file)
				pod.Spec.Containers = []corev1.Container{{Name: "example"}}
				for _, v := range pod.Spec.Volumes {
					pod.Spec.Containers[0].VolumeMounts = append(pod.Spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: v.Name, MountPath: "/" + v.Name})
				}
				examples = append(examples, pod)
			case strings.HasPrefix(block, "apiVersion:"):
				examples = append(examples, block)
			case strings.HasPrefix(block, "pools:"), strings.Contains(block, "\npools:\n"):
				configurations = append(configurations, block)
				if filepath.Base(file) == "README.md" {
					readme = block
				}
			default:
				require.FailNow(t, "an example of an unknown kind", "%s:\n%s", file, block)
			}
		}
	}
	require.NotEmpty(t, readme)

	for i, text := range configurations {
		c.helmTakes(fmt.Sprintf("configuration-%d", i), text)
	}
	_, err = the.Kubectl(c.ctx, nil, "apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", filepath.Join(repository, "deploy", "manifests", "podlv.yaml"))
	require.NoError(t, err)

	c.withClassesOf(readme)
	c.finally(func() { _, _ = the.Kubectl(c.ctx, nil, "delete", "volumesnapshotclass", "podlv") })
	c.claim("database", "fast", "320Mi", corev1.PersistentVolumeFilesystem) // the source of the snapshot
	said := c.start(c.pod("database", claimed("database", false)))
	for _, e := range examples {
		switch e := e.(type) {
		case string:
			c.apply(e)
		case *corev1.Pod:
			c.runs(e)
		}
	}
	later := c.start(c.pod("restored", volume{name: "database", source: claimed("database-as-it-was", false).source}))
	require.Equal(t, kept(said), later)
	claim, err := the.Client.CoreV1().PersistentVolumeClaims(c.namespace).Get(c.ctx, "database-as-it-was", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, "10Gi", claim.Status.Capacity.Storage().String())
}

// runs requires that a pod of the documentation runs, with inline volumes of its size.
func (c *kase) runs(p *corev1.Pod) {
	c.Helper()
	p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](1)
	for i := range p.Spec.Containers {
		p.Spec.Containers[i].Image, p.Spec.Containers[i].ImagePullPolicy = lab.Busybox, corev1.PullNever // there is no registry
	}
	c.create(p)
	c.until("the pod "+p.Name+" runs", func() error { return c.running(p.Name, time.Time{}) })
	for _, v := range p.Spec.Volumes {
		if v.CSI == nil {
			continue
		}
		size, err := c.exec(p.Name, "df -mP /"+v.Name+" | tail -n 1 | awk '{print $2}'")
		require.NoError(c, err)
		require.Regexp(c, `^(19|20)\d{3}$`, size, "MiB that %s has of 20Gi", v.Name)
	}
	c.removePod(p.Name)
}

// helmTakes requires that the chart can be installed with a configuration.
func (c *kase) helmTakes(name, text string) {
	c.Helper()
	file := filepath.Join(the.Dir, name+".yaml")
	require.NoError(c, os.WriteFile(file, []byte(text), 0o644))
	err := the.Helm(c.ctx, append([]string{"upgrade", "podlv", "--dry-run=server"}, append(the.Chart(), "--values="+file, "--set-json=storageClasses=[]")...)...)
	require.NoError(c, err, text)
}

// withClassesOf adds the pools and classes of a configuration, with a StorageClass for each
// class. Its VGs are on the nodes' spare disks. The case's end undoes it.
func (c *kase) withClassesOf(text string) {
	c.Helper()
	type object = map[string]any
	var added, values map[string][]object
	require.NoError(c, yaml.Unmarshal([]byte(text), &added))
	own, err := os.ReadFile("values.yaml")
	require.NoError(c, err)
	var all object
	require.NoError(c, yaml.Unmarshal(own, &all))
	delete(all, "agent")
	lists, err := yaml.Marshal(all)
	require.NoError(c, err)
	require.NoError(c, yaml.Unmarshal(lists, &values))
	for _, class := range values["classes"] {
		delete(class, "default") // there can be one
	}
	for _, class := range added["classes"] {
		values["storageClasses"] = append(values["storageClasses"], object{"name": class["name"], "class": class["name"]})
	}
	// The chart's own name for one.
	values["storageClasses"] = append(values["storageClasses"], object{"name": "podlv", "class": added["classes"][0]["name"]})
	for key, list := range added {
		values[key] = append(values[key], list...)
	}
	values["volumeSnapshotClasses"] = []object{} // the documentation makes it
	file := filepath.Join(the.Dir, "documented.yaml")
	b, err := yaml.Marshal(maps.Clone(values))
	require.NoError(c, err)
	require.NoError(c, os.WriteFile(file, b, 0o644))

	require.Len(c, added["pools"], 1, "there is one spare disk")
	vg := added["pools"][0]["volumeGroup"].(string)
	for _, n := range the.Nodes() {
		c.run(n, "vgcreate -q "+vg+" "+spareDisk(n))
	}
	c.finally(func() {
		require.NoError(c, the.Helm(c.ctx, append([]string{"upgrade", "podlv", "--wait", "--timeout=5m"}, the.Chart()...)...))
		for _, n := range the.Nodes() {
			for _, class := range added["classes"] {
				c.withdrawn(n, class["name"].(string))
			}
			c.run(n, "vgremove -q "+vg+" && pvremove -q "+spareDisk(n))
		}
	})
	require.NoError(c, the.Helm(c.ctx, append([]string{"upgrade", "podlv", "--wait", "--timeout=5m"}, append(the.Chart(), "--values="+file)...)...))
	for _, class := range added["classes"] {
		for _, n := range the.Nodes() {
			c.until("claims are offered it", func() error { _, err := c.capacity(n.Name, class["name"].(string)); return err })
		}
	}
}
