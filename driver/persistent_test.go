// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
)

func sizeArg(size int64) string { return fmt.Sprintf("%db", size) }

const allLayouts = `
pools:
- {name: ssd, volumeGroup: vg0}
- {name: thin, volumeGroup: vg0, thinPool: pool}
- {name: wide, volumeGroup: vg1}
classes:
- {name: ssd, pool: ssd, default: true, mountOptions: noatime}
- {name: dirty, pool: ssd, wipe: none}
- {name: thin, pool: thin, overprovision: 2}
- {name: striped, pool: wide, layout: striped, stripes: 2}
- {name: raid1, pool: wide, layout: raid1, copies: 2}
`

// newWideNode is a node with every layout's class.
func newWideNode(t testing.TB) *fakeNode {
	n := newFakeNode(t)
	for _, d := range []string{"/dev/fake1", "/dev/fake2"} {
		require.NoError(t, n.host.AddDisk(disk(d, gib)))
	}
	require.NoError(t, n.host.CreateVG("vg1", "/dev/fake1", "/dev/fake2"))
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", "1g", "vg0")
	n.classes = classes(t, allLayouts)
	n.restart()
	return n
}

// countCommands counts the lvm commands that a call runs.
func (n *fakeNode) countCommands(call func() error) int {
	n.t.Helper()
	before := len(n.host.Log())
	require.NoError(n.t, call())
	commands := 0
	for _, line := range n.host.Log()[before:] {
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, "lv") || word == "fullreport" {
				commands++
				break
			}
		}
	}
	return commands
}

func TestClaimsOfEveryLayoutLiveAndGo(t *testing.T) {
	for _, class := range []string{"ssd", "thin", "striped", "raid1"} {
		for _, kind := range []string{"ext4", "xfs", "btrfs", "block"} {
			t.Run(class+" "+kind, func(t *testing.T) {
				n := newWideNode(t)
				c := newClaim("a", 400*mib).ofClass(class)
				if kind == "block" {
					c.raw()
				} else {
					c.as(kind)
				}
				require.NoError(t, n.create(c))
				require.NoError(t, n.stage(c))
				require.NoError(t, n.stage(c), "once more")
				require.NoError(t, n.give(c, "a"))
				require.NoError(t, n.give(c, "a"), "once more")
				require.NoError(t, n.give(c, "b"), "another pod of this node")
				n.agent.Settle(context.Background())
				require.NotContains(t, n.lvTags(c), "podlv.state")
				n.put(c, dataAt, "precious")

				r, err := n.node.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: c.id, VolumePath: c.target("a")})
				require.NoError(t, err)
				require.EqualValues(t, 400*mib, r.GetUsage()[0].GetTotal())
				require.Equal(t, kind == "block", r.GetUsage()[0].GetAvailable() == 0, "a block device has a total only")

				requireCode(t, n.delete(c), codes.FailedPrecondition, "in use on this node")
				require.NoError(t, n.take(c, "b"))
				size, err := n.expand(c, 401*mib)
				require.NoError(t, err)
				require.EqualValues(t, map[string]int64{"striped": 408}[class]|map[bool]int64{true: 404}[class != "striped"], size/mib, "rounded up")
				require.Equal(t, "precious", n.at(c, dataAt))

				n.host.Reboot()
				n.restart()
				require.NoError(t, n.stage(c))
				require.NoError(t, n.give(c, "a"))
				require.Equal(t, "precious", n.at(c, dataAt), "the data is kept")
				n.free(c)
				require.NoError(t, n.take(c, "a"), "once more")
				require.NoError(t, n.unstage(c), "once more")
				require.NoError(t, n.delete(c), "once more")
				require.Equal(t, []string{"pool"}, n.volumes())
				require.Empty(t, n.lvm("lvs", "--noheadings", "vg1"))
				require.Empty(t, n.mountTargets())
			})
		}
	}
}

// What a volume costs in lvm commands is a promise (docs/persistent-volumes.md).
func TestClaimsCost(t *testing.T) {
	n := newWideNode(t)
	for _, row := range []struct {
		name   string
		claim  *claim
		create int
		expand int
	}{
		{"thick", newClaim("a", 64*mib), 1, 1},
		{"thin", newClaim("b", 64*mib).ofClass("thin"), 1, 1},
		{"raw", newClaim("c", 64*mib).raw(), 2, 4},
		{"raw without wiping", newClaim("d", 64*mib).raw().ofClass("dirty"), 1, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := row.claim
			require.NoError(t, n.agent.Look(t.Context()))
			require.Equal(t, row.create, n.countCommands(func() error { return n.create(c) }), "create")
			require.Zero(t, n.countCommands(func() error { return n.stage(c) }), "stage")
			require.Zero(t, n.countCommands(func() error { return n.give(c, "a") }), "publish")
			require.Zero(t, n.countCommands(func() error {
				_, err := n.node.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: c.id, VolumePath: c.target("a")})
				return err
			}), "stats")
			require.NoError(t, n.agent.Look(t.Context()))
			require.Zero(t, n.countCommands(func() error {
				_, err := n.control.GetCapacity(t.Context(), &csi.GetCapacityRequest{Parameters: map[string]string{"podlv.dev/class": "ssd"}})
				return err
			}), "capacity")
			require.Equal(t, row.expand, n.countCommands(func() error { _, err := n.expand(c, 128*mib); return err }), "expand")
			require.Zero(t, n.countCommands(func() error { return n.take(c, "a") }), "unpublish")
			require.Zero(t, n.countCommands(func() error { return n.unstage(c) }), "unstage")
			require.Equal(t, 1, n.countCommands(func() error { return n.delete(c) }), "delete")
		})
	}
}

func TestRawBlockShowsNobodysBytes(t *testing.T) {
	n := newWideNode(t)
	n.dirty(512 * mib)
	c := newClaim("a", 64*mib).raw()
	require.NoError(t, n.create(c))
	n.clean(c, 0, 64*mib)
	require.NoError(t, n.stage(c))
	require.NoError(t, n.give(c, "a"))
	size, err := n.expand(c, 200*mib)
	require.NoError(t, err)
	n.clean(c, 0, size)

	other := newClaim("b", 64*mib).raw().ofClass("dirty")
	require.NoError(t, n.create(other))
	require.Contains(t, string(n.bytes(other, 32*mib, mib)), "secret", "the free space was dirty, and wipe: none leaves it")
}

// A device may take longer to zero than a call may.
func TestZeroingOutlivesItsCall(t *testing.T) {
	n := newWideNode(t)
	n.dirty(256 * mib)
	release := n.host.Hang("zero")
	c := newClaim("a", 64*mib).raw()
	_, err := n.control.CreateVolume(n.impatient(), n.createRequest(c))
	requireCode(t, err, codes.DeadlineExceeded, "being zeroed")
	c.id = "vg0/" + c.name
	list, err := n.control.ListVolumes(t.Context(), &csi.ListVolumesRequest{})
	require.NoError(t, err)
	require.Empty(t, list.GetEntries(), "it is not a volume yet")
	requireCode(t, n.stage(c), codes.Aborted, "still to be zeroed")
	release()
	require.NoError(t, n.create(c), "the provisioner calls again")
	n.clean(c, 0, 64*mib)
	require.NoError(t, n.delete(c))
}

func TestDeleteEndsZeroing(t *testing.T) {
	n := newWideNode(t)
	release := n.host.Hang("zero")
	c := newClaim("a", 64*mib).raw()
	_, err := n.control.CreateVolume(n.impatient(), n.createRequest(c))
	requireCode(t, err, codes.DeadlineExceeded)
	c.id = "vg0/" + c.name
	go func() {
		time.Sleep(50 * time.Millisecond)
		release()
	}()
	require.NoError(t, n.delete(c))
	require.Equal(t, []string{"pool"}, n.volumes())
}

func TestAccessModes(t *testing.T) {
	n := newWideNode(t)
	one := newClaim("one", 64*mib)
	one.mode = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	rawOne := newClaim("raw-one", 64*mib).raw()
	rawOne.mode = one.mode
	for _, c := range []*claim{one, rawOne} {
		require.NoError(t, n.create(c))
		require.NoError(t, n.stage(c))
		require.NoError(t, n.give(c, "a"))
		require.NoError(t, n.give(c, "a"), "the same path again")
		requireCode(t, n.give(c, "b"), codes.FailedPrecondition, "one path only", "SINGLE_NODE_SINGLE_WRITER", c.target("a"))
		require.NoError(t, n.take(c, "a"))
		require.NoError(t, n.give(c, "b"))
	}
	reader := newClaim("reader", 64*mib)
	reader.mode = csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
	require.NoError(t, n.create(reader))
	require.NoError(t, n.stage(reader))
	require.NoError(t, n.give(reader, "a"))
	for _, m := range n.host.Mounts() {
		require.Equal(t, m.Target == reader.target("a"), m.Options[0] == "ro", "%s: only the bind is read-only: mkfs and fsck need the other", m.Target)
	}
	for _, mode := range []csi.VolumeCapability_AccessMode_Mode{
		csi.VolumeCapability_AccessMode_UNKNOWN, csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY,
		csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER, csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER,
	} {
		c := newClaim("many", 64*mib)
		c.mode = mode
		requireCode(t, n.create(c), codes.InvalidArgument, mode.String(), "SINGLE_NODE_WRITER, SINGLE_NODE_READER_ONLY")
	}
}

// mount(8) binds first and makes the bind read-only then: a process can die in between.
func TestHalfMadeReadOnlyBindIsFinished(t *testing.T) {
	n := newWideNode(t)
	c := newClaim("a", 64*mib)
	require.NoError(t, n.create(c))
	require.NoError(t, n.stage(c))
	require.NoError(t, n.give(c, "a"))
	c.mode = csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
	require.NoError(t, n.give(c, "a"))
	require.Equal(t, []string{c.staging(), c.target("a")}, n.mountTargets())
	require.Equal(t, "ro", n.host.Mounts()[1].Options[0])
	c.mode = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	requireCode(t, n.give(c, "a"), codes.AlreadyExists, "read-only")
}

func TestMountOptions(t *testing.T) {
	n := newWideNode(t)
	c := newClaim("a", 64*mib)
	c.flags = []string{"nodiratime,commit=30", `context="system_u:object_r:container_file_t:s0:c1,c2"`}
	require.NoError(t, n.create(c))
	require.NoError(t, n.stage(c))
	require.Equal(t, []string{"rw", "noatime", "nodiratime", "commit=30", `context="system_u:object_r:container_file_t:s0:c1,c2"`}, n.host.Mounts()[0].Options)
	require.NoError(t, n.give(c, "a"))
	require.Equal(t, []string{"rw"}, n.host.Mounts()[1].Options, "a bind has none of them")

	b := newClaim("b", 64*mib)
	require.NoError(t, n.create(b))
	b.flags = []string{"noatime", "exec,dev"}
	requireCode(t, n.stage(b), codes.InvalidArgument, "mountOptions", `"exec"`, "noatime")
	b.flags = []string{`context="x",suid`}
	requireCode(t, n.stage(b), codes.InvalidArgument, "mountOptions")
}

func TestSuperblockThatIsGoneIsNotFormatted(t *testing.T) {
	n := newWideNode(t)
	c := newClaim("a", 64*mib)
	n.inUse(c)
	require.NoError(t, n.take(c, "a"))
	require.NoError(t, n.unstage(c))
	require.NoError(t, n.host.Wipe(c.device()))
	requireCode(t, n.stage(c), codes.FailedPrecondition, "is gone: found nothing", "not formatted again")
	require.Equal(t, "data of "+c.name, n.at(c, dataAt))
}

// An inline volume and a persistent one are never each other's, whatever they are
// asked for by.
func TestKindsAreApart(t *testing.T) {
	n := newWideNode(t)
	v := newVolume("pod", "64Mi")
	n.pod(v)
	n.published(v)
	n.lvm("lvcreate", "--yes", "--name", "pvc-admin", "--size", "32m", "vg0")
	n.lvm("lvcreate", "--yes", "--name", "pvc-tagged", "--size", "32m", "--addtag", "podlv.kind=volume", "vg0")
	inline, admin, tagged := newClaim("x", 64*mib), newClaim("admin", 32*mib), newClaim("tagged", 32*mib)
	inline.id, admin.id, tagged.id = "vg0/"+v.handle(), "vg0/pvc-admin", "vg0/pvc-tagged"
	require.NoError(t, n.unpublish(v))
	n.published(v)
	for _, c := range []*claim{admin, tagged} {
		require.NoError(t, n.delete(c), "it is no volume of ours")
		requireCode(t, n.stage(c), codes.NotFound, "not a persistent volume of podlv")
		requireCode(t, n.create(c), codes.AlreadyExists, "not a persistent volume of podlv")
	}
	requireCode(t, n.delete(inline), codes.FailedPrecondition, "in use")
	n.reboot()
	require.NoError(t, n.delete(inline), "not mounted, and still not a persistent volume")
	require.ElementsMatch(t, []string{v.handle(), "pool", "pvc-admin", "pvc-tagged"}, n.volumes())
}

func TestListVolumesPages(t *testing.T) {
	n := newWideNode(t)
	var all []string
	for i := range 7 {
		c := newClaim(fmt.Sprint(i), 4*mib)
		require.NoError(t, n.create(c))
		all = append(all, c.id)
	}
	list := func(token string) ([]string, string) {
		r, err := n.control.ListVolumes(t.Context(), &csi.ListVolumesRequest{MaxEntries: 3, StartingToken: token})
		require.NoError(t, err)
		var ids []string
		for _, e := range r.GetEntries() {
			ids = append(ids, e.GetVolume().GetVolumeId())
		}
		return ids, r.GetNextToken()
	}
	first, token := list("")
	require.Equal(t, all[:3], first)
	require.NoError(t, n.delete(&claim{id: all[2]}), "the last of a page")
	require.NoError(t, n.create(newClaim("2a", 4*mib)), "between the pages")
	second, token := list(token)
	require.Equal(t, []string{"vg0/pvc-2a", all[3], all[4]}, second)
	third, token := list(token)
	require.Equal(t, all[5:], third)
	require.Empty(t, token)
	_, err := n.control.ListVolumes(t.Context(), &csi.ListVolumesRequest{StartingToken: "vg7/x"})
	requireCode(t, err, codes.Aborted, "vg7/x")
	_, err = n.control.ListVolumes(t.Context(), &csi.ListVolumesRequest{MaxEntries: -1})
	requireCode(t, err, codes.InvalidArgument, "-1")
}

func TestBadCreateRequests(t *testing.T) {
	n := newWideNode(t)
	for _, row := range []struct {
		name  string
		edit  func(*csi.CreateVolumeRequest)
		code  codes.Code
		words []string
	}{
		{"unknown parameter", func(r *csi.CreateVolumeRequest) { r.Parameters["podlv.dev/clas"] = "x" }, codes.InvalidArgument, []string{`"podlv.dev/clas"`, "allowed are podlv.dev/class"}},
		{"unknown class", func(r *csi.CreateVolumeRequest) { r.Parameters["podlv.dev/class"] = "hdd" }, codes.InvalidArgument, []string{`"hdd"`, "there are ssd"}},
		{"more than there is", func(r *csi.CreateVolumeRequest) { r.CapacityRange.RequiredBytes = 1 << 40 }, codes.ResourceExhausted, []string{"1Ti are needed", "free"}},
		{"more than can be", func(r *csi.CreateVolumeRequest) { r.CapacityRange.RequiredBytes = 1<<63 - 1 }, codes.OutOfRange, []string{"capacity range"}},
		{"negative", func(r *csi.CreateVolumeRequest) { r.CapacityRange.RequiredBytes = -1 }, codes.InvalidArgument, []string{"-1"}},
		{"limit below required", func(r *csi.CreateVolumeRequest) { r.CapacityRange.LimitBytes = 32 * mib }, codes.OutOfRange, []string{"32Mi", "64Mi"}},
		{"rounded above the limit", func(r *csi.CreateVolumeRequest) {
			r.CapacityRange = &csi.CapacityRange{RequiredBytes: 65 * mib, LimitBytes: 66 * mib}
		}, codes.OutOfRange, []string{"65Mi", "68Mi", "66Mi"}},
		{"too small for xfs", func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities[0].GetMount().FsType = "xfs" }, codes.OutOfRange, []string{"64Mi", "xfs", "300Mi"}},
		{"unknown filesystem", func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities[0].GetMount().FsType = "zfs" }, codes.InvalidArgument, []string{`"zfs"`, "btrfs, ext4, xfs"}},
		{"block with a filesystem", func(r *csi.CreateVolumeRequest) {
			r.Parameters["csi.storage.k8s.io/fstype"] = "ext4"
			r.VolumeCapabilities[0].AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		}, codes.InvalidArgument, []string{"block", `"ext4"`}},
		{"block and mount", func(r *csi.CreateVolumeRequest) {
			r.VolumeCapabilities = append(r.VolumeCapabilities, newClaim("b", 1).raw().capability())
		}, codes.InvalidArgument, []string{"either a filesystem or a block device"}},
		{"no access type", func(r *csi.CreateVolumeRequest) { r.VolumeCapabilities[0].AccessType = nil }, codes.InvalidArgument, []string{"access type is missing"}},
		{"a name that is too long", func(r *csi.CreateVolumeRequest) { r.Name = strings.Repeat("x", 129) }, codes.InvalidArgument, []string{"128"}},
		{"another node", func(r *csi.CreateVolumeRequest) {
			r.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: []*csi.Topology{{Segments: map[string]string{"topology.podlv.dev/node": "node2"}}}}
		}, codes.ResourceExhausted, []string{"node1", "node2"}},
		{"a source", func(r *csi.CreateVolumeRequest) { r.VolumeContentSource = &csi.VolumeContentSource{} }, codes.InvalidArgument, []string{"content source", "neither"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := n.createRequest(newClaim("bad", 64*mib))
			row.edit(r)
			_, err := n.control.CreateVolume(t.Context(), r)
			requireCode(t, err, row.code, row.words...)
			require.Equal(t, []string{"pool"}, n.volumes(), "something is left behind")
		})
	}
}

func TestCreateAgainDiffers(t *testing.T) {
	n := newWideNode(t)
	require.NoError(t, n.create(newClaim("a", 64*mib)))
	require.NoError(t, n.create(newClaim("a", 62*mib)), "the size that was made serves this, too")
	requireCode(t, n.create(newClaim("a", 128*mib)), codes.AlreadyExists, "64Mi", "128Mi")
	requireCode(t, n.create(newClaim("a", 64*mib).raw()), codes.AlreadyExists, "ext4", "block device")
	requireCode(t, n.create(newClaim("a", 64*mib).as("btrfs").ofClass("dirty")), codes.OutOfRange)
	requireCode(t, n.create(newClaim("a", 64*mib).ofClass("dirty")), codes.AlreadyExists, `"ssd"`, `"dirty"`)
}

func TestHandlesThatAreNotOurs(t *testing.T) {
	n := newWideNode(t)
	n.lvm("lvcreate", "--yes", "--name", "precious", "--size", "32m", "vg0")
	for _, id := range []string{"nothing", "vg0", "vg0/", "/x", "vg0/nothing", "vg0/precious", "vg9/x", "vg0/../vg0/precious", "..", "../../etc", "vg0/a/b", "vg0/-x", "vg0/pool"} {
		c := newClaim("x", 64*mib)
		c.id = id
		require.NoError(t, n.delete(c), id)
		requireCode(t, n.stage(c), codes.NotFound)
		require.Error(t, n.give(c, "a"), id)
		_, err := n.expand(c, 128*mib)
		requireCode(t, err, codes.NotFound)
		_, err = n.control.ControllerGetVolume(t.Context(), &csi.ControllerGetVolumeRequest{VolumeId: id})
		requireCode(t, err, codes.NotFound)
	}
	require.Equal(t, []string{"pool", "precious"}, n.volumes())
	require.Empty(t, n.mountTargets())
}

func TestPublishAndStageOutOfOrder(t *testing.T) {
	n := newWideNode(t)
	c := newClaim("a", 64*mib)
	require.NoError(t, n.create(c))
	requireCode(t, n.give(c, "a"), codes.FailedPrecondition, "not staged", "NodeStageVolume comes first")
	_, err := n.node.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{VolumeId: c.id, StagingTargetPath: "/no/such/folder", VolumeCapability: c.capability()})
	requireCode(t, err, codes.FailedPrecondition, "/no/such/folder", "not there")
	_, err = n.node.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{VolumeId: c.id, StagingTargetPath: "../x", VolumeCapability: c.capability()})
	requireCode(t, err, codes.InvalidArgument, "relative")
	_, err = n.expand(c, 128*mib)
	requireCode(t, err, codes.FailedPrecondition, "only while it is staged")

	other := newClaim("b", 64*mib)
	require.NoError(t, n.create(other))
	require.NoError(t, n.stage(other))
	_, err = n.node.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: c.id, StagingTargetPath: other.staging()})
	requireCode(t, err, codes.FailedPrecondition, "not this volume's")
	_, err = n.node.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{VolumeId: c.id, StagingTargetPath: other.staging(), VolumeCapability: c.capability()})
	requireCode(t, err, codes.FailedPrecondition, "occupied")
	raw := newClaim("b", 64*mib).raw()
	raw.id = other.id
	requireCode(t, n.give(raw, "a"), codes.InvalidArgument, "is ext4", "block device")
	asXFS := *other
	asXFS.fsType = "xfs"
	requireCode(t, n.stage(&asXFS), codes.InvalidArgument, `"xfs"`, "made as ext4")
}

func TestExpandBeyondTheVG(t *testing.T) {
	n := newWideNode(t)
	for _, c := range []*claim{newClaim("a", 64*mib), newClaim("b", 64*mib).raw(), newClaim("c", 64*mib).ofClass("thin"), newClaim("d", 64*mib).ofClass("raid1")} {
		n.inUse(c)
		_, err := n.expand(c, 1<<40)
		requireCode(t, err, codes.OutOfRange, "cannot have 1Ti")
		size, err := n.expand(c, 128*mib)
		require.NoError(t, err, "the user asks for less")
		require.EqualValues(t, 128*mib, size)
		size, err = n.expand(c, 64*mib)
		require.NoError(t, err)
		require.EqualValues(t, 128*mib, size, "nothing shrinks")
		size, err = n.expand(c, 0)
		require.NoError(t, err)
		require.EqualValues(t, 128*mib, size)
		if !c.block {
			fs, err := n.host.FilesystemSize(c.device())
			require.NoError(t, err)
			require.EqualValues(t, 128*mib, fs)
		}
	}
	_, err := n.node.NodeExpandVolume(t.Context(), &csi.NodeExpandVolumeRequest{VolumeId: "vg0/pvc-a", VolumePath: newClaim("a", 1).target("a"), CapacityRange: &csi.CapacityRange{RequiredBytes: 8, LimitBytes: 4}})
	requireCode(t, err, codes.OutOfRange, "limit")
}

// lvremove of an origin would take its thick snapshots with it, whoever made them.
func TestDeleteOfAVolumeWithThickSnapshotsIsRefused(t *testing.T) {
	for _, active := range []string{"-ay", "-an"} {
		t.Run(active, func(t *testing.T) {
			n := newFakeNode(t)
			c := newClaim("origin", 64*mib)
			require.NoError(t, n.create(c))
			n.lvm("lvcreate", "--yes", "--snapshot", "--name", "rescue", "--size", "16m", c.id)
			n.lvm("lvchange", active, c.id)
			requireCode(t, n.delete(c), codes.FailedPrecondition, "thick snapshots")
			require.Equal(t, []string{c.name, "rescue"}, n.volumes())
			n.lvm("lvremove", "--yes", "vg0/rescue")
			require.NoError(t, n.delete(c))
			require.NoError(t, n.delete(c), "once more")
			require.Empty(t, n.volumes())
		})
	}
}

// A VG that is not there comes back with its disk, and what was in it, too: until then
// nothing of it is said to be deleted.
func TestNothingIsDeletedWhileItsVGIsAway(t *testing.T) {
	n := newFakeNode(t)
	c := newClaim("db", 64*mib)
	require.NoError(t, n.create(c))
	s := newShot("before", c)
	require.NoError(t, n.snap(s))
	require.NoError(t, n.host.TakeDisk("/dev/fake0"))
	requireCode(t, n.unsnap(s), codes.Unavailable, "VG vg0 is not there")
	requireCode(t, n.delete(c), codes.Unavailable, "VG vg0 is not there")
	require.NoError(t, n.host.ReturnDisk("/dev/fake0"))
	require.NoError(t, n.unsnap(s))
	require.NoError(t, n.delete(c))
	require.Empty(t, n.volumes())
}
