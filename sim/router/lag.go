// SPDX-License-Identifier: Apache-2.0

package router

import (
	"sync"
	"time"
)

// lag does things in order, after a delay if there is one. The zero value does them at
// once.
type lag struct {
	mu      sync.Mutex
	delay   time.Duration
	waiting []delayed // by time; one goroutine does them while there are any
}

type delayed struct {
	due time.Time
	do  func()
}

func (l *lag) set(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

// do does f: in this goroutine, unless there is a delay, or something waits before it.
func (l *lag) do(f func()) {
	l.mu.Lock()
	if l.delay == 0 && len(l.waiting) == 0 {
		l.mu.Unlock()
		f()
		return
	}
	due := time.Now().Add(l.delay)
	if n := len(l.waiting); n > 0 && l.waiting[n-1].due.After(due) {
		due = l.waiting[n-1].due
	}
	l.waiting = append(l.waiting, delayed{due, f})
	if len(l.waiting) == 1 {
		go l.run()
	}
	l.mu.Unlock()
}

// run does what waits, until nothing does.
func (l *lag) run() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting) > 0 {
		next := l.waiting[0]
		l.mu.Unlock()
		time.Sleep(time.Until(next.due))
		next.do()
		l.mu.Lock()
		l.waiting = l.waiting[1:]
	}
}
