// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

// persistent makes, finds and removes persistent volumes.
type persistent struct {
	lvm        *lvm.Client
	model      *model
	devices    Devices
	filesystem Filesystem
	mounts     Mounter
	settle     *settler
	space      *spaceWaiter
	keeper     *keeper
	locks      *volumeLocks
	clock      clock.Clock
	jobs       volumeJobs
	metrics    *metrics
	log        *slog.Logger

	mu    sync.Mutex
	hints map[handle]hint
	// learned: the first report was read, and hints has all copies that are not whole.
	learned bool
}

// persistentVolume is a volume as its LV tells.
type persistentVolume struct {
	handle  handle
	size    int64
	class   string
	claim   string // namespace/name; empty when it is not known
	fs      string // empty for a block device
	active  bool
	isNew   bool // the filesystem may not be whole
	zeroing bool // old bytes may be on it
	copying bool // its source's bytes may not all be on it
	layout  lvm.Layout
	legs    int
	source  string // handle of what it was made from; empty: nothing
	pool    string // its thin pool; empty: none
}

// asVolume reads an LV's tags. ok is false for what is no persistent volume of ours.
func asVolume(l lvm.LogicalVolume) (v persistentVolume, ok bool) {
	if !isVolume(l) {
		return v, false
	}
	v = persistentVolume{
		handle: handle{VG: l.VG, LV: l.Name}, size: l.Size, active: l.Active,
		isNew: l.HasTag(tagNew), zeroing: l.HasTag(tagZeroing), copying: l.HasTag(tagCopying), pool: l.Pool,
	}
	v.source, _ = l.TagValue(tagSource)
	v.class, _ = l.TagValue(tagClass)
	v.claim, _ = l.TagValue(tagClaim)
	v.fs, _ = l.TagValue(tagFS)
	if v.layout = lvm.Layout(l.Type); v.layout == lvm.Striped || v.layout == lvm.RAID1 {
		v.legs = l.Stripes
	}
	return v, true
}

// fits says why the volume cannot be used so.
func (v persistentVolume) fits(u use) error {
	switch {
	case u.block != (v.fs == ""):
		return fmt.Errorf("%w: volume %s is %s, and cannot be used as %s", errInvalid, v.handle, v.what(), u.what())
	case u.fsType != "" && u.fsType != v.fs:
		return fmt.Errorf("%w: volume %s is %s, asked for is %s", errInvalid, v.handle, v.what(), u.fsType)
	default:
		return nil
	}
}

func (v persistentVolume) what() string {
	if v.fs == "" {
		return "a block device"
	}
	return v.fs
}

// create makes q's volume, or finds it made. What comes back can be handed out: a
// block device's old bytes are gone.
func (p *persistent) create(ctx context.Context, q createRequest, h handle, classes *Classes) (persistentVolume, error) {
	if q.Source != nil {
		return p.createFrom(ctx, q, h, classes)
	}
	return p.createEmpty(ctx, q, h)
}

// asked is the volume that q asks for.
func (q *createRequest) asked(h handle) persistentVolume {
	v := persistentVolume{handle: h, size: q.Size, class: q.Class.Name, fs: q.Filesystem.name, active: true}
	if q.Source != nil {
		v.source = q.Source.handle.String()
	}
	return v
}

// spec is the LV of a volume.
func (q *createRequest) spec(v persistentVolume) lvm.Spec {
	return lvm.Spec{
		VG: v.handle.VG, Name: v.handle.LV, Size: q.Size, Layout: q.Class.Layout, Legs: q.Class.Legs, Pool: q.Class.Pool.ThinPool, Tags: v.tags(*q),
	}
}

// createEmpty makes a volume without anybody's bytes.
func (p *persistent) createEmpty(ctx context.Context, q createRequest, h handle) (persistentVolume, error) {
	v := q.asked(h)
	v.zeroing = q.Block && q.Class.zeroes()
	err := p.space.try(ctx, q.Class, q.spec(v), &claimant{q.Claim})
	switch {
	case err == nil && !v.zeroing:
		p.remember(h, v.hint())
	case errors.Is(err, lvm.ErrExists):
		v, err = p.get(ctx, h)
		if errors.Is(err, errNotThere) {
			err = fmt.Errorf("%w: %w", errDiffers, err)
		}
		if err == nil {
			err = v.satisfies(q)
		}
	default:
		err = noPool(q.Class, err)
	}
	if err != nil || !v.zeroing {
		return v, err
	}
	if err := p.zero(ctx, v); err != nil {
		return v, err
	}
	p.remember(h, v.hint())
	return v, nil
}

// noPool is the error of making an LV: that its VG or pool is not there is no mistake
// of the caller's.
func noPool(class Class, err error) error {
	if errors.Is(err, lvm.ErrNotFound) {
		return fmt.Errorf("%w: class %q: %w", errCondition, class.Name, err)
	}
	return err
}

// zeroes says whether raw bytes of the class hold what somebody wrote before, so
// that podlv has to zero them. A thin pool zeroes what it hands out itself.
func (class Class) zeroes() bool { return class.Layout != lvm.Thin && class.Wipe == wipeZero }

// tags are those of a new LV.
func (v persistentVolume) tags(q createRequest) []string {
	tags := []string{tagVolume, tagClass + "=" + v.class}
	if q.Claim != "" && lvm.ValidateTag(tagClaim+"="+q.Claim) == nil {
		tags = append(tags, tagClaim+"="+q.Claim)
	}
	if v.source != "" {
		tags = append(tags, tagSource+"="+v.source)
	}
	if q.Block {
		tags = append(tags, tagMode+"="+modeBlock)
	} else {
		tags = append(tags, tagFS+"="+v.fs)
	}
	switch {
	case v.copying:
		tags = append(tags, tagCopying)
	case v.zeroing:
		tags = append(tags, tagZeroing)
	case !q.Block:
		tags = append(tags, tagNew)
	}
	return tags
}

// satisfies compares a volume that is there with a request of the same name.
func (v persistentVolume) satisfies(q createRequest) error {
	switch {
	case v.class != q.Class.Name:
		return fmt.Errorf("%w: volume %s is of class %q, asked for is %q", errDiffers, q.Name, v.class, q.Class.Name)
	case v.source != q.asked(v.handle).source:
		return fmt.Errorf("%w: volume %s was made from %s, asked for is one from %s", errDiffers, q.Name, cmp.Or(v.source, "nothing"), cmp.Or(q.asked(v.handle).source, "nothing"))
	case q.Source != nil && !q.Block && !q.FSAsked && v.fs != "": // it has its source's
		return v.satisfiesRange(q)
	case v.fs != q.Filesystem.name:
		return fmt.Errorf("%w: volume %s is %s, asked for is %s", errDiffers, q.Name, v.what(), q.kind())
	default:
		return v.satisfiesRange(q)
	}
}

// satisfiesRange: a copy that is not whole may not have its size yet.
func (v persistentVolume) satisfiesRange(q createRequest) error {
	if v.copying {
		return nil
	}
	if v.size < q.Required || q.Limit > 0 && v.size > q.Limit {
		return fmt.Errorf("%w: volume %s has %s, asked for are %s", errDiffers, q.Name, lvm.FormatSize(v.size), lvm.FormatSize(q.Size))
	}
	return nil
}

// get asks LVM for a volume. errNotThere when there is none of ours.
func (p *persistent) get(ctx context.Context, h handle) (persistentVolume, error) {
	l, err := p.lvm.Lookup(ctx, h.VG, h.LV)
	return h.volume(l, err)
}

// find is get, but for what does not need to know whether the volume is active: it
// asks LVM only if something has changed.
func (p *persistent) find(ctx context.Context, h handle) (persistentVolume, error) {
	g, err := p.model.volumeGroup(ctx, h.VG)
	if err != nil {
		return h.volume(lvm.LogicalVolume{}, err)
	}
	l, ok := g.LogicalVolume(h.LV)
	if !ok {
		err = fmt.Errorf("LV %s: %w", h, lvm.ErrNotFound)
	}
	return h.volume(l, err)
}

// volume is the volume of an LV that was looked for.
func (h handle) volume(l lvm.LogicalVolume, err error) (persistentVolume, error) {
	if errors.Is(err, lvm.ErrNotFound) {
		return persistentVolume{}, fmt.Errorf("volume %s: %w: %w", h, errNotThere, err)
	}
	if err != nil {
		return persistentVolume{}, err
	}
	v, ok := asVolume(l)
	if !ok {
		return v, fmt.Errorf("volume %s: %w: the LV of that name is not a persistent volume of podlv (tags: %s)", h, errNotThere, list(l.Tags))
	}
	return v, nil
}

// list is every persistent volume of the node that can be handed out, sorted by
// handle.
func (p *persistent) list(ctx context.Context, classes *Classes) ([]persistentVolume, error) {
	groups, _, err := p.model.volumeGroups(ctx)
	if err != nil {
		return nil, err
	}
	ours := classes.VolumeGroups()
	var volumes []persistentVolume
	for _, g := range groups {
		if !slices.Contains(ours, g.Name) {
			continue
		}
		for _, l := range g.LogicalVolumes {
			if v, ok := asVolume(l); ok && !v.zeroing && !v.copying {
				volumes = append(volumes, v)
			}
		}
	}
	slices.SortFunc(volumes, func(a, b persistentVolume) int { return strings.Compare(a.handle.String(), b.handle.String()) })
	return volumes, nil
}

// delete removes a volume; one that is not there, or not ours, is left alone. groups
// are the VGs of the node's pools.
func (p *persistent) delete(ctx context.Context, h handle, groups []string) error {
	active, err := p.unused(h)
	if err != nil {
		return err
	}
	if err := p.jobs.stop(ctx, h); err != nil {
		return err
	}
	p.settle.drop(h.VG, h.LV)
	p.remember(h, hintNone)
	if err := p.removeTemporary(ctx, h, groups); err != nil {
		return err
	}
	err = p.lvm.Remove(ctx, h.VG, h.LV, tagVolume)
	switch {
	case errors.Is(err, lvm.ErrNotFound):
		return away(h)
	case errors.Is(err, lvm.ErrInUse):
		return fmt.Errorf("%w: volume %s is in use on this node: %w", errCondition, h, err)
	case err != nil:
		return err
	}
	p.space.freed()
	return p.removed(ctx, h, active)
}

// away says that an LV cannot be deleted because its VG is not there: it comes back with its
// disk, and the LV with it, which nobody would know any more.
func away(h handle) error {
	return fmt.Errorf("%w: %s cannot be deleted, because VG %s is not there; if it is gone for good, take its pool out of the device classes", errAway, h, h.VG)
}

// removed makes sure that a volume is gone: a thick origin is passed over. Where
// there was a device, its end tells; else LVM is asked.
func (p *persistent) removed(ctx context.Context, h handle, active bool) error {
	if active {
		if _, there, err := p.devices.Device(h.device()); err != nil || !there {
			return err
		}
	}
	groups, err := p.lvm.VolumeGroups(ctx)
	if err != nil {
		return err
	}
	if _, l, ok := lookFor(groups, h); ok && isVolume(l) {
		return fmt.Errorf("%w: volume %s has thick snapshots, which would go with it: remove them first", errCondition, h)
	}
	// An agent that died over a copy or an expansion may have left this.
	for _, vg := range withTemporary(groups, h) {
		if err := p.lvm.Remove(ctx, vg, h.temporary(), tagTemporary); err != nil {
			return err
		}
	}
	return nil
}

// unused refuses a volume that is mounted or bound anywhere. lvm2 would see a
// mounted one, but not a device node that is only bound. active says that there is
// a device.
func (p *persistent) unused(h handle) (active bool, err error) {
	d, there, err := p.devices.Device(h.device())
	if err != nil || !there {
		return false, err
	}
	mounts, err := p.mounts.Mounts()
	if err != nil {
		return true, err
	}
	for _, m := range mounts {
		if m.Number == d.Number {
			return true, fmt.Errorf("%w: volume %s is in use on this node: it is mounted at %s", errCondition, h, m.Target)
		}
	}
	return true, nil
}

// capacity is the largest volume of the class that could be made now, in bytes.
func (p *persistent) capacity(ctx context.Context, class Class) (int64, error) {
	var owed int64
	if p.space.publisher != nil {
		var err error
		if owed, err = p.space.publisher.owed(ctx, class.Pool.Name); err != nil {
			return 0, err
		}
	}
	g, err := p.model.volumeGroup(ctx, class.Pool.VolumeGroup)
	if errors.Is(err, lvm.ErrNotFound) || errors.Is(err, lvm.ErrUnavailable) {
		return 0, nil // readiness says why
	}
	if err != nil {
		return 0, err
	}
	return largest(g, class, owed), nil
}

// hint is what this process knows of a volume without asking lvm, because it did
// it itself. That it does not know costs a report, no more.
type hint int

const (
	hintNone    hint = iota
	hintFresh        // made by this process and not formatted yet: there is nothing to look for
	hintBlock        // a raw block volume without anybody's old bytes
	hintCopying      // a copy that is not whole
)

// hint is what is known of the volume once it can be handed out.
func (v persistentVolume) hint() hint {
	if v.fs == "" {
		return hintBlock
	}
	return hintFresh
}

func (p *persistent) known(h handle) hint {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hints[h]
}

// doubtful says that LVM must be asked before the volume is given to anybody.
func (p *persistent) doubtful(h handle) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.learned || p.hints[h] == hintCopying
}

// learn reads the first report.
func (p *persistent) learn(groups []lvm.VolumeGroup) {
	for _, g := range groups {
		for _, l := range g.LogicalVolumes {
			if v, ok := asVolume(l); ok && v.copying && p.jobs.running(v.handle) == nil {
				p.remember(v.handle, hintCopying)
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.learned = true
}

func (p *persistent) remember(h handle, known hint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known == hintNone {
		delete(p.hints, h)
		return
	}
	if p.hints == nil {
		p.hints = map[handle]hint{}
	}
	p.hints[h] = known
}
