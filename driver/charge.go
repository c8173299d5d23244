// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"slices"

	"github.com/podlv/podlv/lvm"
)

// ResourcePrefix begins the name of the extended resource of a pool: what the
// scheduler counts in, in bytes.
const ResourcePrefix = Name + "/"

// MaxCharge is the most that one pod can ask for of a pool, in bytes: 8 PiB. The API
// server checks extended resources in thousandths, which int64 ends soon after
// (kubernetes 1.36, pkg/apis/core/validation, ValidateResourceQuantityValue).
const MaxCharge = int64(1) << 53

// Resource is the name of the pool's extended resource.
func (p Pool) Resource() string { return ResourcePrefix + p.Name }

// Counted says whether pods ask for the pool's extended resource. No node has that of a
// pool that pods are not told of, and a pod that asked for it would wait for ever.
func (p Pool) Counted() bool { return p.Inline.mode != inlineNone }

// Shared says whether claims and pods have the pool's bytes in common: whoever comes
// first, pods that are bound before claims.
func (p InlinePool) Shared() bool { return p.mode == inlineShared }

// Rate is what the volumes of a class are charged: the size rounded up to Step, times
// Copies, plus Metadata. The admission policies compute with the same three numbers.
type Rate struct {
	Step     int64 // bytes: a unit in every stripe
	Copies   int64 // of each byte: those of raid1, else 1
	Metadata int64 // bytes beside the data
}

// Rate is what the class's volumes are charged. It knows the class's unit and not the
// VG's extent, which divides it: where the extent is smaller, a striped or raid1 volume
// takes a little less than its charge, never more.
func (class Class) Rate() Rate {
	r := Rate{Step: class.granularity(), Copies: 1}
	if class.Layout == lvm.RAID1 {
		r.Copies = int64(class.Legs)
		r.Metadata = class.Unit * r.Copies // an extent for each image (lvm.Layout.Allocation)
	}
	return r
}

// Charge is what a volume of so many bytes takes of its class's pool, in bytes: on every
// node the same, before it is known on which the volume will be. A thin volume is charged
// its whole size. errInvalid when the size is negative or too large for an LV.
func (class Class) Charge(size int64) (int64, error) {
	r := class.Rate()
	rounded := (size + r.Step - 1) / r.Step * r.Step
	if size < 0 || size > (lvm.MaxSize-r.Metadata)/r.Copies-r.Step {
		return 0, fmt.Errorf("%w: class %q: %d bytes: must be from 0 to what an LV can have, less than 8 EiB with all copies", errInvalid, class.Name, size)
	}
	return rounded*r.Copies + r.Metadata, nil
}

// All are the classes, in the order of the file.
func (c *Classes) All() []Class { return slices.Clone(c.classes) }

// Pools are the pools, in the order of the file.
func (c *Classes) Pools() []Pool { return slices.Clone(c.pools) }
