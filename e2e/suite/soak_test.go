// SPDX-License-Identifier: Apache-2.0

//go:build e2e && soak

package suite

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	snapshots "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
)

// How long the soak makes new volumes, and from what.
var (
	soakMinutes = flag.Int("soak.minutes", 10, "how long new volumes are made")
	soakSeed    = flag.Uint64("soak.seed", 0, "what the choices come from (default: the clock)")
)

const (
	soakWorkers = 8                // lives at once
	soakReport  = time.Minute      // between two lines
	soakSample  = 20 * time.Second // between two looks at the agents' memory
	// soakLimit is how long any step of a life may take, with the power of its node cut
	// meanwhile more than once, on a machine with other work.
	soakLimit = 12 * time.Minute
	// soakRest is how long the cluster may take to clear up when all is over.
	soakRest = 3 * time.Minute
)

// soak is a soak that goes on.
type soak struct {
	*kase
	snapshots snapshots.Interface
	begin     time.Time
	end       time.Time // when no more is begun
	counted   counts
	memory    memory
	suspects  map[string]bool // LVs without an owner, at the last look
}

// Volumes of every kind come and go, grow, are snapshot, restored and cloned, thick and
// thin, while agents, kubelets, nodes and controllers fail at random. No byte changes, all
// comes to an end, and nothing is left.
func TestSoak(t *testing.T) {
	c := newCase(t)
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	config, err := clientcmd.BuildConfigFromFlags("", the.Kubeconfig)
	require.NoError(t, err)
	config.QPS = -1
	s := &soak{kase: c, begin: time.Now(), suspects: map[string]bool{}}
	s.end = s.begin.Add(time.Duration(*soakMinutes) * time.Minute)
	s.snapshots, err = snapshots.NewForConfig(config)
	require.NoError(t, err)
	s.print("seed %d, %d minutes, %d lives at once", seed, *soakMinutes, soakWorkers)

	over, stop := context.WithCancel(c.ctx)
	var lives, others sync.WaitGroup
	for w := range soakWorkers {
		lives.Go(func() { s.live(rand.New(rand.NewPCG(seed, uint64(w))), fmt.Sprintf("w%d", w)) })
	}
	untilEnd, cancel := context.WithDeadline(over, s.end)
	defer cancel()
	others.Go(func() { s.faults(untilEnd, rand.New(rand.NewPCG(seed, soakWorkers))) })
	others.Go(func() { s.every(over, soakSample, s.sample) })
	others.Go(func() { s.every(over, soakReport, s.report) })
	lives.Wait()
	stop()
	others.Wait() // every node is up again

	s.print("nothing new is made; clearing up")
	s.remove()
	orphans, forgotten := s.orphansAtEnd()
	s.report(c.ctx)
	s.summary(orphans, forgotten)
	s.counted.mu.Lock()
	defer s.counted.mu.Unlock()
	require.Empty(t, s.counted.data, "data errors")
	require.Empty(t, s.counted.stuck, "what did not come to an end")
	require.Empty(t, orphans)
	require.Positive(t, s.counted.volumes(), "a soak without volumes shows nothing")
	require.Positive(t, s.counted.checks, "a soak that compares nothing shows nothing")
	require.Positive(t, s.memory.most(), "no agent was seen")
}

// print prints a line, with the time since the soak began.
func (s *soak) print(format string, args ...any) {
	fmt.Printf("soak %8s  %s\n", time.Since(s.begin).Truncate(time.Second), fmt.Sprintf(format, args...))
}

// every does something again and again until ctx ends.
func (s *soak) every(ctx context.Context, period time.Duration, do func(context.Context)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(period):
			do(ctx)
		}
	}
}

// await waits until ok has no error; errors of lives are counted, not fatal.
func await(ctx context.Context, limit time.Duration, what string, ok func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s until %s: %w", limit, what, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}
