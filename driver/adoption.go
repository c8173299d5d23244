// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/podlv/podlv/lvm"
)

// Adopter makes persistent volumes of LVs that were there before podlv: another driver's,
// or an administrator's. Nothing is copied. It runs beside the agent, which knows nothing
// of such an LV before it carries its tags.
type Adopter struct {
	Classes    *Classes
	Runner     lvm.Runner
	Filesystem Filesystem
}

// Adoption says which LV is to be the volume of which claim.
type Adoption struct {
	Volume string // VG/LV
	Class  string // device class; empty: the default one
	Claim  string // namespace/name
	// Block: it is given to pods as a raw block device, whatever is on it.
	Block bool
}

// Adopted is a volume that was adopted.
type Adopted struct {
	Handle, Class string
	Size          int64  // bytes
	Filesystem    string // empty: it is a raw block device
	// Context are the attributes of its PersistentVolume.
	Context map[string]string
}

// Adopt makes an LV a persistent volume. Its filesystem is checked, takes all of the LV,
// and gets the UUID by which podlv knows its own, and then the LV its tags, in one commit.
// What is in the files is not touched. Nobody may use it meanwhile: one that is open is
// refused. It can be called again, also after a death at any step.
func (a Adopter) Adopt(ctx context.Context, q Adoption) (Adopted, error) {
	h, err := parseHandle(q.Volume, a.Classes.VolumeGroups())
	if err != nil {
		return Adopted{}, err
	}
	if namespace, name, ok := strings.Cut(q.Claim, "/"); !ok || namespace == "" || name == "" || lvm.ValidateTag(tagClaim+"="+q.Claim) != nil {
		return Adopted{}, fmt.Errorf("%w: claim %q: must be NAMESPACE/NAME", errInvalid, q.Claim)
	}
	class, err := a.Classes.Named(q.Class)
	if err != nil {
		return Adopted{}, err
	}
	client, err := lvm.NewClient(a.Runner, Owner)
	if err != nil {
		return Adopted{}, err
	}
	l, err := client.Lookup(ctx, h.VG, h.LV)
	if err != nil {
		return Adopted{}, err
	}
	if err := class.mayAdopt(h, l, q.Claim); err != nil {
		return Adopted{}, err
	}
	v := persistentVolume{handle: h, size: l.Size, class: class.Name}
	tags := []string{tagVolume, tagClass + "=" + class.Name, tagClaim + "=" + q.Claim}
	if q.Block {
		tags = append(tags, tagMode+"="+modeBlock)
	} else {
		if !l.Active {
			if err := client.Activate(ctx, h.VG, h.LV); err != nil {
				return Adopted{}, err
			}
		}
		if v.fs, err = a.filesystem(ctx, h); err != nil {
			return Adopted{}, err
		}
		tags = append(tags, tagFS+"="+v.fs)
	}
	if was, ours := asVolume(l); ours && was.fs != v.fs {
		return Adopted{}, fmt.Errorf("%w: volume %s is %s already, and not %s", errCondition, h, was.what(), v.what())
	}
	if err := client.Own(ctx, h.VG, h.LV, l.UUID, tags...); err != nil {
		return Adopted{}, err
	}
	return Adopted{Handle: h.String(), Class: class.Name, Size: l.Size, Filesystem: v.fs, Context: v.context()}, nil
}

// mayAdopt says why an LV cannot become a volume of the class and the claim.
func (class Class) mayAdopt(h handle, l lvm.LogicalVolume, claim string) error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("%w: LV %s %s", errCondition, h, fmt.Sprintf(format, args...))
	}
	was, ours := asVolume(l)
	switch {
	case h.VG != class.Pool.VolumeGroup:
		return refuse("is not in VG %s, of which class %q makes its volumes", class.Pool.VolumeGroup, class.Name)
	case lvm.Layout(l.Type) != class.Layout || l.Pool != class.Pool.ThinPool:
		return refuse("is %s, and not %s as the volumes of class %q", describeLayout(l.Type, l.Pool), describeLayout(string(class.Layout), class.Pool.ThinPool), class.Name)
	case l.Origin != "" && l.Pool == "":
		return refuse("is a thick snapshot of %s, and goes when that one does", l.Origin)
	case class.Legs != 0 && l.Stripes != class.Legs:
		return refuse("has %d stripes or copies, and not %d as the volumes of class %q", l.Stripes, class.Legs, class.Name)
	case ours && (was.claim != claim || was.class != class.Name):
		return refuse("is podlv's already, for claim %q of class %q", was.claim, was.class)
	case !ours && l.HasTag(Owner):
		return refuse("is podlv's already, and no claim's: it is of kind %q", kindOf(l))
	case was.isNew || was.zeroing || was.copying:
		return refuse("is podlv's already, and not made yet")
	case l.Open:
		return refuse("is in use: end the pods that use it, and unmount it")
	}
	return nil
}

func describeLayout(layout, pool string) string {
	if pool != "" {
		return layout + " in thin pool " + pool
	}
	return layout
}

// filesystem makes the filesystem that is on the LV podlv's, and says which it is.
func (a Adopter) filesystem(ctx context.Context, h handle) (string, error) {
	found, err := a.Filesystem.Detect(h.device(), "")
	if err != nil {
		return "", err
	}
	if _, known := filesystems[found.Type]; !known {
		return "", fmt.Errorf("%w: LV %s has %s on it; podlv knows %s, and any bytes at all as a raw block device", errCondition, h, found.describe(), list(slices.Sorted(maps.Keys(filesystems))))
	}
	want := Signature{Type: found.Type, UUID: filesystemUUID(h.String())}
	if found == want {
		return found.Type, nil
	}
	return found.Type, a.Filesystem.Adopt(ctx, h.device(), Format{Type: want.Type, UUID: want.UUID})
}
