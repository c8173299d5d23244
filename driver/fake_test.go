// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/mounttest"
	"github.com/podlv/podlv/fakelvm"
)

const gib = 1 << 30

// fakeNode is a node on a fake machine: a fake LVM, fake mounts, a kubelet's
// folder and an API server's list of pods.
type fakeNode struct {
	*kubelet
	host    *fakelvm.Host
	clock   *clocktesting.FakeClock
	pods    *fakePods
	events  *record.FakeRecorder
	classes *driver.ClassSource
	reaper  driver.ReaperConfig
	agent   *driver.Driver
	name    string                              // "node1" when empty
	cluster *driver.Cluster                     // nil: the agent provisions nothing
	timer   clock.Clock                         // of the agent; nil: clock
	disks   driver.Disks                        // nil: the host's
	stamp   func(device string) (string, error) // nil: the host's
	log     io.Writer
	socket  string // of an agent that runs
	// kept is the UUID of the LV that must be the one that is published again.
	kept string
	// hasty: a new agent is called before it has read its first report.
	hasty bool
}

const fakeKubeletDir = "/var/lib/kubelet"

// newFakeNode is a node with a disk of 10 GiB in VG vg0 and an agent.
func newFakeNode(t testing.TB) *fakeNode {
	t.Helper()
	return newFakeNodeOn(t, 1, onePool)
}

// newFakeNodeOn is a node with so many disks of 10 GiB in VG vg0 and an agent of
// these classes.
func newFakeNodeOn(t testing.TB, disks int, text string) *fakeNode {
	t.Helper()
	var all []fakelvm.Disk
	var paths []string
	for i := range disks {
		d := fakelvm.Disk{Path: fmt.Sprintf("/dev/fake%d", i), Size: 10 * gib}
		all, paths = append(all, d), append(paths, d.Path)
	}
	h := fakelvm.New(all...)
	require.NoError(t, h.CreateVG("vg0", paths...))
	require.NoError(t, h.MkdirAll(fakeKubeletDir+"/pods"))
	c := clocktesting.NewFakeClock(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	h.SetClock(c.Now)
	n := &fakeNode{
		kubelet: &kubelet{t: t, dir: fakeKubeletDir, mkdir: h.MkdirAll},
		host:    h, clock: c, pods: &fakePods{}, events: record.NewFakeRecorder(100),
		classes: classes(t, text), reaper: driver.DefaultReaper(), log: io.Discard,
	}
	n.restart()
	return n
}

func disk(path string, size int64) fakelvm.Disk { return fakelvm.Disk{Path: path, Size: size} }

const onePool = `
pools: [{name: ssd, volumeGroup: vg0}]
classes: [{name: ssd, pool: ssd, default: true}]
`

func classes(t testing.TB, text string) *driver.ClassSource {
	t.Helper()
	c, err := driver.ParseClasses([]byte(text))
	require.NoError(t, err)
	return driver.FixedClasses(c)
}

// restart is a new agent process on the machine as it is.
func (n *fakeNode) restart() {
	n.t.Helper()
	n.host.Restart()
	fake := mounttest.Fake{Host: n.host}
	var timer clock.Clock = n.clock
	if n.timer != nil {
		timer = n.timer
	}
	stamp := n.host.Stamp
	if n.stamp != nil {
		stamp = n.stamp
	}
	var err error
	n.agent, err = driver.New(driver.Config{
		NodeName: cmp.Or(n.name, "node1"), Version: "test", Socket: n.socket, Classes: n.classes, Runner: n.host, Stamp: stamp, Mounter: fake, Devices: fake, Disks: cmp.Or[driver.Disks](n.disks, fake), Filesystem: fake,
		Pods: n.pods, Cluster: n.cluster, Kubelet: fakeFolders{n.host}, Events: n.events, Reaper: n.reaper, Clock: timer,
		Log: slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(n.t, err)
	n.node = csi.NewNodeClient(n.agent.InProcess())
	n.control = csi.NewControllerClient(n.agent.InProcess())
	if !n.hasty {
		require.NoError(n.t, n.agent.Recover(context.Background()))
	}
}

// addVG1 makes a VG beside vg0, of a disk of its own.
func (n *fakeNode) addVG1() {
	n.t.Helper()
	require.NoError(n.t, n.host.AddDisk(fakelvm.Disk{Path: "/dev/fake1", Size: gib}))
	require.NoError(n.t, n.host.CreateVG("vg1", "/dev/fake1"))
}

// lvm runs a command that must succeed, as an administrator would.
func (n *fakeNode) lvm(args ...string) string {
	n.t.Helper()
	out, err := n.host.Run(context.Background(), args...)
	require.NoError(n.t, err)
	return strings.TrimSpace(string(out))
}

// volumes are the LVs of vg0, sorted.
func (n *fakeNode) volumes() []string {
	n.t.Helper()
	names := strings.Fields(n.lvm("lvs", "--noheadings", "-o", "lv_name", "vg0"))
	slices.Sort(names)
	return names
}

func (n *fakeNode) tags(v volume) string {
	n.t.Helper()
	return n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/"+v.handle())
}

// uuid tells an LV from another one of the same name.
func (n *fakeNode) uuid(v volume) string {
	n.t.Helper()
	return n.lvm("lvs", "--noheadings", "-o", "lv_uuid", "-S", "lv_name="+v.handle(), "vg0")
}

// pod makes a pod known to the API server, with its folder.
func (n *fakeNode) pod(v volume) {
	n.pods.set(driver.Pod{Namespace: "default", Name: v.pod, UID: v.uid})
}

// forget is a kubelet and an API server that know a pod no more.
func (n *fakeNode) forget(v volume) {
	n.t.Helper()
	n.pods.remove(v.uid)
	n.removeAll(n.dir + "/pods/" + v.uid)
}

func (n *fakeNode) removeAll(path string) {
	n.t.Helper()
	if !n.host.Exists(path) {
		return
	}
	names, err := n.host.ReadDir(path)
	require.NoError(n.t, err)
	for _, name := range names {
		n.removeAll(path + "/" + name)
	}
	require.NoError(n.t, n.host.Remove(path))
}

// dataAt is where tests write: past every superblock.
const dataAt = 1 << 20

func (n *fakeNode) write(v volume, text string) {
	n.t.Helper()
	d, err := n.host.Open("/dev/vg0/" + v.handle())
	require.NoError(n.t, err)
	_, err = d.WriteAt([]byte(text), dataAt)
	require.NoError(n.t, err)
	require.NoError(n.t, d.Close())
}

func (n *fakeNode) read(v volume) string {
	n.t.Helper()
	d, err := n.host.Open("/dev/vg0/" + v.handle())
	require.NoError(n.t, err)
	buf := make([]byte, 64)
	_, err = d.ReadAt(buf, dataAt)
	require.NoError(n.t, err)
	require.NoError(n.t, d.Close())
	return string(bytes.TrimRight(buf, "\x00"))
}

// mounted checks that a volume is mounted at its target with its own filesystem.
func (n *fakeNode) mounted(v volume) {
	n.t.Helper()
	for _, m := range n.host.Mounts() {
		if m.Target == n.target(v) {
			_, uuid, err := n.host.Signature("/dev/vg0/" + v.handle())
			require.NoError(n.t, err)
			require.Equal(n.t, driver.FilesystemUUID(v.handle()), uuid)
			if n.kept != "" {
				require.Equal(n.t, n.kept, n.uuid(v), "the LV with the data was replaced")
				require.Equal(n.t, "data of "+v.pod, n.read(v))
			}
			return
		}
	}
	require.Fail(n.t, "not mounted", "%s\n%s", n.target(v), n.host)
}

// gone checks that nothing of a volume is left.
func (n *fakeNode) gone(v volume) {
	n.t.Helper()
	require.NotContains(n.t, n.volumes(), v.handle())
	require.False(n.t, n.host.Exists(n.target(v)), "the target folder is left")
	require.False(n.t, n.host.DeviceExists("/dev/vg0/"+v.handle()))
}

// reap runs the reaper as often as it takes to remove an orphan.
func (n *fakeNode) reap() {
	n.t.Helper()
	n.clock.Step(n.reaper.MinAge + time.Second)
	for range n.reaper.Passes {
		require.NoError(n.t, n.agent.Reap(context.Background()))
	}
}

// fakePods is the API server's list.
type fakePods struct {
	mu   sync.Mutex
	list []driver.Pod
	err  error
}

func (p *fakePods) List(context.Context) ([]driver.Pod, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.list), p.err
}

func (p *fakePods) set(pod driver.Pod) {
	p.remove(pod.UID)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = append(p.list, pod)
}

func (p *fakePods) remove(uid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list = slices.DeleteFunc(p.list, func(x driver.Pod) bool { return x.UID == uid })
}

// fakeFolders is what kubelet has on the fake machine's disk.
type fakeFolders struct{ host *fakelvm.Host }

func (f fakeFolders) Alive(context.Context) (map[string]bool, error) {
	names, err := f.host.ReadDir(fakeKubeletDir + "/pods")
	if err != nil {
		return nil, err
	}
	uids := map[string]bool{}
	for _, n := range names {
		uids[n] = true
	}
	return uids, nil
}

// impatient is the context of a call that gives up on what hangs: its deadline passes a
// moment after a step of the host began to, however long the machine took to get there.
func (n *fakeNode) impatient() context.Context {
	c := impatient{Context: n.t.Context(), over: make(chan struct{})}
	go func() {
		for n.host.Hanging() == 0 && c.Context.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond) // who waits for what hangs already gets as far, too
		close(c.over)
	}()
	return c
}

type impatient struct {
	context.Context
	over chan struct{}
}

func (c impatient) Done() <-chan struct{} { return c.over }

func (c impatient) Err() error {
	select {
	case <-c.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}
