// SPDX-License-Identifier: Apache-2.0

package kind

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/podlv/podlv/e2e/kind"
)

// engine finds the container engine and whether it answers.
func (c Config) engine(progress func(string, ...any)) (*kind.Engine, error) {
	return kind.Find(c.Provider, "use --target embedded, which needs none", progress)
}

// leftovers tells a person of clusters that may be those of runs that have died.
func leftovers(e *kind.Engine, progress func(string, ...any)) error {
	names, err := e.Clusters(Prefix)
	for _, name := range names {
		progress("there is a cluster %s: of a run that goes on, or that was killed; then free what it has with podlv-sim clean %s", name, name)
	}
	return err
}

// Leftovers are the clusters and the loop devices of runs, also of those that go on. The
// latter are in the form DEVICE FILE.
func (c Config) Leftovers() (clusters, devices []string, err error) {
	e, err := c.engine(func(string, ...any) {})
	if err != nil {
		return nil, nil, err
	}
	if clusters, err = e.Clusters(Prefix); err != nil {
		return nil, nil, err
	}
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		file, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(file), "/"+Prefix) {
			continue
		}
		devices = append(devices, fmt.Sprintf("/dev/%s %s", strings.Split(f, "/")[3], strings.TrimSpace(string(file))))
	}
	return clusters, devices, nil
}

// Remove deletes a cluster that a run has left, and frees its loop devices.
func (c Config) Remove(name string) error {
	if !strings.HasPrefix(name, Prefix) {
		return fmt.Errorf("cluster %q was not made by podlv-sim: the names of those that were begin with %s", name, Prefix)
	}
	e, err := c.engine(func(string, ...any) {})
	if err != nil {
		return err
	}
	names, err := e.Clusters(Prefix)
	if err != nil {
		return err
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("there is no cluster %q; there are: %s", name, cmp.Or(strings.Join(names, ", "), "none"))
	}
	return e.Remove(name, "")
}
