// SPDX-License-Identifier: Apache-2.0

//go:build e2e && soak

package suite

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/podlv/podlv/e2e/cluster"
)

// counts are what a soak has done and seen.
type counts struct {
	mu     sync.Mutex
	made   map[string]int // volumes, by kind
	did    map[string]int // what else was done to them
	faults map[string]int
	checks int      // how often a volume's data was compared
	data   []string // what was not as it was written
	stuck  []string // what did not come to an end
}

// add counts one in a map of counts.
func (c *counts) add(in *map[string]int, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *in == nil {
		*in = map[string]int{}
	}
	(*in)[what]++
}

// checked counts comparisons of volumes' data, and says what was wrong.
func (c *counts) checked(number int, wrong ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checks += number
	c.data = append(c.data, wrong...)
}

// volumes is how many were made.
func (c *counts) volumes() (n int) {
	for _, of := range c.made {
		n += of
	}
	return n
}

// listed are counts as a person reads them, the largest first.
func listed(of map[string]int) string {
	names := slices.SortedFunc(maps.Keys(of), func(a, b string) int { return cmp.Or(of[b]-of[a], strings.Compare(a, b)) })
	var all []string
	for _, n := range names {
		all = append(all, fmt.Sprintf("%s %d", n, of[n]))
	}
	return strings.Join(all, ", ")
}

func total(of map[string]int) (n int) {
	for _, m := range of {
		n += m
	}
	return n
}

// report prints how the soak stands.
func (s *soak) report(ctx context.Context) {
	orphans := s.orphans(ctx)
	s.counted.mu.Lock()
	defer s.counted.mu.Unlock()
	c := &s.counted
	s.print("volumes %d, checks %d, faults %d, orphans %d, data errors %d, stuck %d, agents' RSS %s",
		c.volumes(), c.checks, total(c.faults), len(orphans), len(c.data), len(c.stuck), s.memory.now())
	for _, o := range orphans {
		s.print("orphan: %s", o)
	}
}

// summary prints what came of it.
func (s *soak) summary(orphans []string, forgotten int) {
	s.counted.mu.Lock()
	defer s.counted.mu.Unlock()
	c := &s.counted
	first, last := s.memory.thirds()
	fmt.Printf(`
soak: volumes made    %d (%s)
soak: done to them    %s
soak: data compared   %d times
soak: faults survived %d (%s)
soak: orphans         %d
soak: data errors     %d
soak: stuck           %d
soak: kubelet forgot  %d folders of volumes that are gone
soak: agents' RSS     %d MiB in the first third, %d MiB in the last, %d MiB at most
`, c.volumes(), listed(c.made), listed(c.did), c.checks, total(c.faults), listed(c.faults), len(orphans), len(c.data), len(c.stuck), forgotten, first, last, s.memory.most())
}

// memory are the agents' resident sets, as they were seen.
type memory struct {
	mu      sync.Mutex
	samples []sample
}

type sample struct {
	at   time.Time
	node string
	mib  int
}

// sample looks at the memory of the agents of nodes that answer.
func (s *soak) sample(ctx context.Context) {
	for _, n := range the.Nodes() {
		out, err := short(ctx, n, agents(`sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' $p/status`))
		if kib, e := strconv.Atoi(strings.TrimSpace(out)); err == nil && e == nil { // else it is not there just now
			s.memory.mu.Lock()
			s.memory.samples = append(s.memory.samples, sample{time.Now(), n.Name, kib >> 10})
			s.memory.mu.Unlock()
		}
	}
}

// short runs a shell command on a node that may be off.
func short(ctx context.Context, n *cluster.Node, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return n.Run(ctx, "sh", "-c", command)
}

// now is the latest of each node.
func (m *memory) now() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	latest := map[string]int{}
	for _, s := range m.samples {
		latest[s.node] = s.mib
	}
	var all []string
	for _, node := range slices.Sorted(maps.Keys(latest)) {
		all = append(all, strconv.Itoa(latest[node]))
	}
	return strings.Join(all, "/") + " MiB"
}

// thirds are the means of the first and of the last third of the time, in MiB.
func (m *memory) thirds() (first, last int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.samples) == 0 {
		return 0, 0
	}
	begin := m.samples[0].at
	whole := m.samples[len(m.samples)-1].at.Sub(begin)
	mean := func(from, to time.Duration) int {
		sum, n := 0, 0
		for _, s := range m.samples {
			if at := s.at.Sub(begin); at >= from && at <= to {
				sum, n = sum+s.mib, n+1
			}
		}
		return sum / max(n, 1)
	}
	return mean(0, whole/3), mean(whole-whole/3, whole)
}

// most is the largest that any agent was seen with, in MiB.
func (m *memory) most() (most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.samples {
		most = max(most, s.mib)
	}
	return most
}

// orphans are the LVs of podlv's that nobody has any more: at two looks, between which the
// reaper has passed over them more than once.
func (s *soak) orphans(ctx context.Context) (all []string) {
	lvs := map[string][]string{} // NODE VG/LV, and what it may belong to
	for _, n := range the.Nodes() {
		out, err := short(ctx, n, "lvs --noheadings --separator '|' --select lv_tags=podlv.dev -o lv_full_name,lv_tags")
		if err != nil {
			return nil // a node is down: at the next look
		}
		for _, line := range strings.Fields(out) {
			name, tags, _ := strings.Cut(line, "|")
			lvs[n.Name+" "+name] = belongsTo(name, strings.Split(tags, ","))
		}
	}
	owners, err := s.owners(ctx)
	if err != nil {
		return nil
	}
	suspects := map[string]bool{}
	for lv, to := range lvs {
		if slices.ContainsFunc(to, func(owner string) bool { return owners[owner] }) {
			continue
		}
		suspects[lv] = true
		if s.suspects[lv] {
			all = append(all, fmt.Sprintf("%s of one of %q", lv, to))
		}
	}
	s.suspects = suspects
	return all
}

// belongsTo is what an LV may belong to: the UID of a pod (its tag), the handle of a volume
// or a snapshot (its name), or the UID of a claim or a VolumeSnapshot for which it was made
// and that does not know yet (in its name).
func belongsTo(name string, tags []string) []string {
	to := []string{name}
	if _, uid, ok := strings.Cut(name[strings.Index(name, "/")+1:], "-"); ok {
		to = append(to, uid)
	}
	for _, t := range tags {
		if pod, ok := strings.CutPrefix(t, "podlv.pod="); ok {
			to = append(to, pod[strings.LastIndex(pod, "/")+1:])
		}
	}
	return to
}

// owners are the UIDs of all pods, claims and VolumeSnapshots, and the handles of all volumes
// and snapshots.
func (s *soak) owners(ctx context.Context) (map[string]bool, error) {
	all := map[string]bool{}
	core := the.Client.CoreV1()
	pods, err := core.Pods(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		all[string(p.UID)] = true
	}
	claims, err := core.PersistentVolumeClaims(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, c := range claims.Items {
		all[string(c.UID)] = true
	}
	volumes, err := core.PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, v := range volumes.Items {
		if v.Spec.CSI != nil {
			all[v.Spec.CSI.VolumeHandle] = true
		}
	}
	contents, err := s.snapshots.SnapshotV1().VolumeSnapshotContents().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, c := range contents.Items {
		all[string(c.Spec.VolumeSnapshotRef.UID)] = true
		if c.Status != nil && c.Status.SnapshotHandle != nil {
			all[*c.Status.SnapshotHandle] = true
		}
	}
	return all, nil
}

// orphansAtEnd are what is on any node when nothing should be. kubelet that is killed, or
// whose node loses its power, while a pod is deleted by force forgets folders of its own,
// mostly of raw block volumes: where no LV and no mount is left they are no orphans of
// podlv's, and are counted and removed.
func (s *soak) orphansAtEnd() (all []string, forgotten int) {
	for _, n := range the.Nodes() {
		err := await(s.ctx, soakRest, n.Name+" is as it was", func() error { return s.clean(n) })
		if err != nil {
			out, e := n.Run(s.ctx, "sh", "-c", forget)
			forgotten += strings.Count(out, "forgot ")
			if err = e; err == nil {
				err = s.clean(n)
			}
		}
		if err != nil {
			said, _ := json.Marshal(err.Error())
			all = append(all, string(said))
		}
	}
	return all, forgotten
}

// forget is a shell program that removes what kubelet has forgotten of volumes of which
// there is neither an LV nor a mount, and tells of each.
const forget = `cd /var/lib/kubelet/plugins/kubernetes.io/csi || exit 0
for v in volumeDevices/* volumeDevices/publish/* volumeDevices/staging/* podlv.dev/*; do
  name=${v##*/}
  case $v in volumeDevices/publish | volumeDevices/staging) continue ;; esac
  [ -e "$v" ] || continue
  lvs --noheadings --select lv_tags=podlv.dev -o lv_name | grep -q " $name *$" && continue
  grep -q "/var/lib/kubelet/plugins/kubernetes.io/csi/$v[/ ]" /proc/self/mounts && continue
  rm -r "$v" && echo "forgot $v"
done`
