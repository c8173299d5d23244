// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"fmt"
	"sync"
)

// zeroJobs are the devices that are being zeroed. A job outlives the call that
// began it, which may have ten seconds where a large disk needs an hour; calls
// that come after it wait for the same job.
type zeroJobs struct {
	mu   sync.Mutex
	jobs map[handle]*zeroJob
}

type zeroJob struct {
	cancel context.CancelFunc
	done   chan struct{} // closed at the end
	err    error         // valid then
}

// run does the volume's job, or joins the one that runs, until it is done or ctx
// ends.
func (z *zeroJobs) run(ctx context.Context, h handle, work func(context.Context) error) error {
	j := z.start(ctx, h, work)
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return fmt.Errorf("volume %s: its old bytes are being zeroed, which goes on; call again: %w", h, ctx.Err())
	}
}

func (z *zeroJobs) start(ctx context.Context, h handle, work func(context.Context) error) *zeroJob {
	z.mu.Lock()
	defer z.mu.Unlock()
	if j := z.jobs[h]; j != nil {
		return j
	}
	if z.jobs == nil {
		z.jobs = map[handle]*zeroJob{}
	}
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	j := &zeroJob{cancel: cancel, done: make(chan struct{})}
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

// stop ends the volume's job, if there is one, and waits for its end.
func (z *zeroJobs) stop(h handle) {
	z.mu.Lock()
	j := z.jobs[h]
	z.mu.Unlock()
	if j != nil {
		j.cancel()
		<-j.done
	}
}

// stopAll ends all jobs.
func (z *zeroJobs) stopAll() {
	z.mu.Lock()
	var all []handle
	for h := range z.jobs {
		all = append(all, h)
	}
	z.mu.Unlock()
	for _, h := range all {
		z.stop(h)
	}
}

// zero writes zeros over a raw block volume from an offset to its end, and then
// takes off the LV the tag that says that it must be done. A process that dies
// over it leaves the tag, and whoever wants the volume next begins again.
func (p *persistent) zero(ctx context.Context, v persistentVolume, from int64, tag string) error {
	return p.zeros.run(ctx, v.handle, func(ctx context.Context) error {
		if !v.active {
			if err := p.lvm.Activate(ctx, v.handle.VG, v.handle.LV); err != nil {
				return err
			}
		}
		if err := p.devices.Zero(ctx, v.handle.device(), from, v.size-from); err != nil {
			return fmt.Errorf("%w: zero volume %s: %w", errStays, v.handle, err)
		}
		if err := p.lvm.Tag(ctx, v.handle.VG, nil, []string{tag}, v.handle.LV); err != nil {
			return fmt.Errorf("%w: %w", errStays, err)
		}
		return nil
	})
}
