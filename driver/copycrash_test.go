// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/fakelvm"
)

// copyScene is a volume in use, a snapshot of it, and a volume that is made from
// either.
type copyScene struct {
	*fakeNode
	source *claim
	shot   *shot
	target *claim
}

// copyCrash is a call in the middle of which the agent dies.
type copyCrash struct {
	name   string
	before func(s *copyScene)
	call   func(s *copyScene) error
	// again is what Kubernetes does, and checks, once the agent is there again. The
	// source has been written to meanwhile.
	again func(s *copyScene)
	// undo is what it does when its user gives up.
	undo func(s *copyScene)
}

func (s *copyScene) unsnapped() {
	require.NoError(s.t, s.unsnap(s.shot))
	require.Empty(s.t, s.shots("", ""))
}

func (s *copyScene) undone() {
	require.NoError(s.t, s.fakeNode.delete(s.target))
}

var copyCrashes = []copyCrash{
	{
		name: "snapshot", before: func(*copyScene) {},
		call: func(s *copyScene) error { return s.snap(s.shot) },
		again: func(s *copyScene) {
			require.NoError(s.t, s.snap(s.shot))
			require.True(s.t, s.shot.ready)
			s.written("last") // what comes after the answer is not in it
			s.target.from(s.shot)
			require.NoError(s.t, s.create(s.target))
			s.whole(true)
			s.fakeNode.free(s.target)
		},
		undo: func(*copyScene) {},
	},
	{
		name: "delete snapshot", before: func(s *copyScene) { require.NoError(s.t, s.snap(s.shot)) },
		call: func(s *copyScene) error { return s.unsnap(s.shot) },
		again: func(s *copyScene) {
			s.unsnapped()
			require.NoError(s.t, s.snap(s.shot), "another one of that name")
		},
		undo: func(*copyScene) {},
	},
	{
		name: "restore", before: func(s *copyScene) {
			require.NoError(s.t, s.snap(s.shot))
			s.target.from(s.shot)
		},
		call: func(s *copyScene) error { return s.create(s.target) },
		again: func(s *copyScene) {
			require.NoError(s.t, s.create(s.target))
			s.whole(false)
			s.fakeNode.free(s.target)
		},
		undo: (*copyScene).undone,
	},
	{
		name: "clone", before: func(s *copyScene) { s.target.copyOf(s.source) },
		call: func(s *copyScene) error { return s.create(s.target) },
		again: func(s *copyScene) {
			require.NoError(s.t, s.create(s.target))
			s.whole(true)
			s.fakeNode.free(s.target)
		},
		undo: (*copyScene).undone,
	},
	{
		name: "delete of a clone", before: func(s *copyScene) {
			s.target.copyOf(s.source)
			require.NoError(s.t, s.create(s.target))
		},
		call:  func(s *copyScene) error { return s.fakeNode.delete(s.target) },
		again: (*copyScene).undone, undo: (*copyScene).undone,
	},
}

// far is in the last part of the source that is copied.
const far = 12 * mib

// written writes one generation of bytes to both ends of the source.
func (s *copyScene) written(text string) {
	s.put(s.source, dataAt, text)
	s.put(s.source, far, text)
}

// whole checks that the target has all bytes of one time, and none of anybody else.
func (s *copyScene) whole(orLater bool) {
	s.t.Helper()
	want := "then"
	if orLater && s.targetBegin() == "later" {
		want = "later"
	}
	s.served(s.target, want)
	require.Equal(s.t, want, s.at(s.target, far))
	if s.target.block {
		s.clean(s.target, s.source.size, s.target.size)
	}
}

func (s *copyScene) targetBegin() string { return s.at(s.target, dataAt) }

func newCopyScene(t *testing.T, kind func(string) *claim) *copyScene {
	n := newSmallNode(t)
	n.dirty(256 * mib)
	s := &copyScene{fakeNode: n, source: kind("source"), target: kind("target")}
	s.target.size += 16 * mib
	s.target.id = "vg0/" + s.target.name
	s.shot = newShot("snapshot-01234567-89ab-cdef-0123-456789abcdef", s.source)
	s.shot.id = "vg0/snap-01234567-89ab-cdef-0123-456789abcdef"
	n.inUse(s.source)
	s.written("then")
	return s
}

// TestCopyCrashPoints lets the agent die at every point of every call on a snapshot
// or a copy, and then Kubernetes goes on, or gives up, with or without a reboot. No
// LV is left, and nobody is given a part of what was there.
func TestCopyCrashPoints(t *testing.T) {
	t.Parallel()
	total := 0
	for name, kind := range kinds {
		large := !strings.Contains(name, "ext4") && !strings.Contains(name, "raw")
		for _, call := range copyCrashes {
			if large && call.name != "clone" {
				continue // it has all that could differ with the filesystem
			}
			steps := call.steps(t, kind)
			for step := 1; step <= steps; step++ {
				for when, crash := range crashPoints {
					for _, then := range []string{"goes on", "goes on at once", "reboots and goes on", "gives up", "reboots and gives up"} {
						if large && then != "goes on" {
							continue
						}
						if total++; !drawn(total) {
							continue
						}
						ok := t.Run(fmt.Sprintf("%s/%s/dies %s step %d/%s", name, call.name, when, step, then), func(t *testing.T) {
							call.dies(t, kind, step, crash, then)
						})
						if !ok {
							t.FailNow()
						}
					}
				}
			}
		}
	}
	t.Logf("went through %s", pointCount(total))
}

func (k copyCrash) steps(t *testing.T, kind func(string) *claim) int {
	s := newCopyScene(t, kind)
	k.before(s)
	before := s.host.Steps()
	require.NoError(t, k.call(s))
	return s.host.Steps() - before
}

func (k copyCrash) dies(t *testing.T, kind func(string) *claim, step int, crash func(*fakelvm.Host, int), then string) {
	s := newCopyScene(t, kind)
	k.before(s)
	crash(s.host, s.host.Steps()+step)
	_ = k.call(s) // fails, or not: a step that changes nothing may be the last
	require.True(t, s.host.Crashed(), "the call has fewer steps than it had: %v", s.host.Log())
	if strings.Contains(then, "reboot") {
		s.host.Reboot()
	}
	s.hasty = strings.Contains(then, "at once") // before the new agent has looked at what there is
	s.restart()
	require.NoError(t, s.stage(s.source))
	require.NoError(t, s.give(s.source, "a"))
	require.Equal(t, "then", s.at(s.source, dataAt))
	s.written("later")
	for _, v := range s.shots("", "") {
		require.True(t, v.GetReadyToUse())
	}
	if strings.Contains(then, "goes on") {
		k.again(s)
	} else {
		k.undo(s)
	}
	s.unsnapped()
	require.NotEqual(t, "then", s.at(s.source, far))
	s.fakeNode.free(s.source)
	require.Equal(t, []string{"pool"}, s.volumes())
	require.Empty(t, s.mountTargets())
}
