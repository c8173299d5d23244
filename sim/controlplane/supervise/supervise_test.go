// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func untilStopped(ctx context.Context) error { <-ctx.Done(); return nil }

func TestTheFirstPartThatEndsIsNamed(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("disk full"), "etcd: disk full"},
		{nil, "etcd ended without an error"},
	} {
		g := New()
		g.Go("scheduler", untilStopped)
		g.Go("etcd", func(context.Context) error { return c.err })
		ctx := g.Context(t.Context())
		<-ctx.Done()
		if got := context.Cause(ctx).Error(); got != c.want {
			t.Errorf("cause: %q, want %q", got, c.want)
		}
		if late := g.Stop(time.Minute); late != nil {
			t.Errorf("late: %q", late)
		}
		if got := context.Cause(ctx).Error(); got != c.want {
			t.Errorf("cause after Stop: %q, want %q", got, c.want)
		}
	}
}

func TestPartsAreStoppedLastFirst(t *testing.T) {
	var mu sync.Mutex
	var order []string
	g := New()
	for _, name := range []string{"etcd", "API server", "scheduler"} {
		g.Go(name, func(ctx context.Context) error {
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			return ctx.Err()
		})
	}
	if late := g.Stop(time.Minute); late != nil {
		t.Errorf("late: %q", late)
	}
	if want := []string{"scheduler", "API server", "etcd"}; !slices.Equal(order, want) {
		t.Errorf("stopped %q, want %q", order, want)
	}
}

func TestALatePartIsNotWaitedFor(t *testing.T) {
	g := New()
	g.Go("etcd", untilStopped)
	g.Go("slow", func(context.Context) error { select {} })
	if late := g.Stop(200 * time.Millisecond); !slices.Equal(late, []string{"slow"}) {
		t.Errorf("late: %q", late)
	}
}

func TestTheContextEndsWithItsParent(t *testing.T) {
	g := New()
	parent, cancel := context.WithCancelCause(t.Context())
	ctx := g.Context(parent)
	why := errors.New("interrupted")
	cancel(why)
	<-ctx.Done()
	if got := context.Cause(ctx); got != why {
		t.Errorf("cause: %v", got)
	}
}

func TestAClosedPipeOrphans(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ended := make(chan error)
	go func() { ended <- Orphaned(t.Context(), r, func() int { return 7 }, time.Hour) }()
	if _, err := w.WriteString("dropped\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("while the pipe was open: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	w.Close()
	if err := <-ended; err == nil || err.Error() != "stdin was closed" {
		t.Errorf("got %v", err)
	}
}

func TestAnotherParentOrphans(t *testing.T) {
	null, err := os.Open(os.DevNull) // it is at its end, which says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var calls atomic.Int64
	parent := func() int {
		if calls.Add(1) > 3 {
			return 1
		}
		return 7
	}
	err = Orphaned(t.Context(), null, parent, time.Millisecond)
	if err == nil || err.Error() != "the parent, process 7, is gone" {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Orphaned(ctx, null, func() int { return 7 }, time.Hour); err != nil {
		t.Errorf("a context that ends: %v", err)
	}
}
