// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
)

// shot is a VolumeSnapshot of a claim, and the snapshot that it became.
type shot struct {
	name   string
	of     *claim
	params map[string]string

	id    string
	size  int64
	ready bool
	taken time.Time
}

func newShot(name string, of *claim) *shot {
	return &shot{name: name, of: of, params: map[string]string{}}
}

func (s *shot) sized(size string) *shot { s.params["podlv.dev/snapshot-size"] = size; return s }

// snap is external-snapshotter's CreateSnapshot.
func (k *kubelet) snap(s *shot) error {
	ctx, cancel := callTime()
	defer cancel()
	r, err := k.control.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: s.name, SourceVolumeId: s.of.id, Parameters: s.params})
	if err == nil {
		v := r.GetSnapshot()
		s.id, s.size, s.ready, s.taken = v.GetSnapshotId(), v.GetSizeBytes(), v.GetReadyToUse(), v.GetCreationTime().AsTime()
	}
	return err
}

func (k *kubelet) unsnap(s *shot) error {
	ctx, cancel := callTime()
	defer cancel()
	_, err := k.control.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: s.id})
	return err
}

// shots lists snapshots, by the ids of two filters.
func (k *kubelet) shots(id, volume string) []*csi.Snapshot {
	k.t.Helper()
	r, err := k.control.ListSnapshots(k.t.Context(), &csi.ListSnapshotsRequest{SnapshotId: id, SourceVolumeId: volume})
	require.NoError(k.t, err)
	var list []*csi.Snapshot
	for _, e := range r.GetEntries() {
		list = append(list, e.GetSnapshot())
	}
	return list
}

// from makes a claim a restore of a snapshot, copyOf one that is a clone.
func (c *claim) from(s *shot) *claim {
	c.content = func() *csi.VolumeContentSource {
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: s.id}}}
	}
	return c
}

func (c *claim) copyOf(other *claim) *claim {
	c.content = func() *csi.VolumeContentSource {
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: other.id}}}
	}
	return c
}

// kinds are a volume's ways to be: every one of them can be a source.
var kinds = map[string]func(name string) *claim{
	"thick ext4":  func(name string) *claim { return newClaim(name, 16*mib) },
	"thick xfs":   func(name string) *claim { return newClaim(name, 300*mib).as("xfs") },
	"thick btrfs": func(name string) *claim { return newClaim(name, 256*mib).as("btrfs") },
	"thick raw":   func(name string) *claim { return newClaim(name, 16*mib).raw() },
	"thin ext4":   func(name string) *claim { return newClaim(name, 16*mib).ofClass("thin") },
	"thin xfs":    func(name string) *claim { return newClaim(name, 300*mib).as("xfs").ofClass("thin") },
	"thin btrfs":  func(name string) *claim { return newClaim(name, 256*mib).as("btrfs").ofClass("thin") },
	"thin raw":    func(name string) *claim { return newClaim(name, 16*mib).raw().ofClass("thin") },
}

// served checks that a copy is whole, and its own: pod a uses it beside its source.
func (n *fakeNode) served(c *claim, want string) {
	n.t.Helper()
	require.NotContains(n.t, n.lvTags(c), "podlv.state")
	require.NoError(n.t, n.stage(c))
	require.NoError(n.t, n.give(c, "a"))
	require.Equal(n.t, want, n.at(c, dataAt))
	if c.block {
		return
	}
	_, uuid, err := n.host.Signature(c.device())
	require.NoError(n.t, err)
	require.NotEmpty(n.t, uuid)
	size, err := n.host.FilesystemSize(c.device())
	require.NoError(n.t, err)
	require.Equal(n.t, n.size(c), size, "the filesystem has all of the volume")
}

func TestSnapshotsAndCopiesOfEveryKind(t *testing.T) {
	t.Parallel()
	n := 0
	for name, make := range kinds {
		for _, class := range []string{"ssd", "thin", "striped", "raid1"} {
			if n++; !drawn(n) {
				continue
			}
			t.Run(name+" to "+class, func(t *testing.T) {
				n := newWideNode(t)
				n.dirty(2 * gib)
				source := make("source")
				n.inUse(source)
				s := newShot("one", source)
				require.NoError(t, n.snap(s))
				require.True(t, s.ready)
				require.Equal(t, source.size, s.size)
				require.NoError(t, n.snap(s), "once more")
				n.put(source, dataAt, "later")

				restored := make("restored").ofClass(class).from(s)
				restored.size += 48 * mib
				require.NoError(t, n.create(restored))
				uuid := n.lvm("lvs", "--noheadings", "-o", "lv_uuid", restored.id)
				require.NoError(t, n.create(restored), "once more")
				require.Equal(t, uuid, n.lvm("lvs", "--noheadings", "-o", "lv_uuid", restored.id))
				n.served(restored, "data of "+source.name)
				n.put(restored, dataAt, "mine")

				clone := make("clone").ofClass(class).copyOf(source)
				require.NoError(t, n.create(clone))
				n.served(clone, "later")
				n.put(clone, dataAt, "mine, too")
				second := make("second").ofClass(class).copyOf(clone)
				require.NoError(t, n.create(second), "a clone of a clone")
				n.served(second, "mine, too")

				require.Equal(t, "later", n.at(source, dataAt), "the source is as it was")
				if restored.block {
					n.clean(restored, source.size, n.size(restored))
				}
				for _, c := range []*claim{restored, clone, second} {
					size, err := n.expand(c, c.size+48*mib)
					require.NoError(t, err)
					if c.block {
						n.clean(c, source.size, size)
					}
					n.free(c)
				}
				require.NoError(t, n.unsnap(s))
				require.NoError(t, n.unsnap(s), "once more")
				n.free(source)
				require.Equal(t, []string{"pool"}, n.volumes())
			})
		}
	}
}

// Linux resizes no btrfs to less than 256 MiB: that is said before anything is made.
func TestSmallBtrfs(t *testing.T) {
	n := newSmallNode(t)
	source := newClaim("source", 128*mib).as("btrfs")
	n.inUse(source)
	requireCode(t, n.create(newClaim("larger", 200*mib).as("btrfs").copyOf(source)), codes.OutOfRange, "256Mi", "128Mi")
	_, err := n.expand(source, 200*mib)
	requireCode(t, err, codes.OutOfRange, "256Mi")
	require.EqualValues(t, 128*mib, n.size(source))
	same, larger := newClaim("same", 128*mib).as("btrfs").copyOf(source), newClaim("larger", 256*mib).as("btrfs").copyOf(source)
	for _, c := range []*claim{same, larger} {
		require.NoError(t, n.create(c))
		n.served(c, "data of pvc-source")
	}
	_, err = n.expand(source, 256*mib)
	requireCode(t, err, codes.OK)
}

// A thin snapshot outlives its volume; a thick one keeps it.
func TestDeletingTheVolumeOfASnapshot(t *testing.T) {
	n := newSmallNode(t)
	thin, thick := newClaim("thin", 16*mib).ofClass("thin"), newClaim("thick", 16*mib)
	n.inUse(thin)
	n.inUse(thick)
	s := newShot("of thin", thin)
	require.NoError(t, n.snap(s))
	n.free(thin)
	require.Len(t, n.shots(s.id, ""), 1)
	require.Equal(t, thin.id, n.shots(s.id, "")[0].GetSourceVolumeId(), "though it is gone")
	back := newClaim("back", 16*mib).ofClass("thin").from(s)
	require.NoError(t, n.create(back))
	n.served(back, "data of pvc-thin")
	require.NoError(t, n.unsnap(s))
	require.Equal(t, "data of pvc-thin", n.at(back, dataAt), "it needs its snapshot no more")

	s = newShot("of thick", thick)
	require.NoError(t, n.snap(s))
	require.NoError(t, n.take(thick, "a"))
	require.NoError(t, n.unstage(thick))
	requireCode(t, n.delete(thick), codes.FailedPrecondition, "thick snapshots")
	require.NoError(t, n.unsnap(s))
	require.NoError(t, n.delete(thick))
	n.free(back)
	require.Equal(t, []string{"pool"}, n.volumes())
}

// Of a volume that nobody has used there is no filesystem to copy: a copy is new, too.
// But the tag that says so may stay on a volume that is in use.
func TestCopiesOfAVolumeThatNobodyHasUsed(t *testing.T) {
	for _, class := range []string{"ssd", "thin"} {
		t.Run(class, func(t *testing.T) {
			n := newSmallNode(t)
			source := newClaim("source", 16*mib).ofClass(class)
			require.NoError(t, n.create(source))
			n.host.Reboot()
			n.restart()
			early := newShot("early", source)
			require.NoError(t, n.snap(early))
			require.NoError(t, n.stage(source))
			require.NoError(t, n.give(source, "a"))
			n.put(source, dataAt, "precious")
			require.Contains(t, n.lvTags(source), "podlv.state=new", "not settled yet")
			late := newShot("late", source)
			require.NoError(t, n.snap(late))

			clone := newClaim("clone", 16*mib).ofClass(class).copyOf(source)
			require.NoError(t, n.create(clone))
			n.served(clone, "precious")
			restored := newClaim("restored", 16*mib).ofClass(class).from(late)
			require.NoError(t, n.create(restored))
			n.served(restored, "precious")
			fresh := newClaim("fresh", 24*mib).ofClass(class).from(early)
			require.NoError(t, n.create(fresh))
			require.NoError(t, n.create(fresh), "once more")
			require.NoError(t, n.stage(fresh))
			require.NoError(t, n.give(fresh, "a"))
			require.NotEqual(t, "precious", n.at(fresh, dataAt))
		})
	}
}

func TestBadSnapshotRequests(t *testing.T) {
	n := newSmallNode(t)
	c, other := newClaim("a", 16*mib), newClaim("b", 16*mib)
	n.inUse(c)
	n.inUse(other)
	before := n.volumes()
	for name, row := range map[string]struct {
		request *csi.CreateSnapshotRequest
		code    codes.Code
		words   []string
	}{
		"no name":                    {&csi.CreateSnapshotRequest{SourceVolumeId: c.id}, codes.InvalidArgument, []string{"snapshot name"}},
		"a name that is too long":    {&csi.CreateSnapshotRequest{Name: strings.Repeat("x", 129), SourceVolumeId: c.id}, codes.InvalidArgument, []string{"128"}},
		"no volume":                  {&csi.CreateSnapshotRequest{Name: "s"}, codes.InvalidArgument, []string{"source volume id"}},
		"a volume that is not there": {&csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "vg0/pvc-x"}, codes.NotFound, []string{"vg0/pvc-x"}},
		"a volume of another VG":     {&csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "vg1/pvc-x"}, codes.NotFound, []string{"vg1"}},
		"a way out":                  {&csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "vg0/../a"}, codes.NotFound, []string{".."}},
		"a thin pool":                {&csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: "vg0/pool"}, codes.NotFound, []string{"vg0/pool"}},
		"an unknown parameter": {
			&csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: c.id, Parameters: map[string]string{"size": "1Gi"}}, codes.InvalidArgument,
			[]string{`"size"`, "podlv.dev/snapshot-size"},
		},
		"a size that is none": {newShot("s", c).sized("big").request(), codes.InvalidArgument, []string{`"big"`, "podlv.dev/snapshot-size"}},
		"no percent":          {newShot("s", c).sized("0%").request(), codes.InvalidArgument, []string{"1%"}},
		"too many percent":    {newShot("s", c).sized("101%").request(), codes.InvalidArgument, []string{"100%"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := n.control.CreateSnapshot(t.Context(), row.request)
			requireCode(t, err, row.code, row.words...)
			require.Equal(t, before, n.volumes(), "something is left behind")
		})
	}
	s := newShot("s", c)
	require.NoError(t, n.snap(s))
	requireCode(t, n.snap(newShot("s", other)), codes.AlreadyExists, c.id, other.id)
	requireCode(t, n.snap(newShot("huge", c).sized("100Gi")), codes.OK)
	for _, id := range []string{"nonsense", "vg0/../s", "vg9/s", "vg0/" + other.name, "vg0/pool"} {
		require.NoError(t, n.unsnap(&shot{id: id}), id)
	}
	requireCode(t, n.unsnap(&shot{}), codes.InvalidArgument, "snapshot id")
	require.Contains(t, n.volumes(), other.name, "a volume is not a snapshot")
	c.id = s.id
	require.NoError(t, n.delete(c), "a snapshot is not a volume")
	require.Len(t, n.shots(s.id, ""), 1)
}

func (s *shot) request() *csi.CreateSnapshotRequest {
	return &csi.CreateSnapshotRequest{Name: s.name, SourceVolumeId: s.of.id, Parameters: s.params}
}

func TestSizeOfAThickSnapshot(t *testing.T) {
	n := newSmallNode(t)
	c := newClaim("a", 400*mib)
	n.inUse(c)
	for size, want := range map[string]int64{"": 80, "10%": 40, "100%": 404, "1Mi": 4, "100Mi": 100, "1Ti": 404} {
		s := newShot("size "+size, c)
		if size != "" {
			s.sized(size)
		}
		require.NoError(t, n.snap(s))
		require.Equal(t, sizeArg(want*mib), strings.TrimSpace(n.lvm("lvs", "--noheadings", "--units", "b", "-o", "lv_size", s.id))[:len(sizeArg(want*mib))-1]+"b", "size %q", size)
		require.EqualValues(t, 400*mib, s.size)
		require.NoError(t, n.unsnap(s))
	}
	requireCode(t, n.snap(newShot("s", newClaimOf("vg0/nothing"))), codes.NotFound)
	n.lvm("lvcreate", "--yes", "--name", "filler", "--extents", "100%FREE", "vg0")
	requireCode(t, n.snap(newShot("none", c)), codes.ResourceExhausted, "vg0")
}

func newClaimOf(id string) *claim { return &claim{id: id} }

func TestBadCopies(t *testing.T) {
	n := newSmallNode(t)
	c, raw := newClaim("source", 32*mib), newClaim("raw", 32*mib).raw()
	n.inUse(c)
	n.inUse(raw)
	s := newShot("s", c)
	require.NoError(t, n.snap(s))
	before := n.volumes()
	limited := newClaim("x", 0).from(s)
	limited.limit = 16 * mib
	for name, row := range map[string]struct {
		claim *claim
		code  codes.Code
		words []string
	}{
		"a snapshot that is not there": {newClaim("x", 32*mib).from(&shot{id: "vg0/snap-x"}), codes.NotFound, []string{"vg0/snap-x", "not on this node"}},
		"a snapshot of another VG":     {newClaim("x", 32*mib).from(&shot{id: "vg7/snap-x"}), codes.NotFound, []string{"vg7"}},
		"a volume that is not there":   {newClaim("x", 32*mib).copyOf(newClaimOf("vg0/pvc-y")), codes.NotFound, []string{"vg0/pvc-y"}},
		"a volume as a snapshot":       {newClaim("x", 32*mib).from(&shot{id: c.id}), codes.NotFound, []string{c.id}},
		"a snapshot as a volume":       {newClaim("x", 32*mib).copyOf(newClaimOf(s.id)), codes.NotFound, []string{s.id}},
		"smaller":                      {newClaim("x", 16*mib).from(s), codes.OutOfRange, []string{"16Mi", "32Mi"}},
		"a limit below":                {limited, codes.OutOfRange, []string{"16Mi", "32Mi"}},
		"another filesystem":           {newClaim("x", 512*mib).as("xfs").from(s), codes.InvalidArgument, []string{"ext4", "xfs"}},
		"a filesystem as block":        {newClaim("x", 32*mib).raw().from(s), codes.InvalidArgument, []string{"ext4", "block device"}},
		"block as a filesystem":        {newClaim("x", 32*mib).copyOf(raw), codes.InvalidArgument, []string{"block device", "filesystem"}},
		"itself":                       {newClaim("x", 32*mib).copyOf(newClaimOf("vg0/pvc-x")), codes.InvalidArgument, []string{"itself"}},
		"no space":                     {newClaim("x", 20*gib).from(s), codes.ResourceExhausted, []string{"vg0"}},
		"a class that cannot hold it":  {newClaim("x", 4*gib).ofClass("thin").from(s), codes.ResourceExhausted, []string{"thin pool vg0/pool"}},
		"a layout that cannot hold it": {newClaim("x", 2*gib).ofClass("raid1").from(s), codes.ResourceExhausted, []string{"raid1 of 2Gi over 2 PVs"}},
		"no space for a clone":         {newClaim("x", 20*gib).copyOf(c), codes.ResourceExhausted, []string{"vg0"}},
	} {
		t.Run(name, func(t *testing.T) {
			requireCode(t, n.create(row.claim), row.code, row.words...)
			require.Equal(t, before, n.volumes(), "something is left behind")
		})
	}
	copied := newClaim("copy", 0).from(s)
	require.NoError(t, n.create(copied))
	require.EqualValues(t, 32*mib, n.size(copied), "of its source's size, when none is asked for")
	requireCode(t, n.create(newClaim("copy", 32*mib)), codes.AlreadyExists, "from nothing")
	requireCode(t, n.create(newClaim("copy", 32*mib).copyOf(c)), codes.AlreadyExists, s.id, c.id)
	requireCode(t, n.create(newClaim("source", 32*mib).from(s)), codes.AlreadyExists, s.id)
	require.NoError(t, n.unsnap(s))
	require.NoError(t, n.create(copied), "made already: it needs its source no more")
}

func (n *fakeNode) size(c *claim) int64 {
	n.t.Helper()
	size, err := n.host.DeviceSize(c.device())
	require.NoError(n.t, err)
	return size
}

// A copy takes longer than a call may, and nobody gets it meanwhile.
func TestCopyOutlivesItsCall(t *testing.T) {
	for name, step := range map[string]string{"copying": "copy", "adopting": "adopt"} {
		t.Run(name, func(t *testing.T) {
			n := newSmallNode(t)
			source := newClaim("source", 16*mib)
			n.inUse(source)
			c := newClaim("copy", 16*mib).copyOf(source)
			release := n.host.Hang(step)
			_, err := n.control.CreateVolume(n.impatient(), n.createRequest(c))
			requireCode(t, err, codes.DeadlineExceeded, "being copied")
			c.id = "vg0/" + c.name
			list, err := n.control.ListVolumes(t.Context(), &csi.ListVolumesRequest{})
			require.NoError(t, err)
			require.Len(t, list.GetEntries(), 1, "it is not a volume yet")
			requireCode(t, n.stage(c), codes.Aborted, "still to be copied")
			_, err = n.expand(c, 32*mib)
			requireCode(t, err, codes.Aborted)
			requireCode(t, n.snap(newShot("s", c)), codes.Aborted)
			requireCode(t, n.create(newClaim("copy", 16*mib)), codes.AlreadyExists)
			require.Empty(t, n.shots("", ""), "the snapshot that is copied from is nobody's")
			n.put(source, dataAt, "later")
			uuid := n.lvm("lvs", "--noheadings", "-o", "lv_uuid", c.id)
			release()
			require.NoError(t, n.create(c), "the provisioner calls again")
			require.Equal(t, uuid, n.lvm("lvs", "--noheadings", "-o", "lv_uuid", c.id), "it went on")
			n.served(c, "data of pvc-source")
			n.free(c)
			n.free(source)
			require.Equal(t, []string{"pool"}, n.volumes())
		})
	}
}

// The lvm commands alone may take longer than a call: what they have made is not made
// again.
func TestBeginningOfACopyOutlivesItsCall(t *testing.T) {
	n := newSmallNode(t)
	source := newClaim("source", 16*mib)
	n.inUse(source)
	c := newClaim("copy", 16*mib).copyOf(source)
	n.host.ResetSteps()
	release := n.host.Hang("lvcreate") // of the snapshot to copy from
	_, err := n.control.CreateVolume(n.impatient(), n.createRequest(c))
	requireCode(t, err, codes.DeadlineExceeded, "being copied", "goes on")
	release()
	require.NoError(t, n.create(c))
	// Reports are not counted: how many the second call needs depends on how far the job is.
	require.Equal(t, []string{"lvcreate", "lvcreate", "copy", "adopt", "lvremove", "lvchange"}, n.changes())
	n.served(c, "data of pvc-source")
	n.free(c)
	n.free(source)
	require.Equal(t, []string{"pool"}, n.volumes())
}

func TestDeleteEndsACopy(t *testing.T) {
	n := newSmallNode(t)
	source := newClaim("source", 16*mib)
	n.inUse(source)
	c := newClaim("copy", 16*mib).copyOf(source)
	release := n.host.Hang("copy")
	_, err := n.control.CreateVolume(n.impatient(), n.createRequest(c))
	requireCode(t, err, codes.DeadlineExceeded)
	c.id = "vg0/" + c.name
	go func() {
		time.Sleep(50 * time.Millisecond)
		release()
	}()
	require.NoError(t, n.delete(c))
	require.Equal(t, []string{"pool", source.name}, n.volumes())
}

// What a snapshot and a copy cost in lvm commands is a promise
// (docs/persistent-volumes.md).
func TestSnapshotsCost(t *testing.T) {
	for class, row := range map[string]struct{ snapshot, restore, clone int }{
		"ssd": {2, 2, 4}, "thin": {2, 2, 2},
	} {
		t.Run(class, func(t *testing.T) {
			n := newWideNode(t)
			source := newClaim("source", 64*mib).ofClass(class)
			n.inUse(source)
			s := newShot("s", source)
			count := func(call func() error) int {
				require.NoError(t, n.agent.Look(t.Context()))
				return n.countCommands(call)
			}
			require.Equal(t, row.snapshot, count(func() error { return n.snap(s) }), "snapshot")
			restored, clone := newClaim("restored", 64*mib).ofClass(class).from(s), newClaim("clone", 64*mib).ofClass(class).copyOf(source)
			require.Equal(t, row.restore, count(func() error { return n.create(restored) }), "restore")
			require.Equal(t, row.clone, count(func() error { return n.create(clone) }), "clone")
			require.Zero(t, count(func() error { return n.stage(clone) }), "stage")
			require.Equal(t, 1, count(func() error { return n.unsnap(s) }), "delete")
		})
	}
}
