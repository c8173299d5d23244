// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// libraryFolders are where ld.so looks without being told, in Debian and the
// distributions of other families. "*" is the machine's name, as in
// x86_64-linux-gnu.
var libraryFolders = []string{
	"/lib/*-linux-gnu", "/usr/lib/*-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib",
}

// librariesOf are the paths of what a program or library needs to be loaded: its
// interpreter (ld.so) and the libraries that it names. Those of the libraries are
// not followed. It is empty for a static program, and for a file that is no
// program at all.
func librariesOf(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	magic := make([]byte, len(elf.ELFMAG))
	if _, err := io.ReadFull(f, magic); err != nil || string(magic) != elf.ELFMAG {
		return nil, nil
	}
	e, err := elf.NewFile(f)
	if err != nil {
		return nil, fmt.Errorf("libraries of %s: %w", path, err)
	}
	var found []string
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b, err := io.ReadAll(p.Open())
		if err != nil {
			return nil, fmt.Errorf("interpreter of %s: %w", path, err)
		}
		found = append(found, string(bytes.TrimRight(b, "\x00")))
	}
	names, err := e.ImportedLibraries()
	if err != nil {
		return nil, fmt.Errorf("libraries of %s: %w", path, err)
	}
	folders, err := searchPath(e, path)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		library, err := findLibrary(name, folders, e.Machine)
		if err != nil {
			return nil, fmt.Errorf("libraries of %s: %w", path, err)
		}
		found = append(found, library)
	}
	return found, nil
}

// searchPath is the folders to look for libraries of one file: its own, then the
// usual ones.
func searchPath(e *elf.File, path string) ([]string, error) {
	var folders []string
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		lists, err := e.DynString(tag)
		if err != nil {
			return nil, fmt.Errorf("library folders of %s: %w", path, err)
		}
		for _, list := range lists {
			for _, dir := range strings.Split(list, ":") {
				folders = append(folders, strings.NewReplacer("$ORIGIN", filepath.Dir(path), "${ORIGIN}", filepath.Dir(path)).Replace(dir))
			}
		}
	}
	return append(folders, libraryFolders...), nil
}

// findLibrary finds a library of the right machine.
func findLibrary(name string, folders []string, machine elf.Machine) (string, error) {
	for _, pattern := range folders {
		candidates, err := filepath.Glob(filepath.Join(pattern, name))
		if err != nil {
			return "", err
		}
		for _, c := range candidates {
			e, err := elf.Open(c)
			if err != nil {
				continue
			}
			_ = e.Close()
			if e.Machine == machine {
				return c, nil
			}
		}
	}
	return "", fmt.Errorf("%s is in none of %s", name, strings.Join(folders, ", "))
}
