// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

const (
	// reloadInterval is how often the file is looked at. It is read, not watched: a
	// ConfigMap's folder is swapped by a symlink, and a kilobyte costs nothing.
	reloadInterval = 5 * time.Second
	// labelsInterval is how often the node's labels are read, if the pools depend on them.
	labelsInterval = time.Minute
)

// ClassSource is the device classes as they are now: a file that may change while
// the agent runs. What is wrong is reported and changes nothing.
type ClassSource struct {
	path    string
	current atomic.Pointer[Classes]
	refusal atomic.Pointer[string] // why the file as it is now was not taken up
	whole   *Classes               // of all nodes, which current was placed from
	data    []byte                 // what whole was read from

	labels func(context.Context) (map[string]string, error) // nil: those of the node do not count
	known  map[string]string                                // the node's, as they were read last
	readAt time.Time                                        // when that was; zero: never
}

// LoadClasses reads the file. The error names every problem in it.
func LoadClasses(path string) (*ClassSource, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("device classes: %w", err)
	}
	c, err := ParseClasses(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	s := FixedClasses(c)
	s.path, s.data = path, data
	return s, nil
}

// FixedClasses are classes that do not change.
func FixedClasses(c *Classes) *ClassSource {
	s := &ClassSource{whole: c}
	s.current.Store(c)
	return s
}

// Get gives the classes that hold now: those of all nodes, or, once an agent has them,
// those of its node.
func (s *ClassSource) Get() *Classes { return s.current.Load() }

// refused is why the file as it is now was not taken up; empty when it was.
func (s *ClassSource) refused() string {
	if r := s.refusal.Load(); r != nil {
		return *r
	}
	return ""
}

// on makes the classes those of one node, whose labels are read when they are needed.
func (s *ClassSource) on(labels func(context.Context) (map[string]string, error)) {
	s.labels = labels
	if s.whole.selective() {
		s.current.Store(s.whole.onUnknown())
	}
}

// watch takes up changes of the file, and of the node's labels, until ctx ends.
func (s *ClassSource) watch(ctx context.Context, client *lvm.Client, c clock.Clock, log *slog.Logger) {
	if s.path == "" && !s.whole.selective() {
		return
	}
	for {
		s.reload(ctx, client, c, log)
		select {
		case <-ctx.Done():
			return
		case <-c.After(reloadInterval):
		}
	}
}

// reload takes up the file if it has changed, is right, and fits this node. A
// file that is refused is tried again, because the node may come to fit it; what
// is wrong with it is logged once.
func (s *ClassSource) reload(ctx context.Context, client *lvm.Client, c clock.Clock, log *slog.Logger) {
	err := s.look(ctx, client, c, log)
	if ctx.Err() != nil {
		return
	}
	words := ""
	if err != nil {
		words = err.Error()
	}
	if words != s.refused() {
		s.refusal.Store(&words)
		if err != nil {
			log.Error("the device classes have changed and cannot be taken up; the old ones hold", "file", s.path, "error", err)
		}
	}
}

func (s *ClassSource) look(ctx context.Context, client *lvm.Client, c clock.Clock, log *slog.Logger) error {
	whole, data, err := s.read()
	if err != nil {
		return err
	}
	first, err := s.readLabels(ctx, whole, c)
	if err != nil {
		return err
	}
	fresh, err := whole.On(s.known)
	if err != nil {
		return err
	}
	if whole == s.whole && fresh.same(s.current.Load()) {
		return nil
	}
	if !first { // at the start they hold whatever the node has
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		groups, err := client.VolumeGroups(ctx)
		if err == nil {
			err = fresh.fits(groups)
		}
		if err != nil {
			return err
		}
	}
	s.whole, s.data = whole, data
	s.current.Store(fresh)
	log.Info("the device classes of this node have changed", "file", s.path, "classes", len(fresh.classes), "pools", len(fresh.pools))
	return nil
}

// read gives the file's classes; the ones that are known when it has not changed.
func (s *ClassSource) read() (*Classes, []byte, error) {
	if s.path == "" {
		return s.whole, nil, nil
	}
	data, err := os.ReadFile(s.path)
	if err != nil || bytes.Equal(data, s.data) {
		return s.whole, s.data, err
	}
	whole, err := ParseClasses(data)
	return whole, data, err
}

// readLabels reads the node's labels, if they count and are not known or old. first says
// that nothing was placed by them yet.
func (s *ClassSource) readLabels(ctx context.Context, whole *Classes, c clock.Clock) (first bool, err error) {
	if s.labels == nil || !whole.selective() || !s.readAt.IsZero() && c.Since(s.readAt) < labelsInterval {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	known, err := s.labels(ctx)
	if err != nil {
		if !s.readAt.IsZero() {
			return false, nil // the ones that are known hold
		}
		return false, fmt.Errorf("which pools this node has depends on its labels: %w", err)
	}
	s.known, s.readAt = maps.Clone(known), c.Now()
	return s.current.Load().unknown, nil
}
