// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/cluster"
)

var (
	startPods = flag.Int("start.pods", 50, "`number` of pods of each kind whose starts BenchmarkPodStart measures")
	burstPods = flag.Int("burst.pods", 100, "`number` of pods that BenchmarkPodsAtOnce makes at once on one node")
)

// startKind is a kind of pods whose starts are compared.
type startKind struct {
	name    string
	volumes func(c *kase, pod string) []volume
}

var (
	emptyDir = startKind{"emptyDir", func(*kase, string) []volume {
		return []volume{{name: "v", source: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
	}}
	inlineKind = startKind{"inline", func(*kase, string) []volume { return []volume{inline("v", "ext4", "16Mi")} }}
	startKinds = []startKind{
		{"no volume", func(*kase, string) []volume { return nil }},
		emptyDir,
		inlineKind,
		{"generic ephemeral", func(*kase, string) []volume { return []volume{ephemeral("v", "ssd", "16Mi")} }},
		{"claim", func(c *kase, pod string) []volume {
			c.claim(pod, "ssd", "16Mi", corev1.PersistentVolumeFilesystem)
			return []volume{claimed(pod, false)}
		}},
	}
)

// idle is a pod whose container does nothing.
func (c *kase) idle(name, node string, volumes []volume) *corev1.Pod {
	pod := c.pod(name, volumes...)
	pod.Spec.Containers[0].Command, pod.Spec.Containers[0].Args = []string{"sleep", "infinity"}, nil
	return on(node, pod)
}

// measure makes a pod of a kind, with its claim if it has one, and gives how long it took
// until a client was told that it runs.
func (c *kase) measure(kind startKind, name, node string) (time.Duration, error) {
	pods := the.Client.CoreV1().Pods(c.namespace)
	w, err := pods.Watch(c.ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	limit := time.After(10 * time.Minute)
	start := time.Now()
	if _, err := pods.Create(c.ctx, c.idle(name, node, kind.volumes(c, name)), metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	for {
		select {
		case e, ok := <-w.ResultChan():
			if !ok {
				return 0, fmt.Errorf("the watch of pod %s ended", name)
			}
			if p, ok := e.Object.(*corev1.Pod); ok && p.Status.Phase == corev1.PodRunning {
				return time.Since(start), nil
			}
		case <-limit:
			return 0, fmt.Errorf("pod %s does not run", name)
		}
	}
}

// BenchmarkPodStart measures how long pods take from their making until they run, one by
// one, with each kind of volume in every round: what disturbs one disturbs all. The nodes
// take turns, so that what a pod leaves is taken away while the next one starts elsewhere.
func BenchmarkPodStart(b *testing.B) {
	c := newCase(b)
	for i, n := range the.Nodes() { // the first pod of a node unpacks the image
		name := fmt.Sprintf("first-%d", i)
		_, err := c.measure(startKinds[0], name, n.Name)
		require.NoError(b, err)
		c.removePod(name)
	}
	times := map[string][]time.Duration{}
	leaving := map[string]string{} // the last pod of each node
	turn := 0
	order := rand.New(rand.NewPCG(1, 1)) // no kind comes always after the same one
	for i := range *startPods {
		for _, k := range order.Perm(len(startKinds)) {
			kind, node := startKinds[k], the.Nodes()[turn%len(the.Nodes())].Name
			turn++
			if last := leaving[node]; last != "" {
				c.until("pod "+last+" is gone", func() error { return c.gone(last) })
			}
			name := fmt.Sprintf("%s-%d", strings.ToLower(strings.ReplaceAll(kind.name, " ", "-")), i)
			took, err := c.measure(kind, name, node)
			require.NoError(b, err)
			times[kind.name] = append(times[kind.name], took)
			c.deletePod(name)
			leaving[node] = name
		}
		if done := i + 1; done%10 == 0 || done == *startPods {
			tellStarts(times)
		}
	}
	for _, k := range startKinds {
		b.ReportMetric(overEmptyDir(times, k), strings.ReplaceAll(k.name, " ", "-")+"/emptyDir")
	}
}

// tellStarts prints what was measured so far: a whole run takes long.
func tellStarts(times map[string][]time.Duration) {
	fmt.Printf("\nfrom a pod's making until it runs, %d of each kind, one by one\n\n| volume | p50 | p99 | p50, times that with emptyDir |\n|---|---|---|---|\n", len(times[emptyDir.name]))
	for _, k := range startKinds {
		fmt.Printf("| %s | %.2f s | %.2f s | %.2f |\n", k.name, percentile(times[k.name], 50).Seconds(), percentile(times[k.name], 99).Seconds(), overEmptyDir(times, k))
	}
}

// overEmptyDir is the ratio of the middle starts with a kind of volume and with emptyDir.
func overEmptyDir(times map[string][]time.Duration, k startKind) float64 {
	return percentile(times[k.name], 50).Seconds() / percentile(times[emptyDir.name], 50).Seconds()
}

// BenchmarkPodsAtOnce measures how long many pods take that are made at once on one node,
// with inline volumes and with emptyDirs, and what the agent does meanwhile. Each kind has a
// node of its own, if there are two: what is left of a hundred pods is cleared up for
// minutes after they are gone.
func BenchmarkPodsAtOnce(b *testing.B) {
	c := newCase(b)
	nodes := the.Nodes()
	var took [2]time.Duration
	for i, kind := range []startKind{emptyDir, inlineKind} {
		n := nodes[i%len(nodes)]
		first := fmt.Sprintf("first-%d", i)
		_, err := c.measure(startKinds[0], first, n.Name) // it unpacks the image
		require.NoError(b, err)
		c.removePod(first)
		before := c.agentOf(n)
		start := time.Now()
		var all errgroup.Group
		for j := range *burstPods {
			all.Go(func() error {
				_, err := c.measure(kind, fmt.Sprintf("%s-%d", strings.ToLower(kind.name), j), n.Name)
				return err
			})
		}
		require.NoError(b, all.Wait())
		took[i] = time.Since(start)
		after := c.agentOf(n)
		require.Equal(b, before.pid, after.pid, "the agent was started again")
		fmt.Printf("\n%d pods at once with %s: %.1f s, %.2f s a pod; agent: %.2f s of a processor, its programs %.2f s; %d KiB resident, %d anonymous; lvm commands: %s\n",
			*burstPods, kind.name, took[i].Seconds(), took[i].Seconds()/float64(*burstPods), after.own-before.own, after.programs-before.programs, after.resident, after.anonymous, after.commandsSince(before))
		c.removeAllPods()
	}
	b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "inline/emptyDir")
}

// agentUse is what the agent of a node has used: seconds of a processor, itself and the
// programs that it ran, its memory in KiB, and lvm commands by verb.
type agentUse struct {
	pid                 int
	own, programs       float64
	resident, anonymous int
	commands            map[string]int
}

var lvmCommands = regexp.MustCompile(`^podlv_lvm_command_duration_seconds_count\{.*verb="([a-z]+)"`)

// commandsSince are the lvm commands between two looks, such as "fullreport 3, lvcreate 100".
func (u agentUse) commandsSince(before agentUse) string {
	var all []string
	for _, verb := range slices.Sorted(maps.Keys(u.commands)) {
		if n := u.commands[verb] - before.commands[verb]; n > 0 {
			all = append(all, fmt.Sprintf("%s %d", verb, n))
		}
	}
	return strings.Join(all, ", ")
}

func (c *kase) agentOf(n *cluster.Node) agentUse {
	c.Helper()
	out := c.run(n, agents(`echo ${p#/proc/} $(cut -d' ' -f14-17 $p/stat) $(sed -n 's/^\(VmRSS\|RssAnon\):[^0-9]*\([0-9]*\).*/\2/p' $p/status)`))
	u := agentUse{commands: map[string]int{}}
	var utime, stime, cutime, cstime float64 // in hundredths of a second
	_, err := fmt.Sscan(out, &u.pid, &utime, &stime, &cutime, &cstime, &u.resident, &u.anonymous)
	require.NoError(c, err, out)
	u.own, u.programs = (utime+stime)/100, (cutime+cstime)/100
	all, err := c.metrics(n)
	require.NoError(c, err)
	for name, value := range all {
		if verb := lvmCommands.FindStringSubmatch(name); verb != nil {
			count, err := strconv.Atoi(value)
			require.NoError(c, err, name)
			u.commands[verb[1]] += count // of each result
		}
	}
	return u
}

// percentile is the nearest-rank percentile.
func percentile(times []time.Duration, p float64) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[max(int(math.Ceil(p/100*float64(len(sorted)))), 1)-1]
}
