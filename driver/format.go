// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"log/slog"
)

// formatter decides whether a volume's filesystem has to be made. Inline and
// persistent volumes have the same rule.
type formatter struct {
	filesystem Filesystem
	log        *slog.Logger
}

// examine looks at the device of a volume that was there before this call. fresh
// says that there is no filesystem of ours on it, and that there need not be:
// isNew, which is asked only then, says that nobody was ever given the volume.
func (f formatter) examine(id, device, fsType string, isNew func() (bool, error)) (fresh bool, err error) {
	want := Signature{Type: fsType, UUID: filesystemUUID(id)}
	found, err := f.filesystem.Detect(device, want.Type)
	if err != nil {
		return false, err
	}
	if found == want {
		return false, nil
	}
	never, err := isNew()
	switch {
	case err != nil:
		return false, err
	case never:
		// An lvcreate that died before it wiped, or an mkfs that died: whatever
		// is there, nobody was ever given it.
		f.log.Info("making the filesystem again", "volume", id, "found", found.Type, "uuid", found.UUID)
		return true, f.filesystem.Wipe(device)
	default:
		return false, fmt.Errorf("%w: volume %s: the filesystem that podlv made on %s is gone: found %s, expected %s; it is not formatted again, because data may be on it", errCondition, id, device, found.describe(), want.describe())
	}
}

// describe is a signature for a sentence.
func (s Signature) describe() string {
	if s.Type == "" {
		return "nothing"
	}
	return s.Type + " with UUID " + s.UUID
}
