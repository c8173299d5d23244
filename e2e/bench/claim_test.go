// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBareClaimsRepeatWhatWasRecorded(t *testing.T) {
	c, other := newClaim(1), newClaim(2)
	in := []call{
		{"lvm", "fullreport", "vg"},
		{"lvm", "lvcreate", "--name", c.lv(), "--addtag", "podlv.pvc=default/" + c.name, "vg"},
	}
	out := []call{{"lvm", "lvremove", "--yes", "--select", `lv_name="` + c.lv() + `"`, "vg"}}
	b, err := newBareClaims(c, in, out)
	require.NoError(t, err)
	defer b.stderr.Close()
	require.Equal(t, call{"lvm", "lvcreate", "--name", other.lv(), "--addtag", "podlv.pvc=default/" + other.name, "vg"}, b.forClaim(b.make, other))
	require.Equal(t, call{"lvm", "lvremove", "--yes", "vg/" + other.lv()}, b.forClaim(b.unmake, other))
	require.Equal(t, "vg", b.make[len(b.make)-1], "the template stays as it is")
}

func TestBareClaimsAreRefusedWhenPodlvRunsSomethingElse(t *testing.T) {
	c := newClaim(1)
	lvcreate, lvremove := call{"lvm", "lvcreate", "vg"}, call{"lvm", "lvremove", "vg/" + c.lv()}
	for _, row := range [][2][]call{
		{{}, {lvremove}},
		{{lvcreate, lvcreate}, {lvremove}},
		{{lvcreate}, {{"blkid", "x"}}},
		{{lvcreate}, {{"lvm", "lvremove", "--all", "vg"}}},
	} {
		_, err := newBareClaims(c, row[0], row[1])
		require.Error(t, err, "%s; %s", names(row[0]), names(row[1]))
	}
}

func TestClaimsHaveKubeletsPaths(t *testing.T) {
	c := claim{name: "bench-00001", uid: "u"}
	require.Equal(t, "bench/pvc-u", c.id())
	require.Equal(t, "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pvc-u/mount", c.target())
	require.Equal(t, "/var/lib/kubelet/plugins/kubernetes.io/csi/podlv.dev/d96dcdb36e199bf53582990a57edb6079af385a6d6f9fac26022997c0710146b/globalmount", c.staging())
}

func TestClaimResultsAreMediansOfTheRounds(t *testing.T) {
	one := func(verbs ...string) tally {
		t := tally{}
		for _, v := range verbs {
			t.add(commands{v: {1, 1}})
		}
		return t
	}
	none := tally{}
	none.add(commands{})
	r := claimResults{
		created: one("lvcreate", "lvcreate"), deleted: one("lvremove"), expanded: one("lvextend"), hurried: one("lvcreate"),
		mounted: one("lvcreate"), takenBack: none, stats: none, capacity: none,
	}
	r.created.add(commands{"lvcreate": {1, 1}, "fullreport": {1, 1}})
	r.created.add(commands{"lvcreate": {1, 1}})
	for _, n := range []int{100, 104, 500} { // one disturbed round
		r.rounds = append(r.rounds, claimRound{create: times(n, n), hurried: times(2 * n), bareCreate: times(100, 100), remove: times(n), bareRemove: times(200)})
	}
	var out bytes.Buffer
	r.printRound(&out)
	r.print(&out, plan{rounds: 3, volumes: 2})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Equal(t, "create p50 1.04x bare, delete p50 0.52x bare, lvm commands per create 1.25, delete 1, expand 1, stats 0, capacity 0", lines[len(lines)-1])
	require.Contains(t, out.String(), "round 3: create p50 500.0 ms, bare 100.0 ms: 5.000x; right after a change 1000.0 ms: 10.000x; delete p50 500.0 ms, bare 200.0 ms: 2.500x")
	require.Contains(t, out.String(), "create right after a change of the VG: p50 2.08x bare")
	require.Contains(t, out.String(), "target create p50                  at most 1.10: 1.040, met")
	require.Contains(t, out.String(), "target lvm commands per create     at most 1.00: 1.250, MISSED")
	require.Contains(t, out.String(), "stats                          1 calls: none")
}

func TestDisksHoldAllVolumesThatAreThereAtOnce(t *testing.T) {
	for _, p := range []plan{{volumes: 20, burst: 50}, {claims: true, volumes: 20, burst: 1}, {claims: true, volumes: 500}} {
		most := 2 * max(p.volumes, p.burst)
		if p.claims {
			most = 3 * p.volumes
		}
		require.Greater(t, diskSize(p), int64(most)*volumeSize+512<<20, "%+v", p)
	}
	require.EqualValues(t, 8<<30, diskSize(plan{volumes: 20, burst: 50}))
}
