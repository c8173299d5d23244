// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/podlv/podlv/e2e/conformance/cases"
	"github.com/podlv/podlv/e2e/conformance/record"
)

// step is a call of kubelet's for one volume, in words that do not depend on the run.
type step struct {
	method, code, request string
	start, end            time.Time
}

func (s step) String() string { return s.method + " " + s.code + " " + s.request }

// history is what a kubelet did with one volume.
type history struct {
	steps []step
	// stats is what statistics were asked for with, by the pod of the path: a claim may be of
	// one pod after the other, and which of them live long enough to be asked about is chance.
	stats map[string]string
}

// podIn is the pod that a request names, as tell has written it.
var podIn = regexp.MustCompile(`UID-OF-[a-z0-9-]+`)

// pod is what became visible of a pod, and when.
type pod struct {
	running, gone time.Time
	forced        bool
}

// story is all that a kubelet did.
type story struct {
	volumes map[string]*history // by case and volume: "inline/p/ext4", "claims/data"
	pods    map[string]*pod     // by name
	ofPod   map[string][]string // the volumes of a pod, as far as its calls say
	calls   map[string]int      // by case
	joins   []string            // what it did when drivers came, in order
	found   map[string]string
}

// tell makes a recording a story.
func tell(r cases.Recording) *story {
	s := &story{volumes: map[string]*history{}, pods: map[string]*pod{}, ofPod: map[string][]string{}, calls: map[string]int{}, found: r.Found}
	inline, names := map[string]string{}, []string{}
	for _, p := range r.Pods {
		names = append(names, p.UID, "UID-OF-"+p.Name)
		s.pods[p.Name] = &pod{forced: p.Forced}
		for _, v := range p.Inline {
			handle := cases.Handle(p.UID, v)
			names = append(names, handle, "HANDLE-OF-"+p.Name+"/"+v)
			inline[handle] = p.Case + "/" + strings.TrimPrefix(p.Name, p.Case+"-") + "/" + v
		}
	}
	plain := strings.NewReplacer(names...)
	calls := slices.SortedStableFunc(slices.Values(r.Calls), func(a, b record.Call) int { return a.Start.Compare(b.Start) })
	for _, c := range calls {
		if c.Method == record.Mark || c.Volume == "" {
			s.mark(c)
			continue
		}
		volume := inline[c.Volume]
		if volume == "" {
			volume = claimed(c.Volume)
		}
		h := s.volumes[volume]
		if h == nil {
			h = &history{}
			s.volumes[volume] = h
		}
		var compact bytes.Buffer
		_ = json.Compact(&compact, c.Request) // the file is indented
		request := plain.Replace(compact.String())
		if c.Method == "NodeGetVolumeStats" {
			if h.stats == nil {
				h.stats = map[string]string{}
			}
			h.stats[podIn.FindString(request)] = request
			continue
		}
		s.calls[caseOf(volume)]++
		h.steps = append(h.steps, step{c.Method, c.Code, request, c.Start, c.End})
		for _, p := range r.Pods {
			if strings.Contains(string(c.Request), p.UID) && !slices.Contains(s.ofPod[p.Name], volume) {
				s.ofPod[p.Name] = append(s.ofPod[p.Name], volume)
			}
		}
	}
	return s
}

// mark takes up what is not a call for a volume.
func (s *story) mark(c record.Call) {
	switch words := strings.Fields(c.Note); {
	case c.Method == "NodeGetInfo":
		s.joins = append(s.joins, c.Method)
	case c.Method != record.Mark:
	case len(words) == 4 && words[0] == "pod" && words[3] == "Running" && s.pods[words[1]] != nil:
		if p := s.pods[words[1]]; p.running.IsZero() {
			p.running = c.Start
		}
	case len(words) == 4 && words[0] == "pod" && words[3] == "gone" && s.pods[words[1]] != nil:
		s.pods[words[1]].gone = c.Start
	case strings.HasPrefix(c.Note, "GetInfo"), strings.HasPrefix(c.Note, "Notify"):
		s.joins = append(s.joins, c.Note)
	}
}

func caseOf(volume string) string { return volume[:strings.Index(volume, "/")] }

// claimed is the case and the claim of a volume of a claim.
func claimed(handle string) string {
	claim := strings.TrimPrefix(handle, "vol-")
	best := ""
	for _, phase := range cases.Phases() {
		for _, c := range phase {
			if strings.HasPrefix(claim, c.Name+"-") && len(c.Name) > len(best) {
				best = c.Name
			}
		}
	}
	return best + "/" + strings.TrimPrefix(claim, best+"-")
}

// overlaps are the first two calls for a volume that ran at once, if any did.
func (h *history) overlaps() string {
	for i := 1; i < len(h.steps); i++ {
		if a, b := h.steps[i-1], h.steps[i]; b.start.Before(a.end) {
			return a.method + " and " + b.method
		}
	}
	return ""
}

// ordered says whether a pod ran only when its volumes were published, and was gone only
// when they were unpublished.
func (s *story) ordered(name string) (runs, gone string) {
	p := s.pods[name]
	runs, gone = "runs when its volumes are published", "is gone when its volumes are unpublished"
	for _, v := range s.ofPod[name] {
		for i, c := range s.volumes[v].steps {
			if !strings.Contains(c.request, "UID-OF-"+name) {
				continue
			}
			first := !slices.ContainsFunc(s.volumes[v].steps[:i], func(b step) bool { return b.method == c.method && b.code == "OK" })
			switch {
			case c.method == "NodePublishVolume" && c.code == "OK" && first && !p.running.IsZero() && p.running.Before(c.end):
				runs = "runs before its volumes are published"
			case c.method == "NodeUnpublishVolume" && c.code == "OK" && !p.forced && !p.gone.IsZero() && p.gone.Before(c.start):
				gone = "is gone before its volumes are unpublished"
			}
		}
	}
	return runs, gone
}

// names are the keys of both, sorted.
func names[V any](a, b map[string]V) []string {
	var all []string
	for _, m := range []map[string]V{a, b} {
		for k := range m {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, cmp.Compare)
	return slices.Compact(all)
}
