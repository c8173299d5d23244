// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// work is what the machine's kernel has done, for all of its processes, since
// its boot. Unlike time it is the same on a busy host as on an idle one, and in
// User-Mode Linux each of these costs far more than elsewhere.
type work struct{ processes, switches, faults float64 }

// worked reads what the kernel counts (proc_stat(5), proc_vmstat(5)).
func worked() (work, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return work{}, err
	}
	vmstat, err := os.ReadFile("/proc/vmstat")
	if err != nil {
		return work{}, err
	}
	return parseWork(string(stat) + string(vmstat))
}

func parseWork(text string) (w work, err error) {
	for name, field := range map[string]*float64{"processes": &w.processes, "ctxt": &w.switches, "pgfault": &w.faults} {
		_, rest, ok := strings.Cut("\n"+text, "\n"+name+" ")
		value, _, _ := strings.Cut(rest, "\n")
		if !ok {
			return w, fmt.Errorf("the kernel's counters: no %s", name)
		}
		if *field, err = strconv.ParseFloat(value, 64); err != nil {
			return w, fmt.Errorf("the kernel's counters: %s: %w", name, err)
		}
	}
	return w, nil
}

// counted adds the work that is done during do.
func counted(to *work, do func() error) error {
	before, err := worked()
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	after, err := worked()
	to.processes += after.processes - before.processes
	to.switches += after.switches - before.switches
	to.faults += after.faults - before.faults
	return err
}

// each is the work for one of n volumes.
func (w work) each(n int) string {
	v := float64(n)
	return fmt.Sprintf("%.1f processes and threads, %.0f context switches, %.0f page faults", w.processes/v, w.switches/v, w.faults/v)
}
