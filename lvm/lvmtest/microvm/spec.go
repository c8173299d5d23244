// SPDX-License-Identifier: Apache-2.0

package microvm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Environment variables of the guest. The kernel hands "name=value" words of its
// command line that it does not know to process 1 as environment; process 1 hands
// the others on to the command.
const (
	specVariable  = "PODLV_MICROVM_SPEC"  // path of this boot's spec, process 1 only
	shareVariable = "PODLV_MICROVM_SHARE" // path of the share
	bootVariable  = "PODLV_MICROVM_BOOT"  // number of the boot, from 1
	disksVariable = "PODLV_MICROVM_DISKS" // the disks' paths in the guest, by commas
)

// stateFolder is where, in the share, the two sides leave notes for each other.
const stateFolder = ".microvm"

// spec is what the host tells process 1 of one boot.
type spec struct {
	Boot    int
	Share   string
	Disks   []string // in the guest
	Command []string
	Env     []string
	Dir     string
	Visible []string
	Modules []string
}

// result is what process 1 tells the host at the end of a boot.
type result struct {
	Code  int    // exit status of the command; 128+signal when a signal ended it
	Error string // why the command could not be run at all
}

// note is the path in the share of one of the notes of one boot.
func note(share, kind string, boot int) string {
	return filepath.Join(share, stateFolder, fmt.Sprintf("%s-%d", kind, boot))
}

// output is the path in the share of what the command printed, in all boots.
func output(share string) string { return filepath.Join(share, stateFolder, "output") }

// writeNote leaves v as JSON at path, whole or not at all.
func writeNote(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// readNote reads what writeNote left; the error wraps fs.ErrNotExist when there
// is none.
func readNote(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// DiskNames are the paths in the guest of n disks. The kernel's ubd0 is left
// unused, as everywhere in the documentation of User-Mode Linux it is the root.
func DiskNames(n int) []string {
	var names []string
	for i := range n {
		names = append(names, "/dev/ubd"+string(rune('b'+i)))
	}
	return names
}
