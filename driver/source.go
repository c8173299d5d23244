// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/podlv/podlv/lvm"
)

// sourceRef names what a new volume is to have the bytes of.
type sourceRef struct {
	handle   handle
	snapshot bool // else a volume
}

func (s sourceRef) String() string {
	if s.snapshot {
		return "snapshot " + s.handle.String()
	}
	return "volume " + s.handle.String()
}

// decodeSource reads a volume's content source; nil is none. One whose handle is not
// of this node is errNotThere: a snapshot or volume is where its LV is, and nowhere
// else.
func decodeSource(s *csi.VolumeContentSource, groups []string) (*sourceRef, error) {
	if s == nil {
		return nil, nil
	}
	id, snapshot := "", false
	switch {
	case s.GetSnapshot() != nil:
		id, snapshot = s.GetSnapshot().GetSnapshotId(), true
	case s.GetVolume() != nil:
		id = s.GetVolume().GetVolumeId()
	default:
		return nil, fmt.Errorf("%w: volume content source: neither a snapshot nor a volume", errInvalid)
	}
	h, err := parseHandle(id, groups)
	if err != nil {
		return nil, fmt.Errorf("volume content source: %w", err)
	}
	return &sourceRef{handle: h, snapshot: snapshot}, nil
}

// source is a sourceRef as its LV tells.
type source struct {
	sourceRef
	volume handle // whose filesystem it holds: its UUID tells
	size   int64  // bytes
	fs     string // empty: a raw block device
	pool   string // its thin pool; empty: none
	class  string
	// empty: there is no filesystem on it yet, because nobody has used it.
	empty bool
}

// findSource looks a source up. errNotThere when it is not on this node, errCondition when
// its bytes are lost, errBusy when it is not whole yet.
func (p *persistent) findSource(ctx context.Context, groups []lvm.VolumeGroup, ref sourceRef) (source, error) {
	s := source{sourceRef: ref}
	g, l, ok := lookFor(groups, ref.handle)
	switch {
	case !ok || ref.snapshot && !isSnapshot(l) || !ref.snapshot && !isVolume(l):
		return s, fmt.Errorf("volume content source: %s is not on this node: %w; a copy can be made only where its source is", ref, errNotThere)
	case ref.snapshot:
		v := asSnapshot(g, l)
		s.volume, s.size, s.fs, s.pool, s.empty = v.volume, v.size, v.fs, l.Pool, v.empty
		if v.copying {
			return s, fmt.Errorf("%s: %w: it is not made yet", ref, errBusy)
		}
		if v.broken {
			return s, v.brokenError()
		}
		return s, nil
	}
	v, _ := asVolume(l)
	s.volume, s.size, s.fs, s.pool, s.class = v.handle, v.size, v.fs, v.pool, v.class
	empty, err := p.origin(ctx, v)
	s.empty = empty
	return s, err
}

// origin says whether a snapshot can be taken of a volume now, and whether there is
// no filesystem on it yet. The caller holds the volume's lock.
func (p *persistent) origin(ctx context.Context, v persistentVolume) (empty bool, err error) {
	switch {
	case v.copying || v.zeroing:
		return false, fmt.Errorf("volume %s: %w: it is not made yet", v.handle, errBusy)
	case p.jobs.running(v.handle) != nil: // a thick snapshot would keep it from growing
		return false, fmt.Errorf("volume %s: %w: it is being expanded", v.handle, errBusy)
	case !v.isNew || v.fs == "":
		return false, nil
	}
	// The tag goes some time after the first mount: what is on the device decides.
	if err := p.activate(ctx, v.handle); err != nil {
		return false, err
	}
	found, err := p.filesystem.Detect(v.handle.device(), v.fs)
	return found != Signature{Type: v.fs, UUID: filesystemUUID(v.handle.String())}, err
}

// activate makes an LV's device where there is none, as after a reboot.
func (p *persistent) activate(ctx context.Context, h handle) error {
	if _, there, err := p.devices.Device(h.device()); err != nil || there {
		return err
	}
	return p.lvm.Activate(ctx, h.VG, h.LV)
}

// lookFor finds an LV in a report.
func lookFor(groups []lvm.VolumeGroup, h handle) (lvm.VolumeGroup, lvm.LogicalVolume, bool) {
	for _, g := range groups {
		if g.Name == h.VG {
			l, ok := g.LogicalVolume(h.LV)
			return g, l, ok
		}
	}
	return lvm.VolumeGroup{}, lvm.LogicalVolume{}, false
}

// of fits a request to its source: what it leaves open is as in the source, and
// what it cannot have is refused.
func (q *createRequest) of(s source) (err error) {
	switch {
	case q.Block && s.fs != "":
		return fmt.Errorf("%w: volume content source: %s is %s, and cannot become a block device", errInvalid, s, s.fs)
	case !q.Block && s.fs == "":
		return fmt.Errorf("%w: volume content source: %s is a block device, and cannot become a filesystem", errInvalid, s)
	case !q.Block && q.FSAsked && q.Filesystem.name != s.fs:
		return fmt.Errorf("%w: volume content source: %s is %s, asked for is %s; name the same in the StorageClass (%s), or none", errInvalid, s, s.fs, q.Filesystem.name, keyFSType)
	case !q.Block:
		if q.Filesystem, err = filesystemNamed(s.fs); err != nil {
			return err
		}
	}
	if q.Required == 0 {
		if q.Size, err = q.Class.roundUp(s.size, q.Limit); err != nil {
			return err
		}
	}
	if q.Size < s.size {
		return fmt.Errorf("%w: capacity range: %s is less than %s has, %s: nothing is made smaller", errRange, lvm.FormatSize(q.Size), s, lvm.FormatSize(s.size))
	}
	return q.Filesystem.canGrow(s.size, q.Size)
}

// createFrom makes q's volume with its source's bytes, or finds it made. What comes
// back can be handed out: all bytes are there, and its filesystem is its own, by its
// UUID, and as large as the volume.
//
// All of it is one job, which goes on when the call that began it ends: a large source
// takes longer than a call may, and so do lvm's commands on a node with much to do.
//
// Until its end the LV is tagged as copying. One that is found so, and that this process
// is not at work on, is what a process that died has left: it is removed and made
// anew, because a tool that was killed may have left anything.
func (p *persistent) createFrom(ctx context.Context, q createRequest, h handle, classes *Classes) (persistentVolume, error) {
	if q.Source.handle == h {
		return persistentVolume{}, fmt.Errorf("%w: volume content source: volume %s cannot be made from itself", errInvalid, h)
	}
	job := p.jobs.running(h) // before the report: its end changes the LV
	groups, _, err := p.model.volumeGroups(ctx)
	if err != nil {
		return persistentVolume{}, err
	}
	if _, l, there := lookFor(groups, h); there {
		v, ours := asVolume(l)
		if !ours {
			return v, fmt.Errorf("%w: volume %s: the LV of that name is not a persistent volume of podlv (tags: %s)", errDiffers, h, list(l.Tags))
		}
		if err := v.satisfies(q); err != nil || !v.copying {
			return v, err
		}
	}
	if job != nil {
		return p.made(ctx, q, h, job)
	}
	var v persistentVolume
	err = p.jobs.run(ctx, h, "the bytes of its source are being copied", func(ctx context.Context) (err error) {
		var finish func(context.Context) error
		if v, finish, err = p.begin(ctx, &q, h, classes); err != nil || finish == nil {
			return err
		}
		return finish(ctx)
	})
	if err != nil { // v is not known to the end: the job may go on
		return persistentVolume{}, err
	}
	return v, nil
}

// made waits for a copy that an earlier call has begun.
func (p *persistent) made(ctx context.Context, q createRequest, h handle, job *volumeJob) (persistentVolume, error) {
	if err := job.wait(ctx, h); err != nil {
		return persistentVolume{}, err
	}
	v, err := p.get(ctx, h) // its size is known only now
	if err != nil {
		return v, err
	}
	return v, v.satisfies(q)
}

// begin makes the LV of a copy, or all of a volume for which nothing has to be
// copied, and gives the work that is left.
func (p *persistent) begin(ctx context.Context, q *createRequest, h handle, classes *Classes) (v persistentVolume, finish func(context.Context) error, err error) {
	// Until there is a snapshot of it, nobody may stage, grow or delete the source.
	release, err := p.locks.wait(ctx, q.Source.handle.String())
	if err != nil {
		return v, nil, err
	}
	defer release()
	groups, _, err := p.model.volumeGroups(ctx) // what it is now, and stays
	if err != nil {
		return v, nil, err
	}
	if err := p.discard(ctx, groups, h); err != nil {
		return v, nil, err
	}
	s, err := p.findSource(ctx, groups, *q.Source)
	if err != nil {
		return v, nil, err
	}
	if err := q.of(s); err != nil {
		return v, nil, err
	}
	if s.empty {
		v, err := p.createEmpty(ctx, *q, h)
		return v, nil, err
	}
	v = q.asked(h)
	v.copying = true
	p.remember(h, hintCopying)
	c := copying{persistent: p, volume: v, class: q.Class, claim: claimant{q.Claim}, source: s, from: s.handle}
	c.thin = s.pool != "" && s.pool == q.Class.Pool.ThinPool && s.handle.VG == h.VG
	if err := c.begin(ctx, q.spec(v), classes); err != nil {
		return v, nil, errors.Join(err, p.afterwards(ctx, h, s.handle.VG))
	}
	v.copying = false
	return v, c.finish, nil
}

// afterwards takes away what was made of a copy whose beginning failed. What lvm may
// still be at work on stays for the next call.
func (p *persistent) afterwards(ctx context.Context, h handle, sourceVG string) error {
	if ctx.Err() != nil {
		return nil
	}
	return p.removeCopy(ctx, h, sourceVG)
}

// discard removes what a process that died has left of a copy.
func (p *persistent) discard(ctx context.Context, groups []lvm.VolumeGroup, h handle) error {
	if _, _, there := lookFor(groups, h); !there && len(withTemporary(groups, h)) == 0 {
		return nil
	}
	p.log.Info("removing what is left of a copy, to begin again", "volume", h.String())
	return p.removeCopy(ctx, h, withTemporary(groups, h)...)
}

// sweep removes what an earlier agent, or a call that failed, has left of copies,
// snapshots and expansions: a thick snapshot would keep its volume from being deleted and
// from growing, though nobody knows of it. What calls and jobs are at work on it leaves
// alone. It gives those that cannot be removed yet.
func (p *persistent) sweep(ctx context.Context, groups []lvm.VolumeGroup, classes *Classes) (left []lvm.LogicalVolume) {
	ours := classes.VolumeGroups()
	for _, g := range groups {
		for _, l := range g.LogicalVolumes {
			half := l.HasTag(tagCopying) && (isVolume(l) || isSnapshot(l)) || l.HasTag(Owner) && l.HasTag(tagTemporary)
			if !half || !slices.Contains(ours, g.Name) {
				continue
			}
			switch err := p.sweepOne(ctx, l); {
			case errors.Is(err, errBusy): // somebody has begun again
			case err != nil:
				left = append(left, l)
				p.log.Warn("what is left of a copy, a snapshot or an expansion cannot be removed yet", "lv", g.Name+"/"+l.Name, "error", err)
			}
		}
	}
	return left
}

func (p *persistent) sweepOne(ctx context.Context, l lvm.LogicalVolume) error {
	h := handle{VG: l.VG, LV: l.Name}
	copied, kind := h, tagCopying
	if l.HasTag(tagTemporary) {
		of, _ := l.TagValue(tagSource)
		copied.VG, copied.LV, _ = strings.Cut(of, "/")
		kind = tagTemporary
	}
	release, err := p.locks.acquire(copied.String())
	if err != nil {
		return err
	}
	defer release()
	if p.jobs.running(copied) != nil {
		return nil
	}
	switch now, err := p.lvm.Lookup(ctx, h.VG, h.LV); { // the report is from before the lock
	case errors.Is(err, lvm.ErrNotFound):
		return nil
	case err != nil:
		return err
	case now.UUID != l.UUID || !now.HasTag(kind):
		return nil
	}
	p.log.Info("removing what is left of a copy, a snapshot or an expansion that nobody is at work on", "lv", h.String())
	err = p.lvm.Remove(ctx, h.VG, h.LV, kind)
	p.metrics.reap(l, err)
	if err != nil {
		return err
	}
	p.remember(h, hintNone)
	p.space.freed()
	return nil
}

// removeCopy removes a copy that is not whole, and the temporary snapshot of its
// source, which is in one of these VGs if there is one.
func (p *persistent) removeCopy(ctx context.Context, h handle, temporaries ...string) error {
	err := p.lvm.Remove(ctx, h.VG, h.LV, tagVolume, tagCopying)
	for _, vg := range temporaries {
		err = errors.Join(err, p.lvm.Remove(ctx, vg, h.temporary(), tagTemporary))
	}
	if errors.Is(err, lvm.ErrInUse) {
		return fmt.Errorf("volume %s: %w: a program that was started for its copy still runs: %w", h, errBusy, err)
	}
	if err == nil {
		p.remember(h, hintNone)
	}
	return err
}

// temporary is the name of an LV that a volume needs for a while. One that is made has
// the snapshot that it is copied from, when its source is a volume that may be in use,
// in the source's VG; one that grows has the extents that it grows by, in its own.
func (h handle) temporary() string {
	sum := sha256.Sum256([]byte(h.String()))
	return "temporary-" + hex.EncodeToString(sum[:16])
}

// withTemporary are the VGs that have such a snapshot.
func withTemporary(groups []lvm.VolumeGroup, h handle) (names []string) {
	for _, g := range groups {
		if _, ok := g.LogicalVolume(h.temporary()); ok {
			names = append(names, g.Name)
		}
	}
	return names
}

// removeTemporary removes the temporary snapshot of a volume that is being removed.
// One that has no device is found by removed: the snapshot is made before the copy is.
func (p *persistent) removeTemporary(ctx context.Context, h handle, groups []string) error {
	for _, vg := range groups {
		_, there, err := p.devices.Device(devicePath(vg, h.temporary()))
		if err == nil && there {
			err = p.lvm.Remove(ctx, vg, h.temporary(), tagTemporary)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
