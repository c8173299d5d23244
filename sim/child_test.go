// SPDX-License-Identifier: Apache-2.0

//go:build controlplane

package sim_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// childIn is the process of this one's children that was started with a folder.
func childIn(dir string) (pid int, err error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, l := range lines {
		text, err := os.ReadFile(l)
		if err == nil && strings.Contains(string(text), "--dir="+dir) {
			return strconv.Atoi(strings.Split(l, "/")[2])
		}
	}
	return 0, fmt.Errorf("no process was started with --dir=%s", dir)
}
