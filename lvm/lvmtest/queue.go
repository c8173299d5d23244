// SPDX-License-Identifier: Apache-2.0

package lvmtest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/podlv/podlv/lvm"
)

// hang makes the next command that names the word wait until release; started is
// closed when it does.
func (f *fixture) hang(word string) (started <-chan struct{}, release func()) {
	start, end := make(chan struct{}), make(chan struct{})
	first := true
	f.runner.mu.Lock()
	defer f.runner.mu.Unlock()
	f.runner.before = func(args []string) {
		f.runner.mu.Lock()
		mine := first && slices.Contains(args, word)
		first = first && !mine
		f.runner.mu.Unlock()
		if mine {
			close(start)
			<-end
		}
	}
	return start, func() { close(end) }
}

// until waits for something that another goroutine does.
func (f *fixture) until(what string, ok func() bool) {
	f.t.Helper()
	require.Eventually(f.t, ok, time.Minute, time.Millisecond, what)
}

var queueContracts = []contract{
	{"a caller gives up on a command that hangs; the error names it and its age; it ends all the same", func(f *fixture) {
		f.vg(group)
		started, release := f.hang("slow")
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error, 1)
		go func() { result <- f.client.Create(ctx, lvm.Spec{VG: group, Name: "slow", Size: mib}) }()
		<-started
		running := f.client.Running()
		require.Len(f.t, running, 1)
		require.Equal(f.t, group, running[0].VG)
		require.Equal(f.t, "lvcreate", running[0].Args[0])
		cancel()
		err := <-result
		var hung *lvm.HungError
		require.ErrorAs(f.t, err, &hung)
		require.ErrorIs(f.t, err, context.Canceled)
		require.False(f.t, hung.Waiting)
		require.Equal(f.t, "lvcreate", hung.Args[0])
		require.Positive(f.t, hung.Age)
		require.Contains(f.t, err.Error(), "lvcreate --yes --name slow")
		release()
		f.until("the command ends", func() bool { return len(f.client.Running()) == 0 })
		f.lv(group, "slow")
	}},
	{"the next change of the VG waits and can give up; it never runs then", func(f *fixture) {
		f.vg(group)
		started, release := f.hang("slow")
		first := make(chan error, 1)
		go func() { first <- f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "slow", Size: mib}) }()
		<-started
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		err := f.client.Create(ctx, lvm.Spec{VG: group, Name: "waits", Size: mib})
		var hung *lvm.HungError
		require.ErrorAs(f.t, err, &hung)
		require.ErrorIs(f.t, err, context.DeadlineExceeded)
		require.True(f.t, hung.Waiting)
		require.Contains(f.t, hung.Args, "slow", "it names the one that holds the VG")
		second := make(chan error, 1)
		go func() {
			second <- f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "patient", Size: mib})
		}()
		release()
		require.NoError(f.t, <-first)
		require.NoError(f.t, <-second)
		f.absent(group, "waits")
		f.lv(group, "patient")
	}},
	{"another VG and reports are not held up", func(f *fixture) {
		f.vg(group, f.m.Disks[0])
		f.vg(other, f.m.Disks[1])
		started, release := f.hang("slow")
		first := make(chan error, 1)
		go func() { first <- f.client.Create(context.Background(), lvm.Spec{VG: group, Name: "slow", Size: mib}) }()
		<-started
		f.create(lvm.Spec{VG: other, Name: "a", Size: mib})
		f.absent(group, "slow")
		release()
		require.NoError(f.t, <-first)
	}},
	{"a report that hangs can be given up too", func(f *fixture) {
		f.vg(group)
		started, release := f.hang("fullreport")
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error, 1)
		go func() {
			_, err := f.client.VolumeGroups(ctx)
			result <- err
		}()
		<-started
		f.create(lvm.Spec{Name: "a", Size: mib})
		cancel()
		var hung *lvm.HungError
		require.ErrorAs(f.t, <-result, &hung)
		release()
		f.until("the report ends", func() bool { return len(f.client.Running()) == 0 })
	}},
	{"a context that is over runs nothing", func(f *fixture) {
		f.vg(group)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		f.runner.reset()
		err := f.client.Create(ctx, lvm.Spec{VG: group, Name: "a", Size: mib})
		require.ErrorIs(f.t, err, context.Canceled)
		_, err = f.client.VolumeGroups(ctx)
		require.ErrorIs(f.t, err, context.Canceled)
		require.Empty(f.t, f.runner.verbs())
		f.absent(group, "a")
	}},
	{"changes of one VG never overlap", func(f *fixture) {
		f.vg(group)
		busy, most := 0, 0
		f.runner.mu.Lock()
		runner := f.runner.runner
		f.runner.runner = around{runner, func(d int) {
			f.runner.mu.Lock()
			defer f.runner.mu.Unlock()
			busy += d
			most = max(most, busy)
		}}
		f.runner.mu.Unlock()
		results := make(chan error, 8)
		for i := range 8 {
			go func() {
				results <- errors.Join(
					f.client.Create(context.Background(), lvm.Spec{VG: group, Name: string(rune('a' + i)), Size: mib}),
					f.client.Remove(context.Background(), group, string(rune('a'+i))))
			}()
		}
		for range 8 {
			require.NoError(f.t, <-results)
		}
		require.Equal(f.t, 1, most)
	}},
}

// around tells of the begin and the end of each command.
type around struct {
	runner lvm.Runner
	count  func(int)
}

// Run implements lvm.Runner.
func (a around) Run(ctx context.Context, args ...string) ([]byte, error) {
	a.count(1)
	defer a.count(-1)
	return a.runner.Run(ctx, args...)
}
