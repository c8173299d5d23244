// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	disk    = "/dev/ubdb"
	bareDir = "/var/lib/bare"

	// quietTime is how long the agent waits for more volumes before its lvchange;
	// a little less than driver's settleDelay, so that no look comes too late.
	quietTime = 400 * time.Millisecond
	// settleTime is when an lvchange that has not come is missing.
	settleTime = 30 * time.Second
)

// bench is the half that runs in the machine.
type bench struct {
	agent   *agent
	bare    *bare
	next    int // number of the next volume
	results results
}

// measurement is one of those that can be asked for, as the machine's half of it.
type measurement interface {
	// record has an agent do once, through stand-ins, what is measured.
	record(ctx context.Context, binary, dir string, log *os.File) error
	classes() string // the text of the agent's classes
	measure(ctx context.Context, a *agent, p plan) error
	print(w io.Writer, p plan)
}

// inside prepares, measures and prints.
func inside(ctx context.Context, p plan, binary, logs string) (err error) {
	log, err := os.Create(logs)
	if err != nil {
		return err
	}
	defer log.Close()
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(kubeletDir, "pods"), 0o750); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "lvm", "vgcreate", "--quiet", volumeGroup, disk).CombinedOutput(); err != nil {
		return fmt.Errorf("make the VG: %w: %s", err, out)
	}
	var m measurement = &bench{}
	if p.claims {
		m = &claimBench{}
	}
	if err := m.record(ctx, binary, dir, log); err != nil {
		return err
	}
	// The log goes to memory while it is measured: the host's disk is not podlv's.
	memoryLog, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, appendFile(log, memoryLog.Name())) }()
	a, err := startAgent(ctx, binary, dir, m.classes(), nil, memoryLog)
	if err != nil {
		return err
	}
	if err := m.measure(ctx, a, p); err != nil {
		return err
	}
	if err := a.stop(); err != nil {
		return fmt.Errorf("end the agent: %w", err)
	}
	m.print(os.Stdout, p)
	return nil
}

func appendFile(to *os.File, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	_, err = to.Write(text)
	return err
}

// record has an agent publish and unpublish a volume through stand-ins, and makes
// the bare sequence of what it ran.
func (b *bench) record(ctx context.Context, binary, dir string, log *os.File) error {
	r, err := newRecording(dir)
	if err != nil {
		return err
	}
	a, err := startAgent(ctx, binary, dir, b.classes(), r.environment(), log)
	if err != nil {
		return err
	}
	v := b.volume()
	if _, err := r.take(); err != nil { // what its start took
		return err
	}
	before, err := a.commands(ctx)
	if err != nil {
		return err
	}
	if _, err := a.publish(ctx, v); err != nil {
		return err
	}
	in, err := r.take()
	if err != nil {
		return err
	}
	if _, err := a.settle(ctx, before); err != nil {
		return err
	}
	later, err := r.take()
	if err != nil {
		return err
	}
	if _, err := a.unpublish(ctx, v); err != nil {
		return err
	}
	out, err := r.take()
	if err != nil {
		return err
	}
	if err := a.stop(); err != nil {
		return err
	}
	if b.bare, err = newBare(v, in, out, bareDir); err != nil {
		return err
	}
	fmt.Printf("programs that podlv runs before it answers: publish: %s (and later: %s); unpublish: %s\n", names(in), names(later), names(out))
	for _, c := range append(append([]call{}, b.bare.in...), b.bare.out...) {
		fmt.Printf("  bare: %s\n", strings.Join(c, " "))
	}
	return nil
}

func (b *bench) volume() volume {
	b.next++
	return newVolume(b.next)
}

func (b *bench) volumes(n int) []volume {
	list := make([]volume, n)
	for i := range list {
		list[i] = b.volume()
	}
	return list
}

func (b *bench) classes() string { return classes }

func (b *bench) print(w io.Writer, p plan) { b.results.print(w, b.bare, p) }

func (b *bench) measure(ctx context.Context, a *agent, p plan) (err error) {
	b.agent = a
	if b.results.idle, err = a.memory(); err != nil {
		return err
	}
	start := time.Now()
	defer func() { b.results.took = time.Since(start) }()
	fmt.Println("warming up")
	if err := b.oneByOne(ctx, p.volumes/4+1, 0, &results{}, false); err != nil {
		return fmt.Errorf("warm-up: %w", err)
	}
	for r := range p.rounds {
		if err := b.oneByOne(ctx, p.volumes, r, &b.results, true); err != nil {
			return fmt.Errorf("round %d: %w", r+1, err)
		}
		b.results.printRound(os.Stdout)
	}
	for r := range p.bursts {
		if err := b.atOnce(ctx, p.burst); err != nil {
			return fmt.Errorf("burst %d: %w", r+1, err)
		}
		b.results.printBurst(os.Stdout)
	}
	return nil
}

// oneByOne is a round of n volumes of each kind. They take turns, and the turns
// who comes first: podlv bare, bare podlv, and so on, so that each is as often
// after itself as after the other.
func (b *bench) oneByOne(ctx context.Context, n, round int, to *results, steps bool) error {
	ours, theirs := b.volumes(n), b.volumes(n)
	var r round4
	for i := range n {
		publish := func() error { return b.publishAndSettle(ctx, ours[i], &r, to) }
		bare := func() error { return timed(&r.barePublish)(b.bare.publish(ctx, theirs[i], steps)) }
		if err := inTurn((i+round)%2 == 0, publish, bare); err != nil {
			return err
		}
	}
	if err := check(ctx, n, n); err != nil {
		return err
	}
	for i := range n {
		unpublish := func() error { return b.unpublish(ctx, ours[i], &r, to) }
		bare := func() error { return timed(&r.bareUnpublish)(b.bare.unpublish(ctx, theirs[i], steps)) }
		if err := inTurn((i+round)%2 == 0, unpublish, bare); err != nil {
			return err
		}
	}
	to.rounds = append(to.rounds, r)
	return check(ctx, 0, 0)
}

// inTurn runs both, the first one first if so is said.
func inTurn(inOrder bool, first, second func() error) error {
	if !inOrder {
		first, second = second, first
	}
	if err := first(); err != nil {
		return err
	}
	return second()
}

// timed adds a duration to a list unless there is an error.
func timed(to *[]time.Duration) func(time.Duration, error) error {
	return func(took time.Duration, err error) error {
		if err == nil {
			*to = append(*to, took)
		}
		return err
	}
}

// publishAndSettle publishes a volume, counts the commands that had been run when
// the answer came, and then waits for the lvchange that drops podlv.state=new, so
// that it falls into nobody's time.
func (b *bench) publishAndSettle(ctx context.Context, v volume, r *round4, to *results) error {
	before, err := b.agent.commands(ctx)
	if err != nil {
		return err
	}
	if err := timed(&r.publish)(b.agent.publish(ctx, v)); err != nil {
		return err
	}
	answered, err := b.agent.commands(ctx)
	if err != nil {
		return err
	}
	to.beforePublish(answered.since(before))
	settled, err := b.agent.settle(ctx, answered)
	if err != nil {
		return err
	}
	to.after(settled.since(answered))
	return nil
}

// settle waits until the agent has run an lvchange more than before.
func (a *agent) settle(ctx context.Context, before commands) (commands, error) {
	deadline := time.Now().Add(settleTime)
	wait := quietTime
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
		now, err := a.commands(ctx)
		if err != nil {
			return nil, err
		}
		if now["lvchange"].count > before["lvchange"].count {
			return now, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("no lvchange within %s of a publish: podlv.state=new is not dropped", settleTime)
		}
		wait = 20 * time.Millisecond
	}
}

func (b *bench) unpublish(ctx context.Context, v volume, r *round4, to *results) error {
	before, err := b.agent.commands(ctx)
	if err != nil {
		return err
	}
	if err := timed(&r.unpublish)(b.agent.unpublish(ctx, v)); err != nil {
		return err
	}
	after, err := b.agent.commands(ctx)
	if err != nil {
		return err
	}
	to.beforeUnpublish(after.since(before))
	return nil
}

// atOnce is a round of n volumes that are published at once, and of n bare ones
// that are made one after the other: half of them before and half after, so that
// both meet a volume group as full and a host as busy, on average.
func (b *bench) atOnce(ctx context.Context, n int) error {
	r := &burst{volumes: n}
	ours, theirs := b.volumes(n), b.volumes(n)
	early, late := theirs[:n/2], theirs[n/2:]
	for _, step := range []func() error{
		func() error { return b.bareSerial(ctx, early, b.bare.publish, &r.bare, &r.bareWork) },
		func() error { return b.publishTogether(ctx, ours, len(early), r) },
		func() error { return b.bareSerial(ctx, late, b.bare.publish, &r.bare, &r.bareWork) },
		func() error { return check(ctx, n, n) },
		func() error {
			return b.bareSerial(ctx, early, b.bare.unpublish, &r.bareUnpublish, &r.bareUnpublishWork)
		},
		func() error { return together(ctx, ours, b.agent.unpublish, &r.unpublish, &r.unpublishWork) },
		func() error { return b.bareSerial(ctx, late, b.bare.unpublish, &r.bareUnpublish, &r.bareUnpublishWork) },
		func() error { return check(ctx, 0, 0) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	b.results.bursts = append(b.results.bursts, *r)
	return nil
}

// publishTogether publishes volumes at once, waits until their podlv.state=new is
// dropped, and sees how large the agent is then. So many bare ones are there.
func (b *bench) publishTogether(ctx context.Context, volumes []volume, theirs int, r *burst) error {
	before, err := b.agent.commands(ctx)
	if err != nil {
		return err
	}
	if err := together(ctx, volumes, b.agent.publish, &r.publish, &r.publishWork); err != nil {
		return err
	}
	answered, err := b.agent.commands(ctx)
	if err != nil {
		return err
	}
	r.during = answered.since(before)
	if err := settleAll(ctx, theirs); err != nil {
		return err
	}
	settled, err := b.agent.commands(ctx)
	if err != nil {
		return err
	}
	r.after = settled.since(answered)
	b.results.full, err = b.agent.memory()
	return err
}

// bareSerial makes or removes bare volumes one after the other, and adds up the
// time and the work.
func (b *bench) bareSerial(ctx context.Context, volumes []volume, do func(context.Context, volume, bool) (time.Duration, error), sum *time.Duration, w *work) error {
	return counted(w, func() error {
		for _, v := range volumes {
			took, err := do(ctx, v, false)
			if err != nil {
				return err
			}
			*sum += took
		}
		return nil
	})
}

// together calls do for all volumes at once, and adds the time until the last one
// was done.
func together(ctx context.Context, volumes []volume, do func(context.Context, volume) (time.Duration, error), sum *time.Duration, w *work) error {
	return counted(w, func() error {
		errs := make(chan error, len(volumes))
		start := time.Now()
		for _, v := range volumes {
			go func() {
				_, err := do(ctx, v)
				errs <- err
			}()
		}
		var err error
		for range volumes {
			err = errors.Join(err, <-errs)
		}
		*sum += time.Since(start)
		return err
	})
}

// settleAll waits until only the bare LVs are tagged podlv.state=new. A burst can
// take more than one lvchange.
func settleAll(ctx context.Context, theirs int) error {
	deadline := time.Now().Add(settleTime)
	for {
		_, fresh, err := report(ctx)
		if err != nil || fresh == theirs {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s after the last publish %d volumes are still tagged podlv.state=new", settleTime, fresh-theirs)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(quietTime):
		}
	}
}

// report counts the LVs, and those that are tagged podlv.state=new.
func report(ctx context.Context) (lvs, fresh int, err error) {
	out, err := exec.CommandContext(ctx, "lvm", "lvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "lv_size,lv_tags", volumeGroup).Output()
	if err != nil {
		return 0, 0, fmt.Errorf("lvs: %w", err)
	}
	for _, line := range strings.Split(string(out), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if words[0] != strconv.Itoa(volumeSize) {
			return 0, 0, fmt.Errorf("an LV has %s bytes, want %d", words[0], volumeSize)
		}
		lvs++
		if strings.Contains(line, "podlv.state=new") {
			fresh++
		}
	}
	return lvs, fresh, nil
}

// check looks at LVM and at the mount table: so many volumes of podlv and so many
// bare ones are there, mounted and of the right size, and podlv.state=new is on
// the bare ones alone.
func check(ctx context.Context, ours, theirs int) error {
	lvs, fresh, err := report(ctx)
	if err != nil {
		return err
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	kubelet, bare := 0, 0
	for _, line := range strings.Split(string(table), "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) < 5 || !strings.Contains(line, " - ext4 /dev/"):
		case strings.HasPrefix(words[4], kubeletDir+"/pods/"):
			kubelet++
		case strings.HasPrefix(words[4], bareDir+"/"):
			bare++
		}
	}
	if lvs != ours+theirs || fresh != theirs || kubelet != ours || bare != theirs {
		return fmt.Errorf("%d LVs, %d of them tagged podlv.state=new, %d mounted for kubelet, %d bare; want %d, %d, %d, %d", lvs, fresh, kubelet, bare, ours+theirs, theirs, ours, theirs)
	}
	return nil
}
