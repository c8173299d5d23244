// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Targets of claims, beside commandsTarget: podlv may take so many times what the bare
// command takes.
const (
	createTarget = 1.10
	deleteTarget = 1.10
)

// tally counts calls, and the lvm commands that were run before their answers.
type tally struct {
	calls    int
	commands commands
}

// count adds a call.
func (t *tally) count(ctx context.Context, a *agent, call func() error) error {
	before, err := a.commands(ctx)
	if err != nil {
		return err
	}
	if err := call(); err != nil {
		return err
	}
	after, err := a.commands(ctx)
	if err != nil {
		return err
	}
	t.add(after.since(before))
	return nil
}

func (t *tally) add(c commands) {
	t.calls++
	t.commands = t.commands.plus(c)
}

// each is how many commands one call takes.
func (t tally) each() float64 { return float64(t.commands.total()) / float64(t.calls) }

// claimRound is a round of claims: the times of each kind.
type claimRound struct{ create, hurried, bareCreate, remove, bareRemove []time.Duration }

func (r claimRound) createRatio() float64  { return ratio(r.create, r.bareCreate) }
func (r claimRound) hurriedRatio() float64 { return ratio(r.hurried, r.bareCreate) }
func (r claimRound) deleteRatio() float64  { return ratio(r.remove, r.bareRemove) }

// claimResults is all that was measured of claims.
type claimResults struct {
	rounds []claimRound

	created, hurried, deleted                     tally
	mounted, stats, capacity, expanded, takenBack tally
	took                                          time.Duration

	createWork, hurriedWork, bareCreateWork, removeWork, bareRemoveWork work // of the rounds
}

func (r *claimResults) printRound(w io.Writer) {
	l := r.rounds[len(r.rounds)-1]
	fmt.Fprintf(w, "round %d: create p50 %s, bare %s: %.3fx; right after a change %s: %.3fx; delete p50 %s, bare %s: %.3fx\n", len(r.rounds),
		ms(seconds(l.create)), ms(seconds(l.bareCreate)), l.createRatio(), ms(seconds(l.hurried)), l.hurriedRatio(),
		ms(seconds(l.remove)), ms(seconds(l.bareRemove)), l.deleteRatio())
}

// print prints everything; its last line is the one that counts.
func (r *claimResults) print(w io.Writer, p plan) {
	var all claimRound
	for _, l := range r.rounds {
		all.create = append(all.create, l.create...)
		all.hurried = append(all.hurried, l.hurried...)
		all.bareCreate = append(all.bareCreate, l.bareCreate...)
		all.remove = append(all.remove, l.remove...)
		all.bareRemove = append(all.bareRemove, l.bareRemove...)
	}
	fmt.Fprintf(w, "\n%d rounds of %d volumes of %s, one by one (all measured in %.0f s):\n", p.rounds, p.volumes, volumeQuantity, r.took.Seconds())
	for _, row := range []struct {
		name  string
		times []time.Duration
		work  work
	}{
		{"create", all.create, r.createWork},
		{"create right after a change", all.hurried, r.hurriedWork},
		{"bare lvcreate", all.bareCreate, r.bareCreateWork},
		{"delete", all.remove, r.removeWork},
		{"bare lvremove", all.bareRemove, r.bareRemoveWork},
	} {
		fmt.Fprintf(w, "  %-27s p50 %9s   p99 %9s   %s\n", row.name, ms(seconds(row.times)), ms(percentile(row.times, 99).Seconds()), row.work.each(len(row.times)))
	}
	fmt.Fprintf(w, "means of the lvm commands alone: podlv: lvcreate %s, lvremove %s; bare: lvcreate %s, lvremove %s\n",
		ms(r.created.commands["lvcreate"].mean()), ms(r.deleted.commands["lvremove"].mean()), ms(mean(all.bareCreate)), ms(mean(all.bareRemove)))
	fmt.Fprintln(w, "lvm commands before the answers:")
	for _, row := range []struct {
		name string
		tally
	}{
		{"creates", r.created},
		{"creates right after a change", r.hurried},
		{"deletes", r.deleted},
		{"create, stage and publish", r.mounted},
		{"unpublish and unstage", r.takenBack},
		{"expansions, mounted", r.expanded},
		{"stats", r.stats},
		{"capacity", r.capacity},
	} {
		fmt.Fprintf(w, "  %-28s %3d calls: %s\n", row.name, row.calls, row.commands)
	}
	create, remove := over(r.rounds, claimRound.createRatio), over(r.rounds, claimRound.deleteRatio)
	fmt.Fprintf(w, "create right after a change of the VG: p50 %.2fx bare, lvm commands %s\n", over(r.rounds, claimRound.hurriedRatio), short(r.hurried.each()))
	for _, t := range []struct {
		name          string
		value, target float64
	}{
		{"create p50", create, createTarget},
		{"delete p50", remove, deleteTarget},
		{"lvm commands per create", r.created.each(), commandsTarget},
		{"lvm commands until mounted", r.mounted.each(), commandsTarget},
		{"lvm commands per delete", r.deleted.each(), commandsTarget},
		{"lvm commands per expand", r.expanded.each(), commandsTarget},
		{"lvm commands per stats", r.stats.each(), 0},
		{"lvm commands per capacity", r.capacity.each(), 0},
	} {
		printTarget(w, t.name, t.value, t.target)
	}
	fmt.Fprintf(w, "create p50 %.2fx bare, delete p50 %.2fx bare, lvm commands per create %s, delete %s, expand %s, stats %s, capacity %s\n",
		create, remove, short(r.created.each()), short(r.deleted.each()), short(r.expanded.each()), short(r.stats.each()), short(r.capacity.each()))
}
