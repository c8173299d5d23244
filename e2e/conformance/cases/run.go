// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Case is one thing that a node is put through.
type Case struct {
	Name string
	// About is what it is, for people.
	About string
	do    func(*kase)
	// Repeats says that how often a call is tried depends on how fast the machine is.
	Repeats bool
}

// Phases are all cases: those of one phase beside each other, the phases one after
// another.
func Phases() [][]Case {
	return [][]Case{lives(), slices.Concat(failures(), codesOfPublish(), []Case{statistics(), refused()}), {driverKilled()}, {driverGone()}, {restart()}, {reboot()}}
}

// Run puts a target through all cases, and removes what they made. The error has what
// went wrong in each; the Recording is what there was also then.
func Run(ctx context.Context, t Target, note func(format string, args ...any)) (Recording, error) {
	b := &bench{Target: t, note: note, result: Recording{Found: map[string]string{}, Began: time.Now()}, pods: map[string]*corev1.Pod{}}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	var watching sync.WaitGroup
	for _, f := range []func(context.Context){b.watch, b.listen} {
		watching.Add(1)
		go func() {
			defer watching.Done()
			f(watch)
		}()
	}
	err := b.all(ctx)
	stop()
	watching.Wait()
	calls, e := t.Driver().Calls(context.WithoutCancel(ctx))
	b.result.Calls, b.result.Ended = calls, time.Now()
	return b.result, errors.Join(err, e)
}

func (b *bench) all(ctx context.Context) error {
	all := b.do(ctx, Case{do: func(k *kase) { k.things("100") }})
	for i, phase := range Phases() {
		b.note("phase %d: %d cases", i+1, len(phase))
		group, failed := errgroup.Group{}, make([]error, len(phase))
		for i, c := range phase {
			group.Go(func() error {
				failed[i] = b.do(ctx, c)
				return nil
			})
		}
		_ = group.Wait() // they do not fail
		all = errors.Join(all, errors.Join(failed...))
	}
	return all
}

// watch keeps how the pods are, and marks when they come to another phase and when they
// are gone.
func (b *bench) watch(ctx context.Context) {
	for ctx.Err() == nil {
		w, err := b.Client().CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			time.Sleep(poll)
			continue
		}
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			b.mu.Lock()
			before := b.pods[p.Name]
			b.pods[p.Name] = p
			if e.Type == "DELETED" {
				delete(b.pods, p.Name)
			}
			b.mu.Unlock()
			note := fmt.Sprintf("pod %s is %s", p.Name, p.Status.Phase)
			switch {
			case e.Type == "DELETED":
				note = "pod " + p.Name + " is gone"
			case before != nil && before.Status.Phase == p.Status.Phase:
				continue
			}
			_ = b.Driver().Mark(ctx, note) // there is none while the power is off
		}
		w.Stop()
	}
}

// listen keeps which calls there were.
func (b *bench) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if calls, err := b.Driver().Calls(ctx); err == nil {
			b.mu.Lock()
			b.calls = calls
			b.mu.Unlock()
		}
		time.Sleep(poll)
	}
}

// Handle is the handle that kubelet makes up for an inline volume of the pod with a UID.
func Handle(uid, volume string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(uid+volume)))
}
