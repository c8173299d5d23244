// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"fmt"
	"path/filepath"
	"regexp"
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

// inlineHandle is what kubelet makes of a pod's UID and a volume's name
// (kubernetes 1.36, pkg/volume/csi/csi_mounter.go, makeVolumeHandle). It is the
// LV's name, too.
var inlineHandle = regexp.MustCompile(`^csi-[0-9a-f]{64}$`)

// podRef is the pod that a volume is for.
type podRef struct{ Namespace, Name, UID string }

// tag is the pod as an LV carries it.
func (p podRef) tag() string { return tagPod + "=" + p.Namespace + "/" + p.Name + "/" + p.UID }

// inlineRequest is a NodePublishVolume for an inline volume, checked.
type inlineRequest struct {
	ID           string
	Target       string
	Class        Class
	Size         int64 // bytes, a multiple of the class's unit
	Filesystem   filesystem
	MountOptions []string // without "ro"
	MkfsOptions  []string
	ReadOnly     bool
	Pod          podRef
}

// decodeInline checks a request. Its errors name the field, the value and what
// is allowed.
func decodeInline(r *csi.NodePublishVolumeRequest, classes *Classes) (inlineRequest, error) {
	var q inlineRequest
	var err error
	if q.ID, q.Target, err = decodeTarget(r.GetVolumeId(), r.GetTargetPath()); err != nil {
		return q, err
	}
	c := r.GetVolumeContext()
	if c[keyEphemeral] != "true" {
		return q, fmt.Errorf("%w: volume %s: %s is %q: podlv serves inline volumes only; its CSIDriver object must have podInfoOnMount true, and the volume must be written in the pod spec", errInvalid, q.ID, keyEphemeral, c[keyEphemeral])
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
	if q.Class, err = classes.Named(c[attributeClass]); err != nil {
		return q, err
	}
	if err := q.decodeFilesystem(fsType, c, r.GetVolumeCapability().GetMount().GetMountFlags()); err != nil {
		return q, err
	}
	if err := q.decodeSize(c[attributeSize]); err != nil {
		return q, err
	}
	q.ReadOnly = r.GetReadonly()
	return q, nil
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

// knownAttributes refuses what no one would act on.
func knownAttributes(c map[string]string) error {
	allowed := []string{attributeClass, attributeMkfsOptions, attributeMountOptions, attributeSize}
	var unknown []string
	for k := range c {
		if strings.HasPrefix(k, keyPrefix) {
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

func (q *inlineRequest) decodeFilesystem(fsType string, c map[string]string, flags []string) error {
	if fsType == "" {
		fsType = q.Class.Filesystem
	}
	fs, err := filesystemNamed(fsType)
	if err != nil {
		return fmt.Errorf("fsType: %w", err)
	}
	q.Filesystem = fs
	mount, err := fs.mountOptions(strings.Join(append([]string{c[attributeMountOptions]}, flags...), ","))
	if err != nil {
		return fmt.Errorf("volumeAttributes[%s]: %w", attributeMountOptions, err)
	}
	mkfs, err := fs.mkfsOptions(c[attributeMkfsOptions])
	if err != nil {
		return fmt.Errorf("volumeAttributes[%s]: %w", attributeMkfsOptions, err)
	}
	q.MountOptions, q.MkfsOptions = q.Class.options(fs)
	q.MountOptions = append(q.MountOptions, mount...)
	q.MkfsOptions = append(q.MkfsOptions, mkfs...)
	return nil
}

func (q *inlineRequest) decodeSize(text string) error {
	size := q.Class.DefaultSize
	if text == "" && size == 0 {
		return fmt.Errorf("%w: volumeAttributes[%s] is missing and class %q has no default size; write a quantity such as 10Gi", errInvalid, attributeSize, q.Class.Name)
	}
	if text != "" {
		var err error
		if size, err = parseSize(text); err != nil {
			return fmt.Errorf("volumeAttributes[%s]: %w", attributeSize, err)
		}
	}
	size, err := lvm.RoundUp(size, q.Class.Unit)
	if err != nil {
		return fmt.Errorf("volumeAttributes[%s]: %w", attributeSize, err)
	}
	if size < q.Filesystem.minimum {
		return fmt.Errorf("%w: volumeAttributes[%s]: %q is too small: %s needs at least %s", errRange, attributeSize, text, q.Filesystem.name, lvm.FormatSize(q.Filesystem.minimum))
	}
	q.Size = size
	return nil
}
