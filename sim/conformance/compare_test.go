// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/podlv/podlv/e2e/conformance/cases"
)

// difference is one that was found: between what the real kubelet did and the fake one.
type difference struct {
	where string // "CASE/VOLUME", or "CASE/what was seen"
	what  string
}

// differences compares two stories.
func differences(real, fake *story) (all []difference) {
	add := func(where, format string, args ...any) {
		all = append(all, difference{where, fmt.Sprintf(format, args...)})
	}
	for _, v := range names(real.volumes, fake.volumes) {
		r, f := real.volumes[v], fake.volumes[v]
		if r == nil || f == nil {
			r, f = orNone(r), orNone(f)
		}
		if rs, fs := lines(r, v), lines(f, v); !slices.Equal(rs, fs) {
			add(v, "calls differ; real: %s; fake: %s", brief(rs, fs), brief(fs, rs))
		} else if w := waits(r, f); w != "" && !comesAndGoes(v) {
			add(v+" back-off", "%s", w)
		}
		for _, p := range names(r.stats, f.stats) {
			rs, realAsked := r.stats[p]
			fs, fakeAsked := f.stats[p]
			if wants := caseOf(v) == "statistics"; (wants || realAsked && fakeAsked) && rs != fs {
				add(v+" statistics", "real %s, fake %s", rs, fs)
			}
		}
		for who, h := range map[string]*history{"real": r, "fake": f} {
			if o := h.overlaps(); o != "" {
				add(v+" overlap", "%s: %s at once", who, o)
			}
		}
	}
	for _, p := range names(real.pods, fake.pods) {
		if real.pods[p] == nil || fake.pods[p] == nil || real.pods[p].gone.IsZero() != fake.pods[p].gone.IsZero() {
			continue // it went while nobody could say so: the power was off
		}
		rr, rg := real.ordered(p)
		fr, fg := fake.ordered(p)
		if rr != fr {
			add(p+" running", "real: %s, fake: %s", rr, fr)
		}
		if rg != fg {
			add(p+" gone", "real: %s, fake: %s", rg, fg)
		}
	}
	for _, k := range names(real.found, fake.found) {
		if real.found[k] != fake.found[k] {
			add(k, "real %q, fake %q", real.found[k], fake.found[k])
		}
	}
	if r, f := strings.Join(real.joins, ", "), strings.Join(fake.joins, ", "); r != f {
		add("registration", "real: %s; fake: %s", r, f)
	}
	return all
}

func orNone(h *history) *history {
	if h == nil {
		return &history{}
	}
	return h
}

// comesAndGoes says whether, in the case of a volume, the driver or kubelet does. What
// kubelet tries while there is no driver makes its pauses longer and is no call, and how
// much of that there is depends on which of the two is faster.
func comesAndGoes(volume string) bool {
	return slices.Contains([]string{"driver-killed", "driver-gone", "restart", "reboot"}, caseOf(volume))
}

// lines are the calls for a volume. Where how often one is tried depends on the machine,
// several that are the same count as one, and so does an unpublish right after the same
// one: a kubelet that is slow goes through a list of what is mounted that is older than
// what it has just unmounted (reconciler_common.go, unmountVolumes).
func lines(h *history, volume string) (all []string) {
	for _, s := range h.steps {
		l := s.String()
		if len(all) > 0 && all[len(all)-1] == l && (repeats(volume) && s.code != "OK" || ending[volume] || s.method == "NodeUnpublishVolume" && s.code == "OK") {
			continue
		}
		all = append(all, l)
	}
	return all
}

// ending are the volumes of pods that are to end when kubelet starts: it may publish them
// once more before it finds that out, and takes them away.
var ending = map[string]bool{
	"restart/deleted/data": true, "restart/young/data": true, "reboot/deleted/data": true, "reboot/never/data": true,
}

// brief are calls, with their requests only where the others have no such call.
func brief(calls, others []string) string {
	if len(calls) == 0 {
		return "none"
	}
	var all []string
	for _, c := range calls {
		words := strings.SplitN(c, " ", 3)
		if b := strings.Join(words[:2], " "); slices.Contains(others, c) || !slices.ContainsFunc(others, func(o string) bool { return strings.HasPrefix(o, b+" ") }) {
			c = b
		}
		all = append(all, c)
	}
	return strings.Join(all, ", ")
}

func repeats(volume string) bool {
	for _, phase := range cases.Phases() {
		for _, c := range phase {
			if c.Name == caseOf(volume) {
				return c.Repeats
			}
		}
	}
	return false
}

// waits says where the pauses after failures differ. kubelet's is at least the fake's,
// for it looks for what is to do every 100 ms; how much longer depends on the machine,
// which may be busy.
func waits(real, fake *history) string {
	for i := range min(len(real.steps), len(fake.steps)) - 1 {
		if real.steps[i].code == "OK" || fake.steps[i].code == "OK" || real.steps[i].method != real.steps[i+1].method || fake.steps[i].method != fake.steps[i+1].method {
			continue // not a call that is tried again
		}
		r, f := real.steps[i+1].start.Sub(real.steps[i].end), fake.steps[i+1].start.Sub(fake.steps[i].end)
		if r < f-150*time.Millisecond || r > 3*f+time.Minute {
			return fmt.Sprintf("after call %d, %s: real %.2f s, fake %.2f s", i+1, real.steps[i].method, r.Seconds(), f.Seconds())
		}
	}
	return ""
}
