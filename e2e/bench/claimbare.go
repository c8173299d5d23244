// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"
)

// bareClaims makes and removes LVs by running the lvm commands that podlv ran for the
// claim of a recording, and nothing else.
type bareClaims struct {
	programs
	template     claim // the recorded one
	make, unmake call  // with its names
}

// newBareClaims picks the commands out of what podlv ran to create and to delete a
// volume.
func newBareClaims(template claim, in, out []call) (*bareClaims, error) {
	in, err := choose(in, []string{"lvm lvcreate"})
	if err != nil {
		return nil, err
	}
	if out, err = choose(out, []string{"lvm lvremove"}); err != nil {
		return nil, err
	}
	b := &bareClaims{template: template, make: in[0]}
	if b.unmake, err = byName(out[0], template.lv()); err != nil {
		return nil, err
	}
	b.programs, err = newPrograms()
	return b, err
}

// forClaim is a call of the template's, for another claim.
func (b *bareClaims) forClaim(c call, other claim) call {
	return c.about(b.template.uid, other.uid, b.template.name, other.name)
}

// create is lvcreate.
func (b *bareClaims) create(ctx context.Context, c claim) (time.Duration, error) {
	return b.timed(ctx, b.forClaim(b.make, c))
}

// remove is lvremove.
func (b *bareClaims) remove(ctx context.Context, c claim) (time.Duration, error) {
	return b.timed(ctx, b.forClaim(b.unmake, c))
}

func (b *bareClaims) timed(ctx context.Context, c call) (time.Duration, error) {
	start := time.Now()
	err := b.run(ctx, c)
	return time.Since(start), err
}
