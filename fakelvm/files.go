// SPDX-License-Identifier: Apache-2.0

package fakelvm

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// volatile is what a machine keeps in memory only: Reboot empties it.
const volatile = "/run"

// WriteFile makes or replaces a file of the fake tree, whose folder must be there. It
// is one step: after a crash the file has the old content or the new. It survives
// Reboot, unless it is below /run.
func (h *Host) WriteFile(p string, content []byte) error {
	return h.kernel("write", fmt.Sprintf("write %s", p), func(s *step) error {
		p := path.Clean(p)
		if folder, ok := h.folders[p]; ok && folder {
			return &fs.PathError{Op: "write", Path: p, Err: errInvalid}
		}
		if !h.folders[path.Dir(p)] {
			return &fs.PathError{Op: "write", Path: p, Err: errNoEntry}
		}
		s.commit(func() { h.folders[p], h.files[p] = false, slices.Clone(content) })
		return nil
	})
}

// ReadFile is what a file of the fake tree has. It is no step. ENOENT: there is none.
func (h *Host) ReadFile(p string) ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p = path.Clean(p)
	if folder, ok := h.folders[p]; !ok || folder {
		return nil, &fs.PathError{Op: "read", Path: p, Err: errNoEntry}
	}
	return slices.Clone(h.files[p]), nil
}

// forgetVolatile empties what is in memory only.
func (h *Host) forgetVolatile() {
	for p := range h.folders {
		if strings.HasPrefix(p, volatile+"/") {
			delete(h.folders, p)
			delete(h.files, p)
		}
	}
}
