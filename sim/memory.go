// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/podlv/podlv/sim/scenario"
)

// What the two processes take, as measured with 3 to 1,000 nodes and 48 to 10,000 pods
// (docs/performance.md), bytes.
const (
	baseMemory = 400 << 20 // without nodes
	nodeMemory = 1100 << 10
	podMemory  = 420 << 10
	claim      = 200 << 10 // a claim and its volume
)

// Estimate is about how much memory a run of a scenario takes in all, in bytes. Pods that
// end count as long as they live.
func Estimate(s *scenario.Scenario) int64 {
	nodes := int64(0)
	s.Each(func(string, *scenario.NodeGroup) { nodes++ })
	total := baseMemory + nodes*nodeMemory
	for i, w := range s.Workloads {
		pods, claims := int64(w.Pods), int64(0)
		if w.Controlled() {
			_, n := objectsOf(s, i)
			pods = int64(n)
		}
		for _, v := range w.Volumes {
			if v.Kind != scenario.Inline {
				claims++
			}
		}
		if w.Lifetime > 0 && w.Arrival > 0 {
			const coming, going = 5, 5 // seconds beside its lifetime
			living := (time.Duration(w.Lifetime).Seconds() + coming + going) * float64(w.Arrival)
			pods = min(pods, int64(living))
		}
		total += pods * (podMemory + claims*claim)
	}
	return total
}

// checkMemory says whether a run of a scenario would take more memory than this machine
// has left, or than the process may take.
func checkMemory(s *scenario.Scenario) error {
	have, known := available()
	if need := Estimate(s); known && need > have {
		return fmt.Errorf("the scenario takes about %.1f GiB of memory, and there are %.1f GiB: make nodes[].count or workloads[].pods less, or run it elsewhere", gib(need), gib(have))
	}
	return nil
}

func gib(bytes int64) float64 { return float64(bytes) / (1 << 30) }

// available is how much memory can still be taken: of the machine, and of the process's
// control group, if that has a limit. false where that cannot be known.
func available() (bytes int64, known bool) {
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(meminfo)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			bytes, known = kib<<10, err == nil
		}
	}
	for _, limit := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if most, err := number(limit); err == nil && known { // "max" is no number
			bytes = min(bytes, most)
		}
	}
	return bytes, known
}

func number(file string) (int64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
}
