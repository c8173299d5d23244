// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"github.com/podlv/podlv/lvm"
)

// The part of the reaper that is about volumes and snapshots. CreateVolume makes an LV,
// the agent dies, the claim is deleted: nobody will ever ask for that LV again.
//
// An LV that the API server has no object for may still have somebody's data: a volume
// with the reclaim policy Retain looks just so when its PersistentVolume was deleted, and
// so do all volumes to a cluster that was made anew. So only that is removed which its tag
// and its device say nobody has ever been given. All else is told of.

// recordsTime is how long the API server may take for its lists.
const recordsTime = time.Minute

// recorded looks at the LVs of volumes and snapshots. left is what the sweep could not
// remove.
func (r *reaper) recorded(ctx context.Context, groups []lvm.VolumeGroup, mounted map[string]bool, left []lvm.LogicalVolume) error {
	if r.cluster == nil {
		return nil
	}
	err := r.recordedOf(ctx, kindVolume, r.cluster.volumeRecords, groups, mounted, left)
	if r.cluster.Snapshots != nil {
		err = errors.Join(err, r.recordedOf(ctx, kindSnapshot, r.cluster.snapshotRecords, groups, mounted, left))
	}
	return err
}

// records asks the API server for what it has of a kind of LVs now. The answer tells of
// an LV whether it has anything of that.
type records func(context.Context) (known func(lvm.LogicalVolume) bool, err error)

// recordedOf looks at those of one kind.
func (r *reaper) recordedOf(ctx context.Context, kind string, ask records, groups []lvm.VolumeGroup, mounted map[string]bool, left []lvm.LogicalVolume) error {
	orphans, err := r.doubtful(kind, groups, mounted)
	if err == nil && len(orphans) > 0 {
		var known func(lvm.LogicalVolume) bool
		if known, err = ask(ctx); err == nil {
			orphans = slices.DeleteFunc(orphans, known)
		}
	}
	if err != nil {
		delete(r.seen, kind)
		return err
	}
	seen := r.count(kind, orphans)
	r.metrics.saw(kind, append(ofKind(left, kind), orphans...), r.ours(groups))
	told := map[string]string{}
	for _, l := range orphans {
		if said := r.judge(ctx, l, seen[l.UUID], r.told[kind][l.UUID]); said != "" {
			told[l.UUID] = said
		}
	}
	if r.told == nil {
		r.told = map[string]map[string]string{}
	}
	r.told[kind] = told
	return nil
}

// doubtful are the LVs of a kind of which the API server has to be asked: those that
// nobody uses, that nobody is at work on, and that no informer has a PersistentVolume of.
// One that is tagged as copying is the sweep's.
func (r *reaper) doubtful(kind string, groups []lvm.VolumeGroup, mounted map[string]bool) (list []lvm.LogicalVolume, err error) {
	cached := map[string]bool{}
	if kind == kindVolume {
		volumes, err := r.cluster.Volumes.Lister().List(labels.Everything())
		if err != nil {
			return nil, err
		}
		for _, v := range volumes {
			cached[lvOf(v)] = true
		}
	}
	ours := r.ours(groups)
	for _, g := range groups {
		if !slices.Contains(ours, g.Name) {
			continue // it may be another machine's, such as a virtual machine's that runs here
		}
		for _, l := range ofKind(g.LogicalVolumes, kind) {
			used := l.Open || mounted[l.VG+"/"+l.Name] || r.persistent.jobs.running(handle{VG: l.VG, LV: l.Name}) != nil
			if used || cached[l.Name] || l.HasTag(tagCopying) || r.clock.Now().Sub(l.Created) < r.config.MinAge {
				continue
			}
			list = append(list, l)
		}
	}
	return list, nil
}

// judge reports an orphan, and removes it when it was seen often enough and nobody has
// ever used it. said is what was logged of it before, and then what is logged of it now
// and need not be again.
func (r *reaper) judge(ctx context.Context, l lvm.LogicalVolume, passes int, said string) string {
	claim, _ := l.TagValue(tagClaim)
	log := r.log.With("lv", l.VG+"/"+l.Name, "kind", kindOf(l), "size", l.Size, "claim", claim, "pass", passes)
	tell := func(what string, args ...any) string {
		if said != what {
			log.Warn(what, args...)
		}
		return what
	}
	const kept = "orphan: kept, because it may have been used; the API server has nothing that it belongs to: write a PersistentVolume or VolumeSnapshotContent for it, or remove it with lvremove"
	switch {
	case neverUsed(l) == "" && passes < r.config.Passes:
		return said
	case neverUsed(l) == "":
		return tell(kept)
	case r.config.DryRun || passes < r.config.Passes:
		log.Info("orphan: reported, not removed")
		return said
	}
	removed, err := r.persistent.removeUnused(ctx, l)
	if removed || err != nil && !errors.Is(err, errBusy) && !errors.Is(err, errUsed) {
		r.metrics.reap(l, err)
	}
	switch {
	case errors.Is(err, errUsed):
		return tell(kept, "why", err)
	case errors.Is(err, errBusy): // somebody wants it, after all
	case err != nil:
		log.Error("orphan: cannot be removed", "error", err)
	case removed:
		log.Info("orphan: removed", "age", r.clock.Now().Sub(l.Created).Round(time.Second))
	}
	return ""
}

// claimedName is the LV of a claim, by the claim's UID: what the agent's provisioner makes.
var claimedName = regexp.MustCompile(`^pvc-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$`)

// neverUsed is the tag that says of a volume made for a claim that nobody was given it
// yet; empty when there is none. A snapshot has none: it is somebody's copy of something
// once it is whole.
func neverUsed(l lvm.LogicalVolume) string {
	_, filesystem := l.TagValue(tagFS)
	switch {
	case !isVolume(l) || !claimedName.MatchString(l.Name):
		return ""
	case l.HasTag(tagZeroing):
		return tagZeroing
	case l.HasTag(tagNew) && filesystem: // if there is none of ours on it: see removeUnused
		return tagNew
	default:
		return ""
	}
}

// errUsed: somebody may have been given the volume.
var errUsed = errors.New("it may have been used")

// removeUnused removes a volume that nobody was ever given. errBusy when somebody is at
// work on it, errUsed when it may have been given to somebody. That the LV is not there
// any more is no error.
func (p *persistent) removeUnused(ctx context.Context, l lvm.LogicalVolume) (removed bool, err error) {
	h := handle{VG: l.VG, LV: l.Name}
	release, err := p.locks.acquire(h.String())
	if err != nil {
		return false, err
	}
	defer release()
	if p.jobs.running(h) != nil {
		return false, fmt.Errorf("volume %s: %w", h, errBusy)
	}
	now, err := p.lvm.Lookup(ctx, h.VG, h.LV) // the report is from before the lock
	switch tag := neverUsed(now); {
	case errors.Is(err, lvm.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case now.UUID != l.UUID:
		return false, fmt.Errorf("volume %s: %w: it was made anew", h, errBusy)
	case tag == "" || now.Open:
		return false, fmt.Errorf("volume %s: %w: it is open, or its tags have changed: %s", h, errUsed, list(now.Tags))
	case tag == tagNew:
		// The tag goes some time after the first mount: what is on the device decides.
		if err := p.blank(ctx, now); err != nil {
			return false, err
		}
	}
	active, err := p.unused(h)
	if err != nil {
		return false, err
	}
	p.settle.drop(h.VG, h.LV)
	p.remember(h, hintNone)
	if err := p.lvm.Remove(ctx, h.VG, h.LV, tagVolume, neverUsed(now)); err != nil {
		return false, err
	}
	p.space.freed()
	return true, p.removed(ctx, h, active)
}

// blank is errUsed when the volume has the filesystem that podlv makes for it.
func (p *persistent) blank(ctx context.Context, l lvm.LogicalVolume) error {
	h := handle{VG: l.VG, LV: l.Name}
	if err := p.activate(ctx, h); err != nil {
		return err
	}
	fs, _ := l.TagValue(tagFS)
	want := Signature{Type: fs, UUID: filesystemUUID(h.String())}
	found, err := p.filesystem.Detect(h.device(), fs)
	if err == nil && found == want {
		return fmt.Errorf("volume %s: %w: it has its filesystem", h, errUsed)
	}
	return err
}

// volumeRecords asks for all PersistentVolumes of ours and all claims. Claims come
// first: one is there until its volume's PersistentVolume is.
func (c *Cluster) volumeRecords(ctx context.Context) (known func(lvm.LogicalVolume) bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, recordsTime)
	defer cancel()
	uids, names, lvs := map[string]bool{}, map[string]bool{}, map[string]bool{}
	err = eachNow(ctx, func(o metav1.ListOptions) (runtime.Object, error) {
		return c.Client.CoreV1().PersistentVolumeClaims(metav1.NamespaceAll).List(ctx, o)
	}, func(claim *corev1.PersistentVolumeClaim) {
		uids[string(claim.UID)] = true
		names[claim.Namespace+"/"+claim.Name] = true
	})
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	err = eachNow(ctx, func(o metav1.ListOptions) (runtime.Object, error) {
		return c.Client.CoreV1().PersistentVolumes().List(ctx, o)
	}, func(v *corev1.PersistentVolume) { lvs[lvOf(v)] = true })
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	return func(l lvm.LogicalVolume) bool {
		if m := claimedName.FindStringSubmatch(l.Name); m != nil {
			// Not the claim's name: a StatefulSet makes another one of that name.
			return lvs[l.Name] || uids[m[1]]
		}
		claim, _ := l.TagValue(tagClaim)
		return lvs[l.Name] || names[claim]
	}, nil
}

// lvOf is the LV of a PersistentVolume of ours, without its VG, which may have been
// renamed.
func lvOf(v *corev1.PersistentVolume) string {
	if v.Spec.CSI == nil || v.Spec.CSI.Driver != Name {
		return ""
	}
	return lvOfHandle(v.Spec.CSI.VolumeHandle)
}

func lvOfHandle(id string) string { return id[strings.LastIndex(id, "/")+1:] }

// snapshotRecords asks for all VolumeSnapshotContents of ours. One is there before its
// snapshot is taken.
func (c *Cluster) snapshotRecords(ctx context.Context) (known func(lvm.LogicalVolume) bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, recordsTime)
	defer cancel()
	lvs := map[string]bool{}
	err = eachNow(ctx, func(o metav1.ListOptions) (runtime.Object, error) {
		return c.Snapshots.Client.SnapshotV1().VolumeSnapshotContents().List(ctx, o)
	}, func(content *snapshotv1.VolumeSnapshotContent) {
		if content.Spec.Driver != Name {
			return
		}
		lvs[snapshotPrefix+string(content.Spec.VolumeSnapshotRef.UID)] = true
		if id := content.Spec.Source.SnapshotHandle; id != nil {
			lvs[lvOfHandle(*id)] = true
		}
		if s := content.Status; s != nil && s.SnapshotHandle != nil {
			lvs[lvOfHandle(*s.SnapshotHandle)] = true
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list snapshot contents: %w", err)
	}
	return func(l lvm.LogicalVolume) bool { return lvs[l.Name] }, nil
}

// eachNow calls do with each object of a list, as the API server has them now: without a
// resource version a list is a consistent read, all of its pages together.
func eachNow[T runtime.Object](ctx context.Context, list func(metav1.ListOptions) (runtime.Object, error), do func(T)) error {
	return pager.New(func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) { return list(o) }).
		EachListItem(ctx, metav1.ListOptions{}, func(object runtime.Object) error {
			o, ok := object.(T)
			if !ok {
				return fmt.Errorf("the API server's list has a %T", object)
			}
			do(o)
			return nil
		})
}
