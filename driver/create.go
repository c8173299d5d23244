// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/podlv/podlv/lvm"
)

// The keys of a StorageClass's parameters. external-provisioner adds those of
// keyPrefix when it runs with --extra-create-metadata.
const (
	parameterClass   = "podlv.dev/class"
	keyFSType        = keyPrefix + "fstype"
	keyClaimName     = keyPrefix + "pvc/name"
	keyClaimSpace    = keyPrefix + "pvc/namespace"
	keyVolumeName    = keyPrefix + "pv/name"
	contextClass     = "podlv.dev/class" // of the volume context, which every node call gets
	contextFSType    = "podlv.dev/fstype"
	maxVolumeNameLen = 128 // CSI: "SHOULD"; what csi-sanity tries
)

// createRequest is a CreateVolume, checked.
type createRequest struct {
	Name       string
	LV         string
	Class      Class
	Size       int64 // bytes, a multiple of the class's unit
	Required   int64 // as asked for; 0 when not
	Limit      int64 // as asked for; 0 when not
	Block      bool
	Filesystem filesystem // of a volume that is not Block
	FSAsked    bool       // the request names Filesystem; else it is the class's
	Claim      string     // namespace/name; empty when not told
	Source     *sourceRef // what the volume is to have the bytes of; nil: nothing
}

// decodeCreate checks a request against the node's classes.
func decodeCreate(r *csi.CreateVolumeRequest, classes *Classes, node string) (createRequest, error) {
	q := createRequest{Name: r.GetName(), LV: lvName(r.GetName())}
	if q.Name == "" || len(q.Name) > maxVolumeNameLen {
		return q, fmt.Errorf("%w: volume name %q: must have from 1 to %d characters", errInvalid, q.Name, maxVolumeNameLen)
	}
	p, err := decodeParameters(r.GetParameters())
	if err != nil {
		return q, err
	}
	if q.Class, err = classes.Named(p.class); err != nil {
		return q, err
	}
	q.Claim = p.claim
	if q.Source, err = decodeSource(r.GetVolumeContentSource(), classes.VolumeGroups()); err != nil {
		return q, err
	}
	if err := q.decodeCapabilities(r.GetVolumeCapabilities(), p.fsType); err != nil {
		return q, err
	}
	if err := q.decodeRange(r.GetCapacityRange()); err != nil {
		return q, err
	}
	return q, onThisNode(r.GetAccessibilityRequirements(), node)
}

// parameters are a StorageClass's.
type parameters struct{ class, fsType, claim string }

// ClassParameter is the parameter of a StorageClass that names its device class.
const ClassParameter = parameterClass

// ClassOf is the name of the device class that a StorageClass's parameters ask for; ""
// is the default one. The error names every parameter that podlv does not know.
func ClassOf(given map[string]string) (string, error) {
	p, err := decodeParameters(given)
	return p.class, err
}

func decodeParameters(given map[string]string) (parameters, error) {
	p := parameters{class: given[parameterClass], fsType: given[keyFSType]}
	if given[keyClaimName] != "" {
		p.claim = given[keyClaimSpace] + "/" + given[keyClaimName]
	}
	known := []string{parameterClass, keyFSType, keyClaimName, keyClaimSpace, keyVolumeName}
	var unknown []string
	for k := range given {
		if !slices.Contains(known, k) {
			unknown = append(unknown, fmt.Sprintf("%q", k))
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return p, fmt.Errorf("%w: StorageClass parameters: unknown %s; allowed are %s, %s", errInvalid, list(unknown), parameterClass, keyFSType)
	}
	return p, nil
}

// decodeCapabilities: all of them must be possible at once, on one node.
func (q *createRequest) decodeCapabilities(caps []*csi.VolumeCapability, fsType string) error {
	if len(caps) == 0 {
		return fmt.Errorf("%w: volume capabilities are missing", errInvalid)
	}
	mount := false
	for _, c := range caps {
		u, err := decodeUse(c)
		if err != nil {
			return err
		}
		if u.block {
			q.Block = true
			continue
		}
		mount = true
		if u.fsType != "" {
			fsType = u.fsType
		}
	}
	if q.Block {
		if mount {
			return fmt.Errorf("%w: volume capabilities: a volume is either a filesystem or a block device", errInvalid)
		}
		if fsType != "" {
			return fmt.Errorf("%w: volume capabilities: block with filesystem %q: a block device has none; take %s out of the StorageClass", errInvalid, fsType, keyFSType)
		}
		return nil
	}
	q.FSAsked = fsType != ""
	fs, err := filesystemNamed(cmp.Or(fsType, q.Class.Filesystem))
	if err != nil {
		return fmt.Errorf("%s: %w", keyFSType, err)
	}
	q.Filesystem = fs
	return nil
}

// minimum is the smallest volume of the request's kind, in bytes.
func (q *createRequest) minimum() int64 {
	if q.Block || q.Source != nil { // a source was large enough
		return 1
	}
	return q.Filesystem.minimum
}

// decodeRange picks the size: what is required, rounded up to the class's unit,
// else the class's default, else the least that there can be.
func (q *createRequest) decodeRange(r *csi.CapacityRange) (err error) {
	if q.Required, q.Limit, err = bounds(r); err != nil {
		return err
	}
	size := q.Required
	if size == 0 {
		size = max(q.Class.DefaultSize, q.minimum())
		if q.Limit > 0 {
			size = min(size, q.Limit)
		}
	}
	rounded, err := q.Class.roundUp(size, q.Limit)
	if err != nil {
		return err
	}
	if rounded < q.minimum() {
		return fmt.Errorf("%w: capacity range: %s is too small: %s needs at least %s", errRange, lvm.FormatSize(size), q.kind(), lvm.FormatSize(q.minimum()))
	}
	q.Size = rounded
	return nil
}

// bounds are what a capacity range requires and allows, in bytes; 0 is no bound.
func bounds(r *csi.CapacityRange) (required, limit int64, err error) {
	required, limit = r.GetRequiredBytes(), r.GetLimitBytes()
	switch {
	case required < 0 || limit < 0:
		err = fmt.Errorf("%w: capacity range: %d to %d bytes: must not be negative", errInvalid, required, limit)
	case limit > 0 && limit < required:
		err = fmt.Errorf("%w: capacity range: the limit, %s, is below what is required, %s", errRange, lvm.FormatSize(limit), lvm.FormatSize(required))
	}
	return required, limit, err
}

// roundUp is the size in bytes that a volume of the class has which is to have so
// many, if the limit allows it; 0 is none.
func (class Class) roundUp(size, limit int64) (int64, error) {
	rounded, err := lvm.RoundUp(size, class.granularity())
	if err != nil {
		return 0, fmt.Errorf("%w: capacity range: %w", errRange, err)
	}
	if limit > 0 && rounded > limit {
		return 0, fmt.Errorf("%w: capacity range: %s is rounded up to %s, a multiple of the class's unit, which is above the limit, %s", errRange, lvm.FormatSize(size), lvm.FormatSize(rounded), lvm.FormatSize(limit))
	}
	return rounded, nil
}

// granularity is what sizes are rounded up to, in bytes: a unit in every stripe.
func (class Class) granularity() int64 {
	if class.Layout == lvm.Striped {
		return class.Unit * int64(class.Legs)
	}
	return class.Unit
}

func (q *createRequest) kind() string {
	if q.Block {
		return "a block device"
	}
	return q.Filesystem.name
}

// use is how a volume is to be used.
type use struct {
	block      bool
	fsType     string
	mountFlags []string
	mode       csi.VolumeCapability_AccessMode_Mode
}

// decodeUse checks one capability: the volume is one node's.
func decodeUse(c *csi.VolumeCapability) (use, error) {
	u := use{mode: c.GetAccessMode().GetMode()}
	switch {
	case c == nil:
		return u, fmt.Errorf("%w: volume capability is missing", errInvalid)
	case c.GetBlock() != nil:
		u.block = true
	case c.GetMount() != nil:
		u.fsType, u.mountFlags = c.GetMount().GetFsType(), c.GetMount().GetMountFlags()
	default:
		return u, fmt.Errorf("%w: volume capability: access type is missing", errInvalid)
	}
	if !slices.Contains(accessModes, u.mode) {
		return u, fmt.Errorf("%w: access mode %s: a volume of podlv is one node's; supported are %s", errInvalid, u.mode, modeNames())
	}
	return u, nil
}

func (u use) what() string {
	if u.block {
		return "a block device"
	}
	return "a filesystem"
}

// singleWriter is the mode of a volume that only one pod may have.
const singleWriter = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER

// accessModes are the ones that a volume of one node can have.
var accessModes = []csi.VolumeCapability_AccessMode_Mode{
	csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
}

func modeNames() string {
	names := make([]string, len(accessModes))
	for i, m := range accessModes {
		names[i] = m.String()
	}
	return strings.Join(names, ", ")
}

// onThisNode checks that the volume may be here: its node is chosen before it is
// made, by the scheduler.
func onThisNode(t *csi.TopologyRequirement, node string) error {
	wanted := append(slices.Clone(t.GetPreferred()), t.GetRequisite()...)
	if len(wanted) == 0 {
		return nil
	}
	var nodes []string
	for _, w := range wanted {
		n := w.GetSegments()[TopologyKey]
		if n == node {
			return nil
		}
		nodes = append(nodes, n)
	}
	return fmt.Errorf("%w: this is node %s, the volume may be on %s only", errElsewhere, node, list(nodes))
}
