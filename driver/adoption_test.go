// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/driver"
	"github.com/podlv/podlv/driver/mounttest"
	"github.com/podlv/podlv/fakelvm"
)

const adoptClasses = `
pools: [{name: ssd, volumeGroup: vg0}, {name: thin, volumeGroup: vg0, thinPool: pool}, {name: other, volumeGroup: vg1}]
classes:
- {name: ssd, pool: ssd, default: true}
- {name: mirrored, pool: ssd, layout: raid1, copies: 2}
- {name: thin, pool: thin}
- {name: other, pool: other}
`

// theirs makes an LV as another driver or an administrator has it, with a filesystem.
func (n *fakeNode) theirs(name, fs string) {
	n.t.Helper()
	n.lvm("lvcreate", "--yes", "--name", name, "--size", "1g", "vg0")
	if fs != "" {
		require.NoError(n.t, n.host.Format("/dev/vg0/"+name, fs, "11111111-2222-3333-4444-555555555555"))
	}
}

func (n *fakeNode) adopt(a driver.Adoption) (driver.Adopted, error) {
	return driver.Adopter{Classes: n.classes.Get(), Runner: n.host, Filesystem: mounttest.Fake{Host: n.host}}.Adopt(context.Background(), a)
}

// An LV that was there becomes a claim's volume with all that is on it; nothing is copied.
func TestAdoptedVolumeKeepsItsBytes(t *testing.T) {
	for _, fs := range []string{"ext4", "xfs", "btrfs", ""} {
		t.Run(fs, func(t *testing.T) {
			n := newFakeNodeOn(t, 1, onePool)
			n.theirs("theirs", fs)
			c := newClaim("theirs", gib)
			c.id, c.fsType, c.block = "vg0/theirs", fs, fs == ""
			const offset = 512 * mib // of the device: behind what a filesystem writes first
			n.put(c, offset, "what was there before")
			a := driver.Adoption{Volume: c.id, Claim: "default/data", Block: c.block}
			adopted, err := n.adopt(a)
			require.NoError(t, err)
			require.Equal(t, int64(gib), adopted.Size)
			require.Equal(t, fs, adopted.Filesystem)
			again, err := n.adopt(a)
			require.NoError(t, err, "once more")
			require.Equal(t, adopted, again)

			c.context = adopted.Context
			require.NoError(t, n.stage(c))
			require.NoError(t, n.give(c, "pod"))
			require.Equal(t, "what was there before", n.at(c, offset)[:len("what was there before")])
			_, err = n.expand(c, 2*gib)
			require.NoError(t, err)
			n.reboot()
			require.NoError(t, n.stage(c))
			require.NoError(t, n.give(c, "pod"))
			require.NoError(t, n.take(c, "pod"))
			require.NoError(t, n.unstage(c))
			require.NoError(t, n.delete(c))
			require.Empty(t, n.volumes())
		})
	}
}

// An adoption that dies at any step goes on when it is asked for again, and loses nothing.
func TestAdoptionCrashPoints(t *testing.T) {
	a := driver.Adoption{Volume: "vg0/theirs", Claim: "default/data"}
	const there = "what was there before"
	set := func(t *testing.T) (*fakeNode, *claim) {
		n := newFakeNodeOn(t, 1, onePool)
		n.theirs("theirs", "ext4")
		c := newClaim("theirs", gib)
		c.id, c.fsType = a.Volume, "ext4"
		n.put(c, 512*mib, there)
		return n, c
	}
	whole, _ := set(t)
	first := whole.host.Steps()
	_, err := whole.adopt(a)
	require.NoError(t, err)
	steps := whole.host.Steps() - first
	require.GreaterOrEqual(t, steps, 4, "report, UUID, tags, report")
	for name, crash := range map[string]func(h *fakelvm.Host, at int){
		"before the commit of": func(h *fakelvm.Host, at int) { h.CrashDuring(at, fakelvm.BeforeCommit) },
		"after the commit of":  func(h *fakelvm.Host, at int) { h.CrashDuring(at, fakelvm.AfterCommit) },
		"after":                func(h *fakelvm.Host, at int) { h.CrashAfter(at) },
	} {
		for at := 1; at <= steps; at++ {
			t.Run(fmt.Sprintf("%s step %d", name, at), func(t *testing.T) {
				n, c := set(t)
				crash(n.host, n.host.Steps()+at)
				_, err := n.adopt(a)
				if n.host.Crashed() {
					require.Error(t, err)
				}
				n.restart()
				adopted, err := n.adopt(a)
				require.NoError(t, err)
				c.context = adopted.Context
				require.NoError(t, n.stage(c))
				require.NoError(t, n.give(c, "pod"))
				require.Equal(t, there, n.at(c, 512*mib)[:len(there)])
			})
		}
	}
}

func TestWhatCannotBeAdopted(t *testing.T) {
	n := newFakeNodeOn(t, 2, adoptClasses)
	n.lvm("lvcreate", "--yes", "--type", "thin-pool", "--size", "1g", "--name", "pool", "vg0")
	n.theirs("fs", "ext4")
	n.theirs("empty", "")
	n.theirs("mounted", "ext4")
	require.NoError(t, n.host.MkdirAll("/mnt"))
	require.NoError(t, n.host.Mount("/dev/vg0/mounted", "/mnt", "ext4", nil))
	n.lvm("lvcreate", "--yes", "--snapshot", "--size", "64m", "--name", "snap", "vg0/fs")
	c := newClaim("ours", gib)
	require.NoError(t, n.create(c))
	v := newVolume("a", "1Gi")
	require.NoError(t, n.publish(v))
	for name, q := range map[string]struct {
		driver.Adoption
		words string
	}{
		"no handle":       {driver.Adoption{Volume: "fs"}, "VG/LV"},
		"no VG of ours":   {driver.Adoption{Volume: "vg9/fs"}, `no pool of this node is on VG "vg9"`},
		"no LV":           {driver.Adoption{Volume: "vg0/nope"}, "not found"},
		"no claim":        {driver.Adoption{Volume: "vg0/fs", Claim: "data"}, "NAMESPACE/NAME"},
		"no class":        {driver.Adoption{Volume: "vg0/fs", Class: "gold"}, `class "gold"`},
		"another VG":      {driver.Adoption{Volume: "vg0/fs", Class: "other"}, "is not in VG vg1"},
		"another layout":  {driver.Adoption{Volume: "vg0/fs", Class: "mirrored"}, "is linear, and not raid1"},
		"thick, not thin": {driver.Adoption{Volume: "vg0/fs", Class: "thin"}, "is linear, and not thin in thin pool pool"},
		"a thin pool":     {driver.Adoption{Volume: "vg0/pool", Block: true}, "is thin-pool, and not linear"},
		"nothing on it":   {driver.Adoption{Volume: "vg0/empty"}, "has nothing on it; podlv knows btrfs, ext4, xfs"},
		"mounted":         {driver.Adoption{Volume: "vg0/mounted"}, "is in use"},
		"a snapshot":      {driver.Adoption{Volume: "vg0/snap"}, "is a thick snapshot of fs"},
		"another claim's": {driver.Adoption{Volume: c.id}, "is podlv's already"},
		"a pod's":         {driver.Adoption{Volume: "vg0/" + v.handle()}, "is podlv's already, and no claim's"},
	} {
		t.Run(name, func(t *testing.T) {
			if q.Claim == "" {
				q.Claim = "default/data"
			}
			before := n.lvm("lvs", "--noheadings", "-o", "lv_name,lv_tags,lv_uuid")
			_, err := n.adopt(q.Adoption)
			require.ErrorContains(t, err, q.words)
			require.Equal(t, before, n.lvm("lvs", "--noheadings", "-o", "lv_name,lv_tags,lv_uuid"), "nothing has changed")
		})
	}
}
