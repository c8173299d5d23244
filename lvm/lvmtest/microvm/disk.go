// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MakeDisks makes n empty disk images of size bytes in dir and returns their
// paths. They are sparse: they take only the room that is written.
func MakeDisks(dir string, n int, size int64) ([]string, error) {
	var paths []string
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("disk-%d.img", i+1))
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			return nil, fmt.Errorf("make a disk: %w", err)
		}
		if err := os.Truncate(path, size); err != nil {
			return nil, fmt.Errorf("make a disk: %w", err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// ParseSize reads a size as "2G", "512M", "64K" or a number of bytes; the units
// are binary. It must be more than 0.
func ParseSize(s string) (bytes int64, err error) {
	unit := int64(1)
	digits := s
	for i, suffix := range []string{"K", "M", "G", "T"} {
		if d, ok := strings.CutSuffix(strings.ToUpper(s), suffix); ok {
			digits, unit = d, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("size %q: want a number of bytes, or one with K, M, G or T", s)
	}
	return n * unit, nil
}
