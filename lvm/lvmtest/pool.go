// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

// poolTag is what the thin pools carry that the suite makes through the client.
const poolTag = "podlv.pool"

var poolContracts = []contract{
	{"a thin pool has the size, the metadata and the tag that are asked for", createPool},
	{"why a thin pool was not made", poolFailures},
	{"the first commits of a new thin pool have its metadata as an LV of its name and tag, or nothing", poolCommits},
	{"what is left of a thin pool is removed, a whole one is not", removePart},
	{"the metadata of a new thin pool decide how large its chunks are", poolChunks},
	{"a thin pool grows, its data and its metadata, and nothing else is made", extendPool},
	{"a thin pool that is as large already stays so", extendPoolAgain},
	{"a thin pool that is full takes writes again when it has grown", extendFullPool},
	{"a thin pool grows while its volumes are written", extendPoolInUse},
	{"an inactive thin pool grows and stays inactive", extendInactivePool},
	{"a thin pool grows by every free extent and not one more", extendPoolToTheEnd},
	{"why a thin pool was not extended", extendPoolFailures},
	{"lvextend of a thin pool makes its spare, and metadata as it likes, unless PVs are named", extendPoolAnywhere},
	{"the metadata of a thin pool grow before its data, in a commit of their own", extendPoolCommits},
	{"what was begun of a thin pool's growth is finished", finishPool},
	{"no command is run for what is no thin pool that can be", poolsInvalid},
}

// poolSpec is a thin pool of so many MiB.
func poolSpec(size, metadata int64) lvm.PoolSpec {
	return lvm.PoolSpec{VG: group, Name: "pool", Size: size * mib, Metadata: metadata * mib, Tag: poolTag}
}

// taggedPool makes one through the client, which goes at the end with all in it.
func (f *fixture) taggedPool(size, metadata int64) lvm.VolumeGroup {
	f.t.Helper()
	needs(f.t, "Thin", f.m.Features.Thin)
	f.vg(group)
	require.NoError(f.t, f.client.CreatePool(context.Background(), poolSpec(size, metadata)))
	f.t.Cleanup(func() { f.raw("lvremove", "--yes", group+"/pool") })
	return f.group(group)
}

// extendPool makes the pool larger through the client.
func (f *fixture) extendPool(size, metadata int64) {
	f.t.Helper()
	require.NoError(f.t, f.client.ExtendPool(context.Background(), f.group(group), poolSpec(size, metadata)))
}

// all are the sizes of all LVs in MiB, inner ones included.
func (f *fixture) all() string {
	f.t.Helper()
	var list []string
	for _, r := range f.rows("lvs", "-a", "-o", "lv_name,lv_size", "--sort", "lv_name", group) {
		var size int64
		_, err := fmt.Sscan(r["lv_size"], &size)
		require.NoError(f.t, err)
		if r["lv_name"] != admin {
			list = append(list, fmt.Sprintf("%s:%d", r["lv_name"], size/mib))
		}
	}
	return strings.Join(list, " ")
}

func createPool(f *fixture) {
	needs(f.t, "Thin", f.m.Features.Thin)
	f.vg(group)
	ctx := context.Background()
	require.NoError(f.t, f.client.CreatePool(ctx, poolSpec(64, 6)))
	f.t.Cleanup(func() { f.raw("lvremove", "--yes", group+"/pool") })
	l := f.lv(group, "pool")
	require.True(f.t, l.IsThinPool())
	require.True(f.t, l.Active)
	require.True(f.t, l.Zeroes)
	require.Equal(f.t, 64*mib, l.Size)
	require.Equal(f.t, []string{"podlv.pool"}, l.Tags)
	sizes := map[string]string{}
	for _, r := range f.rows("lvs", "-a", "-o", "lv_name,lv_size", group) {
		sizes[r["lv_name"]] = r["lv_size"]
	}
	require.Equal(f.t, "8388608", sizes["[pool_tmeta]"])
	require.Len(f.t, sizes, 4, "the administrator's, the pool, its data, its metadata, and no spare: %v", sizes)
	require.NoError(f.t, f.client.Create(ctx, lvm.Spec{VG: group, Name: "v", Layout: lvm.Thin, Pool: "pool", Size: 32 * mib}))
	require.NoError(f.t, f.client.Remove(ctx, group, "v"))
}

func poolFailures(f *fixture) {
	needs(f.t, "Thin", f.m.Features.Thin)
	f.vg(group)
	ctx := context.Background()
	spec := lvm.PoolSpec{VG: group, Name: "pool", Size: 64 * mib, Metadata: 4 * mib, Tag: "podlv.pool"}
	require.NoError(f.t, f.client.CreatePool(ctx, spec))
	f.t.Cleanup(func() { f.raw("lvremove", "--yes", group+"/pool") })
	f.unchanged(group, func() {
		failed(f.t, f.client.CreatePool(ctx, spec), lvm.ErrExists)
		spec.Name, spec.Size = "large", 1<<50
		failed(f.t, f.client.CreatePool(ctx, spec), lvm.ErrNoSpace)
	})
	spec.VG = other
	failed(f.t, f.client.CreatePool(ctx, spec), lvm.ErrNotFound)
}

func poolCommits(f *fixture) {
	needs(f.t, "Thin", f.m.Features.Thin)
	needs(f.t, "Commits", f.m.Features.Commits != nil)
	g := f.vg(group)
	require.NoError(f.t, f.client.CreatePool(context.Background(), lvm.PoolSpec{VG: group, Name: "pool", Size: 64 * mib, Metadata: 4 * mib, Tag: "podlv.pool"}))
	f.t.Cleanup(func() { f.raw("lvremove", "--yes", group+"/pool") })
	require.Equal(f.t, g.Sequence+2, f.group(group).Sequence, "two commits")
	texts, err := f.m.Features.Commits(f.m.Disks[0], group)
	require.NoError(f.t, err)
	texts = slices.DeleteFunc(texts, func(text string) bool { return !strings.Contains(text, g.UUID) }) // of VGs before it
	first, last := texts[len(texts)-2], texts[len(texts)-1]
	require.Regexp(f.t, `(?s)\npool \{.*tags = \["podlv.pool"\].*segment_count = 1.*type = "striped"`, first)
	require.NotContains(f.t, first, `"thin-pool"`)
	require.NotContains(f.t, first, "lvol")
	require.Contains(f.t, last, `type = "thin-pool"`)
}

func removePart(f *fixture) {
	needs(f.t, "Thin", f.m.Features.Thin)
	f.vg(group)
	ctx := context.Background()
	require.NoError(f.t, f.client.CreatePool(ctx, lvm.PoolSpec{VG: group, Name: "whole", Size: 64 * mib, Metadata: 4 * mib, Tag: "podlv.pool"}))
	f.t.Cleanup(func() { f.raw("lvremove", "--yes", group+"/whole") })
	f.raw("lvcreate", "--yes", "--name", "mine", "--size", "4m", group)
	f.t.Cleanup(func() { f.raw("lvremove", "--yes", group+"/mine") })
	f.raw("lvcreate", "--yes", "--name", "part", "--size", "4m", "--addtag", "podlv.pool", group)
	f.unchanged(group, func() {
		for _, name := range []string{"whole", "mine", admin, "nobody"} {
			require.NoError(f.t, f.client.RemovePart(ctx, group, name, "podlv.pool"))
		}
		require.NoError(f.t, f.client.RemovePart(ctx, group, "part", "another.tag"))
	})
	require.NoError(f.t, f.client.RemovePart(ctx, group, "part", "podlv.pool"))
	f.absent(group, "part")
}

func poolChunks(f *fixture) {
	needs(f.t, "Thin", f.m.Features.Thin)
	disks := f.bare(2)
	f.raw(append([]string{"vgcreate", "--yes", "--physicalextentsize", "64k", group}, disks...)...)
	if f.group(group).Size < 2500*mib {
		f.t.Skip("larger disks are needed")
	}
	for _, row := range []struct {
		data, metadata string
		chunk, has     int64
	}{
		{"2400m", "2m", 128 << 10, 2 * mib}, // 64 bytes for each chunk of 64 KiB would be 2.34 MiB
		{"2400m", "1m", 256 << 10, 2 * mib}, // 2 MiB are the least, and 1 MiB is what counts
		{"2400m", "3m", 64 << 10, 3 * mib},
		{"2400m", "8m", 64 << 10, 8 * mib},
		{"100m", "", 64 << 10, 2 * mib},
	} {
		args := []string{"lvcreate", "--yes", "--type", "thin-pool", "--name", "pool", "--size", row.data, "--poolmetadataspare", "n", group}
		if row.metadata != "" {
			args = append(args, "--poolmetadatasize", row.metadata)
		}
		f.raw(args...)
		l := f.lv(group, "pool")
		require.Equal(f.t, []int64{row.chunk, row.has}, []int64{l.ChunkSize, l.MetadataSize}, row)
		f.raw("lvremove", "--yes", group+"/pool")
	}
}

func extendPool(f *fixture) {
	before := f.taggedPool(64, 4)
	ctx := context.Background()
	require.NoError(f.t, f.client.Create(ctx, lvm.Spec{VG: group, Name: "v", Layout: lvm.Thin, Pool: "pool", Size: 32 * mib}))
	f.write(group, "v", 0, []byte("mine"))
	f.runner.reset()
	f.extendPool(127, 9)
	require.Equal(f.t, []string{"fullreport", "lvchange", "lvextend", "lvchange"}, f.runner.verbs())
	require.Equal(f.t, "pool:128 [pool_tdata]:128 [pool_tmeta]:12 v:32", f.all())
	l := f.lv(group, "pool")
	require.Equal(f.t, []int64{128 * mib, 12 * mib, 64 << 10}, []int64{l.Size, l.MetadataSize, l.ChunkSize})
	require.Equal(f.t, []string{poolTag}, l.Tags)
	require.True(f.t, l.Active)
	require.True(f.t, l.Zeroes)
	require.Equal(f.t, before.Free-72*mib, f.group(group).Free)
	if f.m.OpenDevice != nil {
		require.Equal(f.t, "mine", string(f.read(group, "v", 0, 4)))
	}
	f.extendPool(132, 12)
	f.extendPool(132, 16)
	require.Equal(f.t, "pool:132 [pool_tdata]:132 [pool_tmeta]:16 v:32", f.all())
	require.NoError(f.t, f.client.Remove(ctx, group, "v"))
}

func extendPoolAgain(f *fixture) {
	f.taggedPool(64, 8)
	f.raw("lvcreate", "--yes", "--name", "wall", "--size", "4m", group)
	f.t.Cleanup(func() { f.raw("lvremove", "--yes", group+"/wall") })
	before := f.group(group)
	for _, s := range [][2]int64{{64, 8}, {32, 4}, {64, 4}, {8, 8}} {
		f.extendPool(s[0], s[1])
	}
	after := f.group(group)
	before.Sequence, after.Sequence = 0, 0
	before.MetadataFree, after.MetadataFree = 0, 0 // the text has the last command
	require.Equal(f.t, before, after)
}

func extendFullPool(f *fixture) {
	needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
	f.taggedPool(8, 4)
	f.raw("lvchange", "--errorwhenfull", "y", group+"/pool")
	ctx := context.Background()
	f.create(lvm.Spec{Name: "a", Size: 64 * mib, Layout: lvm.Thin, Pool: "pool"})
	f.write(group, "a", 0, bytes.Repeat([]byte{7}, 128*chunk))
	d := f.open(group, "a")
	_, err := d.WriteAt(make([]byte, chunk), 130*chunk)
	closed := d.Close()
	require.True(f.t, err != nil || closed != nil, "a write that needs a chunk must fail")
	require.Equal(f.t, "out_of_data", f.lv(group, "pool").Health)
	f.extendPool(16, 4)
	l := f.lv(group, "pool")
	require.Empty(f.t, l.Health)
	require.Equal(f.t, 50.0, l.DataPercent)
	f.write(group, "a", 130*chunk, []byte("again"))
	require.Equal(f.t, "again", string(f.read(group, "a", 130*chunk, 5)))
	require.Equal(f.t, bytes.Repeat([]byte{7}, 128*chunk), f.read(group, "a", 0, 128*chunk))
	require.NoError(f.t, f.client.Remove(ctx, group, "a"))
}

// extendPoolInUse writes as fast as it can while the pool grows several times.
func extendPoolInUse(f *fixture) {
	needs(f.t, "OpenDevice", f.m.OpenDevice != nil)
	f.taggedPool(8, 4)
	f.create(lvm.Spec{Name: "a", Size: 64 * mib, Layout: lvm.Thin, Pool: "pool"})
	stop, begun, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	text := bytes.Repeat([]byte("while it grows.\n"), chunk/16)
	writes := int64(0)
	write := func() error {
		d, err := f.m.OpenDevice(path(group, "a"))
		if err != nil {
			return err
		}
		_, err = d.WriteAt(text, writes%96*chunk)
		return errors.Join(err, d.Close()) // which waits for the device
	}
	go func() {
		defer close(done)
		for {
			if err := write(); err != nil {
				done <- err
				return
			}
			if writes++; writes == 1 {
				close(begun)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	select {
	case <-begun:
	case err := <-done:
		require.NoError(f.t, err)
	}
	for i := range int64(5) {
		f.extendPool(16+8*i, 4+4*i)
	}
	close(stop)
	require.NoError(f.t, <-done)
	for i := range min(writes, 96) {
		require.Equal(f.t, text, f.read(group, "a", i*chunk, chunk))
	}
	require.Equal(f.t, "a:64 pool:48 [pool_tdata]:48 [pool_tmeta]:20", f.all())
	require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
}

func extendInactivePool(f *fixture) {
	f.taggedPool(64, 4)
	f.create(lvm.Spec{Name: "a", Size: 16 * mib, Layout: lvm.Thin, Pool: "pool"})
	f.write(group, "a", 0, []byte("mine"))
	f.raw("vgchange", "--activate", "n", group)
	f.extendPool(96, 8)
	require.Equal(f.t, "a:16 pool:96 [pool_tdata]:96 [pool_tmeta]:8", f.all())
	require.False(f.t, f.lv(group, "pool").Active)
	require.False(f.t, f.lv(group, "a").Active)
	require.NoError(f.t, f.client.Activate(context.Background(), group, "a"))
	if f.m.OpenDevice != nil {
		require.Equal(f.t, "mine", string(f.read(group, "a", 0, 4)))
	}
	require.NoError(f.t, f.client.Remove(context.Background(), group, "a"))
}

func extendPoolToTheEnd(f *fixture) {
	f.taggedPool(64, 4)
	ctx := context.Background()
	f.raw("pvchange", "--allocatable", "n", f.m.Disks[1])
	f.t.Cleanup(func() { f.raw("pvchange", "--allocatable", "y", f.m.Disks[1]) })
	g := f.group(group)
	free := g.PhysicalVolumes[0].Free / mib
	if !g.PhysicalVolumes[0].Allocatable {
		free = g.PhysicalVolumes[1].Free / mib
	}
	failed(f.t, f.client.ExtendPool(ctx, g, poolSpec(64+free+4, 4)), lvm.ErrNoSpace)
	require.Equal(f.t, "pool:64 [pool_tdata]:64 [pool_tmeta]:4", f.all())
	failed(f.t, f.client.ExtendPool(ctx, g, poolSpec(64+free, 8)), lvm.ErrNoSpace)
	require.Equal(f.t, "pool:64 [pool_tdata]:64 [pool_tmeta]:8", f.all(), "the metadata come first")
	require.Equal(f.t, []string{poolTag}, f.lv(group, "pool").Tags, "it is over")
	f.extendPool(64+free-4, 8)
	require.Equal(f.t, fmt.Sprintf("pool:%d [pool_tdata]:%[1]d [pool_tmeta]:8", 64+free-4), f.all())
	f.runner.reset()
	g = f.group(group)
	require.ErrorIs(f.t, f.client.ExtendPool(ctx, g, poolSpec(64+free, 8)), lvm.ErrNoSpace)
	require.Equal(f.t, []string{"fullreport"}, f.runner.verbs(), "that is known before")
}

func extendPoolFailures(f *fixture) {
	g := f.taggedPool(64, 4)
	f.raw("lvcreate", "--yes", "--type", "thin-pool", "--name", "theirs", "--size", "16m", "--poolmetadataspare", "n", group)
	f.t.Cleanup(func() { f.raw("lvremove", "--yes", group+"/theirs") })
	ctx := context.Background()
	theirs := poolSpec(64, 4)
	theirs.Name = "theirs"
	g = f.group(group)
	f.unchanged(group, func() {
		require.ErrorIs(f.t, f.client.ExtendPool(ctx, g, theirs), lvm.ErrNotFound, "it has not the tag")
		theirs.Name = "nobody"
		require.ErrorIs(f.t, f.client.ExtendPool(ctx, g, theirs), lvm.ErrNotFound)
	})
	needs(f.t, "HideDisk", f.m.Features.HideDisk != nil)
	f.raw("vgchange", "--activate", "n", group)
	restore, err := f.m.Features.HideDisk(f.m.Disks[1])
	require.NoError(f.t, err)
	f.t.Cleanup(func() {
		require.NoError(f.t, restore())
		f.raw("vgextend", "--restoremissing", group, f.m.Disks[1]) // lvchange has marked it
		f.raw("vgchange", "--activate", "y", group)
		f.raw("lvchange", "--deltag", "podlv.pool.grows=134217728/8388608", group+"/pool")
	})
	failed(f.t, f.client.ExtendPool(ctx, g, poolSpec(128, 8)), lvm.ErrUnavailable)
	require.Equal(f.t, 64*mib, f.lv(group, "pool").Size)
}

func extendPoolAnywhere(f *fixture) {
	f.taggedPool(64, 4)
	f.raw("lvextend", "--size", "68m", group+"/pool")
	require.Equal(f.t, "pool:68 [pool_tdata]:68 [pool_tmeta]:4", f.all())
	f.raw("lvextend", "--size", "72m", "--poolmetadatasize", "8m", group+"/pool")
	require.Equal(f.t, "[lvol0_pmspare]:8 pool:72 [pool_tdata]:72 [pool_tmeta]:8", f.all())
	f.raw("lvextend", "--size", "76m", "--poolmetadatasize", "12m", group+"/pool", f.m.Disks[0], f.m.Disks[1])
	require.Equal(f.t, "[lvol0_pmspare]:8 pool:76 [pool_tdata]:76 [pool_tmeta]:12", f.all(), "nor is one that is there made larger")
	f.raw("lvextend", "--poolmetadatasize", "16m", group+"/pool", f.m.Disks[1])
	require.Equal(f.t, "[lvol0_pmspare]:8 pool:76 [pool_tdata]:76 [pool_tmeta]:16", f.all())
	f.unchanged(group, func() {
		f.raw("lvextend", "--size", "76m", "--poolmetadatasize", "16m", group+"/pool", f.m.Disks[0])
		code, stderr := f.try("lvextend", "--size", "80m", "--poolmetadatasize", "12m", group+"/pool", f.m.Disks[0])
		require.NotZero(f.t, code, "nothing is made smaller: %s", stderr)
		code, stderr = f.try("lvextend", "--size", "72m", "--poolmetadatasize", "20m", group+"/pool", f.m.Disks[0])
		require.NotZero(f.t, code, "nothing is made smaller: %s", stderr)
		code, _ = f.try("lvextend", "--poolmetadatasize", "20m", group+"/"+admin)
		require.NotZero(f.t, code, "it is no pool")
	})
}

func extendPoolCommits(f *fixture) {
	g := f.taggedPool(64, 4)
	f.extendPool(128, 8)
	require.Equal(f.t, g.Sequence+4, f.group(group).Sequence, "the tag, the metadata, the data, the tag")
	g = f.group(group)
	f.extendPool(132, 8)
	require.Equal(f.t, g.Sequence+3, f.group(group).Sequence)
	g = f.group(group)
	code, _ := f.try("lvextend", "--size", "1t", "--poolmetadatasize", "12m", group+"/pool", f.m.Disks[0], f.m.Disks[1])
	require.NotZero(f.t, code)
	require.Equal(f.t, g.Sequence+1, f.group(group).Sequence, "the metadata's stays")
	require.Equal(f.t, "pool:132 [pool_tdata]:132 [pool_tmeta]:12", f.all())
}

func finishPool(f *fixture) {
	f.taggedPool(64, 4)
	ctx := context.Background()
	f.create(lvm.Spec{Name: "a", Size: 16 * mib, Layout: lvm.Thin, Pool: "pool"})
	begin := func(mark string) {
		f.raw("lvchange", "--addtag", poolTag+".grows="+mark, group+"/pool")
		require.True(f.t, f.lv(group, "pool").Grows(poolTag))
	}
	finish := func(sizes string) {
		f.t.Helper()
		require.NoError(f.t, f.client.FinishPool(ctx, f.group(group), "pool", poolTag))
		require.Equal(f.t, sizes, f.all())
		require.Equal(f.t, []string{poolTag}, f.lv(group, "pool").Tags)
		require.False(f.t, f.lv(group, "pool").Grows(poolTag))
		f.write(group, "a", 0, []byte(sizes))
	}
	g := f.group(group)
	f.runner.reset()
	require.NoError(f.t, f.client.FinishPool(ctx, g, "pool", poolTag), "nothing was begun")
	require.Empty(f.t, f.runner.verbs())

	begin("134217728/8388608") // before its commits
	finish("a:16 pool:128 [pool_tdata]:128 [pool_tmeta]:8")
	f.raw("lvextend", "--poolmetadatasize", "12m", group+"/pool", f.m.Disks[0]) // between them
	begin("142606336/12582912")
	finish("a:16 pool:136 [pool_tdata]:136 [pool_tmeta]:12")
	begin("142606336/12582912") // after them
	finish("a:16 pool:136 [pool_tdata]:136 [pool_tmeta]:12")
	begin("1099511627776/12582912") // others have taken it since
	finish("a:16 pool:136 [pool_tdata]:136 [pool_tmeta]:12")
	for _, mark := range []string{"many", "9223372036854775807/12582912", "-1/12582912", "146800640/1", "146800640"} { // somebody else's
		begin(mark)
		finish("a:16 pool:136 [pool_tdata]:136 [pool_tmeta]:12")
	}
	begin("150994944/12582912")
	f.raw("lvchange", "--addtag", poolTag+".grows=146800640/12582912", group+"/pool")
	require.NoError(f.t, f.client.FinishPool(ctx, f.group(group), "pool", poolTag))
	require.Equal(f.t, []string{poolTag}, f.lv(group, "pool").Tags)

	f.raw("vgchange", "--activate", "n", group)
	f.raw("lvchange", "--addtag", poolTag+".grows=167772160/12582912", group+"/pool") // the machine was off
	require.NoError(f.t, f.client.FinishPool(ctx, f.group(group), "pool", poolTag))
	require.Equal(f.t, "a:16 pool:160 [pool_tdata]:160 [pool_tmeta]:12", f.all())
	require.NoError(f.t, f.client.Activate(ctx, group, "a"))
	require.NoError(f.t, f.client.Remove(ctx, group, "a"))
	require.ErrorIs(f.t, f.client.FinishPool(ctx, f.group(group), "nobody", poolTag), lvm.ErrNotFound)
}

func poolsInvalid(f *fixture) {
	ctx := context.Background()
	for _, edit := range []func(*lvm.PoolSpec){
		func(s *lvm.PoolSpec) { s.Name = "a b" },
		func(s *lvm.PoolSpec) { s.Size = 0 },
		func(s *lvm.PoolSpec) { s.Size = lvm.MaxSize + 1 },
		func(s *lvm.PoolSpec) { s.Metadata = mib },
		func(s *lvm.PoolSpec) { s.Metadata = 17 << 30 },
		func(s *lvm.PoolSpec) { s.Tag = `"` },
	} {
		s := poolSpec(64, 4)
		edit(&s)
		require.ErrorIs(f.t, f.client.CreatePool(ctx, s), lvm.ErrInvalid)
		require.ErrorIs(f.t, f.client.ExtendPool(ctx, lvm.VolumeGroup{Name: group}, s), lvm.ErrInvalid)
	}
	require.ErrorIs(f.t, f.client.RemovePart(ctx, group, "p", `"`), lvm.ErrInvalid)
	require.Empty(f.t, f.runner.verbs())
}
