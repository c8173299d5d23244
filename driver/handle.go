// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/podlv/podlv/lvm"
)

// handle is a persistent volume's handle: where its LV is.
type handle struct{ VG, LV string }

// String is the handle as Kubernetes keeps it: "vg/lv".
func (h handle) String() string { return h.VG + "/" + h.LV }

// device is the LV's device node.
func (h handle) device() string { return devicePath(h.VG, h.LV) }

// splitHandle reads a volume id. It is errNotThere, not a mistake of the caller's,
// when the id is not of our making: CSI has no other word for a volume that we do
// not have.
func splitHandle(id string) (handle, error) {
	if id == "" {
		return handle{}, fmt.Errorf("%w: volume id is empty", errInvalid)
	}
	vg, lv, ok := strings.Cut(id, "/")
	h := handle{VG: vg, LV: lv}
	if !ok || lvm.ValidateName(vg, lv) != nil {
		return h, fmt.Errorf("volume %q: %w: a persistent volume's id is VG/LV", id, errNotThere)
	}
	return h, nil
}

// parseHandle is splitHandle for what is in one of the VGs of the node's pools.
func parseHandle(id string, groups []string) (handle, error) {
	h, err := splitHandle(id)
	if err == nil && !slices.Contains(groups, h.VG) {
		err = fmt.Errorf("volume %q: %w: no pool of this node is on VG %q; there are %s", id, errNotThere, h.VG, list(groups))
	}
	return h, err
}

// plainName is a CSI volume name that can be the LV's as it is: it is what
// external-provisioner makes (pvc-UID), and no inline volume's.
var plainName = regexp.MustCompile(`^pvc-[a-z0-9-]{1,59}$`)

// lvName is the LV's name for a CSI volume name: the same name always gives the
// same LV, which makes CreateVolume idempotent. CSI names may have 128 characters
// of any kind, an LV's may not: those are hashed.
func lvName(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "vol-" + hex.EncodeToString(sum[:16])
}
