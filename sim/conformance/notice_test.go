// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/e2e/conformance/cases"
	"github.com/podlv/podlv/e2e/conformance/record"
)

// recording is one of a pod with an inline volume. Each line is when a call began and how
// long it took, in milliseconds, its method and its code; "-" is a mark.
func recording(uid string, lines ...string) cases.Recording {
	r := cases.Recording{Found: map[string]string{"retried/reason": "none"}, Pods: []cases.Pod{{Case: "retried", Name: "retried-p", UID: uid, Inline: []string{"data"}}}}
	handle := cases.Handle(uid, "data")
	for _, l := range lines {
		var start, took int
		var method, rest string
		if _, err := fmt.Sscanf(l, "%d %d %s", &start, &took, &method); err != nil {
			panic(err)
		}
		rest = strings.SplitN(l, " ", 4)[3]
		c := record.Call{Method: method, Volume: handle, Code: rest, Start: time.UnixMilli(int64(start)), End: time.UnixMilli(int64(start + took))}
		c.Request = json.RawMessage(fmt.Sprintf(`{"volumeId":%q,"targetPath":"/pods/%s/mount"}`, handle, uid))
		if method == "-" {
			c = record.Call{Method: record.Mark, Note: rest, Start: c.Start, End: c.End}
		}
		r.Calls = append(r.Calls, c)
	}
	return r
}

// usual is what a kubelet does.
func usual() []string {
	return []string{
		"0 1 NodePublishVolume Internal", "600 1 NodePublishVolume OK", "700 0 - pod retried-p is Running",
		"900 1 NodeUnpublishVolume OK", "950 0 - pod retried-p is gone",
	}
}

func TestWhatTwoKubeletsDoIsComparedWhateverTheUIDs(t *testing.T) {
	require.Empty(t, differences(tell(recording("uid-one", usual()...)), tell(recording("uid-two", usual()...))))
}

func TestDifferencesAreNoticed(t *testing.T) {
	for name, row := range map[string]struct {
		change func(fake []string) []string
		where  string
	}{
		"a call less": {func(f []string) []string { return f[1:] }, "retried/p/data"},
		"a call more": {func(f []string) []string { return append(f, "990 1 NodePublishVolume OK") }, "retried/p/data"},
		"another order": {func(f []string) []string {
			f[0], f[1] = "0 1 NodePublishVolume OK", "600 1 NodePublishVolume Internal"
			return f
		}, "retried/p/data"},
		"another code":      {func(f []string) []string { f[0] = "0 1 NodePublishVolume Aborted"; return f }, "retried/p/data"},
		"a longer pause":    {func(f []string) []string { f[0] = "-300 1 NodePublishVolume Internal"; return f }, "retried/p/data back-off"},
		"two calls at once": {func(f []string) []string { f[1] = "600 400 NodePublishVolume OK"; return f }, "retried/p/data overlap"},
		"runs too early":    {func(f []string) []string { f[2] = "10 0 - pod retried-p is Running"; return f }, "retried-p running"},
		"gone too early":    {func(f []string) []string { f[4] = "800 0 - pod retried-p is gone"; return f }, "retried-p gone"},
		"registered again":  {func(f []string) []string { return append(f, "990 0 - GetInfo") }, "registration"},
	} {
		t.Run(name, func(t *testing.T) {
			var where []string
			for _, d := range differences(tell(recording("uid-one", usual()...)), tell(recording("uid-two", row.change(usual())...))) {
				where = append(where, d.where)
			}
			require.Contains(t, where, row.where)
		})
	}
	seen := recording("uid-two", usual()...)
	seen.Found["retried/reason"] = "another"
	require.Equal(t, []difference{{"retried/reason", `real "none", fake "another"`}}, differences(tell(recording("uid-one", usual()...)), tell(seen)))
}

// A claim of two pods: a kubelet on a busy machine is slow enough to ask for statistics of
// both, another of the first only. That is no difference; another path for one pod is.
func TestStatisticsAreComparedByPod(t *testing.T) {
	asked := func(paths ...string) *story {
		r := cases.Recording{Pods: []cases.Pod{{Case: "grown", Name: "grown-p", UID: "uid-p"}, {Case: "grown", Name: "grown-q", UID: "uid-q"}}}
		for _, p := range paths {
			r.Calls = append(r.Calls, record.Call{Method: "NodeGetVolumeStats", Volume: "vol-grown-late", Request: []byte(`{"volumePath":"` + p + `"}`)})
		}
		return tell(r)
	}
	require.Empty(t, differences(asked("/pods/uid-p/mount", "/pods/uid-q/mount"), asked("/pods/uid-p/mount")))
	require.Empty(t, differences(asked("/pods/uid-q/mount"), asked("/pods/uid-p/mount")))
	require.Len(t, differences(asked("/pods/uid-p/mount"), asked("/pods/uid-p/elsewhere")), 1)
}
