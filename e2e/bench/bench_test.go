// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func times(ms ...int) []time.Duration {
	list := make([]time.Duration, len(ms))
	for i, n := range ms {
		list[i] = time.Duration(n) * time.Millisecond
	}
	return list
}

func TestPercentiles(t *testing.T) {
	var hundred []int
	for i := 100; i > 0; i-- {
		hundred = append(hundred, i)
	}
	require.Equal(t, 99*time.Millisecond, percentile(times(hundred...), 99))
	require.Equal(t, 100*time.Millisecond, percentile(times(hundred...), 100))
	require.Equal(t, 7*time.Millisecond, percentile(times(7), 99))
	require.InDelta(t, 0.0505, seconds(times(hundred...)), 1e-9)
	require.InDelta(t, 3.0, median([]float64{9, 3, 1}), 1e-9)
	require.InDelta(t, 2.0, median([]float64{9, 3, 1, 1}), 1e-9)
}

const metricsText = `# HELP podlv_lvm_command_duration_seconds Time that lvm commands took.
# TYPE podlv_lvm_command_duration_seconds histogram
podlv_lvm_command_duration_seconds_bucket{result="ok",verb="lvcreate",le="+Inf"} 3
podlv_lvm_command_duration_seconds_sum{result="ok",verb="lvcreate"} 0.5
podlv_lvm_command_duration_seconds_count{result="ok",verb="lvcreate"} 3
podlv_lvm_command_duration_seconds_sum{result="failed",verb="lvcreate"} 0.25
podlv_lvm_command_duration_seconds_count{result="failed",verb="lvcreate"} 1
podlv_lvm_command_duration_seconds_count{result="ok",verb="fullreport"} 1
podlv_rpc_duration_seconds_count{code="OK",method="x"} 8
`

func TestCommandsAreReadFromMetrics(t *testing.T) {
	c, err := parseCommands(metricsText)
	require.NoError(t, err)
	require.Equal(t, commands{"lvcreate": {4, 0.75}, "fullreport": {1, 0}}, c)
	require.Equal(t, 5, c.total())
	require.Equal(t, commands{"lvcreate": {1, 0.25}}, c.since(commands{"lvcreate": {3, 0.5}, "fullreport": {1, 0}}))
	require.Equal(t, commands{"lvcreate": {8, 1.5}, "fullreport": {2, 0}}, c.plus(c))
	require.Equal(t, "1 fullreport, 4 lvcreate", c.String())
	_, err = parseCommands("podlv_rpc_duration_seconds_count 1\n")
	require.ErrorContains(t, err, "no lvm command")
}

func TestMemoryIsReadFromProcessStatus(t *testing.T) {
	const status = "Name:\tpodlv\nVmHWM:\t   40000 kB\nVmRSS:\t   33184 kB\nRssAnon:\t    6624 kB\nThreads:\t6\n"
	m, err := parseMemory(status)
	require.NoError(t, err)
	require.Equal(t, memory{anonymous: 6624, resident: 33184}, m)
	_, err = parseMemory(strings.Replace(status, "RssAnon", "RssFile", 1))
	require.ErrorContains(t, err, "RssAnon")
}

func TestWorkIsReadFromTheKernelsCounters(t *testing.T) {
	w, err := parseWork("cpu 1 2 3\nctxt 1200\nbtime 5\nprocesses 40\nnr_free 1\npgfault 900\npgmajfault 7\n")
	require.NoError(t, err)
	require.Equal(t, work{processes: 40, switches: 1200, faults: 900}, w)
	require.Equal(t, "4.0 processes and threads, 120 context switches, 90 page faults", w.each(10))
	_, err = parseWork("ctxt 1\nprocesses 2\npgmajfault 7\n")
	require.ErrorContains(t, err, "no pgfault")
	before := w
	require.ErrorIs(t, counted(&w, func() error { return errTold }), errTold)
	require.Equal(t, before, w, "what failed is not counted")
}

func TestBareSequenceRepeatsWhatWasRecorded(t *testing.T) {
	v, other := newVolume(1), newVolume(2)
	device := "/dev/vg/" + v.handle()
	in := []call{
		{"lvm", "lvcreate", "--config", "c", "--name", v.handle(), "--addtag", "podlv.pod=default/" + v.pod + "/" + v.uid, "vg"},
		{"mkfs.ext4", "-q", "-U", "1111", device},
		{"mount", "-t", "ext4", device, v.target()},
	}
	out := []call{
		{"umount", v.target()},
		{"lvm", "lvremove", "--yes", "--select", `lv_name="` + v.handle() + `"`, "vg"},
	}
	dir := t.TempDir()
	b, err := newBare(v, in, out, dir)
	require.NoError(t, err)
	defer b.stderr.Close()
	device = "/dev/vg/" + other.handle()
	require.Equal(t, call{"lvm", "lvcreate", "--config", "c", "--name", other.handle(), "--addtag", "podlv.pod=default/" + other.pod + "/" + other.uid, "vg"}, b.forVolume(b.in[0], other, "2222"))
	require.Equal(t, call{"mkfs.ext4", "-q", "-U", "2222", device}, b.forVolume(b.in[1], other, "2222"))
	require.Equal(t, call{"mount", "-t", "ext4", device, dir + "/" + other.uid}, b.forVolume(b.in[2], other, "2222"))
	require.Equal(t, call{"umount", dir + "/" + other.uid}, b.forVolume(b.out[0], other, "2222"))
	require.Equal(t, call{"lvm", "lvremove", "--yes", "vg/" + other.handle()}, b.forVolume(b.out[1], other, "2222"))
}

func TestBareSequenceIsRefusedWhenPodlvRunsSomethingElse(t *testing.T) {
	v := newVolume(1)
	lvcreate, mkfs, mount := call{"lvm", "lvcreate", "vg"}, call{"mkfs.ext4", "-U", "1", "x"}, call{"mount", "x", "y"}
	out := []call{{"umount", "y"}, {"lvm", "lvremove", "vg/" + v.handle()}}
	for _, in := range [][]call{
		{lvcreate, mount},
		{lvcreate, lvcreate, mkfs, mount},
		{mkfs, lvcreate, mount},
		{lvcreate, {"mkfs.ext4", "x"}, mount},
	} {
		_, err := newBare(v, in, out, t.TempDir())
		require.Error(t, err, names(in))
	}
	_, err := newBare(v, []call{lvcreate, {"blkid", "x"}, mkfs, mount}, []call{out[0], {"lvm", "lvremove", "--all", "vg"}}, t.TempDir())
	require.ErrorContains(t, err, "which LV")
}

func TestBareSequenceMountsAlsoWhenPodlvNeedsNoProgramForIt(t *testing.T) {
	v := newVolume(1)
	in := []call{{"lvm", "lvcreate", "vg"}, {"mkfs.ext4", "-U", "1", "x"}}
	b, err := newBare(v, in, []call{{"lvm", "lvremove", "vg/" + v.handle()}}, t.TempDir())
	require.NoError(t, err)
	defer b.stderr.Close()
	require.Equal(t, call{"mount", "-t", "ext4", "/dev/bench/" + v.handle(), v.target()}, b.in[2])
	require.Equal(t, call{"umount", v.target()}, b.out[0])
}

func TestStandInsWriteDownTheirCalls(t *testing.T) {
	r, err := newRecording(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, appendCall(r.file, call{"lvm", "lvcreate", "a b", `"q"`}))
	require.NoError(t, appendCall(r.file, call{"mount"}))
	calls, err := r.take()
	require.NoError(t, err)
	require.Equal(t, []call{{"lvm", "lvcreate", "a b", `"q"`}, {"mount"}}, calls)
	require.Equal(t, "lvm lvcreate, mount", names(calls))
	_, err = r.take()
	require.Error(t, err, "a take empties it")
}

func TestResultsAreMediansOfTheRounds(t *testing.T) {
	r := results{publishes: 2, unpublishes: 2, published: commands{"lvcreate": {2, 1}}, unpublished: commands{"lvremove": {2, 1}, "lvs": {1, 1}}}
	for _, n := range []int{100, 120, 500} { // one disturbed round
		r.rounds = append(r.rounds, round4{times(n, n, n), times(100, 100, 100), times(n), times(200)})
		r.bursts = append(r.bursts, burst{publish: time.Duration(n) * time.Second, bare: 100 * time.Second})
	}
	var out bytes.Buffer
	r.print(&out, &bare{}, plan{rounds: 3, volumes: 3, bursts: 3, burst: 50})
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Equal(t, "publish p50 1.20x bare, unpublish p50 0.60x bare, 50 at once 1.20x bare serial, lvm commands per publish 1, per unpublish 1.5", lines[len(lines)-1])
	require.Contains(t, out.String(), "target publish p50                 at most 1.10: 1.200, MISSED")
	require.Contains(t, out.String(), "target unpublish p50               at most 1.10: 0.600, met")
}
