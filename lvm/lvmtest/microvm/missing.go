// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Where Debian's package user-mode-linux puts things.
const (
	kernelProgram = "linux.uml"
	modulesFolder = "/usr/lib/uml/modules" // one folder a kernel release below
)

// MissingError says what this host lacks for a machine, and the Debian packages
// that have it.
type MissingError struct {
	Things   []string // programs and folders
	Packages []string // in no order, each once
}

// Error names the things and the command that installs them.
func (e *MissingError) Error() string {
	return fmt.Sprintf("no %s here: apt-get install %s", strings.Join(e.Things, ", no "), strings.Join(e.Packages, " "))
}

// Missing is nil when machines can be booted here and lvm can be used in them,
// else a *MissingError.
func Missing() error {
	return missing(func(name string) error {
		if filepath.IsAbs(name) {
			_, err := os.Stat(name)
			return err
		}
		_, err := lookPath(name)
		return err
	})
}

// missing asks find, with a program's name or a folder's path, what is there.
func missing(find func(string) error) error {
	e := &MissingError{}
	lack := func(thing, pkg string) {
		e.Things = append(e.Things, thing)
		for _, p := range e.Packages {
			if p == pkg {
				return
			}
		}
		e.Packages = append(e.Packages, pkg)
	}
	for _, p := range []struct{ thing, pkg string }{
		{kernelProgram, "user-mode-linux"}, {modulesFolder, "user-mode-linux"}, {"lvm", "lvm2"}, {"dmsetup", "dmsetup"},
	} {
		if err := find(p.thing); err != nil {
			lack(p.thing, p.pkg)
		}
	}
	if len(e.Things) == 0 {
		return nil
	}
	return e
}

// lookPath also finds the programs of a system administrator, whose folders are
// not on everybody's PATH.
func lookPath(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if p, e := exec.LookPath(dir + program); e == nil {
			return p, nil
		}
	}
	return "", err
}
