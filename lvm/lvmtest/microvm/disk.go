// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
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

// memoryFolder is where files are memory on every Linux machine.
const memoryFolder = "/dev/shm"

// MakeFolder makes a new folder for disk images that will take room bytes, in
// memory when there is that much and as much again, else in the folder for
// temporary files. In memory a flush takes no time, however busy the host's disks
// are; what Kill leaves is the same. The caller removes it.
func MakeFolder(name string, room int64) (string, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(memoryFolder, &s); err == nil && int64(s.Bavail)/2 > room/s.Bsize {
		if dir, err := os.MkdirTemp(memoryFolder, name+"-"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", name+"-")
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
