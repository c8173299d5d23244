// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"os"
	"strconv"
	"strings"

	"github.com/podlv/podlv/sim/report"
)

// ticks a second, in which /proc counts time (proc(5), sysconf(_SC_CLK_TCK); 100 on all
// that Go runs on).
const ticks = 100

// usage is what a process has taken so far; zero where that cannot be known. pid is a
// number or "self".
func usage(pid string) (u report.Usage) {
	status, _ := os.ReadFile("/proc/" + pid + "/status") // "" says nothing
	if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
		kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		u.PeakMemory = kib << 10
	}
	stat, _ := os.ReadFile("/proc/" + pid + "/stat")
	if _, rest, ok := strings.Cut(string(stat), ") "); ok { // behind the name, which may have anything in it
		if fields := strings.Fields(rest); len(fields) > 12 {
			user, _ := strconv.ParseInt(fields[11], 10, 64)
			system, _ := strconv.ParseInt(fields[12], 10, 64)
			u.CPUSeconds = float64(user+system) / ticks
		}
	}
	return u
}
