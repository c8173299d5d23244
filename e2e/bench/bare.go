// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// bare makes and removes volumes by running the programs that podlv ran for the
// volume of a recording, and nothing else: it looks at nothing, takes nothing
// back and locks nothing.
type bare struct {
	template volume // the recorded volume
	uuid     string // its filesystem's
	in, out  []call // with the template's names
	dir      string // where targets are
	programs
	steps map[string][]time.Duration // by program, of volumes made one by one
}

// wanted are the programs of the bare sequence, in their order.
var (
	wantedIn  = []string{"lvm lvcreate", "mkfs.ext4", "mount"}
	wantedOut = []string{"umount", "lvm lvremove"}
)

// newBare makes the bare sequence out of what podlv ran to publish and unpublish
// a volume. What podlv ran beside it is left out here, and so is podlv's overhead;
// that it mounts and unmounts without a program spares the bare sequence none.
func newBare(template volume, in, out []call, dir string) (*bare, error) {
	b := &bare{template: template, dir: dir, steps: map[string][]time.Duration{}}
	if !slices.ContainsFunc(in, func(c call) bool { return c.name() == "mount" }) {
		in = append(slices.Clone(in), call{"mount", "-t", "ext4", "/dev/" + volumeGroup + "/" + template.handle(), template.target()})
	}
	if !slices.ContainsFunc(out, func(c call) bool { return c.name() == "umount" }) {
		out = append([]call{{"umount", template.target()}}, out...)
	}
	var err error
	if b.in, err = choose(in, wantedIn); err != nil {
		return nil, err
	}
	if b.out, err = choose(out, wantedOut); err != nil {
		return nil, err
	}
	mkfs := b.in[1]
	i := slices.Index(mkfs, "-U")
	if i < 0 || i+1 == len(mkfs) {
		return nil, fmt.Errorf("mkfs.ext4 was called without -U: %q", mkfs)
	}
	b.uuid = mkfs[i+1]
	if b.out[1], err = byName(b.out[1], template.handle()); err != nil {
		return nil, err
	}
	if b.programs, err = newPrograms(); err != nil {
		return nil, err
	}
	return b, os.MkdirAll(dir, 0o750)
}

// choose picks the calls of these names, each exactly once and in this order.
func choose(calls []call, wanted []string) ([]call, error) {
	var chosen []call
	for _, c := range calls {
		if slices.Contains(wanted, c.name()) {
			chosen = append(chosen, c)
		}
	}
	if got := names(chosen); got != strings.Join(wanted, ", ") {
		return nil, fmt.Errorf("podlv ran %s; the bare sequence is %s, each once", names(calls), strings.Join(wanted, ", "))
	}
	return chosen, nil
}

// byName makes an lvremove that selects an LV by name and owner one that just
// names it, as a person would.
func byName(c call, lv string) (call, error) {
	c = slices.Clone(c)
	if i := slices.Index(c, "--select"); i >= 0 && i+1 < len(c) {
		c = slices.Delete(c, i, i+2)
		c[len(c)-1] += "/" + lv
	}
	if !strings.HasSuffix(c[len(c)-1], "/"+lv) {
		return nil, fmt.Errorf("which LV does %q remove?", c)
	}
	return c, nil
}

// forVolume is a call of the template's, for another volume.
func (b *bare) forVolume(c call, v volume, fsUUID string) call {
	return c.about(
		b.template.target(), b.target(v), b.template.handle(), v.handle(),
		b.template.uid, v.uid, b.template.pod, v.pod, b.uuid, fsUUID,
	)
}

func (b *bare) target(v volume) string { return filepath.Join(b.dir, v.uid) }

// publish is lvcreate && mkfs.ext4 && mount.
func (b *bare) publish(ctx context.Context, v volume, steps bool) (time.Duration, error) {
	if err := os.Mkdir(b.target(v), 0o750); err != nil {
		return 0, err
	}
	return b.sequence(ctx, b.in, v, steps)
}

// unpublish is umount && lvremove.
func (b *bare) unpublish(ctx context.Context, v volume, steps bool) (time.Duration, error) {
	took, err := b.sequence(ctx, b.out, v, steps)
	return took, errors.Join(err, os.Remove(b.target(v)))
}

// sequence runs calls one after the other and gives the time that they took
// together.
func (b *bare) sequence(ctx context.Context, calls []call, v volume, steps bool) (time.Duration, error) {
	id := uuid.NewString()
	ready := make([]call, len(calls))
	for i, c := range calls {
		ready[i] = b.forVolume(c, v, id)
	}
	ends := make([]time.Time, len(ready))
	start := time.Now()
	for i, c := range ready {
		if err := b.run(ctx, c); err != nil {
			return 0, err
		}
		ends[i] = time.Now()
	}
	if steps {
		from := start
		for i, c := range ready {
			b.steps[c.name()] = append(b.steps[c.name()], ends[i].Sub(from))
			from = ends[i]
		}
	}
	return ends[len(ends)-1].Sub(start), nil
}
