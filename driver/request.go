// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/podlv/podlv/lvm"
)

// The keys of an inline volume's context. A user writes the first ones in the
// pod spec; kubelet adds the others, over anything a user wrote there
// (podInfoOnMount; kubernetes 1.36, pkg/volume/csi/csi_util.go).
const (
	attributeSize         = "size"
	attributeClass        = "class"
	attributeMountOptions = "mount-options"
	attributeMkfsOptions  = "mkfs-options"

	keyPrefix       = "csi.storage.k8s.io/"
	keyEphemeral    = keyPrefix + "ephemeral"
	keyPodName      = keyPrefix + "pod.name"
	keyPodNamespace = keyPrefix + "pod.namespace"
	keyPodUID       = keyPrefix + "pod.uid"
)

// kubeletKeys are those that kubelet adds. Others with its prefix would be a
// user's mistake: "csi.storage.k8s.io/fstype" is a StorageClass's, not a pod's.
var kubeletKeys = []string{
	keyEphemeral, keyPodName, keyPodNamespace, keyPodUID,
	keyPrefix + "serviceAccount.name", keyPrefix + "serviceAccount.tokens",
}

// inlineHandle is what kubelet makes of a pod's UID and a volume's name
// (kubernetes 1.36, pkg/volume/csi/csi_mounter.go, makeVolumeHandle). It is the
// LV's name, too.
var inlineHandle = regexp.MustCompile(`^csi-[0-9a-f]{64}$`)

// podRef is the pod that a volume is for.
type podRef struct{ Namespace, Name, UID string }

// tag is the pod as an LV carries it.
func (p podRef) tag() string { return tagPod + "=" + p.Namespace + "/" + p.Name + "/" + p.UID }

// inlineRequest is a NodePublishVolume for an inline volume, checked as far as a
// request can be by itself. What was asked for is kept apart from what the class
// adds to it: a class may change while its volumes live.
type inlineRequest struct {
	ID       string
	Target   string
	Pod      podRef
	ReadOnly bool
	Asked    asked

	// Of a new volume from choose, of one that is there from follow.
	Class        Class
	Size         int64 // bytes, a multiple of the class's unit; new volumes only
	Filesystem   filesystem
	MountOptions []string // without "ro"
	MkfsOptions  []string
}

// asked is what the pod spec says; empty or 0 where it says nothing.
type asked struct {
	class, fsType, mountOptions, mkfsOptions, sizeText string
	size                                               int64
}

// decodeInline checks a request. Its errors name the field, the value and what
// is allowed.
func decodeInline(r *csi.NodePublishVolumeRequest) (inlineRequest, error) {
	q := inlineRequest{ReadOnly: r.GetReadonly()}
	var err error
	if q.ID, q.Target, err = decodeTarget(r.GetVolumeId(), r.GetTargetPath()); err != nil {
		return q, err
	}
	c := r.GetVolumeContext()
	if c[keyEphemeral] != "true" {
		return q, fmt.Errorf("%w: volume %s: %s is %q, but this is the handle of an inline volume: the CSIDriver object must have podInfoOnMount true and volumeLifecycleModes Ephemeral, and the volume must be written in the pod spec", errInvalid, q.ID, keyEphemeral, c[keyEphemeral])
	}
	if !inlineHandle.MatchString(q.ID) {
		return q, fmt.Errorf("%w: volume id %q: an inline volume's is csi- and 64 hexadecimal digits, made by kubelet", errInvalid, q.ID)
	}
	if q.Pod, err = decodePod(c); err != nil {
		return q, err
	}
	fsType, err := decodeCapability(r.GetVolumeCapability())
	if err != nil {
		return q, err
	}
	if err := knownAttributes(c); err != nil {
		return q, err
	}
	flags := r.GetVolumeCapability().GetMount().GetMountFlags()
	q.Asked = asked{
		class: c[attributeClass], fsType: fsType, mkfsOptions: c[attributeMkfsOptions], sizeText: c[attributeSize],
		mountOptions: strings.Join(append([]string{c[attributeMountOptions]}, flags...), ","),
	}
	if q.Asked.sizeText != "" {
		if q.Asked.size, err = parseSize(q.Asked.sizeText); err != nil {
			return q, fmt.Errorf("volumeAttributes[%s]: %w", attributeSize, err)
		}
	}
	return q, nil
}

// choose decides what a new volume is to be.
func (q *inlineRequest) choose(classes *Classes) error {
	var err error
	if q.Class, err = classes.Named(q.Asked.class); err != nil {
		return err
	}
	if err := q.decodeFilesystem(cmp.Or(q.Asked.fsType, q.Class.Filesystem)); err != nil {
		return err
	}
	return q.decodeSize()
}

// follow takes what was not asked for from a volume that is there, and compares
// the rest with it.
func (q *inlineRequest) follow(l lvm.LogicalVolume, classes *Classes) error {
	made, _ := l.TagValue(tagFS)
	class, _ := l.TagValue(tagClass)
	if q.Asked.class != "" && q.Asked.class != class {
		return fmt.Errorf("%w: volume %s was made by class %q, asked for is %q", errDiffers, q.ID, class, q.Asked.class)
	}
	if err := q.sameFilesystem(made); err != nil {
		return err
	}
	// A class that is gone has no options to add, and no unit.
	q.Class, _ = classes.Named(class)
	if err := q.decodeFilesystem(made); err != nil {
		return err
	}
	return q.sameSize(l.Size, q.Class)
}

func (q *inlineRequest) sameFilesystem(made string) error {
	if q.Asked.fsType != "" && q.Asked.fsType != made {
		return fmt.Errorf("%w: volume %s is %s, asked for is %s", errDiffers, q.ID, made, q.Asked.fsType)
	}
	return nil
}

// sameSize compares an LV's size with what was asked for. It may be larger by the
// rounding: less than a unit in every stripe.
func (q *inlineRequest) sameSize(size int64, class Class) error {
	slack := max(class.Unit, defaultUnit) * int64(max(class.Legs, 1))
	if q.Asked.size != 0 && (size < q.Asked.size || size-q.Asked.size >= slack) {
		return fmt.Errorf("%w: volume %s has %s, asked for are %s", errDiffers, q.ID, lvm.FormatSize(size), lvm.FormatSize(q.Asked.size))
	}
	return nil
}

func decodeTarget(id, target string) (string, string, error) {
	return id, target, checkPath(id, "target path", target)
}

// checkPath checks a volume's id and one of its paths.
func checkPath(id, what, path string) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: volume id is empty", errInvalid)
	case path == "":
		return fmt.Errorf("%w: volume %s: %s is empty", errInvalid, id, what)
	case !filepath.IsAbs(path):
		return fmt.Errorf("%w: volume %s: %s %q is relative", errInvalid, id, what, path)
	case filepath.Clean(path) != path || path == "/":
		return fmt.Errorf("%w: volume %s: %s %q: must be clean, without .. and double or trailing slashes, and not the root", errInvalid, id, what, path)
	default:
		return nil
	}
}

func decodePod(c map[string]string) (podRef, error) {
	p := podRef{Namespace: c[keyPodNamespace], Name: c[keyPodName], UID: c[keyPodUID]}
	if p.Namespace == "" || p.Name == "" || p.UID == "" {
		return p, fmt.Errorf("%w: the pod's namespace, name or UID is missing (%q, %q, %q): the CSIDriver object must have podInfoOnMount true", errInvalid, p.Namespace, p.Name, p.UID)
	}
	if err := lvm.ValidateTag(p.tag()); err != nil {
		return p, fmt.Errorf("%w: pod: %w", errInvalid, err)
	}
	return p, nil
}

// decodeCapability checks how the volume is to be used and gives the filesystem
// that the pod spec names.
func decodeCapability(c *csi.VolumeCapability) (fsType string, err error) {
	switch {
	case c == nil:
		return "", fmt.Errorf("%w: volume capability is missing", errInvalid)
	case c.GetBlock() != nil:
		return "", fmt.Errorf("%w: volume capability: block: an inline volume is always a filesystem", errInvalid)
	case c.GetMount() == nil:
		return "", fmt.Errorf("%w: volume capability: access type is missing", errInvalid)
	}
	switch mode := c.GetAccessMode().GetMode(); mode {
	case csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER,
		csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
		csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER,
		csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:
		return c.GetMount().GetFsType(), nil
	default:
		return "", fmt.Errorf("%w: access mode %s: an inline volume is one node's; SINGLE_NODE_WRITER, _READER_ONLY, _SINGLE_WRITER and _MULTI_WRITER are supported", errInvalid, mode)
	}
}

// InlineAttributes are the keys that a user may write in an inline volume's
// attributes, sorted.
func InlineAttributes() []string {
	return []string{attributeClass, attributeMkfsOptions, attributeMountOptions, attributeSize}
}

// knownAttributes refuses what no one would act on.
func knownAttributes(c map[string]string) error {
	allowed := InlineAttributes()
	var unknown []string
	for k := range c {
		if slices.Contains(kubeletKeys, k) {
			continue
		}
		if i := sort.SearchStrings(allowed, k); i == len(allowed) || allowed[i] != k {
			unknown = append(unknown, fmt.Sprintf("%q", k))
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return fmt.Errorf("%w: volumeAttributes: unknown %s; allowed are %s", errInvalid, list(unknown), list(allowed))
	}
	return nil
}

func (q *inlineRequest) decodeFilesystem(name string) error {
	fs, err := filesystemNamed(name)
	if err != nil {
		return fmt.Errorf("fsType: %w", err)
	}
	q.Filesystem = fs
	mount, err := fs.mountOptions(q.Asked.mountOptions)
	if err != nil {
		return fmt.Errorf("volumeAttributes[%s]: %w", attributeMountOptions, err)
	}
	mkfs, err := fs.mkfsOptions(q.Asked.mkfsOptions)
	if err != nil {
		return fmt.Errorf("volumeAttributes[%s]: %w", attributeMkfsOptions, err)
	}
	q.MountOptions, q.MkfsOptions = q.Class.options(fs)
	q.MountOptions = append(q.MountOptions, mount...)
	q.MkfsOptions = append(q.MkfsOptions, mkfs...)
	return nil
}

func (q *inlineRequest) decodeSize() error {
	size, from := q.Asked.size, fmt.Sprintf("volumeAttributes[%s]: %q", attributeSize, q.Asked.sizeText)
	if size == 0 {
		size, from = q.Class.DefaultSize, fmt.Sprintf("class %q: the default size, %s,", q.Class.Name, lvm.FormatSize(q.Class.DefaultSize))
	}
	if size == 0 {
		return fmt.Errorf("%w: volumeAttributes[%s] is missing and class %q has no default size; write a quantity such as 10Gi", errInvalid, attributeSize, q.Class.Name)
	}
	size, err := lvm.RoundUp(size, q.Class.Unit)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if size < q.Filesystem.minimum {
		return fmt.Errorf("%w: %s is too small: %s needs at least %s", errRange, from, q.Filesystem.name, lvm.FormatSize(q.Filesystem.minimum))
	}
	q.Size = size
	return nil
}
