// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"sync"
)

// volumeJobs are the volumes that are being zeroed or copied. A job outlives the call
// that began it, which may have ten seconds where a large disk needs an hour; calls
// that come after it wait for the same job.
type volumeJobs struct {
	mu   sync.Mutex
	jobs map[handle]*volumeJob
}

type volumeJob struct {
	what   string // for a sentence: what goes on
	cancel context.CancelFunc
	done   chan struct{} // closed at the end
	err    error         // valid then
}

// run does the volume's job, or joins the one that runs, until it is done or ctx
// ends.
func (z *volumeJobs) run(ctx context.Context, h handle, what string, work func(context.Context) error) error {
	return z.start(ctx, h, what, work).wait(ctx, h)
}

// wait waits until the job is done or ctx ends.
func (j *volumeJob) wait(ctx context.Context, h handle) error {
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return fmt.Errorf("volume %s: %s, which goes on; call again: %w", h, j.what, ctx.Err())
	}
}

// running is the volume's job, nil when there is none.
func (z *volumeJobs) running(h handle) *volumeJob {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.jobs[h]
}

func (z *volumeJobs) start(ctx context.Context, h handle, what string, work func(context.Context) error) *volumeJob {
	z.mu.Lock()
	defer z.mu.Unlock()
	if j := z.jobs[h]; j != nil {
		return j
	}
	if z.jobs == nil {
		z.jobs = map[handle]*volumeJob{}
	}
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	j := &volumeJob{what: what, cancel: cancel, done: make(chan struct{})}
	z.jobs[h] = j
	go func() {
		defer cancel()
		j.err = work(working)
		z.mu.Lock()
		delete(z.jobs, h)
		z.mu.Unlock()
		close(j.done)
	}()
	return j
}

// stop ends the volume's job, if there is one, and waits for its end or that of ctx.
func (z *volumeJobs) stop(ctx context.Context, h handle) error {
	j := z.running(h)
	if j == nil {
		return nil
	}
	j.cancel()
	select {
	case <-j.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("volume %s: %w: %s, which is being ended: %w", h, errBusy, j.what, ctx.Err())
	}
}

// stopAll ends all jobs.
func (z *volumeJobs) stopAll(ctx context.Context) {
	z.mu.Lock()
	var all []handle
	for h := range z.jobs {
		all = append(all, h)
	}
	z.mu.Unlock()
	for _, h := range all {
		_ = z.stop(ctx, h) // whoever asks for the volume next goes on
	}
}
