// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package suite

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// feature is something that a test may need of the cluster and that not each has. microVMs
// have all.
type feature struct {
	name string
	// notOnKind is why a cluster of kind has it not.
	notOnKind string
	// also, when set, is a shell command that succeeds on a node of kind that has it all the
	// same.
	also string
}

// What the fake LVM does, all tests count on: LVs of every layout that carry data, snapshots
// and clones with their origin's content, growth, tags, activation, the accounting of space;
// and that a node's power can be cut.
var (
	// deviceMapper is real LVM over a device-mapper of the node's own: dmsetup, dm-flakey,
	// LVM's own locks and files.
	deviceMapper = feature{name: "device-mapper", notOnKind: "its LVs are files behind loop devices: no dmsetup, and no disk below them that could fail"}
	// thinUse is that a thin pool fills with what its volumes write.
	thinUse = feature{name: "thin pools that fill", notOnKind: "its thin volumes are sparse files of the host: the fake LVM does not see what is written to them, and no pool gets full"}
	// oneMoment is that a snapshot of a volume that is written to has what was there at one
	// moment. Of a volume at rest snapshots are whole everywhere.
	oneMoment = feature{name: "snapshots of one moment", notOnKind: "the fake LVM freezes no filesystem: it copies the file behind an LV while it is written to"}
	// ext4Growth is that an ext4 grows while it is mounted; xfs and btrfs do anywhere.
	ext4Growth = feature{
		name:      "growth of a mounted ext4",
		notOnKind: "root of this host has no CAP_SYS_RESOURCE, which the kernel asks for",
		also:      `[ $((0x$(sed -n 's/^CapEff:\t//p' /proc/self/status) >> 24 & 1)) = 1 ]`,
	}
)

// there tells whether the cluster has it.
func (f feature) there() bool {
	if !*onKind {
		return true
	}
	if f.also == "" {
		return false
	}
	_, err := the.Nodes()[0].Run(context.Background(), "sh", "-c", f.also)
	return err == nil
}

// needs skips a test on a cluster that has not all of these.
func needs(t *testing.T, features ...feature) {
	t.Helper()
	for _, f := range features {
		if !f.there() {
			t.Skipf("needs %s, which this cluster of kind has not: %s", f.name, f.notOnKind)
		}
	}
}

// What is declared is so: no test is skipped for want of what is there.
func TestFeaturesAreAsDeclared(t *testing.T) {
	c := newCase(t)
	n := the.Nodes()[0]
	c.claim("thin", "thin", "128Mi", corev1.PersistentVolumeFilesystem)
	c.start(on(n.Name, c.pod("writer", claimed("thin", false))))
	volumes := c.volumesOn(n)
	require.Len(t, volumes, 1)
	mapped := c.run(n, "test -d /sys/dev/block/$(mountpoint -x /dev/"+volumes[0]+")/dm && echo yes || echo no")
	require.Equal(t, deviceMapper.there(), mapped == "yes", deviceMapper.name)

	used := func() float64 {
		percent, err := strconv.ParseFloat(c.run(n, "lvs --noheadings -o data_percent thin/pool"), 64)
		require.NoError(t, err)
		return percent
	}
	before := used()
	_, err := the.Kubectl(c.ctx, nil, "exec", "-n", c.namespace, "writer", "--", "sh", "-c", "head -c 67108864 /dev/urandom >/thin/more && sync /thin/more")
	require.NoError(t, err)
	fills := func() error {
		if now := used(); now < before+3 { // 64 of 1500 MiB
			return fmt.Errorf("%s: %.2f%% before, %.2f%% now", thinUse.name, before, now)
		}
		return nil
	}
	if thinUse.there() {
		c.until("the pool has what was written", fills)
	} else {
		require.Error(t, fills(), thinUse.name)
	}
}
