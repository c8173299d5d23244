// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/podlv/podlv/lvm"
)

// reloadInterval is how often the file is looked at. It is read, not watched: a
// ConfigMap's folder is swapped by a symlink, and a kilobyte costs nothing.
const reloadInterval = 5 * time.Second

// ClassSource is the device classes as they are now: a file that may change while
// the agent runs. What is wrong is reported and changes nothing.
type ClassSource struct {
	path    string
	current atomic.Pointer[Classes]
	data    []byte // what current was read from
	refused string // why the file as it is now was not taken up
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
	s := &ClassSource{path: path, data: data}
	s.current.Store(c)
	return s, nil
}

// FixedClasses are classes that do not change.
func FixedClasses(c *Classes) *ClassSource {
	s := &ClassSource{}
	s.current.Store(c)
	return s
}

// Get gives the classes that hold now.
func (s *ClassSource) Get() *Classes { return s.current.Load() }

// watch takes up changes of the file until ctx ends.
func (s *ClassSource) watch(ctx context.Context, client *lvm.Client, c clock.Clock, log *slog.Logger) {
	if s.path == "" {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.After(reloadInterval):
			s.reload(ctx, client, log)
		}
	}
}

// reload takes up the file if it has changed, is right, and fits this node. A
// file that is refused is tried again, because the node may come to fit it; what
// is wrong with it is logged once.
func (s *ClassSource) reload(ctx context.Context, client *lvm.Client, log *slog.Logger) {
	fresh, data, err := s.read(ctx, client)
	switch {
	case err == nil && fresh == nil:
		s.refused = ""
	case err == nil:
		s.data, s.refused = data, ""
		s.current.Store(fresh)
		log.Info("the device classes have changed", "file", s.path, "classes", len(fresh.classes), "pools", len(fresh.pools))
	case err.Error() != s.refused:
		s.refused = err.Error()
		log.Error("the device classes have changed and cannot be taken up; the old ones hold", "file", s.path, "error", err)
	}
}

// read gives the file's classes, or none when it has not changed.
func (s *ClassSource) read(ctx context.Context, client *lvm.Client) (*Classes, []byte, error) {
	data, err := os.ReadFile(s.path)
	if err != nil || bytes.Equal(data, s.data) {
		return nil, nil, err
	}
	fresh, err := ParseClasses(data)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	groups, err := client.VolumeGroups(ctx)
	if err != nil {
		return nil, nil, err
	}
	return fresh, data, fresh.Check(groups)
}
