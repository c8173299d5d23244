// SPDX-License-Identifier: Apache-2.0

//go:build reallvm

package driver_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

var (
	realBinary = flag.String("podlv.binary", "podlv", "the podlv program that is tested")
	realDisks  = flag.String("lvm.disks", "", "empty disks for the tests, comma-separated; what is on them is lost")
)

// realNode is a machine with real LVM, real filesystems and the built podlv as
// its agent.
type realNode struct {
	*kubelet
	disks  []string
	config string
	socket string
	agent  *exec.Cmd
	log    *bytes.Buffer
	env    []string
	flags  []string
}

// newRealNode makes a node with VG vg0 on the first disk; the agent is not
// started.
func newRealNode(t *testing.T) *realNode {
	t.Helper()
	require.NotEmpty(t, *realDisks, "run through `make test-lvm`: -lvm.disks is not set")
	n := bareRealNode(t)
	clean(t, n.disks)
	n.lvm("vgcreate", "vg0", n.disks[0])
	t.Cleanup(func() { clean(t, n.disks) })
	return n
}

// bareRealNode is a node as a boot finds it: the disks are as they were.
func bareRealNode(t *testing.T) *realNode {
	dir := t.TempDir()
	n := &realNode{
		kubelet: &kubelet{t: t, dir: filepath.Join(dir, "kubelet"), mkdir: func(p string) error { return os.MkdirAll(p, 0o750) }},
		disks:   strings.Split(*realDisks, ","), config: filepath.Join(dir, "classes.yaml"),
		socket: filepath.Join(dir, "csi.sock"), log: &bytes.Buffer{},
	}
	require.NoError(t, os.MkdirAll(filepath.Join(n.dir, "pods"), 0o750))
	require.NoError(t, os.WriteFile(n.config, []byte(onePool), 0o600))
	t.Cleanup(func() {
		n.kill()
		unmountBelow(t, dir)
		if t.Failed() {
			t.Logf("the agent's log:\n%s", n.log)
		}
	})
	return n
}

// clean takes everything off the disks.
func clean(t *testing.T, disks []string) {
	t.Helper()
	out, err := exec.Command("lvm", "vgs", "--noheadings", "-o", "vg_name").Output()
	require.NoError(t, err)
	for _, vg := range strings.Fields(string(out)) {
		_ = exec.Command("lvm", "vgreduce", "--removemissing", "--force", vg).Run()
		out, err := exec.Command("lvm", "vgremove", "--force", "--force", "--yes", vg).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	for _, d := range disks {
		_ = exec.Command("lvm", "pvremove", "--force", "--force", "--yes", d).Run()
	}
}

func unmountBelow(t *testing.T, dir string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(table)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if target := strings.Fields(lines[i])[4]; strings.HasPrefix(target, dir) {
			require.NoError(t, unix.Unmount(target, 0))
		}
	}
}

// start starts the agent and waits until it answers.
func (n *realNode) start() *realNode {
	n.t.Helper()
	n.launch()
	conn := connect(n.t, n.socket)
	n.node, n.control, n.id = csi.NewNodeClient(conn), csi.NewControllerClient(conn), csi.NewIdentityClient(conn)
	return n
}

func (n *realNode) launch() {
	n.t.Helper()
	args := append([]string{"node", "--standalone", "--node-name=node1", "--config=" + n.config, "--kubelet-dir=" + n.dir, "--csi-socket=" + n.socket, "--log-level=debug"}, n.flags...)
	n.agent = exec.Command(*realBinary, args...)
	n.agent.Env = append(os.Environ(), n.env...)
	n.agent.Stderr, n.agent.Stdout = n.log, n.log
	require.NoError(n.t, n.agent.Start())
}

// kill ends the agent at once, as a crash does.
func (n *realNode) kill() {
	if n.agent == nil {
		return
	}
	_ = n.agent.Process.Signal(syscall.SIGKILL)
	_ = n.agent.Wait()
	n.agent = nil
}

// lvm runs a command and returns what it printed, without its warnings: while a VG is being
// extended, a report may have one of the PV that is not marked as used yet.
func (n *realNode) lvm(args ...string) string {
	n.t.Helper()
	var warnings bytes.Buffer
	command := exec.Command("lvm", args...)
	command.Stderr = &warnings
	out, err := command.Output()
	require.NoError(n.t, err, "lvm %s: %s%s", strings.Join(args, " "), out, &warnings)
	return strings.TrimSpace(string(out))
}

// volumes are the LVs of vg0.
func (n *realNode) volumes() []string {
	n.t.Helper()
	return strings.Fields(n.lvm("lvs", "--noheadings", "-o", "lv_name", "vg0"))
}

func (n *realNode) tags(v volume) string {
	n.t.Helper()
	return n.lvm("lvs", "--noheadings", "-o", "lv_tags", "vg0/"+v.handle())
}

// settled waits until the volume's podlv.state=new is gone.
func (n *realNode) settled(v volume) {
	n.t.Helper()
	n.settledLV("vg0/" + v.handle())
}

func (n *realNode) settledLV(lv string) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		return !strings.Contains(n.lvm("lvs", "--noheadings", "-o", "lv_tags", lv), "podlv.state=new")
	}, 20*time.Second, 200*time.Millisecond)
}

func (n *realNode) write(v volume, text string) {
	n.t.Helper()
	f, err := os.Create(filepath.Join(n.target(v), "data"))
	require.NoError(n.t, err)
	_, err = f.WriteString(text)
	require.NoError(n.t, err)
	require.NoError(n.t, f.Sync())
	require.NoError(n.t, f.Close())
}

func (n *realNode) read(v volume) string {
	n.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.target(v), "data"))
	require.NoError(n.t, err)
	return string(b)
}

// gone checks that nothing of a volume is left.
func (n *realNode) gone(v volume) {
	n.t.Helper()
	require.NotContains(n.t, n.volumes(), v.handle())
	require.NoDirExists(n.t, n.target(v))
	require.NoFileExists(n.t, "/dev/vg0/"+v.handle())
}

// digest is a hash of all bytes of a device.
func digest(t *testing.T, device string) string {
	t.Helper()
	f, err := os.Open(device)
	require.NoError(t, err)
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	require.NoError(t, err)
	return fmt.Sprintf("%x", h.Sum(nil))
}

// minimum sizes that the tests below use for each filesystem.
var realSizes = map[string]string{"ext4": "64Mi", "xfs": "300Mi", "btrfs": "128Mi"}

func TestRealVolumeLivesAndGoes(t *testing.T) {
	n := newRealNode(t).start()
	for fs, size := range realSizes {
		t.Run(fs, func(t *testing.T) {
			n.t = t
			v := newVolume("pod-"+fs, size).fs(fs)
			require.NoError(t, n.publish(v))
			n.write(v, "hello")
			require.Contains(t, n.tags(v), "podlv.pod=default/"+v.pod+"/"+v.uid)
			require.Contains(t, n.tags(v), "podlv.kind=inline")

			var s unix.Statfs_t
			require.NoError(t, unix.Statfs(n.target(v), &s))
			stats, err := n.node.NodeGetVolumeStats(context.Background(), &csi.NodeGetVolumeStatsRequest{VolumeId: v.handle(), VolumePath: n.target(v)})
			require.NoError(t, err)
			require.Equal(t, int64(s.Blocks)*s.Frsize, stats.GetUsage()[0].GetTotal())

			require.NoError(t, n.publish(v), "kubelet publishes again after its restart")
			require.Equal(t, "hello", n.read(v))
			n.settled(v)

			require.NoError(t, unix.Unmount(n.target(v), 0))
			require.NoError(t, n.publish(v), "the filesystem is there and not mounted, as after a reboot")
			require.Equal(t, "hello", n.read(v))

			require.NoError(t, unix.Unmount(n.target(v), 0))
			n.lvm("lvchange", "-an", "vg0/"+v.handle())
			require.NoError(t, n.publish(v), "the LV is inactive")
			require.Equal(t, "hello", n.read(v))

			require.NoError(t, n.unpublish(v))
			n.gone(v)
			require.NoError(t, n.unpublish(v), "a second unpublish has nothing to do")
		})
	}
	require.Empty(t, n.volumes())
}

func TestRealReadOnlyAndOptions(t *testing.T) {
	n := newRealNode(t).start()
	v := newVolume("ro", "64Mi").with("mount-options", "noatime,nodev").with("mkfs-options", "inode-size=512,bytes-per-inode=65536")
	v.readOnly = true
	require.NoError(t, n.publish(v))
	require.ErrorIs(t, os.WriteFile(filepath.Join(n.target(v), "x"), nil, 0o600), syscall.EROFS)
	table, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.Contains(t, string(table), n.target(v)+" ro,nodev,noatime")
	features, err := exec.Command("dumpe2fs", "-h", "/dev/vg0/"+v.handle()).Output()
	require.NoError(t, err)
	require.Regexp(t, `Inode size:\s+512`, string(features))
	require.NoError(t, n.publish(v))
	v.readOnly = false
	requireCode(t, n.publish(v), codes.AlreadyExists, "readOnly")
	require.NoError(t, n.unpublish(v))
	n.gone(v)
}

// A superblock that is gone is no reason to format: the rest may be there.
func TestRealWipedSuperblockIsRefused(t *testing.T) {
	n := newRealNode(t).start()
	for fs, size := range realSizes {
		t.Run(fs, func(t *testing.T) {
			n.t = t
			v := newVolume("wiped-"+fs, size).fs(fs)
			device := "/dev/vg0/" + v.handle()
			require.NoError(t, n.publish(v))
			n.write(v, "precious")
			n.settled(v)
			require.NoError(t, unix.Unmount(n.target(v), 0))
			out, err := exec.Command("wipefs", "--all", device).CombinedOutput()
			require.NoError(t, err, "%s", out)
			before := digest(t, device)

			requireCode(t, n.publish(v), codes.Unavailable, "is gone: found nothing", "not formatted")
			require.Equal(t, before, digest(t, device), "the refused publish wrote to the device")
			require.NoError(t, n.unpublish(v))
			n.gone(v)
		})
	}
}

// A tenant can write bytes that look like something else: they must not outvote
// the volume's own superblock.
func TestRealTenantsBytesDoNotOutvoteTheSuperblock(t *testing.T) {
	n := newRealNode(t).start()
	v := newVolume("image", "64Mi")
	device := "/dev/vg0/" + v.handle()
	require.NoError(t, n.publish(v))
	n.write(v, "precious")
	n.settled(v)
	require.NoError(t, unix.Unmount(n.target(v), 0))
	// A RAID superblock (md 1.0) where a file with a disk's image may put one.
	const offset = 64<<20 - 8192
	block := make([]byte, 256)
	binary.LittleEndian.PutUint32(block[0:], 0xa92b4efc)
	binary.LittleEndian.PutUint32(block[4:], 1)
	binary.LittleEndian.PutUint64(block[144:], offset/512)
	f, err := os.OpenFile(device, os.O_WRONLY|os.O_SYNC, 0)
	require.NoError(t, err)
	_, err = f.WriteAt(block, offset)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	out, err := exec.Command("blkid", "-p", device).CombinedOutput()
	require.Contains(t, string(out), "linux_raid_member", "%v: blkid by itself is fooled", err)

	require.NoError(t, n.publish(v))
	require.Equal(t, "precious", n.read(v))
	require.NoError(t, n.unpublish(v))
}

// mkfs.xfs writes the superblock, UUID and all, early, with a flag that it takes
// away last. The kernel refuses such a filesystem, for ever.
func TestRealHalfMadeXFS(t *testing.T) {
	n := newRealNode(t).start()
	v := newVolume("half", "300Mi").fs("xfs")
	device := "/dev/vg0/" + v.handle()
	half := func() {
		t.Helper()
		require.NoError(t, unix.Unmount(n.target(v), 0))
		f, err := os.OpenFile(device, os.O_WRONLY|os.O_SYNC, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{1}, 126)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	require.NoError(t, n.publish(v))
	n.settled(v)
	half()
	requireCode(t, n.publish(v), codes.Unavailable, "found xfs that mkfs did not finish")
	n.lvm("lvchange", "--addtag", "podlv.state=new", "vg0/"+v.handle())
	require.NoError(t, n.publish(v), "nobody was given it: it is made again")
	n.write(v, "works")
	require.NoError(t, n.unpublish(v))
}

// An lvcreate that died between its commit and the wiping may have left somebody
// else's filesystem: it must not be handed out.
func TestRealNewVolumeWithOldFilesystemIsFormatted(t *testing.T) {
	n := newRealNode(t).start()
	for fs, size := range realSizes {
		t.Run(fs, func(t *testing.T) {
			n.t = t
			v := newVolume("stale-"+fs, size).fs("ext4")
			n.lvm("lvcreate", "--yes", "-n", v.handle(), "-L", strings.TrimSuffix(size, "i"), "--addtag", "podlv.dev", "--addtag", "podlv.kind=inline",
				"--addtag", "podlv.state=new", "--addtag", "podlv.fs=ext4", "--addtag", "podlv.pod=default/x/y", "vg0")
			flag := map[string]string{"ext4": "-F", "xfs": "-f", "btrfs": "-f"}[fs]
			out, err := exec.Command("mkfs."+fs, flag, "-q", "/dev/vg0/"+v.handle()).CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.NoError(t, n.publish(v))
			entries, err := os.ReadDir(n.target(v))
			require.NoError(t, err)
			require.Len(t, entries, 1, "lost+found alone")
			require.NoError(t, n.unpublish(v))
			n.gone(v)
		})
	}
}

func TestRealForeignVolumesSurvive(t *testing.T) {
	n := newRealNode(t)
	n.lvm("vgcreate", "vg1", n.disks[1])
	n.flags = []string{"--reaper-interval=300ms", "--reaper-min-age=0s"}
	n.start()
	v, other := newVolume("foreign", "64Mi"), newVolume("other", "64Mi")
	n.lvm("lvcreate", "--yes", "-n", "admin", "-L", "32m", "vg0")
	n.lvm("lvcreate", "--yes", "-n", v.handle(), "-L", "64m", "vg0") // ours by name, not by tag
	n.lvm("lvcreate", "--yes", "-n", other.handle(), "-L", "64m", "--addtag", "podlv.dev", "--addtag", "podlv.kind=inline", "--addtag", "podlv.pod=a/b/c", "vg1")
	requireCode(t, n.publish(v), codes.FailedPrecondition, "not an inline volume of podlv")
	require.NoError(t, n.unpublish(v))
	time.Sleep(2 * time.Second)
	require.ElementsMatch(t, []string{"admin", v.handle()}, n.volumes())
	require.Contains(t, n.lvm("lvs", "--noheadings", "-o", "lv_name", "vg1"), other.handle(), "vg1 is in no pool: not ours to clean")
}

func TestRealReaperRemovesWhatNobodyWillUnpublish(t *testing.T) {
	n := newRealNode(t)
	n.flags = []string{"--reaper-interval=500ms", "--reaper-min-age=1s"}
	n.start()
	orphan, kept := newVolume("orphan", "64Mi"), newVolume("kept", "64Mi")
	for _, v := range []volume{orphan, kept} {
		require.NoError(t, n.publish(v))
		require.NoError(t, unix.Unmount(n.target(v), 0))
	}
	require.NoError(t, os.RemoveAll(filepath.Join(n.dir, "pods", orphan.uid)))
	require.Eventually(t, func() bool { return len(n.volumes()) == 1 }, 20*time.Second, 200*time.Millisecond)
	time.Sleep(2 * time.Second)
	require.Equal(t, []string{kept.handle()}, n.volumes(), "kubelet still has the pod's folder")
	require.Contains(t, n.log.String(), "orphan: reported, not removed")
}

func TestRealNoSpaceSaysWhatIsThere(t *testing.T) {
	n := newRealNode(t).start()
	requireCode(t, n.publish(newVolume("huge", "1Ti")), codes.ResourceExhausted, "no space", "free", "are needed")
	require.Empty(t, n.volumes())
}

func TestRealThinPoolFull(t *testing.T) {
	n := newRealNode(t)
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "-n", "pool", "-L", "256m", "vg0")
	n.lvm("lvchange", "--errorwhenfull", "y", "vg0/pool") // else writes wait for a minute
	require.NoError(t, os.WriteFile(n.config, []byte(`
pools: [{name: thin, volumeGroup: vg0, thinPool: pool}]
classes: [{name: thin, pool: thin, default: true, overprovision: 4}]
`), 0o600))
	n.start()
	v := newVolume("thin", "512Mi")
	require.NoError(t, n.publish(v))
	n.settled(v)
	requireCode(t, n.publish(newVolume("promise", "1Gi")), codes.ResourceExhausted, "would be promised")
	f, err := os.Create(filepath.Join(n.target(v), "big"))
	require.NoError(t, err)
	block := bytes.Repeat([]byte("x"), 1<<20)
	for i := 0; i < 400 && err == nil; i++ {
		if _, err = f.Write(block); err == nil && i%16 == 15 {
			err = f.Sync()
		}
	}
	require.Error(t, err, "400 MiB into a pool of 256")
	_ = f.Close()
	requireCode(t, n.publish(newVolume("late", "64Mi")), codes.ResourceExhausted, "thin pool vg0/pool is full")
	require.NoError(t, n.unpublish(v))
	require.Equal(t, []string{"pool"}, n.volumes())
	late := newVolume("late", "64Mi")
	require.NoError(t, n.publish(late), "there is space again")
	require.NoError(t, n.unpublish(late))
}

func TestRealMissingDisk(t *testing.T) {
	n := newRealNode(t)
	const disk = "/dev/mapper/flakey-test-disk" // a name that the machine's lvm.conf lets lvm see
	dm := func(args ...string) {
		t.Helper()
		cmd := exec.Command("dmsetup", args...)
		cmd.Env = append(os.Environ(), "DM_DISABLE_UDEV=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	dm("create", filepath.Base(disk), "--table", "0 409600 linear "+n.disks[1]+" 8192") // an offset hides the PV in it
	t.Cleanup(func() { _ = exec.Command("dmsetup", "remove", filepath.Base(disk)).Run() })
	n.lvm("vgextend", "vg0", disk)
	n.start()
	v := newVolume("lucky", "64Mi")
	require.NoError(t, n.publish(v))
	n.settled(v)
	n.write(v, "safe")
	dm("remove", "--retry", filepath.Base(disk)) // a report may have it open

	requireCode(t, n.publish(newVolume("other", "64Mi")), codes.Unavailable, "misses 1 of its disks")
	require.NoError(t, n.publish(v), "a volume that is complete stays served")
	require.Equal(t, "safe", n.read(v))
	require.NoError(t, n.unpublish(v), "the pod can end")
	require.NoDirExists(t, n.target(v))
}

func TestRealVolumeGroupVanishes(t *testing.T) {
	n := newRealNode(t).start()
	n.lvm("vgrename", "vg0", "vg9")
	requireCode(t, n.publish(newVolume("a", "64Mi")), codes.FailedPrecondition, "VG vg0", "not found")
	_, err := n.id.Probe(context.Background(), &csi.ProbeRequest{})
	requireCode(t, err, codes.FailedPrecondition, `there is no VG "vg0" on this node; there are vg9`)
	require.NoError(t, n.unpublish(newVolume("a", "64Mi")))
	n.lvm("vgrename", "vg9", "vg0")
	_, err = n.id.Probe(context.Background(), &csi.ProbeRequest{})
	require.NoError(t, err)
}

// The minimum sizes of filesystems.go are what the tools take and the kernel
// mounts: a step less fails, by the tool's own word.
func TestRealMinimumSizes(t *testing.T) {
	n := newRealNode(t)
	dir := t.TempDir()
	minimum := map[string]int{}
	for fs, options := range map[string][]string{"ext4": {"-q", "-F", "-m", "0"}, "xfs": {"-q", "-f", "-K"}, "btrfs": {"-q", "-f", "-K"}} {
		works := func(mib int) bool {
			n.lvm("lvcreate", "--yes", "-qq", "-n", "m", "-L", fmt.Sprintf("%dm", mib), "vg1")
			defer n.lvm("lvremove", "--yes", "vg1/m")
			if exec.Command("mkfs."+fs, append(options, "/dev/vg1/m")...).Run() != nil {
				return false
			}
			if unix.Mount("/dev/vg1/m", dir, fs, 0, "") != nil {
				return false
			}
			defer func() { require.NoError(t, unix.Unmount(dir, 0)) }()
			return os.WriteFile(filepath.Join(dir, "x"), []byte("x"), 0o600) == nil
		}
		if len(minimum) == 0 {
			n.lvm("vgcreate", "--physicalextentsize", "1m", "vg1", n.disks[1])
		}
		low, high := 0, 512
		for high-low > 1 {
			if middle := (low + high) / 2; works(middle) {
				high = middle
			} else {
				low = middle
			}
		}
		minimum[fs] = high
	}
	t.Logf("smallest filesystems that can be made, mounted and written, in MiB: %v", minimum)
	n.start()
	for fs, mib := range minimum {
		if mib > 4 {
			v := newVolume("small-"+fs, fmt.Sprintf("%dMi", mib/4*4-4)).fs(fs)
			requireCode(t, n.publish(v), codes.OutOfRange, fmt.Sprintf("%s needs at least %dMi", fs, mib))
		}
		v := newVolume("least-"+fs, fmt.Sprintf("%dMi", mib)).fs(fs)
		require.NoError(t, n.publish(v))
		require.NoError(t, n.unpublish(v))
	}
}

func TestRealBurst(t *testing.T) {
	n := newRealNode(t).start()
	const many = 12
	errs := make(chan error, many)
	for i := range many {
		go func() { errs <- n.publish(newVolume(fmt.Sprint("burst", i), "64Mi")) }()
	}
	var err error
	for range many {
		err = errors.Join(err, <-errs)
	}
	require.NoError(t, err)
	require.Len(t, n.volumes(), many)
	for i := range many {
		go func() { errs <- n.unpublish(newVolume(fmt.Sprint("burst", i), "64Mi")) }()
	}
	for range many {
		err = errors.Join(err, <-errs)
	}
	require.NoError(t, err)
	require.Empty(t, n.volumes())
}
