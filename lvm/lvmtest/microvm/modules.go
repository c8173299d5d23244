// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultModules are the kernel modules that the layouts of podlv need: linear
// and striped, thin, snapshots, raid1, and bad disks for tests.
func DefaultModules() []string {
	return []string{"dm-mod", "dm-thin-pool", "dm-snapshot", "dm-raid", "raid1", "dm-flakey", "loop"}
}

// NodeModules are DefaultModules and what a node of a cluster needs besides.
func NodeModules() []string { return append(DefaultModules(), "overlay", "veth") }

// loadModules loads modules by name, each after what it depends on, as
// modprobe(8) does. What is loaded or built in already is left alone.
func loadModules(release string, names []string) error {
	dir := filepath.Join(modulesFolder, release)
	f, err := os.Open(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return err
	}
	defer f.Close()
	files, err := parseModulesDep(f)
	if err != nil {
		return err
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return err
	}
	loaded := map[string]bool{}
	for _, line := range strings.Fields(string(builtin)) {
		loaded[moduleName(line)] = true
	}
	for _, name := range names {
		name = moduleName(name)
		if loaded[name] {
			continue
		}
		chain, ok := files[name]
		if !ok {
			return fmt.Errorf("no kernel module %q in %s", name, dir)
		}
		for i := len(chain) - 1; i >= 0; i-- { // what comes later in the line is needed by what comes before
			if n := moduleName(chain[i]); !loaded[n] {
				if err := loadModule(filepath.Join(dir, chain[i])); err != nil {
					return err
				}
				loaded[n] = true
			}
		}
	}
	return nil
}

// parseModulesDep reads modules.dep(5): "file: needed needed…". The result maps a
// module's name to its own file followed by those it needs.
func parseModulesDep(r io.Reader) (map[string][]string, error) {
	files := map[string][]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		file, needs, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			continue
		}
		files[moduleName(file)] = append([]string{file}, strings.Fields(needs)...)
	}
	return files, lines.Err()
}

// moduleName is the name of a module from its file or from either spelling: the
// kernel treats "-" and "_" alike.
func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "_", "-")
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load kernel module %s: %w", file, err)
	}
	return nil
}
