// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/podlv/podlv/lvm"
)

// places knows the VG of every inline volume of the node: from one report at the
// start, and from what the agent itself makes and removes. A class may move to
// another VG while its volumes live, and they must be found there without asking
// LVM each time. What it does not know is looked for where the class says; what it
// says is looked at in the VG before it is acted on.
type places struct {
	mu     sync.Mutex
	known  map[string]place
	opened chan struct{} // closed when the first report was read
}

// place is where a volume is, and the class that it was made by.
type place struct {
	vg, class string
	// begun: it is being made, or a call gave up while it was. It may not be there, then,
	// and nothing was lost.
	begun bool
}

func newPlaces() *places {
	return &places{known: map[string]place{}, opened: make(chan struct{})}
}

// learn reads the first report. A disk of elsewhere, as the copy of one, may hold an LV
// of a volume's name and tags: the volume is the one that is mounted, else the one in a
// pool's VG, else the first of the report.
func (p *places) learn(groups []lvm.VolumeGroup, mounted map[string]bool, pools []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, better := range []func(lvm.LogicalVolume) bool{
		func(l lvm.LogicalVolume) bool { return mounted[l.VG+"/"+l.Name] },
		func(l lvm.LogicalVolume) bool { return slices.Contains(pools, l.VG) },
		func(lvm.LogicalVolume) bool { return true },
	} {
		for _, g := range groups {
			for _, l := range g.LogicalVolumes {
				if _, known := p.known[l.Name]; !known && isInline(l) && better(l) {
					class, _ := l.TagValue(tagClass)
					p.known[l.Name] = place{vg: l.VG, class: class}
				}
			}
		}
	}
	select {
	case <-p.opened:
	default:
		close(p.opened)
	}
}

// find gives a volume's place. It waits for the first report.
func (p *places) find(ctx context.Context, id string) (at place, ok bool, err error) {
	select {
	case <-p.opened:
	case <-ctx.Done():
		return place{}, false, fmt.Errorf("the agent has just started and LVM has not answered yet: %w", ctx.Err())
	}
	at, ok = p.now(id)
	return at, ok, nil
}

// now gives a volume's place, if it is known already.
func (p *places) now(id string) (at place, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok = p.known[id]
	return at, ok
}

func (p *places) set(id string, at place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[id] = at
}

// sure says that a volume was seen at its place.
func (p *places) sure(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, ok := p.known[id]; ok {
		at.begun = false
		p.known[id] = at
	}
}

func (p *places) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, id)
}
