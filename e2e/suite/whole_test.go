// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/lab"
)

// The tests of this file take podlv away, or put another in its place. They are the last,
// by the file's name, and leave this one as it was.

// podlv is taken away, and comes back. Meanwhile no LV and no PersistentVolume goes, and
// pods have their volumes; afterwards all can be used and deleted.
func TestReinstall(t *testing.T) {
	c := newCase(t)
	c.restoresPodlv()
	p := c.everyKind("stays")
	before := c.start(p)
	container, node := c.containerOf("stays"), c.nodeOf("stays")
	volumes, claims := c.volumesOn(node), c.persistentVolumes()
	require.Len(t, volumes, len(before))

	c.uninstall()
	require.Equal(t, volumes, c.volumesOn(node))
	require.Equal(t, claims, c.persistentVolumes())
	c.goesOn("stays", container)
	_, err := the.Kubectl(c.ctx, nil, "get", "storageclass", "ssd")
	require.ErrorContains(t, err, "not found")

	require.NoError(t, the.Install(c.ctx))
	c.goesOn("stays", container)
	c.until("what the node has is told again", func() error { return c.usable() })
	c.removePod("stays")
	c.keptClaims(before, c.start(c.everyKindAgain("again")))
}

// podlv is upgraded from the previous commit's chart and program while pods run, and back.
// The pods do not notice; before and after each step new ones start, and what is in the
// cluster is what the new chart says.
func TestUpgrade(t *testing.T) {
	c := newCase(t)
	old := c.previous()
	c.restoresPodlv()
	c.uninstall()
	require.NoError(t, the.Helm(c.ctx, append([]string{"install", "podlv", "--wait", "--timeout=5m"}, old...)...))
	for _, n := range the.Nodes() {
		require.NoError(t, the.WaitDriver(c.ctx, n.Name, "podlv.dev"))
	}
	c.until("what the nodes have is told", func() error { return c.usable() })
	p := c.everyKind("stays")
	before := c.start(p)
	container := c.containerOf("stays")

	for _, step := range []struct {
		name string
		helm []string
	}{
		{"upgrade", append([]string{"upgrade", "podlv"}, the.Chart()...)},
		{"rollback", []string{"rollback", "podlv", "1", "--namespace=" + lab.Namespace}},
		{"again", append([]string{"upgrade", "podlv"}, the.Chart()...)},
	} {
		began := time.Now()
		require.NoError(t, the.Helm(c.ctx, append(step.helm, "--wait", "--timeout=10m")...))
		c.until("what the nodes have is told", func() error { return c.usable() })
		t.Logf("%s took %s", step.name, time.Since(began).Round(time.Second))
		c.goesOn("stays", container)
		c.asReleased()
		c.fresh(c.start(c.pod(step.name, inline("inline", "ext4", "64Mi"), ephemeral("ephemeral", "ssd", "64Mi"))), 2)
		c.removePod(step.name)
	}
	c.removePod("stays")
	c.keptClaims(before, c.start(c.everyKindAgain("again-stays")))
}

// previous is helm's arguments for the chart, the values and the image of the commit before
// this one. All nodes have the image.
func (c *kase) previous() []string {
	c.Helper()
	const tag = "previous"
	dir := filepath.Join(the.Dir, tag)
	tree := filepath.Join(dir, "source")
	require.NoError(c, os.MkdirAll(tree, 0o755))
	shell := func(in, command string) {
		c.Helper()
		cmd := exec.CommandContext(c.ctx, "sh", "-c", command)
		cmd.Dir, cmd.Env = in, append(os.Environ(), "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(c, err, "%s: %s", command, out)
	}
	// A commit that is not there is one of a clone that is not deep enough.
	shell(filepath.Join("..", ".."), "git archive --output="+filepath.Join(dir, "source.tar")+" HEAD~")
	shell(tree, "tar -xf ../source.tar && go build -trimpath -ldflags='-s -w -X main.version=previous' -o ../podlv ./cmd/podlv")
	file := filepath.Join(dir, "image.tar")
	require.NoError(c, the.WriteAgentImage(file, "podlv.dev/podlv:"+tag, filepath.Join(dir, "podlv")))
	for _, n := range the.Nodes() {
		require.NoError(c, n.LoadImage(c.ctx, file))
	}
	return append([]string{
		filepath.Join(tree, "deploy", "chart"), "--namespace=" + lab.Namespace,
		"--values=" + filepath.Join(tree, "e2e", "lab", "values.yaml"), "--values=" + filepath.Join(tree, "e2e", "suite", "values.yaml"), "--set=image.tag=" + tag,
	}, the.KindValues()...)
}

// restoresPodlv has the case's end install podlv as it was, should the test have failed
// on the way: its volumes go only then.
func (c *kase) restoresPodlv() {
	c.Cleanup(func() {
		if c.Failed() {
			the.KeepEvidence(c.namespace + "-podlv")
			require.NoError(c, the.Helm(c.ctx, append([]string{"upgrade", "podlv", "--install", "--wait", "--timeout=5m"}, the.Chart()...)...))
		}
	})
}

// uninstall takes podlv away and waits until no pod of it is there.
func (c *kase) uninstall() {
	c.Helper()
	require.NoError(c, the.Helm(c.ctx, "uninstall", "podlv", "--namespace="+lab.Namespace, "--wait", "--timeout=5m"))
	c.until("no pod of podlv is there", func() error {
		pods, err := the.Client.CoreV1().Pods(lab.Namespace).List(c.ctx, metav1.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("there are %d", len(pods.Items))
		}
		return err
	})
}

// usable is nil when claims are offered something of each pool on each node.
func (c *kase) usable() error {
	for _, n := range the.Nodes() {
		for _, class := range []string{"ssd", "thin"} {
			if has, err := c.capacity(n.Name, class); err != nil || has == 0 {
				return fmt.Errorf("%s offers %d bytes of %s (%v)", n.Name, has, class, err)
			}
		}
		if _, err := c.findAgent(n); err != nil {
			return err
		}
	}
	return nil
}

// everyKind is a pod with every kind of volume, thick and thin, that goes on writing to a
// claim's.
func (c *kase) everyKind(name string) *corev1.Pod {
	c.Helper()
	c.claim("fs", "ssd", "64Mi", corev1.PersistentVolumeFilesystem)
	c.claim("raw", "ssd", "64Mi", corev1.PersistentVolumeBlock)
	c.claim("thin-fs", "thin", "64Mi", corev1.PersistentVolumeFilesystem)
	c.claim("thin-raw", "thin", "64Mi", corev1.PersistentVolumeBlock)
	p := c.everyKindAgain(name)
	p.Spec.Containers[0].Args[0] = strings.Replace(p.Spec.Containers[0].Args[0], "echo done\n", `echo done
(n=0; while true; do n=$((n + 1)); echo $n >/fs/count; sync /fs/count; sleep 0.5; done) &
`, 1)
	return p
}

// everyKindAgain is a pod with these claims and new volumes of the other kinds.
func (c *kase) everyKindAgain(name string) *corev1.Pod {
	return c.pod(name,
		inline("inline", "ext4", "64Mi"), inline("inline-thin", "ext4", "64Mi", "class", "thin"),
		ephemeral("ephemeral", "ssd", "64Mi"), ephemeral("ephemeral-thin", "thin", "64Mi"),
		claimed("fs", false), claimed("raw", true), claimed("thin-fs", false), claimed("thin-raw", true))
}

// keptClaims requires that a later pod found what the one before left in claims, and in
// nothing else.
func (c *kase) keptClaims(before, later map[string]string) {
	c.Helper()
	require.Len(c, later, len(before))
	for v, s := range later {
		if v == "fs" || v == "raw" || v == "thin-fs" || v == "thin-raw" {
			require.Equal(c, kept(before)[v], s, v)
		} else {
			require.True(c, strings.HasPrefix(s, "new "), "%s: %s", v, s)
		}
	}
}

// goesOn requires that a pod of everyKind has the container that it had, and writes.
func (c *kase) goesOn(pod, container string) {
	c.Helper()
	require.Equal(c, container, c.containerOf(pod), "the container was started again")
	first, err := c.exec(pod, "cat /fs/count")
	require.NoError(c, err)
	c.until("it writes", func() error {
		now, err := c.exec(pod, "cat /fs/count")
		if err == nil && now == first {
			err = fmt.Errorf("it has written %s", now)
		}
		return err
	})
}

// persistentVolumes are the names of the case's.
func (c *kase) persistentVolumes() []string {
	c.Helper()
	all, err := the.Client.CoreV1().PersistentVolumes().List(c.ctx, metav1.ListOptions{})
	require.NoError(c, err)
	var names []string
	for _, v := range all.Items {
		if v.Spec.ClaimRef.Namespace == c.namespace {
			names = append(names, v.Name)
		}
	}
	slices.Sort(names)
	return names
}

// asReleased requires that what is in the cluster is what the present release has:
// programs, policies, rights.
func (c *kase) asReleased() {
	c.Helper()
	manifest, err := helmOutput(c.ctx, "get", "manifest", "podlv", "--namespace="+lab.Namespace)
	require.NoError(c, err)
	require.Contains(c, manifest, "kind: MutatingAdmissionPolicy")
	require.Contains(c, manifest, "kind: ClusterRole")
	differences, err := the.Kubectl(c.ctx, strings.NewReader(manifest), "diff", "-f", "-")
	require.NoError(c, err, "the cluster has something else than the release: %s", differences)
}

func helmOutput(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, filepath.Join(the.Programs, "helm"), append(args, "--kubeconfig="+the.Kubeconfig)...).Output()
	return string(out), err
}
