// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Targets: podlv may take so many times what the bare sequence takes, and run so
// many lvm commands before it answers.
const (
	publishTarget   = 1.10
	unpublishTarget = 1.10
	burstTarget     = 1.05
	commandsTarget  = 1.0
)

// round4 is a round of volumes that were published and unpublished one by one:
// the times of each of the four kinds.
type round4 struct{ publish, barePublish, unpublish, bareUnpublish []time.Duration }

// burst is a round of volumes that were published at once, and of as many bare
// ones that were made one after the other: the times and the work of all together.
type burst struct {
	volumes             int
	publish, unpublish  time.Duration
	bare, bareUnpublish time.Duration
	during, after       commands // until the last answer of the publishes, and after it

	publishWork, unpublishWork  work
	bareWork, bareUnpublishWork work
}

// results is all that was measured.
type results struct {
	rounds []round4
	bursts []burst

	publishes, unpublishes int
	published, unpublished commands // before the answers
	settled                commands // after the answers of publishes
	idle, full             memory
	took                   time.Duration
}

func (r *results) beforePublish(c commands) {
	r.publishes++
	r.published = r.published.plus(c)
}

func (r *results) beforeUnpublish(c commands) {
	r.unpublishes++
	r.unpublished = r.unpublished.plus(c)
}

func (r *results) after(c commands) { r.settled = r.settled.plus(c) }

// percentile is the nearest-rank percentile; of nothing, 0.
func percentile(times []time.Duration, p float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(times))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// median of numbers: the middle one, or the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratio of the medians of one round.
func ratio(ours, bare []time.Duration) float64 {
	return seconds(ours) / seconds(bare)
}

// seconds is the median of times.
func seconds(times []time.Duration) float64 {
	values := make([]float64, len(times))
	for i, t := range times {
		values[i] = t.Seconds()
	}
	return median(values)
}

func (r round4) publishRatio() float64   { return ratio(r.publish, r.barePublish) }
func (r round4) unpublishRatio() float64 { return ratio(r.unpublish, r.bareUnpublish) }
func (b burst) ratio() float64           { return b.publish.Seconds() / b.bare.Seconds() }
func (b burst) unpublishRatio() float64  { return b.unpublish.Seconds() / b.bareUnpublish.Seconds() }

// over is the median of a number of every round.
func over[T any](rounds []T, number func(T) float64) float64 {
	values := make([]float64, len(rounds))
	for i, r := range rounds {
		values[i] = number(r)
	}
	return median(values)
}

func (r *results) printRound(w io.Writer) {
	l := r.rounds[len(r.rounds)-1]
	fmt.Fprintf(w, "round %d: publish p50 %s, bare %s: %.3fx; unpublish p50 %s, bare %s: %.3fx\n", len(r.rounds),
		ms(seconds(l.publish)), ms(seconds(l.barePublish)), l.publishRatio(),
		ms(seconds(l.unpublish)), ms(seconds(l.bareUnpublish)), l.unpublishRatio())
}

func (r *results) printBurst(w io.Writer) {
	l := r.bursts[len(r.bursts)-1]
	fmt.Fprintf(w, "burst %d: at once %.2f s, bare one after another %.2f s: %.3fx; unpublish at once %.2f s, bare %.2f s: %.3fx; lvm until the last answer of the publishes: %s; after it: %s\n", len(r.bursts),
		l.publish.Seconds(), l.bare.Seconds(), l.ratio(), l.unpublish.Seconds(), l.bareUnpublish.Seconds(), l.unpublishRatio(), l.during, l.after)
}

func ms(seconds float64) string { return fmt.Sprintf("%.1f ms", seconds*1000) }

// print prints everything; its last line is the one that counts.
func (r *results) print(w io.Writer, b *bare, p plan) {
	var all round4
	for _, l := range r.rounds {
		all.publish = append(all.publish, l.publish...)
		all.barePublish = append(all.barePublish, l.barePublish...)
		all.unpublish = append(all.unpublish, l.unpublish...)
		all.bareUnpublish = append(all.bareUnpublish, l.bareUnpublish...)
	}
	fmt.Fprintf(w, "\n%d rounds of %d volumes of %s, one by one (all measured in %.0f s):\n", p.rounds, p.volumes, volumeQuantity, r.took.Seconds())
	for _, row := range []struct {
		name  string
		times []time.Duration
	}{
		{"publish", all.publish},
		{"bare publish", all.barePublish},
		{"unpublish", all.unpublish},
		{"bare unpublish", all.bareUnpublish},
	} {
		fmt.Fprintf(w, "  %-15s p50 %9s   p99 %9s\n", row.name, ms(seconds(row.times)), ms(percentile(row.times, 99).Seconds()))
	}
	fmt.Fprintf(w, "where the time goes, medians: bare:")
	for _, name := range slices.Concat(wantedIn, wantedOut) {
		fmt.Fprintf(w, " %s %s,", name, ms(seconds(b.steps[name])))
	}
	fmt.Fprintf(w, "\n  means: podlv: lvcreate %s, lvremove %s; bare: lvcreate %s, lvremove %s\n",
		ms(r.published["lvcreate"].mean()), ms(r.unpublished["lvremove"].mean()), ms(mean(b.steps["lvm lvcreate"])), ms(mean(b.steps["lvm lvremove"])))
	fmt.Fprintf(w, "lvm commands before the answers of %d publishes: %s; of %d unpublishes: %s\n", r.publishes, r.published, r.unpublishes, r.unpublished)
	fmt.Fprintf(w, "lvm commands after the answers of publishes that came one by one: %s, %s each\n", r.settled, ms(r.settled["lvchange"].mean()))
	last := r.bursts[len(r.bursts)-1]
	fmt.Fprintf(w, "the kernel's work for one volume, in the last burst:\n")
	for _, row := range []struct {
		name string
		work work
	}{
		{"publish", last.publishWork},
		{"bare publish", last.bareWork},
		{"unpublish", last.unpublishWork},
		{"bare unpublish", last.bareUnpublishWork},
	} {
		fmt.Fprintf(w, "  %-15s %s\n", row.name, row.work.each(last.volumes))
	}
	fmt.Fprintf(w, "agent's memory: idle RssAnon %.1f MiB, VmRSS %.1f MiB; with %d volumes RssAnon %.1f MiB, VmRSS %.1f MiB\n",
		mib(r.idle.anonymous), mib(r.idle.resident), p.burst, mib(r.full.anonymous), mib(r.full.resident))

	publish, unpublish := over(r.rounds, round4.publishRatio), over(r.rounds, round4.unpublishRatio)
	atOnce := over(r.bursts, burst.ratio)
	commandsIn := float64(r.published.total()) / float64(r.publishes)
	commandsOut := float64(r.unpublished.total()) / float64(r.unpublishes)
	for _, t := range []struct {
		name          string
		value, target float64
	}{
		{"publish p50", publish, publishTarget},
		{"unpublish p50", unpublish, unpublishTarget},
		{fmt.Sprintf("%d at once", p.burst), atOnce, burstTarget},
		{"lvm commands per publish", commandsIn, commandsTarget},
		{"lvm commands per unpublish", commandsOut, commandsTarget},
	} {
		printTarget(w, t.name, t.value, t.target)
	}
	fmt.Fprintf(w, "publish p50 %.2fx bare, unpublish p50 %.2fx bare, %d at once %.2fx bare serial, lvm commands per publish %s, per unpublish %s\n",
		publish, unpublish, p.burst, atOnce, short(commandsIn), short(commandsOut))
}

func printTarget(w io.Writer, name string, value, target float64) {
	word := "met"
	if value > target {
		word = "MISSED"
	}
	fmt.Fprintf(w, "target %-27s at most %.2f: %.3f, %s\n", name, target, value, word)
}

func mib(kib int) float64 { return float64(kib) / 1024 }

// short is a whole number as it is, and any other with its decimals.
func short(n float64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%.2f", n), "0"), ".")
}

func mean(times []time.Duration) float64 {
	if len(times) == 0 {
		return math.NaN()
	}
	sum := 0.0
	for _, t := range times {
		sum += t.Seconds()
	}
	return sum / float64(len(times))
}

// mean time of a command, in seconds.
func (v verb) mean() float64 { return v.seconds / float64(v.count) }

// plus is both together.
func (c commands) plus(more commands) commands {
	sum := commands{}
	maps.Copy(sum, c)
	for name, v := range more {
		sum[name] = verb{sum[name].count + v.count, sum[name].seconds + v.seconds}
	}
	return sum
}

// String is "20 lvcreate, 1 lvchange".
func (c commands) String() string {
	words := []string{}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		words = append(words, fmt.Sprintf("%d %s", c[name].count, name))
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}
