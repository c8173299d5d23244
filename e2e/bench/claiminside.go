// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// claimBench measures the volumes of claims.
type claimBench struct {
	agent   *agent
	bare    *bareClaims
	next    int // number of the next claim
	results claimResults
}

func (b *claimBench) classes() string { return claimClasses }

func (b *claimBench) print(w io.Writer, p plan) { b.results.print(w, p) }

func (b *claimBench) claims(n int) []claim {
	list := make([]claim, n)
	for i := range list {
		b.next++
		list[i] = newClaim(b.next)
	}
	return list
}

// record has an agent create and delete a volume through stand-ins, and makes the bare
// commands of what it ran.
func (b *claimBench) record(ctx context.Context, binary, dir string, log *os.File) error {
	r, err := newRecording(dir)
	if err != nil {
		return err
	}
	a, err := startAgent(ctx, binary, dir, b.classes(), r.environment(), log)
	if err != nil {
		return err
	}
	c := b.claims(1)[0]
	if err := a.capacity(ctx); err != nil { // the first look at the VG
		return err
	}
	if _, err := r.take(); err != nil { // what its start took
		return err
	}
	if _, err := a.create(ctx, c); err != nil {
		return err
	}
	in, err := r.take()
	if err != nil {
		return err
	}
	if _, err := a.remove(ctx, c); err != nil {
		return err
	}
	out, err := r.take()
	if err != nil {
		return err
	}
	if err := a.stop(); err != nil {
		return err
	}
	if b.bare, err = newBareClaims(c, in, out); err != nil {
		return err
	}
	fmt.Printf("programs that podlv runs before it answers: create: %s; delete: %s\n", names(in), names(out))
	for _, c := range []call{b.bare.make, b.bare.unmake} {
		fmt.Printf("  bare: %s\n", strings.Join(c, " "))
	}
	return nil
}

func (b *claimBench) measure(ctx context.Context, a *agent, p plan) error {
	b.agent = a
	start := time.Now()
	defer func() { b.results.took = time.Since(start) }()
	fmt.Println("warming up")
	if err := b.round(ctx, p.volumes/4+1, 0, &claimResults{}); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	for r := range p.rounds {
		if err := b.round(ctx, p.volumes, r, &b.results); err != nil {
			return fmt.Errorf("round %d: %w", r+1, err)
		}
		b.results.printRound(os.Stdout)
	}
	for _, c := range b.claims(p.volumes/4 + 1) {
		if err := b.life(ctx, c); err != nil {
			return fmt.Errorf("the life of a volume: %w", err)
		}
	}
	return checkClaims(ctx, 0)
}

// round is one of n volumes of each kind: podlv's and bare ones, which take turns, and
// podlv's that are asked for right after a change of the VG.
func (b *claimBench) round(ctx context.Context, n, round int, to *claimResults) error {
	ours, theirs, hurried := b.claims(n), b.claims(n), b.claims(n)
	var r claimRound
	for i := range n {
		create := func() error {
			return to.created.count(ctx, b.agent, measured(ctx, &to.createWork, &r.create, ours[i], b.agent.create))
		}
		bare := measured(ctx, &to.bareCreateWork, &r.bareCreate, theirs[i], b.bare.create)
		if err := inTurn((i+round)%2 == 0, b.afterLook(ctx, create), b.afterLook(ctx, bare)); err != nil {
			return err
		}
		if err := to.hurried.count(ctx, b.agent, measured(ctx, &to.hurriedWork, &r.hurried, hurried[i], b.agent.create)); err != nil {
			return err
		}
	}
	if err := checkClaims(ctx, 3*n); err != nil {
		return err
	}
	for i := range n {
		remove := func() error {
			return to.deleted.count(ctx, b.agent, measured(ctx, &to.removeWork, &r.remove, ours[i], b.agent.remove))
		}
		bare := measured(ctx, &to.bareRemoveWork, &r.bareRemove, theirs[i], b.bare.remove)
		if err := inTurn((i+round)%2 == 0, remove, bare); err != nil {
			return err
		}
		if _, err := b.agent.remove(ctx, hurried[i]); err != nil {
			return err
		}
	}
	to.rounds = append(to.rounds, r)
	return checkClaims(ctx, 0)
}

// measured does something with a claim, and adds its time and its work.
func measured(ctx context.Context, w *work, times *[]time.Duration, c claim, do func(context.Context, claim) (time.Duration, error)) func() error {
	return func() error {
		return counted(w, func() error { return timed(times)(do(ctx, c)) })
	}
}

// afterLook does something after the agent has looked at the VG, which an agent with a
// Kubernetes API does twice a second. A bare command comes after such a look, too, so
// that both meet the same machine.
func (b *claimBench) afterLook(ctx context.Context, do func() error) func() error {
	return func() error {
		if err := b.agent.capacity(ctx); err != nil {
			return err
		}
		return do()
	}
}

// life counts the commands of a volume from its making to its end, with a look after
// each change of the VG.
func (b *claimBench) life(ctx context.Context, c claim) error {
	before, err := b.agent.commands(ctx)
	if err != nil {
		return err
	}
	a, r := b.agent, &b.results
	tallied := func(t *tally, do func() error) func() error {
		return func() error { return t.count(ctx, a, do) }
	}
	look := func() error { return a.capacity(ctx) }
	mounted := func() error {
		if _, err := a.create(ctx, c); err != nil {
			return err
		}
		if err := a.stage(ctx, c); err != nil {
			return err
		}
		return a.publishStaged(ctx, c)
	}
	for _, step := range []func() error{
		look,
		tallied(&r.mounted, mounted),
		func() error { _, err := a.settle(ctx, before); return err },
		tallied(&r.stats, func() error { return a.stats(ctx, c, 0) }),
		look,
		tallied(&r.capacity, look),
		tallied(&r.expanded, func() error { return a.expand(ctx, c) }),
		func() error { return a.stats(ctx, c, volumeSize) },
		tallied(&r.takenBack, func() error { return a.takeBack(ctx, c) }),
		tallied(&r.deleted, func() error { _, err := a.remove(ctx, c); return err }),
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// checkClaims looks at LVM: so many volumes are there, of the right size, and none has
// been given to anybody.
func checkClaims(ctx context.Context, want int) error {
	lvs, fresh, err := report(ctx)
	if err == nil && (lvs != want || fresh != want) {
		err = fmt.Errorf("%d LVs, %d of them tagged podlv.state=new; want %d of both", lvs, fresh, want)
	}
	return err
}
